//! The demo's model server: Open Inference Protocol V2 over HTTP, two versions of one model, one of them broken.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;

use super::world::{Applicant, MISEXPORTED, TRAINED};

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
    /// Its version.
    pub model_version: String,
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

/// Serves on a free port until the runtime ends; returns the port's address.
pub async fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    let router = Router::new()
        .route("/v2/health/ready", get(|| async { Json(serde_json::json!({"ready": true})) }))
        .route("/v2/models/credit/versions/{version}/infer", post(infer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(addr)
}

async fn infer(
    Path(version): Path<String>,
    Json(request): Json<InferRequest>,
) -> Result<Json<InferResponse>, (StatusCode, Json<Value>)> {
    let refused = |status, text: &str| Err((status, Json(serde_json::json!({"error": text}))));
    let scorecard = match version.as_str() {
        "1" => TRAINED,
        "2" => MISEXPORTED,
        _ => return refused(StatusCode::NOT_FOUND, "no such version"),
    };
    let Some(applicants) = rows(&request.inputs) else {
        return refused(StatusCode::BAD_REQUEST, "columns missing or of unequal length");
    };
    let scores = applicants.iter().map(|applicant| scorecard.score(applicant).into()).collect();
    Ok(Json(InferResponse {
        model_name: "credit".to_owned(),
        model_version: version,
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
