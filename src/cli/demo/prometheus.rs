//! A stand-in for Prometheus: scrapes the pod that serves, evaluates the alert that ships, and answers the part of Prometheus's API
//! that the controller asks. Nothing of the controller knows that it is none.

mod alert;
mod evaluate;
mod parse;
mod scrape;
mod series;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Value as Answer, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::pods::Serving;
use alert::Rule;
pub use alert::{Firing, ROLLBACK_ALERT};
use evaluate::{Moment, Sample, Value};
use series::Series;

/// How often the pod is scraped and the rule evaluated; in production 15 s and 5 s.
const EVERY: Duration = Duration::from_millis(500);

/// Answers questions.
#[derive(Debug)]
pub struct Prometheus {
    /// Where.
    pub addr: SocketAddr,
    /// What fires.
    pub firing: watch::Receiver<Vec<Firing>>,
    /// How long the alert's condition has to hold before it does.
    pub wait: Duration,
}

/// What it knows. The lock is held for one look or one question.
#[derive(Debug)]
struct Known(Mutex<(Series, Rule)>);

impl Known {
    fn lock(&self) -> MutexGuard<'_, (Series, Rule)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prometheus {
    /// Scrapes and answers until the runtime ends.
    ///
    /// # Errors
    /// If it cannot listen, or not read the rule.
    pub async fn start(serving: watch::Receiver<Serving>) -> anyhow::Result<Self> {
        let rule = Rule::shipped()?;
        let wait = rule.wait();
        let known = Arc::new(Known(Mutex::new((Series::default(), rule))));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let router = router(Arc::clone(&known));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (tell, firing) = watch::channel(Vec::new());
        tokio::spawn(look(known, serving, tell));
        Ok(Self { addr, firing, wait })
    }
}

fn router(known: Arc<Known>) -> Router {
    Router::new().route("/api/v1/query", get(query)).route("/api/v1/alerts", get(alerts)).with_state(known)
}

async fn look(known: Arc<Known>, serving: watch::Receiver<Serving>, tell: watch::Sender<Vec<Firing>>) {
    let (client, mut ticks) = (reqwest::Client::new(), interval(EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        ticks.tick().await;
        let pod = serving.borrow().admin;
        let readings = scrape::scrape(&client, pod).await;
        let at = Utc::now().timestamp_millis();
        let (series, rule) = &mut *known.lock();
        if let Some(gone) = last.replace(pod).filter(|last| *last != pod) {
            series.take_in(&gone.to_string(), at, Vec::new());
        }
        series.take_in(&pod.to_string(), at, readings);
        // The rule is one that has been read, and its labels are ours: what cannot be computed is a bug, and no alert.
        if let Err(problem) = rule.evaluate(&Moment { series, at }) {
            tracing::error!(problem, "the stand-in for Prometheus cannot evaluate the alert");
        }
        series.take_in("rules", at, rule.series());
        tell.send_replace(rule.firing());
    }
}

#[derive(Deserialize)]
struct Asked {
    query: String,
    /// Seconds; absent: now.
    time: Option<f64>,
}

async fn query(State(known): State<Arc<Known>>, Query(asked): Query<Asked>) -> Response {
    #[allow(clippy::cast_possible_truncation, reason = "seconds of Unix time")]
    let at = asked.time.map_or_else(|| Utc::now().timestamp_millis(), |time| (time * 1000.0).round() as i64);
    let (series, _) = &*known.lock();
    let found = parse::parse(&asked.query).and_then(|expr| Moment { series, at }.evaluate(&expr));
    match found.and_then(|value| vector(value, at)) {
        Ok(result) => success(&json!({ "resultType": "vector", "result": result })),
        Err(problem) => {
            let error = format!("the demo's stand-in for Prometheus: {problem}");
            let body = json!({ "status": "error", "errorType": "bad_data", "error": error });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    }
}

fn vector(value: Value, at: i64) -> Result<Vec<Answer>, String> {
    let Value::Vector(samples) = value else { return Err("only vectors are answered here".to_owned()) };
    let time = at as f64 / 1000.0;
    let one = |Sample { labels, value, .. }| json!({ "metric": labels, "value": [time, format!("{value}")] });
    Ok(samples.into_iter().map(one).collect())
}

async fn alerts(State(known): State<Arc<Known>>) -> Response {
    let (_, rule) = &*known.lock();
    let one = |Firing { labels, active_at, .. }| {
        let active_at = moment(active_at);
        json!({ "labels": labels, "annotations": {}, "state": "firing", "activeAt": active_at, "value": "1" })
    };
    success(&json!({ "alerts": rule.firing().into_iter().map(one).collect::<Vec<_>>() }))
}

fn success(data: &Answer) -> Response {
    Json(json!({ "status": "success", "data": data })).into_response()
}

/// As Prometheus and Alertmanager write a time.
pub fn moment(milliseconds: i64) -> String {
    let at = DateTime::from_timestamp_millis(milliseconds).unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests;
