//! The loop of one incident: what its state asks for, until nothing follows.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

use super::super::incident::{Incident, Origin, State};
use super::case::{Case, Turn, is_late};
use super::{Context, confirm, publish, resolve, verify, weigh};

/// Moves the incident until it has ended, or until `stop`. Should a step panic, a person is called: tried again it would do the same, and
/// nobody would act on what is open.
pub async fn act(context: Arc<Context>, case: Arc<Case>, stop: CancellationToken) {
    let moving = step_by_step(Arc::clone(&context), Arc::clone(&case), stop);
    if AssertUnwindSafe(moving).catch_unwind().await.is_err() {
        let state = case.snapshot().await.state;
        let why = format!("the controller panicked in state {state}, which is a bug; its log says where");
        case.enter(&context, Turn::to(State::NeedsHuman, why)).await;
    }
    let incident = case.snapshot().await;
    if let (true, Some(_), Some(action)) = (incident.state.is_terminal(), &incident.commit, incident.action())
    {
        context.book.end(&context, action).await;
    }
}

/// It was away: what was true then is asked anew, by whatever still fires.
fn too_old(incident: &Incident) -> Turn {
    let why = match incident.origin {
        Origin::Person { .. } => "it was asked for longer ago than `policy.decision_expires`; ask again",
        Origin::Alert | Origin::TakeOver => {
            "it was confirmed longer ago than `policy.decision_expires`; what still fires begins anew"
        }
    };
    Turn::to(State::Suppressed, why)
}

/// A step that is dropped in the middle is one that was killed in the middle: the journal has its state, and the state says how to go on.
async fn step_by_step(context: Arc<Context>, case: Arc<Case>, stop: CancellationToken) {
    loop {
        let incident = case.snapshot().await;
        if incident.state.is_terminal() {
            return;
        }
        let span =
            info_span!("incident", id = incident.id, service = %incident.service, state = %incident.state);
        let step = async {
            match incident.state {
                State::Received => Turn::to(State::Confirming, "asking Prometheus"),
                State::Confirming => confirm::confirm(&context, &incident).await,
                State::Resolving | State::Gating if is_late(&incident) => too_old(&incident),
                State::Resolving => resolve::resolve(&context, &incident).await,
                State::Gating => weigh::weigh(&context, &incident).await,
                State::AwaitingApproval => weigh::await_approval(&context, &case).await,
                State::Committing => publish::commit(&context, &incident).await,
                State::PrOpen => publish::follow_pull_request(&context, &incident).await,
                State::Pushed => verify::refresh(&context, &incident).await,
                State::Syncing => verify::sync(&context, &incident).await,
                State::Serving => verify::serving(&context, &incident).await,
                State::Observing => verify::observe(&context, &incident).await,
                State::Cleaning => publish::clean_up(&context, &incident).await,
                State::Recovered
                | State::NotRecovered
                | State::Inconclusive
                | State::Suppressed
                | State::Superseded
                | State::NeedsHuman
                | State::DryRunDone => unreachable!("a terminal state has no step"),
            }
        };
        // Also where the journal cannot be written and the turn waits for it: whoever has to end is not kept by a full disk.
        let turn = async { case.enter(&context, step.instrument(span).await).await };
        tokio::select! {
            () = turn => (),
            () = stop.cancelled() => return,
        }
    }
}
