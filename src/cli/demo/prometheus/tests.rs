use super::parse::parse;
use super::series::{Labels, Reading};
use super::*;
use crate::gitops::config::PrometheusConfig;
use crate::gitops::prometheus::{Answer as Told, Prometheus as Client};
use crate::gitops::target::ServiceName;

/// A time on a full ten seconds.
const NOW: i64 = 1_700_000_000_000;

/// A line of the text format.
fn reading(line: &str) -> Reading {
    scrape::reading(line).unwrap_or_else(|| panic!("{line} is no reading"))
}

/// What pods `a` and `b` have shown, every second for a minute; `b` ended ten seconds ago.
fn series() -> Series {
    let mut series = Series::default();
    for second in 0..=60_i64 {
        let at = NOW - (60 - second) * 1000;
        let shown = |pod: &str| {
            let counter = if second < 30 { second } else { second - 30 }; // started again in the middle
            [
                format!("n_total{{pod=\"{pod}\"}} {counter}"),
                format!("up{{pod=\"{pod}\",zone=\"z\"}} 1"),
                format!("info{{pod=\"{pod}\",version=\"v{pod}\"}} 1"),
            ]
        };
        for pod in ["a", "b"] {
            let is_there = pod == "a" || second <= 50;
            let readings =
                if is_there { shown(pod).iter().map(|line| reading(line)).collect() } else { Vec::new() };
            series.take_in(pod, at, readings);
        }
    }
    series
}

#[track_caller]
fn check(query: &str, expected: &[(&str, f64)]) {
    let series = series();
    let expr = parse(query).unwrap_or_else(|problem| panic!("{query}: {problem}"));
    let samples = Moment { series: &series, at: NOW }.vector(&expr).unwrap();
    let shown = |labels: &Labels| {
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
    };
    let found: Vec<_> = samples.iter().map(|sample| (shown(&sample.labels), sample.value)).collect();
    let expected: Vec<_> = expected.iter().map(|(labels, value)| ((*labels).to_owned(), *value)).collect();
    assert_eq!(found, expected, "{query}");
}

#[track_caller]
fn check_refused(query: &str, problem: &str) {
    let series = series();
    let answer = parse(query).and_then(|expr| Moment { series: &series, at: NOW }.evaluate(&expr));
    let error = answer.unwrap_err();
    assert!(error.contains(problem), "{query}: {error}");
}

#[test]
fn a_series_that_ended_has_no_value_and_has_a_past() {
    check("up", &[("__name__=up,pod=a,zone=z", 1.0)]);
    check(&format!("up{{pod=\"b\"}} @ {}", NOW / 1000 - 10), &[("__name__=up,pod=b,zone=z", 1.0)]);
    check("count(up)", &[("", 1.0)]);
    check("count by (pod) (up{pod=\"nobody\"})", &[]);
}

#[test]
fn labels_are_matched_by_texts() {
    check("up{pod=~\"b|a\"}", &[("__name__=up,pod=a,zone=z", 1.0)]);
    check("up{pod=\"a\",zone=\"\"}", &[]);
    check_refused("up{pod=~\"a.*\"}", "more than texts");
    check_refused("up{pod!=\"a\"}", "is not known here");
}

#[test]
fn sides_are_matched_as_prometheus_does() {
    check("up and (time() - timestamp(up) <= 0)", &[("__name__=up,pod=a,zone=z", 1.0)]);
    check("(up > 1) or up", &[("__name__=up,pod=a,zone=z", 1.0)]);
    check("n_total and on (pod) info", &[("__name__=n_total,pod=a", 30.0)]);
    check("up * on (pod) group_left (version) info", &[("pod=a,version=va,zone=z", 1.0)]);
    check("up / ignoring (zone) group_left () (n_total * 2)", &[("pod=a,zone=z", 1.0 / 60.0)]);
    check("n_total - n_total >= 0", &[("pod=a", 0.0)]);
    check("topk by (pod) (1, info)", &[("__name__=info,pod=a,version=va", 1.0)]);
    // The pod is in both, the rest is not.
    check("up + info", &[]);
    check_refused("up * on () group_left () n_total @ 1699999990", "several series on the right");
}

