//! The questions. Each answer names the figures that it rests on; whatever keeps Prometheus from answering is "unknown".

use std::time::Duration;

use super::facts::{Found, step_of};
use super::{Answer, Prometheus, ROLLBACK, Sample, matcher, matcher_any, selector};
use crate::gitops::incident::Timestamp;
use crate::gitops::target::ServiceName;

/// The alert of the shipped rules whose condition is [`Prometheus::conditions`].
const SHIPPED_ALERT: &str = "DriftdModelDrift";

/// More than half of the pods that have a verdict must agree, as in the shipped rules.
const MAJORITY: f64 = 0.5;

/// A tap that does not count, or not understand, more than this share of its exchanges is no witness; as in the shipped rules.
const MAX_LOST_SHARE: f64 = 0.01;

/// What keeps Prometheus from answering is not an answer.
fn known(answer: Found<Answer>) -> Answer {
    answer.unwrap_or_else(|error| Answer::Unknown(error.to_string()))
}

impl Prometheus {
    /// Whether the version is accused now, by one of these alerts: it fires here, and fresh series of the version stand behind
    /// it. An alert that no rule of this Prometheus knows (Grafana's own) is confirmed by the condition of the shipped rule.
    pub async fn still_accused(&self, service: &ServiceName, version: &str, alerts: &[&str]) -> Answer {
        known(self.try_still_accused(service, version, alerts).await)
    }

    async fn try_still_accused(
        &self,
        service: &ServiceName,
        version: &str,
        alerts: &[&str],
    ) -> Found<Answer> {
        let of_version = matcher("version", "=", version);
        let n_pods = self.n_pods(service, version).await?;
        if n_pods == 0 {
            return Ok(Answer::Unknown(format!("no pod with {version} was scraped lately")));
        }
        let more = [of_version, matcher_any("alertname", alerts), matcher(ROLLBACK.0, "=", ROLLBACK.1)];
        let states = self.query(&selector("ALERTS", service, &more)).await?;
        let in_state = |state: &str| states.iter().find(|alert| alert.label("alertstate") == state);
        let conditions = self.conditions(service, version).await?;
        let condition = conditions.iter().max_by(|a, b| a.value.total_cmp(&b.value));
        let holds = condition.map(|condition| condition.value > MAJORITY);
        let figures = condition.map_or_else(
            || "no verdict".to_owned(),
            |found| {
                format!("window {}: {:.0} % of {n_pods} pods", found.label("window"), found.value * 100.0)
            },
        );
        Ok(match (in_state("firing"), holds) {
            (Some(alert), Some(false)) if alert.label("alertname") == SHIPPED_ALERT => Answer::Unknown(
                format!("{SHIPPED_ALERT} fires, but its condition has just ended ({figures})"),
            ),
            (Some(alert), _) => Answer::Yes(format!("{} fires; {figures}", alert.label("alertname"))),
            (None, _) if in_state("pending").is_some() => {
                Answer::Unknown(format!("the alert is pending again; {figures}"))
            }
            (None, Some(true)) => {
                Answer::Yes(format!("no rule here has fired, and the condition holds; {figures}"))
            }
            (None, Some(false)) => Answer::No(format!("the alert does not fire; {figures}")),
            (None, None) => {
                Answer::Unknown("the alert does not fire here, and there is no verdict".to_owned())
            }
        })
    }

    /// Whether the version serves well by now: its own pods, since `since`, have counted enough rows, have a verdict, and it is
    /// "not drifted". Predictions that drift with inputs or schema are neither: that is not the version's doing.
    pub async fn is_well(
        &self,
        service: &ServiceName,
        version: &str,
        since: Timestamp,
        min_rows: u64,
    ) -> Answer {
        known(self.try_is_well(service, version, since, min_rows).await)
    }

    async fn try_is_well(
        &self,
        service: &ServiceName,
        version: &str,
        since: Timestamp,
        min_rows: u64,
    ) -> Found<Answer> {
        let of_version = matcher("version", "=", version);
        let firing =
            [of_version.clone(), matcher("alertstate", "=", "firing"), matcher(ROLLBACK.0, "=", ROLLBACK.1)];
        if let Some(alert) = self.query(&selector("ALERTS", service, &firing)).await?.first() {
            return Ok(Answer::No(format!("{} fires for {version}", alert.label("alertname"))));
        }
        let n_pods = self.n_pods(service, version).await?;
        if n_pods == 0 {
            return Ok(Answer::Unknown(format!("no pod with {version} was scraped lately")));
        }
        let verdicts = self.verdicts(service, version).await?;
        let drifted = |sample: &&Sample| sample.value > MAJORITY;
        let figures = |sample: &Sample| {
            format!(
                "window {}: cause {} in {:.0} % of {n_pods} pods",
                sample.label("window"),
                sample.label("cause"),
                sample.value * 100.0
            )
        };
        if let Some(model) = verdicts.iter().filter(drifted).find(|verdict| verdict.label("cause") == "model")
        {
            return Ok(Answer::No(figures(model)));
        }
        if let Some(other) = verdicts.iter().find(drifted) {
            return Ok(Answer::Unknown(format!("{version} drifts, not by itself; {}", figures(other))));
        }
        let role = if self.has_predictions(service, version).await? { "prediction" } else { "feature" };
        let rows = self.rows_since(service, version, role, since).await?;
        if rows < min_rows {
            return Ok(Answer::Unknown(format!("{rows} of {min_rows} rows so far, in {n_pods} pods")));
        }
        let judged = [of_version, matcher("role", "=", role)];
        let judged = self.fresh(&selector("driftd_drifted", service, &judged));
        let judged = self.query(&format!("avg by (window) ({judged})")).await?;
        let windows = judged.iter().map(|sample| sample.label("window")).collect::<Vec<_>>().join(", ");
        if verdicts.is_empty() || windows.is_empty() {
            return Ok(Answer::Unknown(format!("{rows} rows, and no verdict on them yet")));
        }
        Ok(Answer::Yes(format!("{rows} rows in {n_pods} pods, nothing drifted in window {windows}")))
    }

