//! What alerts are to an incident: one begins by them, one that is open is joined by them, and one that has ended may be their answer. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::alert::Alert;
use super::super::incident::{Accusation, Incident, Origin, State, Timestamp};
use super::super::target::ServiceName;

/// What was let go for a reason that passes is not looked at again before.
const ASK_AGAIN_AFTER: Duration = Duration::from_mins(2);

/// An incident of which nothing is known but this.
pub fn begin(service: ServiceName, version: String, origin: Origin, now: Timestamp) -> Incident {
    Incident {
        id: 0,
        service,
        version,
        origin,
        accusations: Vec::new(),
        state: State::Received,
        reason: "received".to_owned(),
        entered: BTreeMap::from([(State::Received, now)]),
        deadline: None,
        evidence: BTreeMap::new(),
        plan: None,
        gates: Vec::new(),
        approved_by: None,
        approved_at: None,
        pull_request: None,
        commit: None,
        cleanup: None,
    }
}

/// Alerts of one incident are told apart by their fingerprints; the same one again is counted.
pub fn attach(incident: &mut Incident, alerts: &[Alert], now: Timestamp) {
    for alert in alerts.iter().filter(|alert| alert.is_firing()) {
        match incident.accusations.iter_mut().find(|known| known.fingerprint == alert.fingerprint) {
            Some(known) => {
                known.last_seen = now;
                known.n_seen += 1;
                // When it began stays as it was told first: asked again, Prometheus says when it became pending.
            }
            None => incident.accusations.push(Accusation {
                name: alert.name.clone(),
                fingerprint: alert.fingerprint.clone(),
                labels: alert.labels.clone(),
                starts_at: alert.starts_at,
                first_seen: now,
                last_seen: now,
                n_seen: 1,
            }),
        }
    }
}

/// Whether an ended incident is the answer to these alerts as well: it is about the same version, and ended in a way that only a person or a
/// new commit changes, or it ended just now. One that was let go for a reason that passes is begun anew.
pub fn has_answered(last: &Incident, version: &str, alerts: &[Alert], now: Timestamp) -> bool {
    if last.version != version {
        return false;
    }
    let ended = last.entered.get(&last.state).copied().unwrap_or_default();
    let is_older = alerts.iter().all(|alert| alert.starts_at <= ended);
    match last.state {
        // For a reason that passes: asked again, though not by every copy of one delivery.
        State::Suppressed => is_older && (now - ended).to_std().unwrap_or_default() < ASK_AGAIN_AFTER,
        // The same version can be deployed again, with alerts that begin later.
        State::Recovered | State::Superseded => is_older,
        _ => true,
    }
}
