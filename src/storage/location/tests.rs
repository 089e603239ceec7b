use super::*;

fn s3(bucket: &str, key: &str) -> Place {
    Place::Object(Object { store: Store::S3 { bucket: bucket.to_owned() }, key: key.to_owned() })
}

fn gs(bucket: &str, key: &str) -> Place {
    Place::Object(Object { store: Store::Gs { bucket: bucket.to_owned() }, key: key.to_owned() })
}

fn az(container: &str, account: Option<&str>, is_https: bool, key: &str) -> Place {
    let store =
        Store::Azure { container: container.to_owned(), account: account.map(str::to_owned), is_https };
    Place::Object(Object { store, key: key.to_owned() })
}

#[track_caller]
fn check(text: &str, expected: Place) {
    let location = Location::parse(text).unwrap();
    assert_eq!(location.kind, Kind::Place(expected), "{text}");
}

#[test]
fn every_spelling_names_its_place() {
    check("train.csv", Place::File("train.csv".into()));
    check("/data/a:b.csv", Place::File("/data/a:b.csv".into()));
    check("day:1.csv", Place::File("day:1.csv".into()));
    check("file:///data/a%20b.csv", Place::File("/data/a b.csv".into()));
    check("file://localhost/data/x", Place::File("/data/x".into()));
    check("file:/data/x", Place::File("/data/x".into()));
    check("s3://models/credit/v3", s3("models", "credit/v3"));
    check("S3A://models/a%20b c", s3("models", "a%20b c"));
    check("s3://models", s3("models", ""));
    check("gs://models/credit/", gs("models", "credit/"));
    check("az://models/credit", az("models", None, false, "credit"));
    check("az://models@acc/credit", az("models", Some("acc"), false, "credit"));
    check("abfss://models@acc.dfs.core.windows.net/credit", az("models", Some("acc"), false, "credit"));
    check("wasbs://models@acc.blob.core.windows.net/credit", az("models", Some("acc"), false, "credit"));
    check("https://acc.blob.core.windows.net/models/a%20b", az("models", Some("acc"), true, "a b"));
    let signed = "https://acc.blob.core.windows.net/models/a?sig=x";
    check(signed, Place::Http(Url::parse(signed).unwrap()));
    check("http://host:81/x.csv", Place::Http(Url::parse("http://host:81/x.csv").unwrap()));
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let error = Location::parse(text).unwrap_err();
    assert_eq!(error.kind(), "uri");
    assert!(error.to_string().contains(expected), "{error} should contain {expected:?}");
}

#[test]
fn what_is_no_uri_of_ours_is_refused_in_words() {
    check_refused("hdfs://namenode/x", "`hdfs:` is no storage that driftd knows; write a path, s3://");
    check_refused("pvc://claim/model", "mount the volume");
    check_refused("s3:///key", "names no bucket");
    check_refused("az://@acc/x", "write it like az://container/key");
    check_refused("file://data/x.csv", "three slashes");
    check_refused("https://", "https://");
}

#[test]
fn credentials_are_never_shown() {
    for (text, shown) in [
        ("https://user:secret@host/x.csv?sig=secret#secret", "https://host/x.csv"),
        ("https://host/a@b/x.csv", "https://host/a@b/x.csv"),
        ("az://models@acc/x", "az://models@acc/x"),
        ("train.csv?secret", "train.csv?secret"),
    ] {
        assert_eq!(Location::parse(text).unwrap().to_string(), shown);
    }
    let error = Location::parse("s3://key:secret@bucket/x").unwrap_err().to_string();
    assert!(!error.contains("secret") && error.contains("environment"), "{error}");
}

#[test]
fn the_baseline_of_a_model_is_beside_it() {
    let baselines = |text: &str| {
        let location = Location::parse(text).unwrap();
        location.baselines().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(baselines("s3://m/credit/b.json"), ["s3://m/credit/b.json"]);
    assert_eq!(baselines("s3://m/credit/v1.2"), ["s3://m/credit/v1.2/driftd-baseline.json"]);
    assert_eq!(baselines("s3://m"), ["s3://m/driftd-baseline.json"]);
    assert_eq!(
        baselines("gs://m/credit/model.joblib"),
        ["gs://m/credit/model.joblib/driftd-baseline.json", "gs://m/credit/driftd-baseline.json"]
    );
    assert_eq!(baselines("mlflow:models:/credit@best"), ["mlflow:models:/credit@best/driftd-baseline.json"]);
    assert_eq!(baselines("https://host/credit/?v=1"), ["https://host/credit/driftd-baseline.json"]);
    assert_eq!(baselines("credit.baseline"), ["credit.baseline"]);
}

#[test]
fn what_is_shown_and_what_is_read_stay_together() {
    let file = Location::parse("https://host/credit/model.pkl?token=t").unwrap();
    let beside = file.beside(BASELINE_NAME);
    let url = |text: &str| Kind::Place(Place::Http(Url::parse(text).unwrap()));
    assert_eq!(beside[0].kind, url("https://host/credit/model.pkl/driftd-baseline.json?token=t"));
    assert_eq!(beside[1].kind, url("https://host/credit/driftd-baseline.json?token=t"));
    let top = Location::parse("s3://m/model.pkl").unwrap().beside("x");
    assert_eq!((top[1].to_string().as_str(), &top[1].kind), ("s3://m/x", &Kind::Place(s3("m", "x"))));
}