#[test]
fn the_past_is_looked_through_at_multiples_of_the_step() {
    check("max by (pod) (max_over_time(n_total[1m:10s]))", &[("pod=a", 30.0), ("pod=b", 20.0)]);
    check("increase(n_total{pod=\"a\"}[1m])", &[("pod=a", 58.0)]);
    check("rate(n_total{pod=\"a\"}[10s])", &[("pod=a", 1.0)]);
    let first = "label_replace(min(min_over_time(timestamp(up)[1m:7s])), \"end\", \"first\", \"\", \"\")";
    let aligned = (NOW - 60_000).div_euclid(7000) * 7 + 7;
    check(first, &[("end=first", aligned as f64)]);
}

#[test]
fn what_is_not_known_is_an_error_and_no_answer() {
    check_refused("histogram_quantile(0.5, up)", "`histogram_quantile` of such arguments");
    check_refused("sum without (pod) (up)", "is expected");
    check_refused("up offset 5m", "is not expected");
    check_refused("up{", "begins with a label");
    check_refused("up[5parsecs]", "no unit of time");
    check_refused("\"up", "without its end");
}

#[test]
fn a_page_is_read_as_it_is_written() {
    let (name, labels, value) = reading(r#"x_total{a="1,2",b="say \"hi\"\\\n"} 2.5"#);
    assert_eq!((name.as_str(), value), ("x_total", 2.5));
    assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("1,2", "say \"hi\"\\\n"));
    for line in ["# HELP x_total x", "x NaN", "x_bucket{le=\"1\"} 3", ""] {
        assert_eq!(scrape::reading(line), None, "{line}");
    }
}

/// A page of version 2, whose predictions have moved or not.
fn page(is_drifted: bool) -> Vec<Reading> {
    let of = r#"namespace="prod",inferenceservice="credit",model="credit",version="2""#;
    let pod = r#"job="pods",instance="p""#;
    let mut lines = vec![
        format!(
            "driftd_model_info{{{of},{pod},component=\"predictor\",revision=\"\",storage_uri_hash=\"0a\"}} 1"
        ),
        format!("driftd_baseline_info{{{of},{pod},borrowed=\"false\",learnt=\"false\",sha256=\"x\"}} 1"),
        format!("driftd_rows_total{{{of},{pod},role=\"prediction\"}} 900"),
        format!("driftd_baseline_rows{{{of},{pod},role=\"prediction\"}} 900"),
        format!("driftd_drifted{{{of},{pod},role=\"prediction\",window=\"3s\"}} {}", u8::from(is_drifted)),
        format!("driftd_tap_exchanges_total{{{pod},tap=\"proxy\",outcome=\"mirrored\"}} 180"),
        format!("driftd_tap_dropped_total{{{pod},tap=\"proxy\",reason=\"queue_full\"}} 0"),
        format!("driftd_decode_errors_total{{{pod},format=\"v2\",reason=\"syntax\"}} 0"),
    ];
    for cause in ["schema", "input", "model", "unknown"] {
        let value = u8::from(is_drifted && cause == "model");
        lines.push(format!("driftd_model_drifted{{{of},{pod},cause=\"{cause}\",window=\"3s\"}} {value}"));
    }
    lines.iter().map(|line| reading(line)).collect()
}

/// Every half second for the last `seconds`, with the rule evaluated.
fn watched(seconds: i64, is_drifted: impl Fn(i64) -> bool) -> (Series, Rule) {
    let (mut series, mut rule) = (Series::default(), Rule::shipped().unwrap());
    let now = Utc::now().timestamp_millis();
    for ago in (0..=2 * seconds).rev() {
        let at = now - ago * 500;
        series.take_in("p", at, page(is_drifted(ago * 500)));
        rule.evaluate(&Moment { series: &series, at }).unwrap();
        series.take_in("rules", at, rule.series());
    }
    (series, rule)
}

