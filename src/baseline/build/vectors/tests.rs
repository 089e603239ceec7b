use std::fmt::Write;
use std::path::Path;

use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{ArrayRef, FixedSizeListArray, LargeListArray, ListArray, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::baseline::build::{Built, build};
use crate::baseline::{BaselineError, Role};

/// Vectors of 3, one in ten missing, one in twenty with a hole.
fn vectors(n: usize) -> Vec<Option<Vec<Option<f64>>>> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut vector = |at: usize| {
        let numbers = (0..3).map(|_| Some(f64::from(random.i16(..)) / 64.0));
        let mut numbers: Vec<_> = numbers.collect();
        if at % 20 == 3 {
            numbers[1] = None;
        }
        (at % 10 != 5).then_some(numbers)
    };
    (0..n).map(&mut vector).collect()
}

fn write_parquet(path: &Path, lists: ArrayRef) {
    let batch = RecordBatch::try_from_iter([("e", lists)]).unwrap();
    let small = WriterProperties::builder().set_max_row_group_row_count(Some(64)).build();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), Some(small)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// The same vectors in every kind of file that holds some.
fn every_file(directory: &TempDir, vectors: &[Option<Vec<Option<f64>>>]) -> Vec<String> {
    let path = |name: &str| directory.path().join(name);
    let (mut csv, mut jsonl) = ("e\n".to_owned(), String::new());
    for vector in vectors {
        writeln!(csv, "\"{}\"", vector.as_ref().map_or(String::new(), |vector| json!(vector).to_string()))
            .unwrap();
        writeln!(jsonl, "{}", json!({ "e": vector })).unwrap();
    }
    std::fs::write(path("t.csv"), csv).unwrap();
    std::fs::write(path("t.jsonl"), jsonl).unwrap();
    write_parquet(
        &path("list.parquet"),
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(vectors.to_vec())),
    );
    #[expect(clippy::cast_possible_truncation, reason = "multiples of 1/64 have room in 32 bits")]
    let singles = vectors.iter().map(|vector| {
        vector
            .as_ref()
            .map(|vector| vector.iter().map(|number| number.map(|number| number as f32)).collect::<Vec<_>>())
    });
    let singles: Vec<_> = singles.collect();
    write_parquet(
        &path("fixed.parquet"),
        Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(singles.clone(), 3)),
    );
    write_parquet(
        &path("large.parquet"),
        Arc::new(LargeListArray::from_iter_primitive::<Float32Type, _, _>(singles)),
    );
    ["t.csv", "t.jsonl", "list.parquet", "fixed.parquet", "large.parquet"]
        .map(|name| path(name).display().to_string())
        .into()
}

fn build_on(file: &str, n_threads: usize) -> Built {
    build(&[file.to_owned()], &BuildOptions { n_threads: Some(n_threads), ..BuildOptions::default() })
        .unwrap()
}

/// The lines of the file that are features.
fn features(built: &Built) -> String {
    built.baseline.to_json().split_once("\"features\"").unwrap().1.to_owned()
}

#[test]
fn vectors_are_the_same_in_every_file_on_any_number_of_threads() {
    let directory = TempDir::new().unwrap();
    let rows = vectors(1000);
    let files = every_file(&directory, &rows);
    let first = build_on(&files[0], 1);
    let [norm, distance] = first.baseline.features() else { panic!("two columns of one vector") };
    assert_eq!((&*norm.name, &*distance.name), ("e.norm", "e.distance"));
    assert_eq!([norm, distance].map(|column| column.counts().missing()), [100; 2]);
    assert_eq!([norm, distance].map(|column| column.counts().other()), [50; 2], "a hole is no number");
    let kinds: Vec<_> =
        first.decisions.iter().map(|decision| (decision.kind, decision.why.to_string())).collect();
    assert_eq!(kinds[1], ("vector", "lists of 3 numbers: their distance".to_owned()));

    // By the definition: the mean of all vectors without a hole.
    let whole: Vec<Vec<f64>> =
        rows.iter().flatten().filter_map(|vector| vector.iter().copied().collect()).collect();
    let Distribution::Vectors { of: VectorColumn { measure: Measure::Distance { centroid }, .. }, moments } =
        distance.distribution()
    else {
        panic!("a distance")
    };
    for (at, number) in centroid.iter().enumerate() {
        let mean = whole.iter().map(|vector| vector[at]).sum::<f64>() / whole.len() as f64;
        assert!((f64::from(*number) - mean).abs() < 1e-4, "{number} {mean}");
    }
    let distance_of = |vector: &Vec<f64>| {
        vector.iter().zip(&**centroid).map(|(v, c)| (v - f64::from(*c)).powi(2)).sum::<f64>().sqrt()
    };
    let largest = whole.iter().map(distance_of).fold(0.0, f64::max);
    assert!((moments.max / largest - 1.0).abs() < 1e-4, "{} {largest}", moments.max);

    for file in &files[..2] {
        assert_eq!(features(&build_on(file, 1)), features(&first), "{file}: one unit, one order of addition");
    }
    for file in &files {
        let one = features(&build_on(file, 1));
        for n_threads in [2, 7] {
            assert_eq!(features(&build_on(file, n_threads)), one, "{file} on {n_threads} threads");
        }
    }
}

