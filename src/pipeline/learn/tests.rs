use serde_json::{Value, json};

use super::*;
use crate::baseline::build::{BuildOptions, build};
use crate::decode::{Body, Format, decode_request, decode_response};

/// A field of a message of Protocol Buffers that has a length.
fn field(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let (bytes, mut len) = (bytes.as_ref(), Vec::new());
    let mut left = bytes.len();
    while left >= 0x80 {
        len.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    len.push(u8::try_from(left).unwrap());
    [&[number << 3 | 2], &*len, bytes].concat()
}

/// A tensor of gRPC, its contents by the field of their type.
fn tensor(name: &str, datatype: &str, shape: &[u8], contents: &[u8]) -> Vec<u8> {
    [field(1, name), field(2, datatype), field(3, shape), field(5, contents)].concat()
}

fn doubles(values: impl IntoIterator<Item = f64>) -> Vec<u8> {
    field(7, values.into_iter().flat_map(f64::to_le_bytes).collect::<Vec<_>>())
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

/// `amount`, `grade`, `is_new` in, a score out.
type Row = (f64, &'static str, bool, f64);

fn rows(n: usize) -> Vec<Row> {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut row = || {
        let amount = (rng.f64() * 1e5).round() / 100.0;
        (amount, ["a", "b", "c"][rng.usize(..3)], rng.bool(), amount / 1000.0)
    };
    (0..n).map(|_| row()).collect()
}

fn each<T>(rows: &[Row], of: impl Fn(&Row) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// Request and response of some rows, in one format.
type Encode = fn(&[Row]) -> (Format, Vec<u8>, Vec<u8>);

fn v1_by_name(rows: &[Row]) -> (Format, Vec<u8>, Vec<u8>) {
    let instance =
        |row: &Row| format!(r#"{{"amount": {}, "grade": "{}", "is_new": {}}}"#, row.0, row.1, row.2);
    let request = format!(r#"{{"instances": [{}]}}"#, each(rows, instance).join(","));
    (Format::V1, request.into(), json!({"predictions": each(rows, |row| row.3)}).to_string().into())
}

fn v2_by_name(rows: &[Row]) -> (Format, Vec<u8>, Vec<u8>) {
    let tensor = |name: &str, datatype: &str, data: Value| json!({"name": name, "shape": [rows.len()], "datatype": datatype, "data": data});
    let inputs = [
        tensor("amount", "FP64", json!(each(rows, |row| row.0))),
        tensor("grade", "BYTES", json!(each(rows, |row| row.1))),
        tensor("is_new", "BOOL", json!(each(rows, |row| row.2))),
    ];
    let outputs = [tensor("predict", "FP64", json!(each(rows, |row| row.3)))];
    (Format::V2, json!({"inputs": inputs}).to_string().into(), json!({"outputs": outputs}).to_string().into())
}

fn grpc_by_name(rows: &[Row]) -> (Format, Vec<u8>, Vec<u8>) {
    let shape = [u8::try_from(rows.len()).unwrap()];
    let texts = rows.iter().flat_map(|row| field(8, row.1)).collect::<Vec<_>>();
    let request = [
        field(1, "m"),
        field(5, tensor("amount", "FP64", &shape, &doubles(each(rows, |row| row.0)))),
        field(5, tensor("grade", "BYTES", &shape, &texts)),
        field(5, tensor("is_new", "BOOL", &shape, &field(1, each(rows, |row| u8::from(row.2))))),
    ];
    let output = tensor("predict", "FP64", &shape, &doubles(each(rows, |row| row.3)));
    (Format::V2Grpc, framed(&request.concat()), framed(&[field(1, "m"), field(5, output)].concat()))
}

fn v1_by_position(rows: &[Row]) -> (Format, Vec<u8>, Vec<u8>) {
    let request = json!({"instances": each(rows, |row| [row.0, row.3 * 2.0])});
    let response = json!({"predictions": each(rows, |row| [row.3, 1.0 - row.3])});
    (Format::V1, request.to_string().into(), response.to_string().into())
}

fn v2_by_position(rows: &[Row]) -> (Format, Vec<u8>, Vec<u8>) {
    let input = json!({"name": "x", "shape": [rows.len(), 2], "datatype": "FP64", "data": each(rows, |row| [row.0, row.3 * 2.0])});
    // Two outputs, as a server with several has them.
    let output = |name: &str, data: Vec<f64>| json!({"name": name, "shape": [rows.len(), 1], "datatype": "FP64", "data": data});
    let outputs = [output("p", each(rows, |row| row.3)), output("q", each(rows, |row| 1.0 - row.3))];
    (
        Format::V2,
        json!({"inputs": [input]}).to_string().into(),
        json!({"outputs": outputs}).to_string().into(),
    )
}

fn grpc_by_position(rows: &[Row]) -> (Format, Vec<u8>, Vec<u8>) {
    let shape = [u8::try_from(rows.len()).unwrap(), 2];
    let input = tensor("x", "FP64", &shape, &doubles(each(rows, |row| [row.0, row.3 * 2.0]).concat()));
    let output = tensor("y", "FP64", &shape, &doubles(each(rows, |row| [row.3, 1.0 - row.3]).concat()));
    let response = framed(&[field(1, "m"), field(5, output)].concat());
    (Format::V2Grpc, framed(&[field(1, "m"), field(5, input)].concat()), response)
}

fn key(model: &str) -> Key {
    Key::of(Asked { model: Some(model), ..Asked::default() }).unwrap()
}

fn offer(
    learner: &Learner,
    model: &str,
    now: Instant,
    exchange: &(Format, Vec<u8>, Vec<u8>),
) -> Result<(), &'static str> {
    let (format, request, response) = exchange;
    learner.offer(key(model), now, &mut |role, schema, batch| match role {
        Role::Feature => decode_request(*format, &Body::new(request), schema, batch),
        Role::Prediction => decode_response(*format, &Body::new(response), schema, batch),
    })
}

fn learner(rows: u64, max_models: usize, max_bytes_each: usize) -> Learner {
    Learner::new(LearnConfig { rows, max_models, max_bytes_each, dir: None })
}

/// The baseline of rows that come a few at a time.
fn learnt(rows: &[Row], encode: Encode) -> crate::baseline::Baseline {
    let learner = learner(rows.len() as u64, 1, 1 << 24);
    for some in rows.chunks(7) {
        offer(&learner, "m", Instant::now(), &encode(some)).unwrap();
    }
    let mut ready = learner.take_ready();
    assert_eq!(ready.len(), 1);
    ready.remove(0).1.into_baseline().unwrap()
}

#[test]
fn whatever_the_format_the_same_rows_teach_the_same() {
    let rows = rows(1000);
    let by_name =
        [v1_by_name as Encode, v2_by_name, grpc_by_name].map(|encode| learnt(&rows, encode).to_json());
    assert_eq!(by_name[0], by_name[1]);
    assert_eq!(by_name[0], by_name[2]);
    let by_position = [v1_by_position as Encode, v2_by_position, grpc_by_position]
        .map(|encode| learnt(&rows, encode).to_json());
    assert_eq!(by_position[0], by_position[1]);
    assert_eq!(by_position[0], by_position[2]);
    for name in ["feature_0", "feature_1", "prediction_0", "prediction_1"] {
        assert!(by_position[0].contains(name), "{}", by_position[0]);
    }
}

/// By the builder of all baselines: the rows in a file give the same.
#[test]
fn what_is_learnt_is_what_a_table_of_the_same_rows_gives() {
    let rows = rows(1000);
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("rows.jsonl");
    let line = |row: &Row| {
        format!(
            "{{\"amount\": {}, \"grade\": \"{}\", \"is_new\": {}, \"prediction_0\": {}}}\n",
            row.0, row.1, row.2, row.3
        )
    };
    std::fs::write(&file, each(&rows, line).concat()).unwrap();
    let predictions = vec!["prediction_0".to_owned()];
    let options = BuildOptions { predictions, hash_categories: true, ..BuildOptions::default() };
    let built = build(&[file.display().to_string()], &options).unwrap().baseline;
    let features = |baseline: &crate::baseline::Baseline| {
        let json: Value = serde_json::from_str(&baseline.to_json()).unwrap();
        json["features"].clone()
    };
    let learnt = learnt(&rows, v1_by_name);
    assert_eq!(features(&learnt), features(&built));
    assert!(!learnt.to_json().contains(r#""a""#), "categories are hashes");
}

#[test]
fn memory_for_rows_is_bounded_and_so_are_models() {
    let rows = rows(2000);
    let now = Instant::now();
    // Four columns of 24 bytes each, and the text: not enough for a thousand rows.
    let learner = learner(1_000_000, 2, 80_000);
    let mut results = rows.chunks(10).map(|some| offer(&learner, "m", now, &v1_by_name(some)));
    assert!(results.by_ref().take_while(Result::is_ok).count() > 50);
    assert!(results.all(|result| result == Err(LEARNING_FULL)), "what is cut stays cut");
    let ready = learner.take_ready();
    let n_rows = ready[0].1.n_rows();
    assert!((500..1000).contains(&n_rows), "{n_rows} rows fit");

    offer(&learner, "n", now, &v1_by_name(&rows[..1])).unwrap();
    assert_eq!(offer(&learner, "o", now, &v1_by_name(&rows[..1])), Err(UNKNOWN_MODEL), "two are there");
    let later = now + IDLE_AFTER;
    offer(&learner, "o", later, &v1_by_name(&rows[..1])).unwrap();
    assert_eq!(learner.report().iter().map(|model| &*model.model).collect::<Vec<_>>(), ["o"]);
    assert_eq!(offer(&learner, "n", later, &v1_by_name(&rows[..1])), Err(UNKNOWN_MODEL));
}

#[test]
fn columns_that_come_late_are_missing_before_and_an_image_is_no_table() {
    let learner = learner(4, 2, 1 << 20);
    let send = |model: &str, request: &str, response: &str| {
        offer(&learner, model, Instant::now(), &(Format::V1, request.into(), response.into()))
    };
    send("m", r#"{"instances": [{"a": 1}]}"#, r#"{"predictions": [1]}"#).unwrap();
    send("m", r#"{"instances": [{"b": "x", "a": 2}]}"#, "no answer that we read").unwrap();
    send("m", r#"{"instances": [{"a": 3, "c": [1, 2]}]}"#, r#"{"predictions": [1]}"#).unwrap();
    assert_eq!(send("m", "{", "{}"), Err("truncated"));
    assert_eq!(send("m", r#"{"instances": [{}]}"#, r#"{"predictions": [1]}"#), Ok(()));
    let baseline = learner.take_ready().remove(0).1.into_baseline().unwrap();
    let described: Vec<_> = baseline
        .features()
        .iter()
        .map(|feature| (&*feature.name, feature.counts().missing(), feature.counts().other()))
        .collect();
    assert_eq!(described, [("a", 1, 0), ("b", 3, 0), ("c", 3, 1), ("prediction_0", 1, 0)]);
    let image = json!({"instances": [vec![0; 3000]]}).to_string();
    assert_eq!(send("image", &image, r#"{"predictions": [1]}"#), Err("too_many_cells"));
}

#[test]
fn names_from_traffic_choose_no_path() {
    let path = |namespace: &str, service: &str, model: Option<&str>| {
        let service = super::super::Service { namespace: namespace.into(), name: service.into() };
        let key = Key::of(Asked { service: Some(&service), model, version: None })?;
        key.path_in(Path::new("kept")).map(|path| path.display().to_string())
    };
    assert_eq!(path("prod", "credit", None).as_deref(), Some("kept/prod/credit.json"));
    assert_eq!(path("prod", "credit", Some("credit")).as_deref(), Some("kept/prod/credit.json"));
    assert_eq!(key("credit").path_in(Path::new("kept")).unwrap(), Path::new("kept/credit.json"));
    for (namespace, service, model) in [
        ("..", "credit", None),
        ("prod", "../../etc", None),
        ("prod", "a/b", None),
        ("prod", ".hidden", None),
        ("", "credit", None),
        ("prod", "credit", Some("other")),
    ] {
        assert_eq!(path(namespace, service, model), None, "{namespace} {service} {model:?}");
    }
    assert_eq!(key("/etc/passwd").path_in(Path::new("kept")), None);
}
