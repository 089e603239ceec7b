//! The demo's callers: steady requests, whose applicants change when the story says so. They call the service, whichever pod it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use hdrhistogram::Histogram;
use reqwest::Client;
use serde_json::Value;
use tokio::sync::{Mutex, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::pods::Serving;
use super::server::{InferRequest, InferResponse, Tensor};
use super::world::Applicant;

/// Rows of one request.
pub const ROWS_PER_REQUEST: usize = 5;
/// Requests a second, over all callers.
pub const REQUESTS_PER_SECOND: u32 = 200;
/// Callers, each with its own connection.
const N_CALLERS: u32 = 4;

/// What the callers send; flipped while they run.
#[derive(Debug, Default)]
pub struct Switches {
    /// Income arrives in cents instead of euros.
    pub income_in_cents: AtomicBool,
    /// Applicants are older.
    pub older: AtomicBool,
}

/// What the callers saw.
#[derive(Debug)]
pub struct Tally {
    /// Rows answered.
    pub n_rows: AtomicU64,
    /// Requests that failed, whatever the reason.
    pub n_failed: AtomicU64,
    /// Time from request to answer, microseconds.
    pub micros: Mutex<Histogram<u64>>,
}

/// Starts the callers; they end with the runtime.
pub fn start(serving: &watch::Receiver<Serving>, seed: u64, switches: &Arc<Switches>, tally: &Arc<Tally>) {
    let client = Client::new();
    for caller in 0..N_CALLERS {
        let rng = Rng::with_seed(seed.wrapping_add(1 + u64::from(caller)));
        let (client, serving) = (client.clone(), serving.clone());
        let (switches, tally) = (Arc::clone(switches), Arc::clone(tally));
        tokio::spawn(async move { call(&client, &serving, rng, &switches, &tally).await });
    }
}

async fn call(
    client: &Client,
    serving: &watch::Receiver<Serving>,
    mut rng: Rng,
    switches: &Switches,
    tally: &Tally,
) {
    let mut ticks = interval(Duration::from_secs(1) * N_CALLERS / REQUESTS_PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for id in 0_u64.. {
        ticks.tick().await;
        let cents = switches.income_in_cents.load(Ordering::Relaxed);
        let older = if switches.older.load(Ordering::Relaxed) { 8.0 } else { 0.0 };
        let applicants: Vec<_> = (0..ROWS_PER_REQUEST).map(|_| Applicant::draw(&mut rng, older)).collect();
        let request = request(id, &applicants, cents);
        let url = format!("http://{}/v2/models/credit/infer", serving.borrow().proxy);
        let start = Instant::now();
        match infer(client, &url, &request).await {
            Ok(n_rows) => {
                tally.n_rows.fetch_add(n_rows as u64, Ordering::Relaxed);
                let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                tally.micros.lock().await.saturating_record(micros);
            }
            Err(_) => {
                tally.n_failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Sends one request and returns the rows that were answered.
pub async fn infer(client: &Client, url: &str, request: &InferRequest) -> reqwest::Result<usize> {
    let response = client.post(url).json(request).send().await?.error_for_status()?;
    let answer: InferResponse = response.json().await?;
    Ok(answer.outputs.first().map_or(0, |tensor| tensor.data.len()))
}

/// One V2 request with a tensor a column.
pub fn request(id: u64, applicants: &[Applicant], income_in_cents: bool) -> InferRequest {
    let column = |name: &str, datatype: &str, value: &dyn Fn(&Applicant) -> Value| {
        Tensor::column(name, datatype, applicants.iter().map(value).collect())
    };
    let unit = if income_in_cents { 100.0 } else { 1.0 };
    InferRequest {
        id: id.to_string(),
        inputs: vec![
            column("age", "INT64", &|row| row.age.into()),
            column("income_eur", "FP64", &|row| (row.income_eur * unit).into()),
            column("amount_eur", "FP64", &|row| row.amount_eur.into()),
            column("duration_months", "INT64", &|row| row.duration_months.into()),
            column("region", "BYTES", &|row| row.region.into()),
            column("employed", "BOOL", &|row| row.employed.into()),
        ],
    }
}
