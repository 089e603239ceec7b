//! What Alertmanager and Grafana deliver: groups of alerts. A delivery is a hint, so nothing of it is believed before Prometheus has been
//! asked; but it is read as it comes, within bounds.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde::Deserialize;

use super::incident::Timestamp;
use super::target::ServiceName;

/// Alerts of one payload that are looked at. A group as large as this is no model's.
const MAX_ALERTS: usize = 20_000;
/// Of one alert.
const MAX_LABELS: usize = 64;
/// Of a label's name and of its value; the longest names of Kubernetes have 253.
const MAX_LABEL_CHARS: usize = 256;

/// An alert, with labels that can be written anywhere: no control characters, and no longer than they may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// `alertname`.
    pub name: String,
    /// Of the label set, as Alertmanager computes it.
    pub fingerprint: String,
    /// All of its labels.
    pub labels: BTreeMap<String, String>,
    /// Since when.
    pub starts_at: Timestamp,
    is_firing: bool,
}

/// What came in one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The alerts, firing and resolved.
    pub alerts: Vec<Alert>,
    /// How many were left out by the sender, or by us.
    pub n_truncated: u64,
}

/// Why a payload was not read.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Not JSON, or not of this shape.
    #[error("this is not a webhook payload of Alertmanager or Grafana")]
    Shape(#[from] serde_json::Error),
    /// A payload of another version, or one that somebody has made up (`payload` of Alertmanager 0.32).
    #[error("the payload has version {0:?}; this receiver reads Alertmanager's 4 and Grafana's 1")]
    Version(String),
}

/// Alertmanager's payload (version 4) and Grafana's (version 1), which has the same fields and more.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDelivery {
    version: String,
    #[serde(default)]
    truncated_alerts: u64,
    alerts: Vec<RawAlert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAlert {
    status: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    starts_at: Timestamp,
    #[serde(default)]
    fingerprint: String,
}

impl Delivery {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`DeliveryError`] if it is none.
    pub fn parse(body: &[u8]) -> Result<Self, DeliveryError> {
        let raw: RawDelivery = serde_json::from_slice(body)?;
        if !matches!(&*raw.version, "4" | "1") {
            return Err(DeliveryError::Version(clean(&raw.version)));
        }
        let n_over = raw.alerts.len().saturating_sub(MAX_ALERTS) as u64;
        let alerts = raw.alerts.into_iter().take(MAX_ALERTS).map(Alert::from).collect();
        Ok(Self { alerts, n_truncated: raw.truncated_alerts.saturating_add(n_over) })
    }
}

impl From<RawAlert> for Alert {
    fn from(raw: RawAlert) -> Self {
        let mut alert = Self::firing(&raw.labels, raw.starts_at);
        alert.is_firing = raw.status == "firing";
        let is_hex = (1..=64).contains(&raw.fingerprint.len())
            && raw.fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex {
            alert.fingerprint = raw.fingerprint;
        }
        alert
    }
}

impl Alert {
    /// One that fires, with these labels.
    pub fn firing(labels: &BTreeMap<String, String>, starts_at: Timestamp) -> Self {
        let labels: BTreeMap<_, _> =
            labels.iter().take(MAX_LABELS).map(|(name, value)| (clean(name), clean(value))).collect();
        Self {
            name: labels.get("alertname").cloned().unwrap_or_default(),
            fingerprint: fingerprint(&labels),
            labels,
            // Go's zero time, where nothing is known.
            starts_at: starts_at.max(DateTime::UNIX_EPOCH),
            is_firing: true,
        }
    }

    /// Whether it fires. One that is resolved proves nothing: its series may only have gone.
    pub const fn is_firing(&self) -> bool {
        self.is_firing
    }

    /// The service and version that it wants rolled back, if it wants that.
    pub fn accused(&self) -> Option<(ServiceName, String)> {
        let label = |name: &str| self.labels.get(name).map_or("", String::as_str);
        if label("driftd_action") != "rollback" || label("version").is_empty() {
            return None;
        }
        let service = ServiceName::new(label("namespace"), label("inferenceservice")).ok()?;
        Some((service, label("version").to_owned()))
    }
}

/// What can stand in a log line, a trailer and a page.
fn clean(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(MAX_LABEL_CHARS).collect()
}

/// Alertmanager's name of a label set: FNV-1a over names and values in order, each ended by 0xFF. So an alert that was found in
/// Prometheus and the same one as it is delivered have one name.
fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    let (offset, prime) = (0xcbf2_9ce4_8422_2325_u64, 0x0000_0100_0000_01b3_u64);
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(prime);
    let texts = labels.iter().flat_map(|(name, value)| [name, value]);
    let hash = texts.fold(offset, |hash, text| add(text.as_bytes().iter().fold(hash, add), &0xFF));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
