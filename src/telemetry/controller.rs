//! Series of the controller: what it was told, where its incidents are, how long each stage takes, what holds it back.

mod labels;

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

pub use labels::{AlertOutcome, IncidentOutcome, OpenState, PushResult, RefreshResult, Stage};

/// Label `scope` of what holds for every service.
pub const GLOBAL: &str = "global";

/// Series of the controller. Label values are those of the enums here, names of gates, and names of configured namespaces and
/// services: never what an alert says.
#[derive(Clone, Debug)]
pub struct ControllerMetrics {
    alerts_received: IntCounterVec,
    open: IntGaugeVec,
    ended: IntCounterVec,
    target_state: IntGaugeVec,
    stage_seconds: HistogramVec,
    /// From the alert's start, as Prometheus tells it, to our commit on the branch.
    pub time_to_commit: Histogram,
    /// From the same to the proof that it helped.
    pub time_to_verified: Histogram,
    pushes: IntCounterVec,
    git_unreachable: Gauge,
    /// How long a thread waited for the one clone.
    pub git_lock_wait: Histogram,
    refreshes: IntCounterVec,
    operation_blocked: Gauge,
    gate_denied: IntCounterVec,
    budget_remaining: IntGaugeVec,
    paused: IntGaugeVec,
    circuit_open: IntGauge,
    leader: IntGauge,
    /// Writes to the journal that failed.
    pub journal_errors: IntCounter,
    heartbeat: Gauge,
}

/// From 0.1 s to an hour: a push takes a second, loading a model many minutes.
const SECONDS: [f64; 15] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 240.0, 600.0, 1800.0, 3600.0];

/// Adds families to a registry.
struct Register<'a>(&'a Registry);

impl Register<'_> {
    fn add<C: Collector + Clone + 'static>(&self, family: prometheus::Result<C>) -> prometheus::Result<C> {
        let family = family?;
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), &[label]))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn seconds(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }
}

impl ControllerMetrics {
    /// Registers the series, `process_*` and `driftd_build_info` among them. `gates` are the names of all gates, which exist at 0
    /// from now on, as a rate is blind to the event that a counter begins with.
    ///
    /// # Errors
    /// If the registry has them already.
    pub fn register(registry: &Registry, gates: &[&'static str]) -> prometheus::Result<Self> {
        super::process::register_itself(registry)?;
        let to = Register(registry);
        let metrics = Self {
            alerts_received: to.counters(
                "driftd_alerts_received_total",
                "Deliveries of alerts by what became of them.",
                "outcome",
            )?,
            open: to.gauges("driftd_incidents", "Open incidents by state.", &["state"])?,
            ended: to.counters("driftd_incidents_total", "Incidents that ended, by how.", "outcome")?,
            target_state: to.gauges(
                "driftd_incident_state",
                "1 for the state of a configured service's open incident; absent while it has none.",
                &["namespace", "inferenceservice", "state"],
            )?,
            stage_seconds: to.add(HistogramVec::new(
                HistogramOpts::new("driftd_rollback_stage_seconds", "Time that rollbacks spent in a stage.")
                    .buckets(SECONDS.to_vec()),
                &["stage"],
            ))?,
            time_to_commit: to.seconds(
                "driftd_time_to_commit_seconds",
                "From the start of the alert, as Prometheus tells it, to our commit on the branch.",
                &SECONDS,
            )?,
            time_to_verified: to.seconds(
                "driftd_time_to_verified_seconds",
                "From the start of the alert, as Prometheus tells it, to the proof that the rollback helped.",
                &SECONDS,
            )?,
            pushes: to.counters(
                "driftd_git_push_attempts_total",
                "Attempts to push, by result; race is another commit that was there first, and is tried again.",
                "result",
            )?,
            git_unreachable: to.add(Gauge::new(
                "driftd_git_unreachable_seconds",
                "How long no fetch has worked; 0 when the last one did.",
            ))?,
            git_lock_wait: to.seconds(
                "driftd_git_lock_wait_seconds",
                "How long work on Git waited for the one clone.",
                &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0],
            )?,
            refreshes: to.counters(
                "driftd_argocd_refresh_total",
                "Times Argo CD was asked to look at Git now, by result.",
                "result",
            )?,
            operation_blocked: to.add(Gauge::new(
                "driftd_argocd_operation_blocked_seconds",
                "How long an operation of Argo CD's has kept our commit from being synced, the longest; 0 while none does.",
            ))?,
            gate_denied: to.counters(
                "driftd_gate_denied_total",
                "Rollbacks that a gate did not let pass.",
                "gate",
            )?,
            budget_remaining: to.gauges(
                "driftd_budget_remaining",
                "Rollbacks that may still be done within policy.budget_window, in all (global) and of a namespace.",
                &["scope"],
            )?,
            paused: to.gauges(
                "driftd_paused",
                "1 while rollbacks are paused, also because nobody can say whether they are: all (global), of a namespace, of a service.",
                &["scope"],
            )?,
            circuit_open: to.add(IntGauge::new(
                "driftd_circuit_open",
                "1 while so many services are accused at once that none is rolled back.",
            ))?,
            leader: to.add(IntGauge::new("driftd_leader", "1 in the one replica that acts."))?,
            journal_errors: to.add(IntCounter::new(
                "driftd_journal_errors_total",
                "Writes to the journal that failed; what they stood before was not done.",
            ))?,
            heartbeat: to.add(Gauge::new(
                "driftd_heartbeat_timestamp_seconds",
                "When the controller last looked at its incidents, or as a standby at the lease, Unix time.",
            ))?,
        };
        metrics.begin_at_0(gates);
        Ok(metrics)
    }

