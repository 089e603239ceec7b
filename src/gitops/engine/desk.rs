//! Where alerts come in: each becomes an incident, or is added to the one that is open. All is in the journal when the answer is given. A
//! caller that hangs up drops the answer alone. What is open goes on in a task of its own while the term lasts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::alert::{Alert, Delivery};
use super::super::incident::{Incident, Origin};
use super::super::journal::Kind;
use super::super::target::ServiceName;
use super::act::act;
use super::case::Case;
use super::finish::ToTheEnd;
use super::intake::{attach, begin, has_answered};
use super::{Context, Refused};
use crate::net::chain;

/// How often Prometheus is asked for alerts that were not delivered. Alertmanager repeats one only after hours.
const REQUERY_EVERY: Duration = Duration::from_secs(30);

/// The way in.
#[derive(Clone)]
pub struct EngineHandle {
    pub(super) context: Arc<Context>,
    pub(super) desk: Arc<Mutex<Desk>>,
    pub(super) calls: ToTheEnd,
}

/// What is open.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) open: BTreeMap<ServiceName, Arc<Case>>,
    tasks: TaskTracker,
    /// Ends with the term.
    stop: Option<CancellationToken>,
}

/// The last incident of a service.
pub(super) enum Last {
    /// Somebody acts on it.
    Open(Arc<Case>),
    /// It has ended, if there ever was one.
    Ended(Option<Box<Incident>>),
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Incidents that began.
    pub n_begun: usize,
    /// Services whose open or ended incident it was added to.
    pub n_added: usize,
    /// Alerts that are about no target, or ask for no rollback.
    pub n_other: usize,
}

/// One accused version, with all alerts of a delivery that accuse it.
type Accused = (ServiceName, String);

impl EngineHandle {
    /// Around this.
    pub fn new(context: Context) -> Self {
        Self { context: Arc::new(context), desk: Arc::default(), calls: ToTheEnd::default() }
    }

    /// What every step needs.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Whether this replica is the active one.
    pub fn is_leader(&self) -> bool {
        self.context.leads()
    }

    /// Takes in what Alertmanager or Grafana sends. Firing alerts that ask for a rollback accuse; all else is only written down. What a
    /// payload has left out is asked of Prometheus.
    ///
    /// # Errors
    /// [`Refused`] if it could not be written down: then it has to be sent again.
    pub async fn deliver(&self, delivery: Delivery) -> Result<Delivered, Refused> {
        let handle = self.clone();
        self.calls.run(async move { handle.deliver_now(delivery).await }).await
    }

    async fn deliver_now(&self, delivery: Delivery) -> Result<Delivered, Refused> {
        let n_truncated = delivery.n_truncated;
        let delivered = self.take_in(delivery.alerts, &Origin::Alert).await?;
        if n_truncated > 0 {
            self.context
                .journal
                .note(Kind::Delivery, "truncated", serde_json::json!({ "n": n_truncated }))
                .await?;
            self.ask_prometheus(&Origin::Alert).await;
        }
        Ok(delivered)
    }

    async fn take_in(&self, alerts: Vec<Alert>, origin: &Origin) -> Result<Delivered, Refused> {
        if !self.is_leader() {
            return Err(Refused::NotLeader);
        }
        let mut delivered = Delivered::default();
        let mut accused: BTreeMap<Accused, Vec<Alert>> = BTreeMap::new();
        let mut others = Vec::new();
        for alert in alerts {
            match alert.accused() {
                Some((service, version)) if self.context.config.target(&service).is_some() => {
                    accused.entry((service, version)).or_default().push(alert);
                }
                _ => others.push(alert),
            }
        }
        delivered.n_other = others.len();
        if !others.is_empty() {
            let names: std::collections::BTreeSet<_> =
                others.iter().map(|alert| alert.name.clone()).collect();
            let payload = serde_json::json!({ "n_alerts": others.len(), "names": names });
            self.context.journal.note(Kind::Delivery, "no target or no rollback", payload).await?;
        }
        // All of them first: what decides on one has to know of the others, and begins at once.
        for ((service, _), alerts) in &accused {
            let since = alerts.iter().filter(|alert| alert.is_firing()).map(|alert| alert.starts_at).max();
            if let Some(since) = since {
                self.context.book.accuse(service, since.min(Utc::now())).await;
            }
        }
        for ((service, version), alerts) in accused {
            self.accuse(&service, version, &alerts, origin, &mut delivered).await?;
        }
        Ok(delivered)
    }

