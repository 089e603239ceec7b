use std::collections::BTreeMap;

use super::*;

fn parse(yaml: &str) -> Result<Config, String> {
    let raw: RawConfig = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    Config::try_from(raw).map_err(|error| error.to_string())
}

const MINIMAL: &str = "taps: [{proxy: {listen: 127.0.0.1:8080, upstream: http://127.0.0.1:8081}}]";

#[track_caller]
fn check_refused(yaml: &str, expected: &str) {
    let message = parse(yaml).expect_err("must be refused");
    assert!(message.contains(expected), "message is {message:?}, expected it to contain {expected:?}");
}

#[test]
fn the_smallest_file_gets_the_documented_defaults() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.admin.to_string(), "0.0.0.0:9464");
    assert_eq!(config.taps.proxy.as_ref().unwrap().max_body_bytes, 1 << 20);
    assert_eq!(config.taps.proxy.as_ref().unwrap().max_mirrored_bytes, 8 << 20);
    assert!((config.taps.proxy.as_ref().unwrap().sample_rate - 1.0).abs() < f64::EPSILON);
    let labels: Vec<_> = config.evaluation.windows.iter().map(|window| window.label.as_str()).collect();
    assert_eq!(labels, ["5m", "1h", "24h"]);
    assert_eq!(config.evaluation.interval, Duration::from_secs(10));
    assert_eq!(config.evaluation.thresholds.min_samples, 500);
}

#[test]
fn the_example_of_the_readme_is_valid() {
    let config = parse(
        "admin: 0.0.0.0:9464
models:
  - {name: credit, version: \"3\", baseline: /etc/driftd/credit.json}
evaluation: {interval: 10s, windows: [5m, 1h, 24h], min_samples: 500, thresholds: {psi: 0.2, ks: 0.1}}
taps:
  - proxy: {listen: 0.0.0.0:8080, upstream: http://127.0.0.1:8081, sample_rate: 1.0, max_body_bytes: 1MiB, max_mirrored_bytes: 8MiB}
",
    )
    .unwrap();
    assert_eq!(config.models[0].name.as_deref(), Some("credit"));
}

#[test]
fn mistakes_are_named_by_key() {
    check_refused("tap: []", "tap");
    check_refused("{}", "`taps` is empty");
    let proxy = |more: &str| {
        format!("taps: [{{proxy: {{listen: 127.0.0.1:80, upstream: http://127.0.0.1:81, {more}}}}}]")
    };
    check_refused(&proxy("sample_rate: 1.5"), "`proxy.sample_rate` is 1.5");
    check_refused(&proxy("max_body_bytes: 16MiB"), "`proxy.max_body_bytes`");
    check_refused(&proxy("max_body_bytes: many"), "not a size");
    check_refused(&proxy("connect_timeout: 5"), "not a duration");
    check_refused(&format!("{MINIMAL}\nevaluation: {{windows: [1s]}}"), "shorter than `evaluation.interval`");
    check_refused(&format!("{MINIMAL}\nevaluation: {{windows: [5m, 300s]}}"), "5m twice");
    check_refused(&format!("{MINIMAL}\nevaluation: {{thresholds: {{ks: 2}}}}"), "`evaluation.thresholds.ks`");
    check_refused(&format!("{MINIMAL}\nevaluation: {{min_features: 2}}"), "`evaluation.min_features` is 2");
    check_refused(&format!("{MINIMAL}\nevaluation: {{reference: last_week}}"), "same_hour_yesterday");
    check_refused(&format!("{MINIMAL}\npipeline: {{shards: 0}}"), "`pipeline.shards`");
    check_refused(
        "taps: [{proxy: {listen: 127.0.0.1:80, upstream: https://127.0.0.1}}]",
        "`proxy.upstream` `https://127.0.0.1` is not plain http",
    );
    let twice = "models: [{name: a, baseline: x}, {name: a, baseline: y}]";
    check_refused(&format!("{MINIMAL}\n{twice}"), "names model `a` version `` twice");
}

#[test]
fn a_version_without_a_baseline_borrows_that_of_the_same_name() {
    let models = |models: &str| MINIMAL.to_owned() + "\nmodels:\n" + models;
    let yaml = models(
        "  - {name: a, version: '2'}\n  - {name: b, baseline: b.json}\n  - {name: a, version: '1', baseline: a.json}",
    );
    let models_of_a: Vec<_> =
        parse(&yaml).unwrap().models.into_iter().map(|model| (model.baseline, model.is_borrowed)).collect();
    assert_eq!(models_of_a, [("a.json".into(), true), ("b.json".into(), false), ("a.json".into(), false)]);
    check_refused(
        &models("  - {name: a, version: '2'}\n  - {name: b, baseline: b.json}"),
        "no entry of that name",
    );
    check_refused(
        &models("  - {name: a, baseline: a.json, version: '1'}\n  - {name: a}"),
        "`models.version` is missing",
    );
}

#[test]
fn a_share_of_features_is_a_number_of_them_rounded_up() {
    let yaml = format!("{MINIMAL}\nevaluation: {{min_features: 0.1, reference: same_hour_yesterday}}");
    let evaluation = parse(&yaml).unwrap().evaluation;
    assert_eq!(evaluation.against, crate::drift::scan::Against::SameHourYesterday);
    let of = |n_features| evaluation.settings([], n_features, &BTreeMap::new()).min_features;
    assert_eq!([of(1), of(10), of(11)], [1, 1, 2]);
}

#[test]
fn windows_are_named_as_people_write_them() {
    let named = |text: &str| text.parse::<HumanDuration>().unwrap().to_string();
    assert_eq!(named("90s"), "90s");
    assert_eq!(named("1day"), "24h");
    assert_eq!(named("1h 30m"), "90m");
    assert_eq!(named("250ms"), "250ms");
}
