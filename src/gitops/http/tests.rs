use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

/// Answers every connection with these bytes, and tells what it was sent.
fn stand_in(answer: &'static str) -> (Url, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/behind/", listener.local_addr().unwrap())).unwrap();
    let (sender, receiver) = std::sync::mpsc::sync_channel(64);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = vec![0; 4096];
            let n_read = stream.read(&mut asked).unwrap();
            asked.truncate(n_read);
            if sender.send(String::from_utf8(asked).unwrap()).is_err() {
                return;
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, receiver)
}

fn service(url: &Url, token: Option<&Path>) -> Service {
    let token = token.map(|path| (Scheme::Bearer, path));
    let timeout = Duration::from_secs(5);
    Service::new(&Access { who: "a stand-in", url, token, ca_file: None, timeout }).unwrap()
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

#[tokio::test]
async fn a_token_is_read_again_for_every_request() {
    let (url, asked) = stand_in(OK);
    let file = tempfile::NamedTempFile::new().unwrap();
    let service = service(&url, Some(file.path()));
    for token in ["one", "two"] {
        std::fs::write(file.path(), format!("{token}\n")).unwrap();
        let _: serde_json::Value = service.get(&["api"], &[]).await.unwrap();
        let asked = asked.recv().unwrap();
        assert!(asked.contains(&format!("authorization: Bearer {token}\r\n")), "{asked}");
    }
    std::fs::write(file.path(), "").unwrap();
    let error = service.get::<serde_json::Value>(&["api"], &[]).await.unwrap_err();
    assert!(error.to_string().ends_with("it is empty"), "{error}");
}

#[tokio::test]
async fn a_name_cannot_leave_its_place_in_the_address() {
    let (url, asked) = stand_in(OK);
    let query = [("query", r#"up{a="b&c"}"#)];
    let _: serde_json::Value = service(&url, None).get(&["api", "../../x?y#z"], &query).await.unwrap();
    let asked = asked.recv().unwrap();
    let expected = "GET /behind/api/..%2F..%2Fx%3Fy%23z?query=up%7Ba%3D%22b%26c%22%7D HTTP/1.1\r\n";
    assert!(asked.starts_with(expected), "{asked}");
}

#[track_caller]
fn check(error: &HttpError, text: &str, may_pass: bool) {
    assert_eq!(error.to_string(), text);
    assert_eq!(error.may_pass(), may_pass, "{error:?}");
}

#[tokio::test]
async fn an_error_says_who_failed_and_what_it_said() {
    let failed = async |answer| {
        let (url, _asked) = stand_in(answer);
        service(&url, None).get::<Vec<u8>>(&["api"], &[]).await.unwrap_err()
    };
    let error =
        failed("HTTP/1.1 403 Forbidden\r\ncontent-length: 32\r\n\r\n{\"code\":7,\"message\":\"no\\nright\"}")
            .await;
    check(&error, "a stand-in answered 403 Forbidden: no right", false);
    let error = failed("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy").await;
    check(&error, "a stand-in answered 503 Service Unavailable: busy", true);
    let error =
        failed("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    check(&error, "a stand-in answered 302 Found: ", false);
    let error = failed(OK).await;
    assert_eq!(error.kind(), "answer");
    let error = failed("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[1").await;
    assert_eq!(error.kind(), "unreachable", "{error}");
}

#[tokio::test]
async fn nobody_there_is_an_error_that_may_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let error = service(&url, None).get::<Vec<u8>>(&[], &[]).await.unwrap_err();
    assert!(error.may_pass() && error.to_string().contains("refused"), "{error}");
}

#[test]
fn a_file_without_certificates_is_no_authority() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let url = Url::parse("https://one.example").unwrap();
    let access = Access {
        who: "x",
        url: &url,
        token: None,
        ca_file: Some(file.path()),
        timeout: Duration::from_secs(1),
    };
    assert!(matches!(Service::new(&access), Err(HttpError::Authorities { .. })));
}