    async fn accuse(
        &self,
        service: &ServiceName,
        version: String,
        alerts: &[Alert],
        origin: &Origin,
        delivered: &mut Delivered,
    ) -> Result<(), Refused> {
        let now = Utc::now();
        let is_firing = alerts.iter().any(Alert::is_firing);
        let mut desk = self.desk.lock().await;
        let ended = match self.last(&mut desk, service).await? {
            Last::Open(case) => {
                delivered.n_added += 1;
                let attach = |incident: &mut Incident| attach(incident, alerts, now);
                return Ok(case.add(&self.context, "alerts came", attach).await?);
            }
            Last::Ended(ended) => ended,
        };
        if !is_firing {
            // Resolved, and nothing is open: no proof of anything.
            delivered.n_added += 1;
            return Ok(());
        }
        if let Some(mut last) = ended.filter(|ended| has_answered(ended, &version, alerts, now)) {
            attach(&mut last, alerts, now);
            self.context.journal.record(&last, "alerts came again").await?;
            delivered.n_added += 1;
            return Ok(());
        }
        let mut incident = begin(service.clone(), version, origin.clone(), now);
        attach(&mut incident, alerts, now);
        self.open(&mut desk, incident, "alerts came").await?;
        delivered.n_begun += 1;
        Ok(())
    }

    /// Once the term has begun: until then nothing is taken on.
    #[cfg(test)]
    pub async fn ready(&self) {
        while self.desk.lock().await.stop.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The last incident of a service. What is open in the journal alone, as after a write that failed when it was in the file already,
    /// goes on: nothing begins beside it.
    pub(super) async fn last(&self, desk: &mut Desk, service: &ServiceName) -> Result<Last, Refused> {
        if let Some(case) = desk.open.get(service).cloned() {
            if !case.snapshot().await.state.is_terminal() {
                return Ok(Last::Open(case));
            }
            desk.open.remove(service);
        }
        let Some(stop) = desk.stop.clone() else { return Err(Refused::NotLeader) };
        match self.context.journal.last_incident(service).await? {
            Some(open) if !open.state.is_terminal() => {
                tracing::warn!(incident = open.id, state = %open.state, "open in the journal alone, goes on");
                Ok(Last::Open(self.resume(desk, open, stop)))
            }
            ended => Ok(Last::Ended(ended.map(Box::new))),
        }
    }

    pub(super) async fn open(&self, desk: &mut Desk, incident: Incident, note: &str) -> Result<u64, Refused> {
        let Some(stop) = desk.stop.clone() else { return Err(Refused::NotLeader) };
        let incident = self.context.journal.begin(incident, note).await?;
        let id = incident.id;
        self.resume(desk, incident, stop);
        Ok(id)
    }

    fn resume(&self, desk: &mut Desk, incident: Incident, stop: CancellationToken) -> Arc<Case> {
        let service = incident.service.clone();
        self.context.measure.opened(&incident);
        let case = Case::new(incident);
        desk.open.insert(service, Arc::clone(&case));
        desk.tasks.spawn(act(Arc::clone(&self.context), Arc::clone(&case), stop));
        case
    }

    /// This replica is the active one from now on: what it had open goes on, what the one before knew is taken in, and what fires is
    /// taken in as if it had just come.
    pub(super) async fn begin_term(&self, stop: &CancellationToken) {
        let mut desk = self.desk.lock().await;
        *desk = Desk { stop: Some(stop.clone()), ..Desk::default() };
        self.context.book.take_over(&self.context).await;
        match self.context.journal.open_incidents().await {
            Ok(open) => {
                for incident in open {
                    tracing::info!(incident = incident.id, state = %incident.state, "goes on");
                    self.resume(&mut desk, incident, stop.clone());
                }
            }
            Err(error) => tracing::error!(error = %chain(&error), "cannot read what was open"),
        }
        let term = self.context.term.borrow().unwrap_or_default();
        if let Err(error) =
            self.context.journal.note(Kind::Leader, "begins", serde_json::json!({ "term": term })).await
        {
            tracing::error!(error = %chain(&error), "cannot write the journal");
        }
        tracing::info!(term, "the active replica");
    }

    /// It is not any more. Returns once nothing acts.
    pub(super) async fn end_term(&self) {
        let mut desk = self.desk.lock().await;
        desk.stop = None;
        desk.tasks.close();
        desk.tasks.wait().await;
        desk.open.clear();
        self.context.measure.closed_all();
    }

    /// Asks for alerts that were not delivered, at once and then again and again; and until it is known, for what the replica before has
    /// left, and what was begun and not ended.
    pub(super) async fn requery(&self) {
        let (mut has_taken_over, mut has_adopted) = (self.context.book.is_read().await, false);
        loop {
            if !has_taken_over {
                has_taken_over = self.context.book.take_over(&self.context).await;
            }
            if !has_adopted {
                match self.adopt().await {
                    Ok(is_all) => has_adopted = is_all,
                    Err(error) => {
                        tracing::warn!(%error, "what was begun and not ended cannot be looked for yet");
                    }
                }
            }
            self.ask_prometheus(&Origin::TakeOver).await;
            tokio::time::sleep(REQUERY_EVERY).await;
        }
    }

    async fn ask_prometheus(&self, origin: &Origin) {
        let alerts = match self.context.witness.firing().await {
            Ok(alerts) => alerts,
            Err(error) => return tracing::warn!(error, "Prometheus does not say what fires"),
        };
        if let Err(error) = self.take_in(alerts, origin).await {
            tracing::warn!(%error, "what fires could not be taken in");
        }
    }
}