#[test]
fn the_alert_that_ships_fires_after_its_time_and_for_a_while_after_its_end() {
    let labels = |(_, rule): (Series, Rule)| rule.firing().into_iter().map(|firing| firing.labels).next();
    assert_eq!(labels(watched(20, |_| false)), None);
    assert_eq!(labels(watched(4, |_| true)), None, "five seconds are asked for");
    let fired = labels(watched(20, |_| true)).unwrap();
    let expected = [
        ("alertname", ROLLBACK_ALERT),
        ("component", "predictor"),
        ("driftd_action", "rollback"),
        ("storage_uri_hash", "0a"),
        ("version", "2"),
        ("window", "3s"),
    ];
    assert!(expected.iter().all(|(name, value)| fired[*name] == *value), "{fired:?}");
    assert!(labels(watched(30, |ago_ms| ago_ms > 15_000)).is_some(), "two minutes are asked for");
    assert_eq!(labels(watched(180, |ago_ms| ago_ms > 150_000)), None);
}

async fn client(known: (Series, Rule)) -> Client {
    crate::storage::install_tls();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let router = router(Arc::new(Known(Mutex::new(known))));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (timeout, max_age) = (Duration::from_secs(30), Duration::from_mins(1));
    Client::new(&PrometheusConfig { url, bearer_token_file: None, ca_file: None, timeout, max_age }).unwrap()
}

/// None of the controller's questions is beyond it; an unknown one would end as `Unknown`.
#[tokio::test]
async fn the_controllers_questions_are_answered() {
    let service = ServiceName::new("prod", "credit").unwrap();
    let accused = client(watched(20, |_| true)).await;
    let well = client(watched(20, |_| false)).await;
    let then = Utc::now() - chrono::TimeDelta::seconds(60);

    let answer = accused.still_accused(&service, "2", &[ROLLBACK_ALERT]).await;
    assert!(matches!(&answer, Told::Yes(text) if text.contains("fires")), "{answer}");
    let answer = well.still_accused(&service, "2", &[ROLLBACK_ALERT]).await;
    assert!(matches!(&answer, Told::No(_)), "{answer}");
    let answer = accused.is_trusted(&service, "2").await;
    assert!(answer.is_yes(), "{answer}");
    let answer = well.is_well(&service, "2", then, 500).await;
    assert!(matches!(&answer, Told::Yes(text) if text.starts_with("900 rows in 1 pods")), "{answer}");
    let answer = accused.is_well(&service, "2", then, 500).await;
    assert!(matches!(&answer, Told::No(text) if text.contains("fires for 2")), "{answer}");
    let (window, span) = (Duration::from_mins(5), Duration::from_mins(10));
    let answer = well.came_with(&service, "2", "1", window, span).await;
    assert!(
        matches!(&answer, Told::Unknown(text) if text.contains("1, the version before, was not seen")),
        "{answer}"
    );
    let answer = accused.came_with(&service, "2", "2", window, span).await;
    assert!(matches!(&answer, Told::No(text) if text.contains("drifted as well (cause model)")), "{answer}");

    let serving = accused.serving(&service).await.unwrap();
    assert_eq!((serving.len(), serving[0].rows, serving[0].n_pods), (1, 900, 1));
    assert_eq!(accused.firing_rollbacks().await.unwrap()[0].name, ROLLBACK_ALERT);
    assert!(well.firing_rollbacks().await.unwrap().is_empty());
    let error = accused.query("quantile(0.5, up)").await.unwrap_err().to_string();
    assert!(error.contains("the demo's stand-in for Prometheus"), "{error}");
}
