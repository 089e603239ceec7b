use serde_json::{Value, json};

use super::*;

/// A file with a feature of every kind.
fn file() -> Value {
    json!({
        "format": "driftd.baseline/v1",
        "model": "credit",
        "version": "3",
        "source": [{"uri": "train.csv", "sha256": "00", "rows": 10}],
        "rows": 10,
        "features": [
            {"name": "age", "role": "feature", "kind": "numeric", "rows": 10, "missing": 1, "other": 1,
             "edges": [20.0, 40.0, 60.0], "group_starts": [0, 2], "counts": [1, 2, 3, 2],
             "min": 18.0, "max": 70.0, "mean": 41.5, "std": 12.25},
            {"name": "grade", "role": "feature", "kind": "categorical", "rows": 10, "missing": 0, "other": 2,
             "categories": ["a", "b"], "counts": [5, 3]},
            {"name": "employed", "role": "feature", "kind": "boolean", "rows": 10, "missing": 0, "other": 0,
             "counts": [4, 6]},
            {"name": "note", "role": "feature", "kind": "text", "rows": 10, "missing": 10, "other": 0,
             "edges": [], "group_starts": [0], "counts": [0]},
            {"name": "risk", "role": "prediction", "kind": "numeric", "rows": 10, "missing": 0, "other": 0,
             "edges": [0.1], "group_starts": [0, 1], "counts": [5, 5], "min": 0.0, "max": 1.0, "mean": 0.5, "std": 0.1},
        ],
    })
}

fn read(file: &Value) -> Result<Baseline, BaselineError> {
    Baseline::from_json(file.to_string().as_bytes())
}

/// The file with one place changed is refused, and the message says what and where.
#[track_caller]
fn check_refused(at: &str, value: Value, kind: &str, says: &[&str]) {
    let mut file = file();
    *file.pointer_mut(at).unwrap_or_else(|| panic!("no {at}")) = value;
    let error = read(&file).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let message = crate::net::chain(&error);
    for word in says {
        assert!(message.contains(word), "`{message}` does not say `{word}`");
    }
}

#[test]
fn what_is_written_is_read_again_to_the_byte() {
    let baseline = read(&file()).unwrap();
    let text = baseline.to_json();
    let again = Baseline::from_json(text.as_bytes()).unwrap();
    assert_eq!(again.to_json(), text);
    assert_eq!(again.sha256(), hex_sha256(text.as_bytes()));
    let lines = text.lines().filter(|line| line.trim_start().starts_with("{\"name\"")).count();
    assert_eq!(lines, 5, "a feature a line:\n{text}");
    assert_eq!((again.model(), again.version(), again.rows()), (Some("credit"), Some("3"), 10));
}

#[test]
fn fields_of_a_later_minor_version_are_passed_over() {
    let mut file = file();
    file["owner"] = json!("team-a");
    file["features"][0]["quantiles"] = json!([1, 2]);
    assert_eq!(read(&file).unwrap().features().len(), 5);
}

#[test]
fn files_that_cannot_be_used_are_refused_with_a_reason() {
    check_refused("/format", json!("driftd.baseline/v2"), "format", &["v2", "rebuild"]);
    check_refused("/format", json!(1), "json", &["driftd baseline build"]);
    check_refused("/features/0/kind", json!("image"), "kind", &["age", "image", "update driftd"]);
    check_refused("/features/0/edges/1", json!(10.0), "invalid", &["age", "edges"]);
    check_refused("/features/0/edges", Value::Null, "invalid", &["age", "`edges` is missing"]);
    check_refused("/features/0/group_starts", json!([0, 9]), "invalid", &["age", "group_starts"]);
    check_refused("/features/0/group_starts", Value::Null, "invalid", &["age", "group_starts"]);
    check_refused("/features/0/counts", json!([1, 2, 5]), "invalid", &["age", "bins"]);
    check_refused("/features/0/counts/0", json!(2), "invalid", &["age", "add up"]);
    check_refused("/features/0/counts/0", json!(u64::MAX), "invalid", &["age", "add up"]);
    check_refused("/features/0/counts/0", json!(-1), "json", &[]);
    check_refused("/features/0/min", json!(71.0), "invalid", &["age", "min"]);
    check_refused("/features/0/name", json!("grade"), "invalid", &["grade", "twice"]);
    check_refused("/features/0/role", json!("target"), "json", &["target"]);
    check_refused("/features/1/categories", json!(["a", "a"]), "invalid", &["grade", "twice"]);
    check_refused("/features/1/categories", json!(["a"]), "invalid", &["grade"]);
    check_refused("/features/1/categories", Value::Null, "invalid", &["grade", "`categories` is missing"]);
    check_refused("/features/2/counts", json!([10]), "invalid", &["employed"]);
    check_refused("/rows", json!(11), "invalid", &["rows"]);
    check_refused("/features", json!({}), "json", &[]);
    assert_eq!(Baseline::from_json(b"hello").unwrap_err().kind(), "json");
    assert_eq!(Baseline::read(Path::new("/nowhere/at/all.json")).unwrap_err().kind(), "io");
}