#[test]
fn the_file_is_read_as_it_was_written_and_parts_add_up() {
    let directory = TempDir::new().unwrap();
    let rows = vectors(400);
    let write = |name: &str, rows: &[Option<Vec<Option<f64>>>]| {
        let path = directory.path().join(name);
        let lines: Vec<_> = rows.iter().map(|vector| json!({ "e": vector }).to_string()).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        path.display().to_string()
    };
    let whole = build_on(&write("whole.jsonl", &rows), 1).baseline;
    assert_eq!(Baseline::from_json(whole.to_json().as_bytes()).unwrap().to_json(), whole.to_json());
    let edges = directory.path().join("whole.json");
    whole.write(&edges).unwrap();
    let options = BuildOptions { edges_from: Some(edges), ..BuildOptions::default() };
    let part = |name: &str, rows| build(&[write(name, rows)], &options).unwrap().baseline;
    let merged = part("a.jsonl", &rows[..150]).merge(&part("b.jsonl", &rows[150..])).unwrap();
    for (sum, all) in merged.features().iter().zip(whole.features()) {
        assert_eq!((sum.counts(), sum.edges_id()), (all.counts(), all.edges_id()));
    }
    // Over another centroid, distances are not the same thing.
    let alone = build_on(&write("alone.jsonl", &rows[..150]), 1).baseline;
    assert!(matches!(whole.merge(&alone), Err(BaselineError::NotMergeable { .. })));
}

#[track_caller]
fn check_refused(lines: &[Value], options: &BuildOptions, says: &[&str]) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("t.jsonl");
    std::fs::write(&path, lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")).unwrap();
    let message = crate::net::chain(&build(&[path.display().to_string()], options).unwrap_err());
    for word in says {
        assert!(message.contains(word), "`{message}` does not say `{word}`");
    }
}

#[test]
fn lists_that_are_no_vectors_are_refused_with_what_to_do() {
    let defaults = BuildOptions::default();
    check_refused(
        &[json!({"e": [1, 2]}), json!({"e": [1]})],
        &defaults,
        &["`e`", "from 1 to 2 numbers", "--ignore e"],
    );
    check_refused(&[json!({"e": []})], &defaults, &["`e`", "empty", "--ignore e"]);
    check_refused(
        &[json!({"e": [1]}), json!({"e": 1})],
        &defaults,
        &["`e`", "only 1 of its 2 values", "--ignore e"],
    );
    check_refused(&[json!({"e": [1, "a"]})], &defaults, &["`e`", "line 1", "--ignore e"]);
    let long = vec![0; MAX_DIMENSION + 1];
    check_refused(&[json!({ "e": long })], &defaults, &["4097 numbers, at most 4096", "--ignore e"]);
    let numeric = BuildOptions { numeric: vec!["e".to_owned()], ..BuildOptions::default() };
    check_refused(&[json!({"e": [1]})], &numeric, &["`e`", "--numeric e"]);
}

#[test]
fn the_longest_vector_is_taken_and_what_is_ignored_may_be_anything() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("t.jsonl");
    let long = vec![0.123_456_78; MAX_DIMENSION];
    std::fs::write(&path, format!("{}\n", json!({"e": long, "odd": [{}]}))).unwrap();
    let options = BuildOptions { ignore: vec!["odd".to_owned()], ..BuildOptions::default() };
    let baseline = build(&[path.display().to_string()], &options).unwrap().baseline;
    assert!(baseline.to_json().len() < 64 << 10, "{} bytes", baseline.to_json().len());
}

#[test]
fn a_column_of_texts_is_no_vector_for_a_bracket_in_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("t.csv");
    std::fs::write(&path, "e,f\n\"[1]\",\"[1, 2]\"\nnone of it,\"[3, 4]\"\n").unwrap();
    let options = BuildOptions { text: vec!["f".to_owned()], ..BuildOptions::default() };
    let baseline = build(&[path.display().to_string()], &options).unwrap().baseline;
    let kinds: Vec<_> = baseline.features().iter().map(|feature| feature.kind().as_str()).collect();
    assert_eq!(kinds, ["categorical", "text"]);
}

#[test]
fn fields_that_contradict_each_other_are_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("t.jsonl");
    std::fs::write(&path, "{\"e\": [1, 2]}\n").unwrap();
    let json = build_on(&path.display().to_string(), 1).baseline.to_json();
    for (field, instead, says) in [
        ("\"dimension\":2", "\"dimension\":0", "`dimension`"),
        ("\"dimension\":2", "\"dimension\":4097", "`dimension`"),
        ("\"measure\":\"norm\"", "\"measure\":\"sum\"", "`measure`"),
        ("\"vector\":\"e\",", "", "`vector`"),
        ("\"vector\":\"e\"", "\"vector\":\"f\"", "its name"),
        ("\"centroid\":[1.0,2.0]", "\"centroid\":[1.0]", "`centroid`"),
    ] {
        assert!(json.contains(field), "{json}");
        let message = Baseline::from_json(json.replace(field, instead).as_bytes()).unwrap_err().to_string();
        assert!(message.contains(says), "`{message}` does not say {says}");
    }
    let renamed = Baseline::from_json(json.replace("\"kind\":\"vector\"", "\"kind\":\"tensor\"").as_bytes());
    assert!(matches!(renamed, Err(BaselineError::Kind { .. })));
    assert!(Baseline::from_json(json.as_bytes()).unwrap().find(Role::Feature, "e.distance").is_some());
}
