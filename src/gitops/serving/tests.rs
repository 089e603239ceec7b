use serde_json::json;

use super::*;
use crate::gitops::incident::ActionId;
use crate::gitops::target::ServiceName;

const GOOD: &str = "s3://models/credit/v1";
const BAD: &str = "s3://models/credit/v2";

fn plan(recipe: Recipe, component: Component) -> Plan {
    let service = ServiceName::new("prod", "credit").unwrap();
    Plan {
        action: ActionId::new("main", &service, &component, BAD, "c2"),
        file: "credit.yaml".to_owned(),
        document: 0,
        found_by: "index".to_owned(),
        edits: Vec::new(),
        recipe,
        component,
        bad_uri: BAD.to_owned(),
        good_uri: GOOD.to_owned(),
        is_verified: true,
        introduced_by: "c2".to_owned(),
        introduced_at: chrono::Utc::now(),
        good_commit: "c1".to_owned(),
        coupled: Vec::new(),
        tip: "c3".to_owned(),
    }
}

fn uri_plan() -> Plan {
    plan(Recipe::Uri, Component::Predictor)
}

fn source(uri: &str) -> Value {
    json!({"internal.serving.kserve.io/storage-initializer-sourceuri": uri})
}

fn pod(name: &str, app: &str, uri: &str, is_ready: bool) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": app}, "annotations": source(uri)}, "status": {"phase": "Running",
        "conditions": [{"type": "Ready", "status": if is_ready { "True" } else { "False" }}]}})
}

