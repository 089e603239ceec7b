//! Is it so? An alert's payload is a hint; Prometheus is asked.

use tokio::time::sleep;

use super::super::incident::{Incident, Origin, State};
use super::super::prometheus::Answer;
use super::adopt::pushed_by_another;
use super::case::{Turn, is_late};
use super::{Context, LOOK_EVERY};

/// Asks until Prometheus has said yes or no, or the decision is too old.
pub async fn confirm(context: &Context, incident: &Incident) -> Turn {
    if let Origin::Person { by, .. } = &incident.origin {
        return Turn::to(State::Resolving, format!("asked for by {by}"));
    }
    let names: Vec<&str> = incident.accusations.iter().map(|accusation| &*accusation.name).collect();
    loop {
        let why = match context.witness.still_accused(&incident.service, &incident.version, &names).await {
            Answer::Yes(evidence) => {
                return Turn::to(State::Resolving, "Prometheus confirms it").with(move |incident| {
                    incident.evidence.insert("confirmed".to_owned(), evidence);
                });
            }
            Answer::No(why) => {
                if let Some(turn) = pushed_by_another(context, incident).await {
                    return turn;
                }
                return Turn::to(State::Suppressed, format!("Prometheus does not confirm it: {why}"));
            }
            Answer::Unknown(why) => why,
        };
        if let Some(turn) = pushed_by_another(context, incident).await {
            return turn;
        }
        if is_late(incident) {
            return Turn::to(State::NeedsHuman, format!("Prometheus could not confirm it: {why}"));
        }
        tracing::warn!(why, "Prometheus cannot confirm it yet, asking again");
        sleep(LOOK_EVERY).await;
    }
}
