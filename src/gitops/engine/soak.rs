//! Which versions are good: those that serve alone, for long enough, with enough rows, and nobody accuses them. Written down while it
//! happens, since afterwards nobody can tell.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use tokio::time::sleep;

use super::super::artifact::{self, Artifact};
use super::super::choose::Verdict;
use super::super::config::{Policy, TargetConfig};
use super::super::incident::Timestamp;
use super::super::prometheus::ServingVersion;
use super::super::target::ServiceName;
use super::Context;
use super::resolve::locate_at;
use crate::baseline::source::hash_of;
use crate::net::chain;

/// A version that is being watched.
#[derive(Clone, Debug, PartialEq)]
struct Watched {
    uri: String,
    since: Timestamp,
    rows_then: u64,
}

/// Looks at all targets, a few times in every soak.
pub async fn watch(context: &Context) {
    let mut watched = BTreeMap::new();
    let every = (context.config.policy.soak.0 / 10).clamp(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        for target in &context.config.targets {
            if let Err(error) = look(context, target, &mut watched).await {
                tracing::debug!(service = %target.service, error, "nobody can say how the version does");
                watched.remove(&target.service);
            }
        }
        sleep(every).await;
    }
}

async fn look(
    context: &Context,
    target: &TargetConfig,
    watched: &mut BTreeMap<ServiceName, Watched>,
) -> Result<(), String> {
    let service = &target.service;
    let tip = context.repository.tip().await.map_err(|error| chain(&error))?;
    let located = locate_at(context, &tip, target).await.map_err(|error| chain(&error))??;
    let uri = located.service.uri.ok_or("the manifest has no storageUri")?.value;
    let ledger = context.book.ledger(service).await;
    if ledger.good.contains_key(&uri) || ledger.denied.contains_key(&uri) {
        watched.remove(service);
        return Ok(());
    }
    let serving = context.witness.serving(service).await?;
    let n_rows = rows_of(&uri, &serving)?;
    if context.witness.accused_services().await?.iter().any(|(accused, _)| accused == service) {
        return Err("it is accused".to_owned());
    }
    let now = Utc::now();
    let state = watched.entry(service.clone()).or_insert_with(|| Watched {
        uri: uri.clone(),
        since: now,
        rows_then: n_rows,
    });
    // A pod that has gone took its rows along: what is known of the version begins anew.
    if state.uri != uri || n_rows < state.rows_then {
        *state = Watched { uri: uri.clone(), since: now, rows_then: n_rows };
    }
    if let Some(n_seen) = has_soaked(state, n_rows, now, &context.config.policy) {
        let looked = if context.config.policy.check_artifacts {
            artifact::look(&uri).await
        } else {
            Artifact::Unknown("policy.check_artifacts is false".to_owned())
        };
        let digest = match looked {
            Artifact::Digest(digest) => Some(digest),
            Artifact::Unknown(_) => None,
            Artifact::Missing => return Err(format!("{uri} serves, and is not in its store any more")),
        };
        let verdict = Verdict { served_since: state.since, at: now, n_rows: n_seen, digest };
        tracing::info!(%service, uri, n_rows = n_seen, "a good version");
        context.book.approve(context, service, &uri, verdict).await;
    }
    Ok(())
}

/// Rows of the version, if all pods that say what they serve serve it.
fn rows_of(uri: &str, serving: &[ServingVersion]) -> Result<u64, String> {
    let hash = hash_of(uri.trim_end_matches('/'));
    match serving.iter().find(|each| each.storage_uri_hash != hash) {
        Some(other) => Err(format!("version {} is served as well", other.version)),
        None if serving.is_empty() => Err("no pod says what it serves".to_owned()),
        None => Ok(serving.iter().map(|each| each.rows).sum()),
    }
}

fn has_soaked(state: &Watched, n_rows: u64, now: Timestamp, policy: &Policy) -> Option<u64> {
    let served = (now - state.since).to_std().unwrap_or_default();
    let n_seen = n_rows.saturating_sub(state.rows_then);
    (served >= policy.soak.0 && n_seen >= policy.soak_rows).then_some(n_seen)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn serving(uri: &str, rows: u64) -> ServingVersion {
        ServingVersion {
            model: "credit".into(),
            version: "1".into(),
            storage_uri_hash: hash_of(uri),
            component: "predictor".into(),
            revision: String::new(),
            n_pods: 1,
            rows,
        }
    }

    #[test]
    fn a_version_that_serves_beside_another_is_not_soaking() {
        assert_eq!(rows_of("s3://m/1", &[serving("s3://m/1", 5), serving("s3://m/1", 6)]), Ok(11));
        assert!(rows_of("s3://m/1", &[serving("s3://m/1", 5), serving("s3://m/2", 6)]).is_err());
        assert!(rows_of("s3://m/1", &[]).is_err(), "no data is not good");
    }

    #[test]
    fn a_version_is_good_after_time_and_rows() {
        let now = Utc::now();
        let (policy, long) = (Policy::default(), TimeDelta::minutes(31));
        let state = Watched { uri: "s3://m/1".into(), since: now - long, rows_then: 100 };
        assert_eq!(has_soaked(&state, 1100, now, &policy), Some(1000));
        assert_eq!(has_soaked(&state, 1099, now, &policy), None);
        assert_eq!(has_soaked(&Watched { since: now, ..state }, 5000, now, &policy), None);
    }
}
