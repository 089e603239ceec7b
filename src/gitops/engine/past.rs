//! What was done before, as Git tells it: both replicas, and whoever comes after a lost journal, read the same there. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::choose::{Denial, Ledger};
use super::super::decide::Before;
use super::super::git::Action;
use super::super::incident::{Incident, Plan, State, Timestamp};
use super::super::target::ServiceName;

/// Commits of ours on the branch, the newest first.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a>(pub &'a [Action]);

impl<'a> Past<'a> {
    /// All that the gates ask about, before `plan` is done for a service. `open` is what the journal has open; a pull request may be merged
    /// within `followed`.
    pub fn before(
        &self,
        service: &ServiceName,
        plan: &Plan,
        open: &[Incident],
        followed: Duration,
    ) -> Before {
        Before {
            done: [self.done(), self.under_way(open)].concat(),
            rolled_back_by: self.rolled_back_from(service, &plan.bad_uri).map(str::to_owned),
            is_introduced_by_us: self.has_brought(service, plan, followed),
        }
    }

    /// The last thing that was done for a service, if it moved traffic, since then, no clean-up followed, and nobody has followed it.
    pub fn unfinished(
        &self,
        service: &ServiceName,
        followed: &BTreeSet<String>,
        since: Timestamp,
    ) -> Option<&'a Action> {
        let last = self.0.iter().find(|action| action.service().as_ref() == Some(service))?;
        let is_followed = last.action().is_none_or(|action| followed.contains(action));
        (last.is_rollback() && last.committed_at >= since && !is_followed).then_some(last)
    }

    /// All rollbacks: which service, when.
    fn done(&self) -> Vec<(ServiceName, Timestamp)> {
        self.rollbacks().filter_map(|action| Some((action.service()?, action.committed_at))).collect()
    }

    /// Rollbacks that were decided on and are not on the branch yet. Without them, many that are decided on in one moment would each
    /// find the budgets untouched.
    fn under_way(&self, open: &[Incident]) -> Vec<(ServiceName, Timestamp)> {
        let there: BTreeSet<&str> = self.0.iter().filter_map(Action::action_id).collect();
        let decided = |incident: &&Incident| {
            let is_there = |plan: &Plan| there.contains(&*plan.action.of_commit(1));
            incident.entered.contains_key(&State::Committing) && !incident.plan.as_ref().is_some_and(is_there)
        };
        let when = |incident: &Incident| (incident.service.clone(), incident.entered[&State::Committing]);
        open.iter().filter(decided).map(when).collect()
    }

    /// The action that rolled back from this version, if one did.
    fn rolled_back_from(&self, service: &ServiceName, uri: &str) -> Option<&'a str> {
        let mut of_version = self.of(service).filter(|action| action.from_uri().as_deref() == Some(uri));
        of_version.find_map(Action::action_id)
    }

    /// Whether the accused value came by a rollback: by its commit, or by the merge of its pull request, which is followed for so long.
    /// What people deploy again later is theirs.
    fn has_brought(&self, service: &ServiceName, plan: &Plan, followed: Duration) -> bool {
        let mut of_service = self.0.iter().filter(|action| action.service().as_ref() == Some(service));
        of_service.any(|action| {
            let age = (plan.introduced_at - action.committed_at).to_std();
            let is_merged = action.to_uri().as_deref() == Some(&*plan.bad_uri)
                && age.is_ok_and(|age| !followed.is_zero() && age <= followed);
            action.commit == plan.introduced_by || (action.is_rollback() && is_merged)
        })
    }

    /// What was rolled back from is not gone back to, also where no journal says so.
    pub fn deny(&self, service: &ServiceName, ledger: &mut Ledger) {
        for action in self.of(service) {
            if let (Some(uri), Some(id)) = (action.from_uri(), action.action()) {
                ledger.good.remove(&uri);
                let denial = Denial { action: id.to_owned(), at: action.committed_at };
                ledger.denied.entry(uri).or_insert(denial);
            }
        }
    }

    fn rollbacks(&self) -> impl Iterator<Item = &'a Action> {
        self.0.iter().filter(|action| action.is_rollback())
    }

    fn of(&self, service: &ServiceName) -> impl Iterator<Item = &'a Action> {
        self.rollbacks().filter(move |action| action.service().as_ref() == Some(service))
    }
}
