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
    let unknown = |learn: &str| format!("{MINIMAL}\nunknown_models: {learn}");
    check_refused(&unknown("{learn: {rows: 10}}"), "`unknown_models.learn.rows` is 10");
    check_refused(&unknown("{learn: {max_models: 0}}"), "`unknown_models.learn.max_models`");
    check_refused(&unknown("{learn: {max_bytes: 1MiB}}"), "write 1280KiB or more");
    check_refused(&unknown("watch"), "ignore");
    assert!(parse(&unknown("ignore")).unwrap().learn.is_none());
    assert_eq!(parse(&unknown("{learn: {}}")).unwrap().learn.unwrap().rows, 10_000);
    check_refused(
        "taps: [{proxy: {listen: 127.0.0.1:80, upstream: https://127.0.0.1}}]",
        "`proxy.upstream` `https://127.0.0.1` is not plain http",
    );
    let twice = "models: [{name: a, baseline: x}, {name: a, baseline: y}]";
    check_refused(&format!("{MINIMAL}\n{twice}"), "names model `a` version `` twice");
}

/// Where the baseline of each model is looked for.
fn places(yaml: &str) -> Vec<Vec<String>> {
    let place = |place: &BaselinePlace| {
        format!("{}{}", place.source, if place.is_borrowed { " borrowed" } else { "" })
    };
    let models = parse(yaml).unwrap().models;
    models.iter().map(|model| model.places.iter().map(place).collect()).collect()
}

#[test]
fn a_baseline_is_looked_for_where_it_is_configured_then_beside_the_model_then_with_the_stable_version() {
    let yaml = MINIMAL.to_owned()
        + "
models:
  - {name: a, storage_uri: /models/a/v1, baseline: a.json}
  - {name: a, storage_uri: /models/a/v2/}
  - {name: a, storage_uri: '', version: '3'}
  - {name: b, storage_uri: s3://models/b}
  - {name: b, version: '2', storage_uri: s3://models/b2}
  - {name: c, version: '2', baseline: c2.json}
  - {name: c, version: '1', baseline: c1.json}";
    let expected = [
        vec!["a.json"],
        vec!["/models/a/v2/driftd-baseline.json", "a.json borrowed"],
        vec!["a.json borrowed"],
        vec!["s3://models/b"],
        vec!["s3://models/b2", "s3://models/b borrowed"],
        vec!["c2.json"],
        vec!["c1.json"],
    ];
    assert_eq!(places(&yaml), expected);
    let versions = parse(&yaml).unwrap().models.into_iter().map(|model| model.version.unwrap_or_default());
    let versions: Vec<_> = versions.take(3).collect();
    assert_eq!(versions, ["v1-07327dbd", "v2-349f70ad", "3"]);
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("driftd.yaml");
    std::fs::write(&file, format!("{MINIMAL}\nmodels: [{{name: a}}]")).unwrap();
    let config = Config::read_for(&file, Some("s3://bucket/a/v1")).unwrap();
    assert_eq!(config.models[0].places[0].source.to_string(), "s3://bucket/a/v1");
    let error = Config::read_for(&file, None).unwrap_err().to_string();
    assert!(error.contains("`models.baseline` is missing"), "{error}");
    let s3 = "models: [{name: a, baseline: 'ftp://host/a.json'}]";
    check_refused(&format!("{MINIMAL}\n{s3}"), "`models.baseline` `ftp://host/a.json` cannot be read");
    let two = "models: [{name: a, baseline: a.json}, {name: b, baseline: b.json}]\nmax_models: 1";
    check_refused(&format!("{MINIMAL}\n{two}"), "`max_models` is 1, and `models` has 2 entries");
}

#[test]
fn a_version_without_a_baseline_borrows_that_of_the_same_name() {
    let models = |models: &str| MINIMAL.to_owned() + "\nmodels:\n" + models;
    let yaml = models(
        "  - {name: a, version: '2'}\n  - {name: b, baseline: b.json}\n  - {name: a, version: '1', baseline: a.json}",
    );
    assert_eq!(places(&yaml), [vec!["a.json borrowed"], vec!["b.json"], vec!["a.json"]]);
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
fn logs_are_files_or_objects_and_nothing_else() {
    let yaml = |include: &str| format!("taps: [{{logs: {{include: [{include}], features: /x}}}}]");
    let logs = |include: &str| parse(&yaml(include)).unwrap().taps.logs.remove(0);
    let both = logs("'/var/log/a/*.jsonl', 's3://logs/a/', 'az://logs/**/*.json', '-'");
    assert_eq!(both.files().collect::<Vec<_>>(), ["/var/log/a/*.jsonl"]);
    let objects: Vec<_> = both.objects.iter().map(ToString::to_string).collect();
    assert_eq!(objects, ["s3://logs/a/", "az://logs/**/*.json"]);
    assert_eq!(both.list_interval, Duration::from_secs(30));
    for elsewhere in ["https://host/a.jsonl", "file:///var/log/a.jsonl", "mlflow://models/a/1"] {
        check_refused(&yaml(&format!("'{elsewhere}'")), "`logs.include` ");
    }
    check_refused(&yaml("'https://host/a.jsonl'"), "s3://bucket/folder/");
    check_refused(&yaml("'s3://logs/[a'"), "quote special characters");
}

#[test]
fn windows_are_named_as_people_write_them() {
    let named = |text: &str| text.parse::<HumanDuration>().unwrap().to_string();
    assert_eq!(named("90s"), "90s");
    assert_eq!(named("1day"), "24h");
    assert_eq!(named("1h 30m"), "90m");
    assert_eq!(named("250ms"), "250ms");
}