fn deployment(name: &str, uri: &str, updated: i64, available: i64) -> Value {
    json!({"metadata": {"name": name, "generation": 3},
        "spec": {"replicas": 2, "template": {"metadata": {"annotations": source(uri)}}},
        "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": updated, "availableReplicas": available,
            "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]}})
}

/// Rolled back, two replicas, all of it done.
fn standard() -> View {
    View {
        service: json!({"metadata": {"name": "credit"}, "spec": {"predictor": {"model": {"storageUri": GOOD}}},
            "status": {"deploymentMode": "Standard", "modelStatus": {"transitionStatus": "UpToDate"},
                "conditions": [{"type": "Ready", "status": "True"}]}}),
        pods: vec![
            pod("a", "isvc.credit-predictor", GOOD, true),
            pod("b", "isvc.credit-predictor", GOOD, true),
            pod("other", "isvc.credit-canary-predictor", BAD, true),
        ],
        deployments: vec![deployment("credit-predictor", GOOD, 2, 2)],
        ..View::default()
    }
}

#[track_caller]
fn check(view: &View, plan: &Plan, expected: &Serving) {
    assert_eq!(judge(view, plan), *expected);
}

fn waiting(why: &str) -> Serving {
    Serving::Waiting(why.to_owned())
}

#[test]
fn a_deployment_serves_once_all_its_pods_are_of_the_good_version_and_ready() {
    check(&standard(), &uri_plan(), &Serving::Ready);
    let mut view = standard();
    view.service["spec"]["predictor"] =
        json!({"minReplicas": 1, "sklearn": {"storageUri": format!("{GOOD}/")}});
    check(&view, &uri_plan(), &Serving::Ready);

    let mut view = standard();
    view.service["spec"]["predictor"]["model"]["storageUri"] = json!(BAD);
    check(&view, &uri_plan(), &waiting("the InferenceService still asks for s3://models/credit/v2"));

    let mut view = standard();
    view.deployments = vec![deployment("credit-predictor", BAD, 2, 2)];
    check(
        &view,
        &uri_plan(),
        &waiting("Deployment credit-predictor still makes pods of s3://models/credit/v2"),
    );

    let mut view = standard();
    view.deployments[0]["metadata"]["generation"] = json!(4);
    check(&view, &uri_plan(), &waiting("Deployment credit-predictor has not been looked at yet"));

    let mut view = standard();
    view.deployments[0] = deployment("credit-predictor", GOOD, 1, 2);
    check(&view, &uri_plan(), &waiting("2 pods of the good version are ready, 0 of another one serve on"));

    let mut view = standard();
    view.pods.push(pod("old", "isvc.credit-predictor", BAD, true));
    check(&view, &uri_plan(), &waiting("2 pods of the good version are ready, 1 of another one serve on"));
    view.pods[3]["metadata"]["deletionTimestamp"] = json!("2026-11-23T00:00:00Z");
    check(&view, &uri_plan(), &Serving::Ready);
}

#[test]
fn a_promotion_by_name_is_another_deployment() {
    let mut view = standard();
    view.service["spec"]["predictor"]["name"] = json!("canary");
    check(&view, &uri_plan(), &waiting("there is no Deployment credit-canary-predictor"));
    view.deployments.push(deployment("credit-canary-predictor", GOOD, 2, 2));
    check(&view, &uri_plan(), &waiting("0 pods of the good version are ready, 1 of another one serve on"));
    view.pods[2] = pod("c", "isvc.credit-canary-predictor", GOOD, true);
    check(&view, &uri_plan(), &Serving::Ready);
}

/// KServe's conditions are those of a service that is well: the old pods serve on.
fn hung() -> View {
    let mut view = standard();
    view.deployments = vec![deployment("credit-predictor", GOOD, 1, 2)];
    view.pods = vec![
        pod("old", "isvc.credit-predictor", BAD, true),
        pod("new", "isvc.credit-predictor", GOOD, false),
    ];
    view
}

#[test]
fn a_rollback_that_hangs_is_named_though_kserve_calls_it_ready() {
    let figures = "0 pods of the good version are ready, 1 of another one serve on; KServe says Ready=True, model UpToDate";
    let hangs = |why: &str| Serving::Hung(format!("{why}; {figures}"));
    let mut view = hung();
    view.pods[1]["status"]["initContainerStatuses"] = json!([{"name": "storage-initializer",
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": {"message": "no such\nkey"}}}]);
    let why = "pod new does not start: CrashLoopBackOff in storage-initializer: no such key";
    check(&view, &uri_plan(), &hangs(why));
    view.service["status"]["modelStatus"]["transitionStatus"] = json!("BlockedByFailedLoad");
    assert!(matches!(judge(&view, &uri_plan()), Serving::Failed(_)));

    let mut view = hung();
    view.pods[1]["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]);
    check(&view, &uri_plan(), &hangs("pod new does not start: Unschedulable: 0/3 nodes"));

    let mut view = hung();
    view.deployments[0]["status"]["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}]);
    check(&view, &uri_plan(), &hangs("Deployment credit-predictor: ProgressDeadlineExceeded: late"));
    // A failed load of the version before is not about the one that starts.
    let mut view = hung();
    view.service["status"]["modelStatus"]["transitionStatus"] = json!("BlockedByFailedLoad");
    check(&view, &uri_plan(), &waiting("0 pods of the good version are ready, 1 of another one serve on"));
    view.service["status"]["modelStatus"] =
        json!({"transitionStatus": "InvalidSpec", "lastFailureInfo": {"message": "no runtime"}});
    check(&view, &uri_plan(), &Serving::Failed("KServe refuses the spec: no runtime".to_owned()));
}

fn route(canary_weight: i64, seen: i64) -> Value {
    json!({"metadata": {"name": "credit", "generation": 5},
        "spec": {"rules": [{"backendRefs": [{"name": "credit-predictor", "weight": 100 - canary_weight},
            {"name": "credit-v2-predictor", "weight": canary_weight}]}]},
        "status": {"parents": [{"conditions": [{"type": "Accepted", "observedGeneration": seen}]}]}})
}

#[test]
fn a_canary_is_stopped_once_its_weight_is_zero_where_traffic_passes() {
    let plan = plan(Recipe::StandardCanary, Component::Canary("v2".to_owned()));
    let mut view = standard();
    view.service["spec"]["canary"] = json!([{"trafficPercent": 10, "predictor": {"name": "v2"}}]);
    check(&view, &plan, &waiting("the InferenceService still gives canary v2 10 %"));
    view.service["spec"]["canary"][0]["trafficPercent"] = json!(0);
    view.routes = vec![route(10, 5)];
    check(&view, &plan, &waiting("HTTPRoute credit still gives credit-v2-predictor weight 10"));
    view.routes = vec![route(0, 4)];
    check(&view, &plan, &waiting("a gateway has not taken over HTTPRoute credit yet"));
    view.routes = vec![route(0, 5)];
    check(&view, &plan, &Serving::Ready);
    assert!(splits_traffic(&view));
    view.routes.clear(); // a release that gives canaries no traffic
    check(&view, &plan, &Serving::Ready);
    assert!(!splits_traffic(&view));
    view.pods = vec![pod("a", "isvc.credit-predictor", BAD, true)];
    let why = "no pod of credit-predictor is ready that serves another version than the accused";
    check(&view, &plan, &waiting(why));
}

fn revision(name: &str, uri: &str, ready: &str) -> Value {
    json!({"metadata": {"name": name, "annotations": source(uri)},
        "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "ExitCode1", "message": "no model"}]}})
}

/// Of revisions 1 (v1), 2 (v2, accused) and 3 (v1, the rollback).
fn knative(created: &str, ready: &str, rolled_out: &str, traffic: &[(&str, i64)], third: &str) -> View {
    let traffic: Vec<Value> =
        traffic.iter().map(|(name, percent)| json!({"revisionName": name, "percent": percent})).collect();
    View {
        service: json!({"metadata": {"name": "credit"},
            "spec": {"predictor": {"canaryTrafficPercent": 0, "model": {"storageUri": GOOD}}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "modelStatus": {"transitionStatus": "UpToDate"},
                "components": {"predictor": {"latestCreatedRevision": created, "latestReadyRevision": ready,
                    "latestRolledoutRevision": rolled_out, "traffic": traffic}}}}),
        revisions: vec![
            revision("r1", GOOD, "True"),
            revision("r2", BAD, "True"),
            revision("r3", GOOD, third),
        ],
        ..View::default()
    }
}

#[test]
fn a_knative_canary_is_stopped_by_its_traffic_and_cleaned_up_by_its_revision() {
    let canary = plan(Recipe::KnativeCanary, Component::Predictor);
    let starting = knative("r3", "r2", "r1", &[("r1", 90), ("r2", 10)], "Unknown");
    assert_eq!(starting.mode(), Mode::Knative);
    check(&starting, &canary, &waiting("traffic: s3://models/credit/v1 90 %, s3://models/credit/v2 10 %"));
    assert_eq!(
        may_drop_percent(&starting, GOOD).unwrap_err(),
        "revision r3 is not ready, r2 is the last that was"
    );
    assert_eq!(rolled_out_uri(&starting), Some(GOOD));

    let stopped = knative("r3", "r2", "r1", &[("r1", 100), ("r2", 0)], "Unknown");
    check(&stopped, &canary, &Serving::Ready);
    assert!(may_drop_percent(&stopped, GOOD).is_err());
    // The percent without the URI: the accused revision is ready, and gets everything once the percent is dropped.
    let untouched = knative("r2", "r2", "r1", &[("r1", 100)], "True");
    assert_eq!(may_drop_percent(&untouched, GOOD).unwrap_err(), "revision r2 serves s3://models/credit/v2");

    let done = knative("r3", "r3", "r1", &[("r1", 100), ("r3", 0)], "True");
    check(&done, &canary, &Serving::Ready);
    assert_eq!(may_drop_percent(&done, GOOD), Ok(()));
    // Somebody has promoted the accused version meanwhile.
    let promoted = knative("r3", "r3", "r2", &[("r2", 100), ("r3", 0)], "True");
    assert_eq!(
        may_drop_percent(&promoted, GOOD).unwrap_err(),
        "s3://models/credit/v2 has the traffic, and s3://models/credit/v1 would get it"
    );
    let nobody = knative("r9", "r9", "r1", &[("r1", 100)], "True");
    assert_eq!(may_drop_percent(&nobody, GOOD).unwrap_err(), "nobody knows what revision r9 serves");
}

#[test]
fn after_a_promotion_the_new_revision_has_to_take_over() {
    let plan = uri_plan();
    let starting = knative("r3", "r2", "r2", &[("r2", 100)], "Unknown");
    check(&starting, &plan, &waiting("traffic: s3://models/credit/v2 100 %"));
    assert_eq!(rolled_out_uri(&starting), Some(BAD));
    check(&knative("r3", "r3", "r3", &[("r3", 60), ("r3", 40)], "True"), &plan, &Serving::Ready);
    check(
        &knative("r3", "r1", "r1", &[("r1", 100)], "Unknown"),
        &plan,
        &waiting("traffic: s3://models/credit/v1 100 %"),
    );
    let never = knative("r3", "r2", "r2", &[("r2", 100)], "False");
    let says = "KServe says Ready=True, model UpToDate";
    let why = format!(
        "revision r3 is not ready: ExitCode1: no model; traffic: s3://models/credit/v2 100 %; {says}"
    );
    check(&never, &plan, &Serving::Hung(why));
}

/// Its pods say so long before the revision does.
#[test]
fn a_new_revision_whose_pod_does_not_start_is_named_by_its_pod() {
    let mut view = knative("r3", "r2", "r2", &[("r2", 100)], "Unknown");
    let mut stuck = pod("r3-pod", "r3", GOOD, false);
    stuck["metadata"]["labels"]["serving.knative.dev/revision"] = json!("r3");
    stuck["status"]["initContainerStatuses"] = json!([{"name": "storage-initializer",
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "no such model"}}}]);
    view.pods = vec![stuck];
    let why = "pod r3-pod does not start: CrashLoopBackOff in storage-initializer: no such model; \
               revision r3 is not ready; traffic: s3://models/credit/v2 100 %; KServe says Ready=True, model UpToDate";
    check(&view, &uri_plan(), &Serving::Hung(why.to_owned()));
    view.service["status"]["modelStatus"]["transitionStatus"] = json!("BlockedByFailedLoad");
    assert!(matches!(judge(&view, &uri_plan()), Serving::Failed(_)));
    // A canary is stopped by the pods that are there.
    let canary = plan(Recipe::KnativeCanary, Component::Predictor);
    check(&view, &canary, &waiting("traffic: s3://models/credit/v2 100 %"));
    // A pod of another revision is no hindrance.
    view.pods[0]["metadata"]["labels"]["serving.knative.dev/revision"] = json!("r1");
    check(&view, &uri_plan(), &waiting("traffic: s3://models/credit/v2 100 %"));
}

#[test]
fn traffic_that_a_percent_pins_to_the_accused_revision_is_named() {
    let pinned = knative("r3", "r3", "r2", &[("r3", 0), ("r2", 100)], "True");
    let why = "revision r3 is ready, and canaryTrafficPercent keeps traffic elsewhere: \
               s3://models/credit/v1 0 %, s3://models/credit/v2 100 %; KServe says Ready=True, model UpToDate";
    check(&pinned, &uri_plan(), &Serving::Hung(why.to_owned()));
}