    fn begin_at_0(&self, gates: &[&'static str]) {
        let begin = |family: &IntCounterVec, values: &[&str]| {
            for value in values {
                family.with_label_values(&[value]);
            }
        };
        begin(&self.alerts_received, &AlertOutcome::ALL.map(AlertOutcome::as_str));
        begin(&self.ended, &IncidentOutcome::ALL.map(IncidentOutcome::as_str));
        begin(&self.pushes, &PushResult::ALL.map(PushResult::as_str));
        begin(&self.refreshes, &RefreshResult::ALL.map(RefreshResult::as_str));
        begin(&self.gate_denied, gates);
        for stage in Stage::ALL {
            self.stage_seconds.with_label_values(&[stage.as_str()]);
        }
        for state in OpenState::ALL {
            self.open.with_label_values(&[state.as_str()]);
        }
        self.set_paused(GLOBAL, false);
    }

    /// Counts a delivery.
    pub fn count_alerts(&self, outcome: AlertOutcome) {
        self.alerts_received.with_label_values(&[outcome.as_str()]).inc();
    }

    /// Sets how many incidents are open in a state.
    pub fn set_open(&self, state: OpenState, n_incidents: usize) {
        self.open.with_label_values(&[state.as_str()]).set(whole(n_incidents));
    }

    /// Counts an incident that has ended.
    pub fn count_ended(&self, outcome: IncidentOutcome) {
        self.ended.with_label_values(&[outcome.as_str()]).inc();
    }

    /// Sets where the open incident of a configured service is; `None` when it has ended.
    pub fn set_target_state(&self, namespace: &str, inferenceservice: &str, state: Option<OpenState>) {
        for other in OpenState::ALL {
            let labels = &[namespace, inferenceservice, other.as_str()];
            if Some(other) == state {
                self.target_state.with_label_values(labels).set(1);
            } else {
                drop(self.target_state.remove_label_values(labels)); // most were never there
            }
        }
    }

    /// Records how long a stage took.
    pub fn observe_stage(&self, stage: Stage, took: Duration) {
        self.stage_seconds.with_label_values(&[stage.as_str()]).observe(took.as_secs_f64());
    }

    /// Counts a push.
    pub fn count_push(&self, result: PushResult) {
        self.pushes.with_label_values(&[result.as_str()]).inc();
    }

    /// Sets how long no fetch has worked.
    pub fn set_git_unreachable(&self, since: Duration) {
        self.git_unreachable.set(since.as_secs_f64());
    }

    /// Counts a refresh of Argo CD's.
    pub fn count_refresh(&self, result: RefreshResult) {
        self.refreshes.with_label_values(&[result.as_str()]).inc();
    }

    /// Sets how long an operation of Argo CD's has been in the way.
    pub fn set_operation_blocked(&self, since: Duration) {
        self.operation_blocked.set(since.as_secs_f64());
    }

    /// Counts a no of a gate.
    pub fn count_gate_denied(&self, gate: &'static str) {
        self.gate_denied.with_label_values(&[gate]).inc();
    }

    /// Sets what is left of a budget: [`GLOBAL`], or a configured namespace.
    pub fn set_budget_remaining(&self, scope: &str, n_rollbacks: usize) {
        self.budget_remaining.with_label_values(&[scope]).set(whole(n_rollbacks));
    }

    /// Sets whether a scope is paused: [`GLOBAL`], a configured namespace, or `namespace/name` of a service.
    pub fn set_paused(&self, scope: &str, is_paused: bool) {
        self.paused.with_label_values(&[scope]).set(i64::from(is_paused));
    }

    /// Sets whether the circuit is open.
    pub fn set_circuit_open(&self, is_open: bool) {
        self.circuit_open.set(i64::from(is_open));
    }

    /// Says that neither a pause nor the circuit holds anything back, as on a replica that does not act.
    pub fn forget_holds(&self) {
        self.paused.reset();
        self.set_paused(GLOBAL, false);
        self.set_circuit_open(false);
    }

    /// Sets whether this replica acts.
    pub fn set_leader(&self, is_leader: bool) {
        self.leader.set(i64::from(is_leader));
    }

    /// Says that the controller lives.
    pub fn beat(&self, unix_seconds: f64) {
        self.heartbeat.set(unix_seconds);
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(registry: &Registry, prefix: &str) -> Vec<String> {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        text.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
    }

    #[test]
    fn counters_are_there_before_their_first_event() {
        let registry = Registry::new();
        let _metrics = ControllerMetrics::register(&registry, &["pause", "causality"]).unwrap();
        for (family, n_series) in [
            ("driftd_alerts_received_total{", AlertOutcome::ALL.len()),
            ("driftd_incidents_total{", IncidentOutcome::ALL.len()),
            ("driftd_gate_denied_total{", 2),
            ("driftd_paused{", 1),
        ] {
            let found = lines(&registry, family);
            assert_eq!(found.len(), n_series, "{family}");
            assert!(found.iter().all(|line| line.ends_with(" 0")), "{found:?}");
        }
    }

    #[test]
    fn a_service_is_in_one_state_or_in_none() {
        let registry = Registry::new();
        let metrics = ControllerMetrics::register(&registry, &[]).unwrap();
        metrics.set_target_state("prod", "credit", Some(OpenState::Confirming));
        metrics.set_target_state("prod", "credit", Some(OpenState::Pushed));
        metrics.set_target_state("prod", "fraud", Some(OpenState::Gating));
        let credit = r#"driftd_incident_state{inferenceservice="credit",namespace="prod",state="pushed"} 1"#;
        let fraud = r#"driftd_incident_state{inferenceservice="fraud",namespace="prod",state="gating"} 1"#;
        assert_eq!(lines(&registry, "driftd_incident_state{"), [credit, fraud]);
        metrics.set_target_state("prod", "credit", None);
        assert_eq!(lines(&registry, "driftd_incident_state{"), [fraud]);
    }
}
