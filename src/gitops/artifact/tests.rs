use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;

fn digest_of(artifact: Artifact) -> String {
    match artifact {
        Artifact::Digest(digest) => digest,
        other => panic!("{other:?} is no digest"),
    }
}

#[tokio::test]
async fn a_folder_on_this_machine_is_there_gone_or_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let uri = format!("file://{}", folder.path().join("v1").display());
    assert_eq!(look(&uri).await, Artifact::Missing);
    std::fs::create_dir_all(folder.path().join("v1/weights")).unwrap();
    assert_eq!(look(&uri).await, Artifact::Missing, "a folder without a file is no model");
    std::fs::write(folder.path().join("v1/weights/a.bin"), "1").unwrap();
    let first = digest_of(look(&uri).await);
    assert_eq!(digest_of(look(&format!("{uri}/")).await), first);
    std::fs::write(folder.path().join("v1/weights/a.bin"), "12").unwrap();
    let second = digest_of(look(&uri).await);
    assert_ne!(second, first);
    std::fs::rename(folder.path().join("v1/weights/a.bin"), folder.path().join("v1/weights/b.bin")).unwrap();
    assert_ne!(digest_of(look(&uri).await), second);
}

#[tokio::test]
async fn what_cannot_be_listed_is_unknown_and_not_missing() {
    for uri in
        ["pvc://claim/v1", "hf://org/model", "oci://registry/model:1", "https://models.example/v1.tar.gz"]
    {
        let found = look_with(uri, &Settings::default()).await;
        assert!(matches!(found, Artifact::Unknown(_)), "{uri}: {found:?}");
    }
}

/// Stands in for S3's listing: keys with entity tags.
fn bucket(objects: &Arc<Mutex<Vec<(&'static str, &'static str)>>>) -> Settings {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let objects = objects.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 8192];
            let n_read = stream.read(&mut asked).unwrap();
            let asked = String::from_utf8_lossy(&asked[..n_read]).into_owned();
            let prefix = asked.split("prefix=").nth(1).unwrap_or_default();
            let prefix = prefix.split(['&', ' ']).next().unwrap_or_default().replace("%2F", "/");
            let of = |(key, tag): &(&str, &str)| {
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                     <ETag>&quot;{tag}&quot;</ETag><Size>3</Size></Contents>"
                )
            };
            let contents: String =
                objects.lock().unwrap().iter().filter(|(key, _)| key.starts_with(&prefix)).map(of).collect();
            let body =
                format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>");
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    let mut settings = Settings::default();
    for (name, value) in [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
    ] {
        settings.environment.insert(name.to_owned(), value.to_owned());
    }
    settings
}

#[tokio::test]
async fn the_digest_of_a_model_in_a_bucket_is_that_of_its_objects_alone() {
    let objects =
        Arc::new(Mutex::new(vec![("credit/v1/b", "t2"), ("credit/v1/a", "t1"), ("credit/v10/a", "x")]));
    let settings = bucket(&objects);
    let look = async |uri| look_with(uri, &settings).await;
    let first = digest_of(look("s3://models/credit/v1").await);
    *objects.lock().unwrap() = vec![("credit/v1/a", "t1"), ("credit/v1/b", "t2"), ("credit/v10/a", "y")];
    assert_eq!(digest_of(look("s3://models/credit/v1/").await), first, "neither order nor neighbours count");
    *objects.lock().unwrap() = vec![("credit/v1/a", "t1"), ("credit/v1/b", "t3")];
    assert_ne!(digest_of(look("s3://models/credit/v1").await), first);
    *objects.lock().unwrap() = vec![("credit/v1/a", "t1")];
    assert_ne!(digest_of(look("s3://models/credit/v1").await), first);
    assert!(matches!(look("s3://models/credit/v1/a").await, Artifact::Digest(_)), "one file is a model too");
    assert_eq!(look("s3://models/credit/v2").await, Artifact::Missing);
}
