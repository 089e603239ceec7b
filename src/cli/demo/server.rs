//! The demo's model server: Open Inference Protocol V2 over HTTP, one version of a model.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::world::{Applicant, Scorecard};

/// A V2 request: one tensor a column.
#[derive(Debug, Serialize, Deserialize)]
pub struct InferRequest {
    /// Echoed in the response.
    pub id: String,
    /// The columns.
    pub inputs: Vec<Tensor>,
}

/// A V2 response.
#[derive(Debug, Serialize, Deserialize)]
pub struct InferResponse {
    /// The model.
    pub model_name: String,
    /// The request's.
    pub id: String,
    /// One tensor: `default_risk`.
    pub outputs: Vec<Tensor>,
}

/// One column of a request or response.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tensor {
    /// The column's name.
    pub name: String,
    /// `[n_rows]`.
    pub shape: Vec<usize>,
    /// As the protocol names types.
    pub datatype: String,
    /// One a row.
    pub data: Vec<Value>,
}

impl Tensor {
    /// A column of `data.len()` rows.
    pub fn column(name: &str, datatype: &str, data: Vec<Value>) -> Self {
        Self { name: name.to_owned(), shape: vec![data.len()], datatype: datatype.to_owned(), data }
    }
}

/// Serves `model` on a free port until its task is aborted; returns the port's address, and the task.
///
/// # Errors
/// If it cannot listen.
pub async fn start(model: Scorecard) -> io::Result<(SocketAddr, JoinHandle<io::Result<()>>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    let router = Router::new()
        .route("/v2/health/ready", get(|| async { Json(serde_json::json!({"ready": true})) }))
        .route("/v2/models/credit/infer", post(infer))
        .with_state(model);
    Ok((addr, tokio::spawn(async move { axum::serve(listener, router).await })))
}

async fn infer(
    State(model): State<Scorecard>,
    Json(request): Json<InferRequest>,
) -> Result<Json<InferResponse>, (StatusCode, Json<Value>)> {
    let Some(applicants) = rows(&request.inputs) else {
        let text = "columns missing or of unequal length";
        return Err((StatusCode::BAD_REQUEST, Json(serde_json::json!({"error": text}))));
    };
    let scores = applicants.iter().map(|applicant| model.score(applicant).into()).collect();
    Ok(Json(InferResponse {
        model_name: "credit".to_owned(),
        id: request.id,
        outputs: vec![Tensor::column("default_risk", "FP64", scores)],
    }))
}

fn rows(inputs: &[Tensor]) -> Option<Vec<Applicant>> {
    let column = |name: &str| inputs.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.data);
    let (age, income) = (column("age")?, column("income_eur")?);
    let (amount, employed) = (column("amount_eur")?, column("employed")?);
    let row = |idx: usize| {
        Some(Applicant {
            age: age.get(idx)?.as_f64()?,
            income_eur: income.get(idx)?.as_f64()?,
            amount_eur: amount.get(idx)?.as_f64()?,
            employed: employed.get(idx)?.as_bool()?,
            duration_months: 0, // watched, but not used by this model
            region: "",
        })
    };
    (0..age.len()).map(row).collect()
}
