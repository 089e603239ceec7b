use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int32Array, ListArray, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::baseline::{ColumnKind, Distribution};
use crate::drift::Histogram;
use crate::drift::score::Bins;

fn write(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn build_csv(text: &str, options: &BuildOptions) -> Result<Built, BuildError> {
    let directory = TempDir::new().unwrap();
    build(&[write(&directory, "table.csv", text)], options)
}

/// The one column of a table of one.
fn only(csv: &str, options: &BuildOptions) -> (String, Histogram, Bins) {
    let built = build_csv(csv, options).unwrap();
    let feature = &built.baseline.features()[0];
    (feature.kind().as_str().to_owned(), feature.counts().clone(), feature.reference().bins().clone())
}

#[track_caller]
fn check_kind(cells: &[&str], kind: &str, missing: u64, other: u64) {
    let (actual, counts, _) = only(&format!("x,y\n{},1\n", cells.join(",1\n")), &BuildOptions::default());
    assert_eq!((&*actual, counts.missing(), counts.other()), (kind, missing, other), "{cells:?}");
    assert_eq!(counts.total(), cells.len() as u64);
}

#[track_caller]
fn check_error(csv: &str, options: &BuildOptions, says: &[&str]) {
    let error = build_csv(csv, options).unwrap_err();
    let message = crate::net::chain(&error);
    for word in says {
        assert!(message.contains(word), "`{message}` does not say `{word}`");
    }
}

#[test]
fn columns_are_what_they_look_like() {
    check_kind(&["1", "2.5", "-3e2"], "numeric", 0, 0);
    check_kind(&["1", "", "NaN", "null", "NA"], "numeric", 4, 0);
    check_kind(&["inf", "-Infinity", "1"], "numeric", 0, 0);
    check_kind(&["", ""], "numeric", 2, 0);
    check_kind(&["true", "False", "TRUE"], "boolean", 0, 0);
    check_kind(&["true", "", "false"], "boolean", 1, 0);
    check_kind(&["a", "b", "a", ""], "categorical", 1, 0);
    check_kind(&["1", "2", "x"], "categorical", 0, 0);
    let texts: Vec<_> = (0..200).map(|at| format!("text number {at}")).collect();
    check_kind(&texts.iter().map(String::as_str).collect::<Vec<_>>(), "text", 0, 0);
}

#[test]
fn a_column_that_is_text_in_its_last_row_is_no_number() {
    let mut csv = "x\n".to_owned();
    (0..20_000).for_each(|at| writeln!(csv, "{at}").unwrap());
    csv.push_str("oops\n");
    let (kind, counts, _) = only(&csv, &BuildOptions::default());
    assert_eq!((&*kind, counts.total()), ("text", 20_001));
    // Unless it is asked to be: then the one cell is of the wrong type.
    let numeric = BuildOptions { numeric: vec!["x".to_owned()], ..BuildOptions::default() };
    let (kind, counts, _) = only(&csv, &numeric);
    assert_eq!((&*kind, counts.other(), counts.missing()), ("numeric", 1, 0));
}

#[test]
fn options_go_before_looks() {
    let csv = "zip,code\n10115,a\n10115,b\n80331,a\n";
    let options = BuildOptions {
        categorical: vec!["zip".to_owned()],
        text: vec!["code".to_owned()],
        predictions: vec!["zip".to_owned()],
        ..BuildOptions::default()
    };
    let built = build_csv(csv, &options).unwrap();
    let [code, zip] = built.baseline.features() else { panic!("two") };
    assert_eq!((code.kind().as_str(), code.role), ("text", Role::Feature));
    let Distribution::Categories { names, .. } = zip.distribution() else { panic!("categories") };
    assert_eq!(
        (names.as_slice(), zip.role),
        (&["10115".to_owned(), "80331".to_owned()][..], Role::Prediction)
    );
    assert_eq!(built.decisions[0].column, "code");
    assert_eq!(built.decisions[1].why, Why::Asked);
}

#[test]
fn rare_categories_are_other() {
    let mut csv = "x\n".to_owned();
    for at in 0..1000 {
        writeln!(csv, "c{}", if at < 900 { at % 3 } else { at }).unwrap();
    }
    let options = BuildOptions { max_categories: 3, ..BuildOptions::default() };
    let (kind, counts, _) = only(&csv, &options);
    assert_eq!((&*kind, counts.bins(), counts.other()), ("categorical", &[300, 300, 300][..], 100));
}

#[test]
fn hashed_categories_hide_their_names_and_are_still_found() {
    let options = BuildOptions { hash_categories: true, ..BuildOptions::default() };
    let built = build_csv("x\nsecret\nsecret\nother\n", &options).unwrap();
    let text = built.baseline.to_json();
    assert!(!text.contains("secret"), "{text}");
    let again = Baseline::from_json(text.as_bytes()).unwrap();
    let ColumnKind::Category(categories) = again.features()[0].kind() else { panic!("categories") };
    assert_eq!((categories.of_text("secret"), categories.of_text("?")), (Some(0), None));
    assert_eq!(again.features()[0].counts().bins(), [2, 1]);
}

#[test]
fn odd_tables_have_a_baseline() {
    let one_row = only("x\n5\n", &BuildOptions::default());
    assert_eq!(one_row.1.total(), 1);
    let constant = only(&format!("x\n{}", "7\n".repeat(100)), &BuildOptions::default());
    assert_eq!(constant.1.bins(), [0, 100, 0], "a constant has a bin of its own, and one to each side");
    let infinite = build_csv("x\ninf\n-inf\n1\n", &BuildOptions::default()).unwrap();
    let Distribution::Numbers { moments, .. } = infinite.baseline.features()[0].distribution() else {
        panic!()
    };
    assert_eq!((moments.min, moments.max, moments.mean), (1.0, 1.0, 1.0));
    assert!(
        build_csv("x\ninf\n-inf\nnan\n", &BuildOptions::default()).unwrap().baseline.to_json().len() > 100
    );
    let quoted =
        build_csv("\"a,b\",c\r\n\"1\",\"x\ny\"\r\n\"2\",\"\"\"\"\r\n", &BuildOptions::default()).unwrap();
    assert_eq!((quoted.baseline.rows(), &*quoted.baseline.features()[0].name), (2, "a,b"));
}

#[test]
fn bad_input_is_refused_with_what_where_and_what_to_do() {
    let defaults = BuildOptions::default();
    check_error("a,b\n", &defaults, &["no rows"]);
    check_error("a,b\n1\n", &defaults, &["table.csv", "line 1"]);
    check_error("a,a\n1,2\n", &defaults, &["`a`", "twice"]);
    let with = |change: &dyn Fn(&mut BuildOptions)| {
        let mut options = BuildOptions::default();
        change(&mut options);
        options
    };
    let misspelt = with(&|options| options.predictions = vec!["rsik".to_owned()]);
    check_error("age,risk\n1,2\n", &misspelt, &["--prediction rsik", "age, risk"]);
    check_error("a\n1\n", &with(&|options| options.ignore = vec!["a".to_owned()]), &["no column is left"]);
    let directory = TempDir::new().unwrap();
    let refused = |names: &[&str], says: &[&str]| {
        let names: Vec<_> =
            names.iter().map(|name| directory.path().join(name).display().to_string()).collect();
        let message = crate::net::chain(&build(&names, &BuildOptions::default()).unwrap_err());
        for word in says {
            assert!(message.contains(word), "`{message}` does not say `{word}`");
        }
    };
    write(&directory, "a.csv", "x,y\n1,2\n");
    write(&directory, "b.csv", "x,z\n1,2\n");
    write(&directory, "table.xlsx", "PK");
    write(&directory, "not.parquet", "PAR?");
    write(&directory, "bad.jsonl", "{\"x\": 1}\n\n{\"x\": NaN}\n");
    write(&directory, "list.jsonl", "{\"x\": 1}\n{\"x\": [\"a\"]}\n");
    write(&directory, "latin1.csv", "x\n1\n");
    std::fs::write(directory.path().join("latin1.csv"), b"x\n\xe4\xf6\n").unwrap();
    refused(&["a.csv", "b.csv"], &["b.csv", "y"]);
    refused(&["nothing-*.csv"], &["no file"]);
    refused(&["gone.csv"], &["no file", "gone.csv"]);
    refused(&["."], &["folder", "*.parquet"]);
    refused(&["table.xlsx"], &["table.xlsx", "--input-format"]);
    refused(&["not.parquet"], &["not.parquet", "Parquet"]);
    refused(&["bad.jsonl"], &["bad.jsonl", "line 3", "null"]);
    refused(&["list.jsonl"], &["column `x`", "list", "line 2", "--ignore x"]);
    refused(&["latin1.csv"], &["latin1.csv", "UTF-8"]);
}

/// The same rows as CSV, JSON Lines and Parquet in small row groups.
fn three_ways(directory: &TempDir, n_rows: usize) -> [String; 3] {
    let mut rng = fastrand::Rng::with_seed(11);
    let (mut csv, mut jsonl) = ("n,w,t,b\n".to_owned(), String::new());
    let (mut n, mut w, mut t, mut b) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for at in 0..n_rows {
        let number = (at % 17 != 0).then(|| rng.f64() * 1e3 - 500.0);
        let whole = rng.i32(0..40);
        let text = ["red", "green", "blue", "a,\"b\"\nc"][at % 4];
        let boolean = at % 3 == 0;
        let cell = number.map_or(String::new(), |number| number.to_string());
        writeln!(csv, "{cell},{whole},\"{}\",{boolean}", text.replace('"', "\"\"")).unwrap();
        // By hand: keys stay in this order.
        let (number_json, text_json) = (json!(number), json!(text));
        writeln!(jsonl, r#"{{"n": {number_json}, "w": {whole}, "t": {text_json}, "b": {boolean}}}"#).unwrap();
        n.push(number);
        w.push(whole);
        t.push(text);
        b.push(boolean);
    }
    let columns: [(&str, ArrayRef); 4] = [
        ("n", Arc::new(Float64Array::from(n))),
        ("w", Arc::new(Int32Array::from(w))),
        ("t", Arc::new(StringArray::from(t))),
        ("b", Arc::new(BooleanArray::from(b))),
    ];
    let parquet = directory.path().join("table.parquet");
    write_parquet(&parquet, &RecordBatch::try_from_iter(columns).unwrap());
    [
        write(directory, "table.csv", &csv),
        write(directory, "table.jsonl", &jsonl),
        parquet.display().to_string(),
    ]
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1000)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// Everything of a baseline but where it came from.
fn features(baseline: &Baseline) -> Value {
    serde_json::from_str::<Value>(&baseline.to_json()).unwrap()["features"].take()
}

#[test]
fn the_same_table_in_every_format_has_the_same_counts() {
    let directory = TempDir::new().unwrap();
    let files = three_ways(&directory, 10_000);
    let built = files.map(|file| build(&[file], &BuildOptions::default()).unwrap().baseline);
    let counts = |baseline: &Baseline| {
        let kinds = baseline
            .features()
            .iter()
            .map(|feature| (feature.name.clone(), feature.kind().as_str().to_owned()));
        (kinds.collect::<Vec<_>>(), baseline.rows())
    };
    assert_eq!(counts(&built[0]), counts(&built[1]));
    assert_eq!(counts(&built[0]), counts(&built[2]));
    // CSV and JSON Lines divide into the same units here, Parquet into ten: its sketch may differ in the last place.
    assert_eq!(features(&built[0]), features(&built[1]));
    for (csv, parquet) in built[0].features().iter().zip(built[2].features()).skip(1) {
        assert_eq!(csv.counts(), parquet.counts(), "{}", csv.name);
    }
}

#[test]
fn threads_do_not_change_a_byte() {
    let directory = TempDir::new().unwrap();
    for file in three_ways(&directory, 30_000) {
        let with = |n_threads| {
            let options = BuildOptions { n_threads: Some(n_threads), ..BuildOptions::default() };
            build(std::slice::from_ref(&file), &options).unwrap().baseline.to_json()
        };
        let one = with(1);
        assert!([2, 3, 8].into_iter().all(|n_threads| with(n_threads) == one), "{file}");
    }
}

#[test]
fn shards_over_the_same_edges_add_up_to_the_whole() {
    let directory = TempDir::new().unwrap();
    let [csv, ..] = three_ways(&directory, 6_000);
    let whole = build(std::slice::from_ref(&csv), &BuildOptions::default()).unwrap().baseline;
    let edges = directory.path().join("whole.json");
    whole.write(&edges).unwrap();
    let text = std::fs::read_to_string(&csv).unwrap();
    // Rows of three lines stay whole: cut at every fourth row, which ends with `true` or `false`.
    let rows: Vec<&str> = text.split_inclusive("e\n").collect();
    let header = "n,w,t,b\n";
    let body = |rows: &[&str]| rows.concat().trim_start_matches(header).to_owned();
    let shard = |name: &str, rows: &[&str]| {
        let file = write(&directory, name, &format!("{header}{}", body(rows)));
        let options = BuildOptions { edges_from: Some(edges.clone()), ..BuildOptions::default() };
        build(&[file], &options).unwrap().baseline
    };
    let (first, second) = (shard("1.csv", &rows[..2_500]), shard("2.csv", &rows[2_500..]));
    assert_eq!((first.rows(), second.rows()), (2_500, 3_500));
    let merged = first.merge(&second).unwrap();
    for (merged, whole) in merged.features().iter().zip(whole.features()) {
        assert_eq!(merged.counts(), whole.counts(), "{}", whole.name);
        assert_eq!(merged.edges_id(), whole.edges_id());
    }
}

#[test]
fn several_files_and_patterns_are_one_table() {
    let directory = TempDir::new().unwrap();
    write(&directory, "part-1.csv", "x,y\n1,a\n2,b\n");
    write(&directory, "part-2.csv", "y,x\nb,3\n");
    let pattern = directory.path().join("part-*.csv").display().to_string();
    let built = build(&[pattern], &BuildOptions::default()).unwrap().baseline;
    assert_eq!((built.rows(), built.header().source.len()), (3, 2));
    assert_eq!(built.header().source[1].rows, 1);
    let sum = |at: usize| built.features()[at].counts().bins().iter().sum::<u64>();
    assert_eq!((sum(0), sum(1)), (3, 3), "columns are matched by name");
}

#[test]
fn json_lines_may_leave_columns_out() {
    let directory = TempDir::new().unwrap();
    let file =
        write(&directory, "t.jsonl", "{\"x\": 1}\n{\"y\": \"a\", \"x\": 2}\n{\"x\": 9, \"x\": 3}\n{}\n");
    let built = build(&[file], &BuildOptions::default()).unwrap().baseline;
    let [x, y] = built.features() else { panic!("two") };
    assert_eq!((built.rows(), x.counts().missing(), y.counts().missing()), (4, 1, 3));
    let Distribution::Numbers { moments, .. } = x.distribution() else { panic!("numbers") };
    assert_eq!((moments.min, moments.max), (1.0, 3.0), "of a key that is there twice the last counts");
}

#[test]
fn lists_of_something_else_than_numbers_are_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("t.parquet");
    let list: ArrayRef =
        Arc::new(ListArray::from_nested_iter::<arrow_array::builder::StringBuilder, _, _, _>([Some([
            Some("a"),
        ])]));
    let number: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    write_parquet(&path, &RecordBatch::try_from_iter([("embedding", list), ("x", number)]).unwrap());
    let file = [path.display().to_string()];
    let message = build(&file, &BuildOptions::default()).unwrap_err().to_string();
    assert!(message.contains("`embedding`") && message.contains("--ignore embedding"), "{message}");
    let options = BuildOptions { ignore: vec!["embedding".to_owned()], ..BuildOptions::default() };
    assert_eq!(build(&file, &options).unwrap().baseline.rows(), 1);
}

#[test]
fn a_time_is_in_the_file_only_where_one_is_given() {
    let defaults = BuildOptions::default();
    assert!(!build_csv("x\n1\n", &defaults).unwrap().baseline.to_json().contains("created_at"));
    let options = BuildOptions { created_at: Some("2026-01-02T03:04:05Z".to_owned()), ..defaults };
    assert!(build_csv("x\n1\n", &options).unwrap().baseline.to_json().contains("2026-01-02T03:04:05Z"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Every number is in the bin that the edges put it into.
    #[test]
    fn counts_are_what_the_edges_say(
        cells in vec(prop_oneof![Just(f64::NAN), any::<f64>(), (-20i8..20).prop_map(f64::from)], 1..400),
        max_bins in 3usize..40,
    ) {
        let csv: String = std::iter::once("x,y\n".to_owned()).chain(cells.iter().map(|cell| format!("{cell},1\n"))).collect();
        let options = BuildOptions { max_bins, numeric: vec!["x".to_owned()], ..BuildOptions::default() };
        let built = build_csv(&csv, &options).unwrap();
        let feature = &built.baseline.features()[0];
        let Bins::Numeric { edges, groups, .. } = feature.reference().bins() else { panic!("numbers") };
        prop_assert!(edges.n_bins() <= max_bins.max(5) && groups.len() <= 14);
        let mut expected = Histogram::new(edges.n_bins());
        for cell in &cells {
            let at = edges.bin_of(*cell).unwrap_or(Histogram::missing_code(edges.n_bins()));
            expected.as_mut_slice()[at] += 1;
        }
        prop_assert_eq!(feature.counts(), &expected);
        let again = Baseline::from_json(built.baseline.to_json().as_bytes()).unwrap();
        prop_assert_eq!(again.to_json(), built.baseline.to_json());
    }
}
