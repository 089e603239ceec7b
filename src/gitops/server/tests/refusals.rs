//! Whatever is refused is refused in one shape.

use super::*;

/// The words of a refusal, which is JSON of the documented shape.
async fn refused(world: &World, request: Request<Body>, status: StatusCode) -> String {
    let what = format!("{} {}", request.method(), request.uri());
    let response = world.call(request).await;
    assert_eq!(response.status(), status, "{what}");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json", "{what}");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{what}: {body}");
    let text = body["error"].as_str().and_then(|text| text.strip_prefix("driftd: "));
    text.unwrap_or_else(|| panic!("{what}: {body}")).to_owned()
}

fn by_ann(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("authorization", format!("Bearer {ANN}"))
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_an_error_and_says_which_key() {
    let world = World::start().await;
    for (path, said) in [
        ("/api/v1/incidents?limit=many", "limit"),
        ("/api/v1/incidents?servce=prod/credit", "unknown field `servce`"),
        ("/api/v1/incidents?service=credit", "`credit` is not NAMESPACE/NAME"),
        ("/api/v1/incidents/1?there=true", "unknown field `there`"),
        ("/api/v1/pauses?here=perhaps", "here"),
        ("/api/v1/verify?all=true", "unknown field `all`"),
        ("/api/v1/status?all=true", "unknown field `all`"),
        ("/api/v1/incidents/%FF", "UTF-8"),
    ] {
        let request = by_ann(Method::GET, path).body(Body::empty()).unwrap();
        let text = refused(&world, request, StatusCode::BAD_REQUEST).await;
        assert!(text.contains(said), "{path}: {text}, expected {said}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_understood_is_an_error_in_the_same_shape() {
    let world = World::start().await;
    let whole = json!({"service": "prod/credit"}).to_string();
    for (content_type, body, status, said) in [
        ("text/plain", &*whole, StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/json"),
        ("application/json", "{", StatusCode::BAD_REQUEST, "JSON"),
        ("application/json", "{}", StatusCode::UNPROCESSABLE_ENTITY, "`service`"),
        (
            "application/json",
            r#"{"service": "prod/credit", "dry-run": true}"#,
            StatusCode::UNPROCESSABLE_ENTITY,
            "`dry-run`",
        ),
        ("application/json", &" ".repeat((64 << 10) + 1), StatusCode::PAYLOAD_TOO_LARGE, "length limit"),
    ] {
        let request = by_ann(Method::POST, "/api/v1/rollback").header("content-type", content_type);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let text = refused(&world, request, status).await;
        assert!(text.contains(said), "{text}, expected {said}");
    }
    assert_eq!(world.n_incidents().await, 0);
}

#[tokio::test]
async fn a_dry_run_that_is_asked_for_in_the_query_is_no_rollback() {
    let world = World::start().await;
    let body = json!({"service": "prod/credit"}).to_string();
    let request = by_ann(Method::POST, "/api/v1/rollback?dry_run=true");
    let request = request.header("content-type", "application/json").body(Body::from(body)).unwrap();
    let text = refused(&world, request, StatusCode::BAD_REQUEST).await;
    assert!(text.contains("unknown field `dry_run`"), "{text}");
    assert_eq!(world.n_incidents().await, 0);
}

#[tokio::test]
async fn a_method_and_a_path_that_are_not_there_are_told_in_the_same_shape() {
    let world = World::start().await;
    let request = || by_ann(Method::GET, "/api/v1/rollback").body(Body::empty()).unwrap();
    refused(&world, request(), StatusCode::METHOD_NOT_ALLOWED).await;
    assert_eq!(world.call(request()).await.headers()[header::ALLOW], "POST");
    let request = by_ann(Method::GET, "/api/v1/rollbacks").body(Body::empty()).unwrap();
    refused(&world, request, StatusCode::NOT_FOUND).await;
    let request = Request::get("/api/v1/status").body(Body::empty()).unwrap();
    refused(&world, request, StatusCode::UNAUTHORIZED).await;
}
