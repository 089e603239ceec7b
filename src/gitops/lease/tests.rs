use super::super::kubernetes::stand_in::ApiServer;
use super::*;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/driftd/leases/controller";

struct Replica {
    term: watch::Receiver<Option<u64>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Replica {
    async fn start(api: &ApiServer, identity: &str) -> Self {
        let (election, term) = Election::new(api.client(identity).await, &api.config(identity));
        let stop = CancellationToken::new();
        Self { term, task: tokio::spawn(election.run(stop.clone())), stop }
    }

    fn leads(&self) -> Option<u64> {
        *self.term.borrow()
    }

    async fn until(&mut self, is_it: impl FnMut(&Option<u64>) -> bool) -> Option<u64> {
        let found = tokio::time::timeout(Duration::from_secs(20), self.term.wait_for(is_it)).await;
        *found.expect("in time").expect("still running")
    }
}

fn holder(api: &ApiServer) -> String {
    api.object(PATH).unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_leads_and_gives_the_lease_back_as_it_stops() {
    let api = ApiServer::start();
    let mut one = Replica::start(&api, "one").await;
    assert_eq!(one.until(Option::is_some).await, Some(1));
    let mut other = Replica::start(&api, "other").await;
    tokio::time::sleep(Duration::from_secs(5)).await; // longer than the lease, which is renewed meanwhile
    assert_eq!((one.leads(), other.leads(), holder(&api).as_str()), (Some(1), None, "one"));
    let begun = Instant::now();
    one.stop.cancel();
    assert_eq!(other.until(Option::is_some).await, Some(2));
    assert!(begun.elapsed() < Duration::from_secs(2), "it did not have to run out");
    one.task.await.unwrap();
    assert_eq!(holder(&api), "other");
    other.stop.cancel();
    other.task.await.unwrap();
    assert_eq!(holder(&api), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_is_followed_once_its_lease_has_run_out_as_watched() {
    let api = ApiServer::start();
    let mut one = Replica::start(&api, "one").await;
    one.until(Option::is_some).await;
    one.task.abort(); // as kill -9: nothing is given back
    // Times of another machine's clock, ten minutes ahead, say nothing.
    let mut lease = api.object(PATH).unwrap();
    lease["spec"]["renewTime"] = json!("2099-01-01T00:00:00.000000Z");
    api.put(PATH, lease);
    let begun = Instant::now();
    let mut other = Replica::start(&api, "other").await;
    assert_eq!(other.until(Option::is_some).await, Some(2));
    assert!(begun.elapsed() >= Duration::from_secs(3), "not before it has run out: {:?}", begun.elapsed());
    other.stop.cancel();
    other.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_renew_stops_before_another_one_may_begin() {
    let api = ApiServer::start();
    let mut one = Replica::start(&api, "one").await;
    one.until(Option::is_some).await;
    api.set_down(true);
    let begun = Instant::now();
    one.until(Option::is_none).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    api.set_down(false);
    // In its own name, and not held: it waits like any other.
    assert_eq!(one.until(Option::is_some).await, Some(2));
    one.stop.cancel();
    one.task.await.unwrap();
}

#[tokio::test]
async fn a_machine_that_was_suspended_does_not_lead_on() {
    let api = ApiServer::start();
    let (mut election, _term) = Election::new(api.client("one").await, &api.config("one"));
    election.step().await.unwrap();
    assert_eq!(election.valid(), Some(1));
    let held = election.held.unwrap();
    // The monotonic clock stands still in a sleep, the wall clock does not.
    election.held = Some(Held { wall: held.wall - Duration::from_mins(1), ..held });
    assert_eq!(election.valid(), None);
    // A wall clock that is set back tells nothing; the monotonic one goes on.
    election.held = Some(Held { wall: held.wall + Duration::from_mins(1), ..held });
    assert_eq!(election.valid(), Some(1));
    let since = held.since.checked_sub(Duration::from_secs(3)).unwrap();
    election.held = Some(Held { since, wall: held.wall + Duration::from_mins(1), ..held });
    assert_eq!(election.valid(), None);
}

#[track_caller]
fn check(found: Option<(&str, u64)>, is_held: bool, watched_for_secs: u64, expected: Step) {
    let record = found.map(|(holder, secs)| {
        Record::read(json!({"metadata": {"resourceVersion": "7"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": secs, "leaseTransitions": 4}}))
    });
    assert_eq!(decide(record.as_ref(), "me", is_held, Duration::from_secs(watched_for_secs)), expected);
}

#[test]
fn a_lease_is_taken_only_if_it_is_free_given_back_or_run_out() {
    check(None, false, 0, Step::Create);
    check(Some(("", 15)), false, 0, Step::TakeOver);
    check(Some(("me", 15)), true, 0, Step::Renew);
    check(Some(("me", 15)), false, 14, Step::Wait);
    check(Some(("me", 15)), false, 15, Step::TakeOver);
    check(Some(("other", 15)), true, 14, Step::Wait);
    check(Some(("other", 15)), false, 14, Step::Wait);
    check(Some(("other", 15)), false, 15, Step::TakeOver);
}
