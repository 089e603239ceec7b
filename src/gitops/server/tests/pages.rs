//! Incidents, page by page.

use std::collections::BTreeMap;

use super::super::super::incident::{self, Incident, Origin};
use super::*;

#[tokio::test]
async fn incidents_are_read_page_by_page() {
    let world = World::start().await;
    for service in ["credit", "fraud", "credit", "credit", "fraud"] {
        let incident = begun(service);
        world.handle.context().journal.begin(incident, "a test").await.unwrap();
    }
    let page = async |query: &str| {
        let (status, page) = world.ask(Method::GET, &format!("/api/v1/incidents{query}"), ANN, "").await;
        let ids = page
            .as_array()
            .map(|page| page.iter().map(|incident| incident["id"].as_u64().unwrap()).collect());
        (status.as_u16(), ids.unwrap_or_else(Vec::new))
    };
    assert_eq!(page("").await, (200, vec![5, 4, 3, 2, 1]));
    assert_eq!(page("?limit=2").await, (200, vec![5, 4]));
    // What comes meanwhile moves nothing from one page to the next.
    world.handle.context().journal.begin(begun("credit"), "a test").await.unwrap();
    assert_eq!(page("?limit=2&before=4").await, (200, vec![3, 2]));
    assert_eq!(page("?limit=2&before=2").await, (200, vec![1]));
    assert_eq!(page("?limit=2&before=1").await, (200, vec![]));
    assert_eq!(page("?limit=2&before=4&service=prod/credit").await, (200, vec![3, 1]));
    for query in ["?limit=0", "?limit=1001", "?limit=-1", "?before=rb-1"] {
        assert_eq!(page(query).await.0, 400, "{query}");
    }
}

fn begun(service: &str) -> Incident {
    Incident {
        id: 0,
        service: format!("prod/{service}").parse().unwrap(),
        version: String::new(),
        origin: Origin::Alert,
        accusations: Vec::new(),
        state: incident::State::Received,
        reason: String::new(),
        entered: BTreeMap::default(),
        deadline: None,
        evidence: BTreeMap::default(),
        plan: None,
        gates: Vec::new(),
        approved_by: None,
        approved_at: None,
        pull_request: None,
        commit: None,
        cleanup: None,
    }
}
