//! One address for metrics and API, whichever pod serves: what a Service is in Kubernetes.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use reqwest::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::pods::Serving;

type Shared = (Client, watch::Receiver<Serving>);

/// Answers at `addr` until the runtime ends. Returns where that is.
///
/// # Errors
/// If it cannot listen there.
pub async fn start(addr: SocketAddr, serving: watch::Receiver<Serving>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(addr).await.with_context(|| {
        format!("cannot listen on {addr} (`--admin`); is another process there, or the address not of this machine?")
    })?;
    let addr = listener.local_addr()?;
    let router = Router::new().fallback(answer).with_state((Client::new(), serving));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(addr)
}

async fn answer(State((client, serving)): State<Shared>, request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let url = format!("http://{}{path}", serving.borrow().admin);
    let asked = client.request(request.method().clone(), url);
    let asked = async {
        let answer = asked.send().await?;
        let (status, head) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
        Ok::<_, reqwest::Error>((status, head, answer.bytes().await?))
    };
    match asked.await {
        Ok((status, Some(kind), body)) => (status, [(header::CONTENT_TYPE, kind)], body).into_response(),
        Ok((status, None, body)) => (status, body).into_response(),
        Err(error) => {
            (StatusCode::BAD_GATEWAY, format!("the pod does not answer: {error}\n")).into_response()
        }
    }
}
