use std::path::Path;

use super::*;

fn settings(yaml: &str) -> Settings {
    let config = Config::parse_for(yaml, Path::new("driftd.yaml"), None).unwrap();
    Settings::from(&config)
}

const TAPS: &str = "taps: [{proxy: {listen: 127.0.0.1:0, upstream: 'http://127.0.0.1:1'}}]\n";

#[track_caller]
fn check(yaml: &str, expected: &[&str], absent: &[&str]) {
    let text = settings(&format!("{TAPS}{yaml}")).render(Format::Prometheus);
    for part in expected {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    for part in absent {
        assert!(!text.contains(part), "`{part}` in:\n{text}");
    }
    assert!(!text.contains('@'), "a part is not filled in:\n{text}");
}

#[test]
fn what_ships_is_what_the_defaults_give() {
    for (format, file) in [
        (Format::Prometheus, "alerts/driftd.rules.yaml"),
        (Format::Prometheusrule, "alerts/prometheusrule.yaml"),
        (Format::Grafana, "alerts/grafana.yaml"),
    ] {
        let shipped = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(Settings::default().render(format) == shipped, "{file}: run `driftd rules` as its head says");
    }
    check(
        "models: [{baseline: b.json}]",
        &["driftd:psi:5m - driftd:psi_expected:5m >= 0.2"],
        &["DriftdModelAbsent"],
    );
}

#[test]
fn windows_sample_sizes_and_thresholds_are_the_configured_ones() {
    check(
        "evaluation: {windows: [10m, 25m, 50m], min_samples: 80, thresholds: {psi: 0.3, ks: 0.15}}",
        &[
            "record: driftd:psi:10m",
            // 25 minutes are no multiple of 10, 50 are of 25.
            "(increase(driftd_bin_observations_total[25m]))",
            "sum_over_time(driftd:bin_observations:increase25m[2999s:25m])",
            ">= 80 and",
            "driftd:psi:10m - driftd:psi_expected:10m >= 0.3",
            "driftd:ks:10m - driftd:ks_expected:10m >= 0.15",
            ">= 0.15\n        for: 2m",
        ],
        &["increase5m", "driftd:psi:5m", ">= 500", "increase1h"],
    );
    check("evaluation: {windows: [5m]}", &["driftd-fleet\n"], &["driftd-fleet-longer"]);
}

#[test]
fn a_columns_own_threshold_takes_the_place_of_that_of_all() {
    check(
        "models: [{name: credit, baseline: b.json, thresholds: {income: {psi: 0.5}}}]",
        &[
            r#"unless (driftd:psi:5m{model="credit",feature="income"})"#,
            r#"or driftd:psi:5m{model="credit",feature="income"} - driftd:psi_expected:5m{model="credit",feature="income"} >= 0.5"#,
            "(driftd:ks:5m - driftd:ks_expected:5m >= 0.1)",
        ],
        &["driftd:ks:5m{model"],
    );
}

#[test]
fn a_configured_model_is_missed() {
    check(
        "models: [{name: credit, namespace: prod, version: '1', baseline: b.json}, {name: credit, namespace: prod, version: '2'}]",
        &[r#"expr: absent(driftd_baseline_info{namespace="prod",model="credit"})"#],
        &[],
    );
}

#[test]
fn traffic_is_held_against_what_the_daemon_holds_it_against() {
    let series = "driftd:bin_observations:increase";
    check(
        "evaluation: {reference: previous_window}",
        &[&format!("({series}5m + {series}5m offset 5m > 0)"), &format!("{series}1h offset 1h")],
        &["+ driftd:baseline_bin_observations"],
    );
    let ordered = format!("{series}5m{{bin=~\"[0-9]+\"}} offset 1d");
    check("evaluation: {reference: same_hour_yesterday}", &[&ordered], &[&format!("{series}1h offset 1h")]);
}

#[test]
fn slow_ticks_are_given_time_and_few_features_are_let_be() {
    check(
        "evaluation: {interval: 90s}",
        &["driftd_evaluation_seconds_count[15m]", "an interval of 90s"],
        &[],
    );
    check("evaluation: {min_features: 0.3}", &["< 0.3 * count by"], &[]);
}

#[test]
fn grafana_looks_no_more_often_than_it_can_and_templates_are_its_own() {
    let text = Settings::default().render(Format::Grafana);
    assert!(text.contains("name: driftd-rollback\n    folder: driftd\n    interval: 10s"));
    assert!(text.contains("uid: driftdmodeldrift"));
    for of_prometheus in ["$value ", "| query", "$value}"] {
        assert!(!text.contains(of_prometheus), "{of_prometheus}");
    }
    assert_eq!(
        text.matches("        title: ").count(),
        Settings::default().prometheus().matches("- alert: ").count()
    );
}