    /// Whether the change came with the version: it is younger than `window`, and the one before it was quiet for `span` until it
    /// was last seen, which for a canary is now. What drifts under both versions is not healed by going from one to the other.
    pub async fn came_with(
        &self,
        service: &ServiceName,
        accused: &str,
        previous: &str,
        window: Duration,
        span: Duration,
    ) -> Answer {
        known(self.try_came_with(service, accused, previous, window, span).await)
    }

    async fn try_came_with(
        &self,
        service: &ServiceName,
        accused: &str,
        previous: &str,
        window: Duration,
        span: Duration,
    ) -> Found<Answer> {
        let Some(seen) = self.seen(service, accused, window).await? else {
            return Ok(Answer::Unknown(format!("{accused} was not seen at all")));
        };
        if seen.since_begin < 2 * step_of(window) {
            let window = humantime::format_duration(window);
            return Ok(Answer::No(format!("{accused} serves for longer than {window}")));
        }
        let Some(before) = self.seen(service, previous, window).await? else {
            return Ok(Answer::Unknown(format!("{previous}, the version before, was not seen")));
        };
        if before.first > seen.first {
            return Ok(Answer::Unknown(format!("{previous} was first seen after {accused}")));
        }
        let causes = self.worst(service, previous, span, before.last).await?;
        let Some(worst) = causes.iter().max_by(|a, b| a.value.total_cmp(&b.value)) else {
            return Ok(Answer::Unknown(format!("{previous}, the version before, had no verdict")));
        };
        let first = seen.first.format("%Y-%m-%dT%H:%M:%SZ");
        if worst.value > MAJORITY {
            let cause = worst.label("cause");
            return Ok(Answer::No(format!(
                "{previous}, the version before, drifted as well (cause {cause})"
            )));
        }
        Ok(Answer::Yes(format!("{accused} serves since {first}; {previous} was quiet before it")))
    }

    /// Whether the taps of the version are to be trusted: they count what they see, understand it, and judge it by a baseline of
    /// the version's own.
    pub async fn is_trusted(&self, service: &ServiceName, version: &str) -> Answer {
        known(self.try_is_trusted(service, version).await)
    }

    async fn try_is_trusted(&self, service: &ServiceName, version: &str) -> Found<Answer> {
        let of_version = [matcher("version", "=", version)];
        let info = self.fresh(&selector("driftd_model_info", service, &of_version));
        let baselines = self.fresh(&selector("driftd_baseline_info", service, &of_version));
        let baselines = self.query(&format!("count by (borrowed) ({baselines})")).await?;
        if baselines.is_empty() {
            return Ok(Answer::Unknown(format!("no pod with {version} shows a baseline")));
        }
        if baselines.iter().any(|found| found.label("borrowed") == "true") {
            return Ok(Answer::No(format!("{version} is judged by the baseline of another version")));
        }
        let of_taps = format!("and on (job, instance) {info}");
        let errors = format!("sum by (reason) (increase(driftd_baseline_errors_total[5m]) {of_taps})");
        if let Some(found) = self.query(&errors).await?.iter().find(|found| found.value > 0.0) {
            return Ok(Answer::No(format!("baselines cannot be loaded: {}", found.label("reason"))));
        }
        let exchanges = "rate(driftd_tap_exchanges_total[5m])";
        let mirrored = "rate(driftd_tap_exchanges_total{outcome=\"mirrored\"}[5m])";
        let dropped = format!(
            "max by (reason) ((sum by (job, instance, reason) (rate(driftd_tap_dropped_total[5m])) \
             / ignoring (reason) group_left () sum by (job, instance) ({exchanges})) {of_taps})"
        );
        let misread = format!(
            "max by (reason) ((sum by (job, instance, reason) (rate(driftd_decode_errors_total[5m])) \
             / ignoring (reason) group_left () sum by (job, instance) ({mirrored})) {of_taps})"
        );
        for (what, query) in [("does not count", dropped), ("does not understand", misread)] {
            let found = self.query(&query).await?;
            if let Some(found) = found.iter().find(|found| found.value > MAX_LOST_SHARE) {
                let share = found.value * 100.0;
                return Ok(Answer::No(format!(
                    "a tap {what} {share:.1} % of its exchanges: {}",
                    found.label("reason")
                )));
            }
        }
        Ok(Answer::Yes("taps count what they see, by the version's own baseline".to_owned()))
    }
}
