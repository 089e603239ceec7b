//! What people ask for: a rollback, a yes to one that waits, a pause.

use std::sync::Arc;

use chrono::Utc;

use super::super::incident::{Incident, Origin, State};
use super::super::pause::Pause;
use super::desk::{EngineHandle, Last};
use super::intake::begin;
use super::{Refused, RollbackAsk};

impl EngineHandle {
    /// Takes in what a person asks for. Returns the number of the incident.
    ///
    /// # Errors
    /// [`Refused`] if there is no such target, something is open there, or it could not be written down.
    pub async fn roll_back(&self, ask: RollbackAsk) -> Result<u64, Refused> {
        let handle = self.clone();
        self.calls.run(async move { handle.roll_back_now(ask).await }).await
    }

    async fn roll_back_now(&self, ask: RollbackAsk) -> Result<u64, Refused> {
        if !self.is_leader() {
            return Err(Refused::NotLeader);
        }
        if self.context.config.target(&ask.service).is_none() {
            return Err(Refused::NotFound(format!("{} is none of the `targets`", ask.service)));
        }
        let mut desk = self.desk.lock().await;
        if let Last::Open(case) = self.last(&mut desk, &ask.service).await? {
            let Incident { id, state, .. } = case.snapshot().await;
            return Err(Refused::Invalid(format!("incident {id} of it is open: {state}")));
        }
        let RollbackAsk { service, to, reason, by, is_dry_run } = ask;
        let origin = Origin::Person { by, reason, to, is_dry_run };
        let incident = begin(service, String::new(), origin, Utc::now());
        self.open(&mut desk, incident, "a person asks").await
    }

    /// Says yes to what waits for it.
    ///
    /// # Errors
    /// [`Refused`] if nothing of that name waits, or it could not be written down.
    pub async fn approve(&self, id: &str, by: &str) -> Result<(), Refused> {
        let (handle, id, by) = (self.clone(), id.to_owned(), by.to_owned());
        self.calls.run(async move { handle.approve_now(&id, by).await }).await
    }

    async fn approve_now(&self, id: &str, by: String) -> Result<(), Refused> {
        if !self.is_leader() {
            return Err(Refused::NotLeader);
        }
        let found = self.context.journal.incident(id).await?;
        let incident = found.ok_or_else(|| Refused::NotFound(format!("there is no incident {id}")))?;
        let case = self.desk.lock().await.open.get(&incident.service).cloned();
        let approve = |incident: &mut Incident| {
            (incident.approved_by, incident.approved_at) = (Some(by), Some(Utc::now()));
        };
        let waits = |incident: &Incident| incident.state == State::AwaitingApproval;
        match case {
            Some(case) if waits(&case.snapshot().await) && case.snapshot().await.id == incident.id => {
                Ok(case.add(&self.context, "approved", approve).await?)
            }
            _ => Err(Refused::Invalid(format!(
                "incident {} is {}, and waits for nobody",
                incident.id, incident.state
            ))),
        }
    }

    /// All pauses of the API.
    pub async fn pauses(&self) -> Vec<Pause> {
        self.context.book.pauses().await
    }

    /// Other pauses than before.
    ///
    /// # Errors
    /// [`Refused`] if this is not the active replica, or it could not be written down.
    pub async fn set_pauses(
        &self,
        by: &str,
        change: impl FnOnce(&mut Vec<Pause>) + Send + 'static,
    ) -> Result<(), Refused> {
        if !self.is_leader() {
            return Err(Refused::NotLeader);
        }
        let (context, by) = (Arc::clone(&self.context), by.to_owned());
        self.calls.run(async move { Ok(context.book.set_pauses(&context, &by, change).await?) }).await
    }
}
