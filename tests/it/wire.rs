//! What real clients and servers put on the wire (`vectors/`, made by `python/drive.py`), held to the rows that were
//! sent and the predictions that came back.

use std::collections::BTreeSet;
use std::path::Path;

use base64::prelude::*;
use driftd::baseline::{Categories, ColumnKind, ColumnSpec, Role, Schema};
use driftd::decode::{
    Batch, BodyHeaders, Column, Format, Route, decode_content, decode_request, decode_response, names_in,
};
use driftd::drift::decimal;
use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Exchange {
    model: String,
    features: Vec<String>,
    rows: Vec<Vec<Value>>,
    predictions: Option<Vec<Value>>,
    request: Message,
    response: Message,
}

#[derive(Deserialize)]
struct Message {
    start: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body: Option<String>,
    body_base64: Option<String>,
}

impl Message {
    fn headers(&self) -> BodyHeaders {
        let named = |(name, value): &(String, String)| {
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        };
        BodyHeaders::of(&self.headers.iter().map(named).collect())
    }

    /// The body as `driftd` hands it to a decoder.
    fn decoded(&self) -> Vec<u8> {
        let body = match (&self.body, &self.body_base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(encoded)) => BASE64_STANDARD.decode(encoded).unwrap(),
            (None, None) => Vec::new(),
        };
        if self.start.is_none() {
            // A message of gRPC, kept without its framing.
            let len = u32::try_from(body.len()).unwrap().to_be_bytes();
            return [&[0], &len[..], &body].concat();
        }
        decode_content(self.headers().content_encoding(), &body, 1 << 20).unwrap().into_owned()
    }
}

/// A row of predictions; one alone is often not in a list.
fn row(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

fn column(name: &str, role: Role, cells: &[Value]) -> ColumnSpec {
    let texts: BTreeSet<&str> = cells.iter().filter_map(Value::as_str).collect();
    let kind =
        if texts.is_empty() { ColumnKind::Number } else { ColumnKind::Category(Categories::new(texts)) };
    ColumnSpec { name: name.into(), role, kind }
}

#[track_caller]
fn check_column(spec: &ColumnSpec, column: &Column, cells: &[Value]) {
    match (column, &spec.kind) {
        (Column::Numbers { values, n_other }, ColumnKind::Number) => {
            let expected = cells.iter().map(|cell| decimal(cell.as_f64().unwrap_or(f64::NAN)).to_bits());
            assert!(
                values.iter().map(|value| value.to_bits()).eq(expected),
                "{}: {values:?}, {cells:?}",
                spec.name
            );
            assert_eq!(*n_other, 0);
        }
        (Column::Codes(codes), ColumnKind::Category(categories)) => {
            let expected = cells.iter().map(|cell| categories.of_text(cell.as_str().unwrap()).unwrap());
            assert!(codes.iter().copied().eq(expected), "{}: {codes:?}, {cells:?}", spec.name);
        }
        _ => panic!("{} is a column of another kind", spec.name),
    }
}

/// What became of the bodies of one exchange.
#[derive(Debug, PartialEq)]
enum Seen {
    Counted,
    Refused,
}

fn check(path: &Path) -> Seen {
    let text = std::fs::read_to_string(path).unwrap();
    let exchange: Exchange = serde_json::from_str(&text).unwrap();
    let format = match &exchange.request.start {
        Some(start) => {
            let target = start.split(' ').nth(1).unwrap();
            let route = Route::of(&Method::POST, target).expect("every server's path is known");
            assert_eq!(route.model.as_deref(), Some(&*exchange.model));
            route.format
        }
        None => Format::V2Grpc,
    };
    let (request_headers, response_headers) = (exchange.request.headers(), exchange.response.headers());
    let (request, response) = (exchange.request.decoded(), exchange.response.decoded());
    let request = request_headers.body(&request, 1 << 20);
    if format == Format::V2Grpc {
        assert_eq!(names_in(format, &request).unwrap().0, exchange.model.as_str().into());
    }

    let cells = |rows: &[Vec<Value>], at: usize| rows.iter().map(|row| row[at].clone()).collect::<Vec<_>>();
    let predictions: Vec<_> = exchange.predictions.iter().flatten().map(row).collect();
    let features = exchange.features.iter().enumerate();
    let n_predictions = predictions.first().map_or(1, Vec::len);
    let specs = features.map(|(at, name)| column(name, Role::Feature, &cells(&exchange.rows, at))).chain(
        (0..n_predictions).map(|at| column(&format!("p{at}"), Role::Prediction, &cells(&predictions, at))),
    );
    let schema = Schema::new(specs);
    let mut batch = Batch::new(&schema);
    let decoded = decode_request(format, &request, &schema, &mut batch);
    if exchange.predictions.is_none() {
        assert!(
            !exchange.response.start.unwrap().contains(" 200 "),
            "only what was refused has no predictions"
        );
        return Seen::Refused; // the proxy does not count it
    }
    decoded.unwrap();
    decode_response(format, &response_headers.body(&response, 1 << 20), &schema, &mut batch).unwrap();
    assert_eq!(batch.violations, [], "{}", path.display());
    for (role, rows) in [(Role::Feature, &exchange.rows), (Role::Prediction, &predictions)] {
        assert_eq!(batch.n_rows(role), exchange.rows.len());
        for (at, idx) in schema.range(role).enumerate() {
            check_column(&schema.columns()[idx], &batch.columns[idx], &cells(rows, at));
        }
    }
    Seen::Counted
}

#[test]
fn real_exchanges_are_read_to_the_last_bit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/vectors");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let seen: Vec<_> = files.map(|path| check(&path)).collect();
    let n = |what| seen.iter().filter(|seen| **seen == what).count();
    assert_eq!((n(Seen::Counted), n(Seen::Refused)), (35, 2));
}

/// Every body, whole and cut off and with a byte changed here and there, by every decoder: what fuzzing starts from (`fuzz/run`).
#[test]
fn no_decoder_trips_over_a_body_of_another() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str| {
        std::fs::read_dir(here.join(folder))
            .unwrap()
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
    };
    let exchanges = files("tests/it/vectors").flat_map(|text| {
        let exchange: Exchange = serde_json::from_slice(&text).unwrap();
        [exchange.request.decoded(), exchange.response.decoded()]
    });
    let bodies: Vec<_> = exchanges.chain(files("fuzz/seeds")).collect();
    assert!(bodies.len() > 70, "{} bodies", bodies.len());
    let mut random = fastrand::Rng::with_seed(11);
    for mut body in bodies {
        driftd::decode::try_everything(&body);
        for _ in 0..20 {
            driftd::decode::try_everything(&body[..random.usize(..=body.len())]);
            if let Some(at) = random.usize(..body.len().max(1)).checked_rem(body.len()) {
                body[at] = random.u8(..);
            }
            driftd::decode::try_everything(&body);
        }
    }
}
