use std::collections::HashMap;

use prometheus::Registry;
use serde_json::json;

use super::*;
use crate::baseline::Baseline;
use crate::config::ModelConfig;
use crate::drift::Histogram;
use crate::drift::scan::Repeats;

const SECOND: u64 = 1000;

/// A feature and a prediction, each over four even bins.
fn state() -> ModelState {
    let column = |name: &str, role: &str| {
        json!({"name": name, "role": role, "kind": "numeric", "rows": 40_000, "missing": 0, "other": 0,
               "edges": [1.0, 2.0, 3.0], "group_starts": [0, 1, 2, 3], "counts": [10_000, 10_000, 10_000, 10_000],
               "min": 0.0, "max": 4.0, "mean": 2.0, "std": 1.0})
    };
    let file = json!({"format": "driftd.baseline/v1", "rows": 40_000,
                      "features": [column("x", "feature"), column("y", "prediction")]});
    let baseline = Baseline::from_json(file.to_string().as_bytes()).unwrap();
    let config = ModelConfig { name: Some("m".to_owned()), ..ModelConfig::new("m.json") };
    let model = Arc::new(Model::new(&config, baseline, Origin::Own));
    let registry = Registry::new();
    let mut context = Context {
        evaluation: EvaluationConfig::default(),
        identity: Identity::default(),
        metrics: ModelMetrics::register(&registry).unwrap(),
        series_left: 1000,
    };
    let process = ProcessMetrics::register(&registry).unwrap();
    ModelState::new(model, &mut context, &process)
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 * SECOND + seconds * SECOND)
}

/// What a shard counted of `x` and `y`.
fn counted(x: [u64; 4], y: [u64; 4], unexpected: &[&str]) -> ModelCounts {
    ModelCounts {
        histograms: vec![Histogram::from_parts(&x, 0, 0), Histogram::from_parts(&y, 0, 0)],
        n_exchanges: 1,
        rows: [x.iter().sum(), y.iter().sum()],
        violations: HashMap::new(),
        unexpected: unexpected.iter().map(|name| Box::from(*name)).collect(),
        repeats: Repeats::default(),
    }
}

const EVEN: [u64; 4] = [250; 4];
const SKEWED: [u64; 4] = [850, 50, 50, 50];

/// Verdict and cause in every window, shortest first.
fn verdicts(report: &ModelReport) -> Vec<(&'static str, Option<&'static str>)> {
    report.windows.iter().map(|window| (window.verdict, window.cause)).collect()
}

#[test]
fn a_feature_that_nobody_knows_clouds_the_cause_only_while_it_is_in_the_window() {
    let mut state = state();
    assert_eq!(state.absorb(&counted(EVEN, SKEWED, &["stray"]), at(0)), Added::Counted);
    let unknown = ("drift", Some("unknown"));
    assert_eq!(verdicts(&state.judge(at(0))), [unknown; 3]);
    assert_eq!(state.absorb(&counted(EVEN, SKEWED, &[]), at(301)), Added::Counted);
    let report = state.judge(at(301));
    assert_eq!(verdicts(&report), [("drift", Some("model")), unknown, unknown]);
    assert_eq!(*report.unexpected_features, [Box::from("stray")]);
}

#[test]
fn a_version_that_nobody_asks_is_stale_in_every_window() {
    let mut state = state();
    assert_eq!(state.absorb(&counted(SKEWED, EVEN, &[]), at(0)), Added::Counted);
    assert_eq!(verdicts(&state.judge(at(299))), [("drift", Some("input")); 3]);
    let report = state.judge(at(300));
    assert_eq!(verdicts(&report), [("no_data", None); 3]);
    let feature = &report.features[0].windows;
    assert!(feature.iter().all(|window| window.verdict == "stale" && window.scores.is_none()));
    // The rows are still in the longer windows, and count again with the next ones.
    assert_eq!(state.absorb(&counted(EVEN, EVEN, &[]), at(400)), Added::Counted);
    let report = state.judge(at(400));
    let samples: Vec<_> = report.features[0].windows.iter().map(|window| window.samples).collect();
    assert_eq!(samples, [1000, 2000, 2000]);
}

#[test]
fn a_window_that_is_filling_says_nothing() {
    let mut state = state();
    assert_eq!(state.absorb(&counted([25; 4], [0; 4], &[]), at(0)), Added::Counted);
    let report = state.judge(at(1));
    assert_eq!(verdicts(&report), [("no_data", None); 3]);
    assert_eq!((report.rows.feature, report.rows.prediction), (100, 0));
    assert_eq!(report.last_row_at, Some(1_000_000.0));
}
