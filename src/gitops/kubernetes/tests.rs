use super::stand_in::ApiServer;
use super::*;
use crate::gitops::serving::Mode;

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn the_state_is_made_kept_and_read_back_beside_what_others_keep_there() {
    let api = ApiServer::start();
    let (one, other) = (api.client("one").await, api.client("other").await);
    assert_eq!(one.state().await.unwrap(), map(&[]));
    one.set_state(map(&[("ledgers", "{}")])).await.unwrap();
    other.set_state(map(&[("pauses", "[]")])).await.unwrap();
    one.set_state(map(&[("ledgers", "{1}")])).await.unwrap();
    assert_eq!(other.state().await.unwrap(), map(&[("ledgers", "{1}"), ("pauses", "[]")]));
}

#[tokio::test]
async fn writers_at_the_same_time_lose_nothing() {
    let api = ApiServer::start();
    let client = api.client("one").await;
    client.set_state(map(&[("start", "")])).await.unwrap();
    let write = async |key: &'static str| client.set_state(map(&[(key, "x")])).await;
    let (a, b, c) = tokio::join!(write("a"), write("b"), write("c"));
    assert!(a.is_ok() && b.is_ok() && c.is_ok(), "{a:?} {b:?} {c:?}");
    assert_eq!(client.state().await.unwrap().into_keys().collect::<Vec<_>>(), ["a", "b", "c", "start"]);
}

#[tokio::test]
async fn a_view_has_the_objects_of_one_service_in_its_mode() {
    let api = ApiServer::start();
    let service = ServiceName::new("prod", "credit").unwrap();
    let client = api.client("one").await;
    let error = client.view(&service).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let path = "/apis/serving.kserve.io/v1beta1/namespaces/prod/inferenceservices/credit";
    api.put(path, json!({"metadata": {"name": "credit"}, "status": {"deploymentMode": "Standard"}}));
    let of = |name: &str, service: &str| json!({"metadata": {"name": name, "labels": {"serving.kserve.io/inferenceservice": service}}});
    api.put("/api/v1/namespaces/prod/pods/a", of("a", "credit"));
    api.put("/api/v1/namespaces/prod/pods/b", of("b", "other"));
    api.put("/apis/apps/v1/namespaces/prod/deployments/credit-predictor", of("credit-predictor", "credit"));
    api.put("/apis/gateway.networking.k8s.io/v1/namespaces/prod/httproutes/credit", of("credit", "credit"));
    api.put("/apis/serving.knative.dev/v1/namespaces/prod/revisions/r1", of("r1", "credit"));
    let view = client.view(&service).await.unwrap();
    let n = |list: &[Value]| list.len();
    assert_eq!(view.mode(), Mode::Standard);
    assert_eq!((n(&view.pods), n(&view.deployments), n(&view.routes), n(&view.revisions)), (1, 1, 1, 0));
    api.put(path, json!({"metadata": {"name": "credit"}, "status": {"deploymentMode": "Serverless"}}));
    let view = client.view(&service).await.unwrap();
    assert_eq!((n(&view.pods), n(&view.deployments), n(&view.routes), n(&view.revisions)), (1, 0, 0, 1));
}

#[tokio::test]
async fn an_api_server_that_is_down_is_told_apart_from_an_object_that_is_not_there() {
    let api = ApiServer::start();
    let client = api.client("one").await;
    api.set_down(true);
    let error = client.state().await.unwrap_err();
    assert!(matches!(&error, KubernetesError::Unreachable(_)), "{error}");
}

#[test]
fn a_path_is_encoded() {
    let query = [("labelSelector", "a/b=c&d")];
    assert_eq!(
        target(&["api", "v1", "x/../y?z"], &query),
        "/api/v1/x%2F..%2Fy%3Fz?labelSelector=a%2Fb%3Dc%26d"
    );
}