#[test]
fn features_come_before_predictions_and_are_found_by_name() {
    let mut file = file();
    file["features"].as_array_mut().unwrap().rotate_right(1);
    let baseline = read(&file).unwrap();
    let names: Vec<_> = baseline.features().iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(names, ["age", "grade", "employed", "note", "risk"]);
    let schema = baseline.schema();
    assert_eq!(schema.find(Role::Prediction, "risk"), Some(4));
    assert_eq!(schema.find(Role::Feature, "risk"), None);
    assert_eq!(baseline.references().len(), 5);
}

#[test]
fn the_edges_id_is_of_the_name_and_the_bins_alone() {
    let id = |file: &Value, at: usize| read(file).unwrap().features()[at].edges_id();
    let (before, mut changed) = (file(), file());
    changed["features"][0]["counts"] = json!([2, 1, 3, 2]);
    changed["features"][0]["mean"] = json!(1.0);
    assert_eq!(id(&before, 0), id(&changed, 0));
    changed["features"][0]["edges"][0] = json!(20.000_000_000_000_004);
    assert_ne!(id(&before, 0), id(&changed, 0));
    changed["features"][0]["name"] = json!("aged");
    assert_ne!(id(&before, 0), id(&changed, 0));
    let mut regrouped = file();
    regrouped["features"][0]["group_starts"] = json!([0, 1]);
    assert_ne!(id(&before, 0), id(&regrouped, 0));
    assert_eq!(id(&before, 0).len(), 8);
}

#[test]
fn merged_counts_are_sums() {
    let ours = read(&file()).unwrap();
    let mut other = file();
    other["features"][0]["counts"] = json!([4, 2, 1, 1]);
    other["features"][0]["mean"] = json!(31.5);
    other["features"][0]["max"] = json!(99.0);
    other["version"] = json!("4");
    let merged = ours.merge(&read(&other).unwrap()).unwrap();
    assert_eq!((merged.rows(), merged.model(), merged.version()), (20, Some("credit"), None));
    let age: Value = serde_json::to_value(RawFeature::from(&merged.features()[0])).unwrap();
    assert_eq!(age["counts"], json!([5, 4, 4, 3]));
    assert_eq!((&age["missing"], &age["other"], &age["rows"]), (&json!(2), &json!(2), &json!(20)));
    assert_eq!((&age["mean"], &age["max"]), (&json!(36.5), &json!(99.0)));
    // Two samples of eight: 7 · 12.25² each, and 16 · 5² between their means.
    let std = age["std"].as_f64().unwrap();
    assert!((std - ((2.0 * 7.0 * 12.25f64.powi(2) + 16.0 * 25.0) / 15.0).sqrt()).abs() < 1e-12, "{std}");

    let mut other_bins = file();
    other_bins["features"][0]["edges"][0] = json!(21.0);
    let error = ours.merge(&read(&other_bins).unwrap()).unwrap_err();
    assert!(error.to_string().contains("age") && error.to_string().contains("--edges-from"), "{error}");
    let mut fewer = file();
    fewer["features"].as_array_mut().unwrap().pop();
    let fewer = read(&fewer).unwrap();
    assert!(ours.merge(&fewer).unwrap_err().to_string().contains("risk"));
    assert!(fewer.merge(&ours).unwrap_err().to_string().contains("risk"));
}

#[test]
fn a_file_is_written_whole_for_others_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("credit.json");
    std::fs::write(&path, "an older one").unwrap();
    let baseline = read(&file()).unwrap();
    baseline.write(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), baseline.to_json());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    assert_ne!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o044,
        0,
        "a pod runs as another user"
    );
    let error = baseline.write(&directory.path().join("nowhere/credit.json")).unwrap_err();
    assert!(error.to_string().contains("credit.json"), "{error}");
}
