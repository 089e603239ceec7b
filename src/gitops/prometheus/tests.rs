use super::*;

#[track_caller]
fn check_quoted(value: &str, expected: &str) {
    assert_eq!(matcher("version", "=", value), format!("version={expected}"));
}

#[test]
fn a_label_value_cannot_leave_its_quotes() {
    check_quoted("v17-0a1b2c3d", r#""v17-0a1b2c3d""#);
    check_quoted(r#"v"} or vector(1) #"#, r#""v\"} or vector(1) #""#);
    check_quoted(r"v\", r#""v\\""#);
    check_quoted("v\n\u{7f}\u{9f}", r#""v\u000a\u007f\u009f""#);
    check_quoted("größer", r#""größer""#);
}

#[test]
fn a_pattern_of_names_is_only_these_names() {
    let names = ["Model.Drift", "a|b", "c\\d"];
    assert_eq!(matcher_any("alertname", &names), r#"alertname=~"Model\\.Drift|a\\|b|c\\\\d""#);
}

#[test]
fn a_selector_is_of_one_service() {
    let service = ServiceName::new("prod", "credit").unwrap();
    let selector = selector("up", &service, &[matcher("version", "=", "1")]);
    assert_eq!(selector, r#"up{namespace="prod",inferenceservice="credit",version="1"}"#);
}

fn read(json: &str) -> Result<Vec<Sample>, String> {
    let answer: RawAnswer<RawData> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let data = answer.whole().map_err(|error| error.to_string())?;
    Ok(data.result.into_iter().filter_map(RawSample::read).collect())
}

#[test]
fn what_is_no_number_is_no_sample() {
    let of = |value: &str| {
        let json = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[
                {{"metric":{{"__name__":"up","job":"a"}},"value":[1700000000.5,"{value}"]}}]}}}}"#
        );
        read(&json).unwrap()
    };
    assert_eq!(of("NaN"), []);
    assert!(of("+Inf")[0].value.is_infinite());
    let sample = &of("0.25")[0];
    assert_eq!((sample.label("job"), sample.label("__name__"), sample.value), ("a", "", 0.25));
    assert_eq!(sample.timestamp.timestamp_millis(), 1_700_000_000_500);
}

#[test]
fn a_part_of_an_answer_is_none() {
    let json =
        r#"{"status":"success","warnings":["store b: timeout"],"data":{"resultType":"vector","result":[]}}"#;
    assert_eq!(read(json).unwrap_err(), "Prometheus answered in part: store b: timeout");
}
