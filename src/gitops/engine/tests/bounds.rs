//! What holds it back when much happens at once, and what it says of that.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::super::config::ControllerConfig;
use super::super::super::journal::Kind;
use super::super::super::pause::Pause;
use super::super::super::target::ServiceName;
use super::*;
use crate::config::HumanDuration;

const N_MODELS: usize = 20;

fn models() -> impl Iterator<Item = String> {
    (0..N_MODELS).map(|idx| format!("m{idx}"))
}

fn watch_all(config: &mut ControllerConfig) {
    for name in models() {
        let mut target = config.targets[0].clone();
        target.service = ServiceName::new("prod", &name).unwrap();
        config.targets.push(target);
    }
}

/// Version 2 of all models is deployed; credit, which is what the stand-in says is served, stays at version 1.
fn deploy_all(world: &World) {
    let text = |number: u8| {
        let manifests = models()
            .map(|name| world::manifest(number, None).replace("name: credit", &format!("name: {name}")));
        manifests.collect::<Vec<_>>().join("---\n")
    };
    world.write("models.yaml", &text(1));
    world.write("models.yaml", &text(2));
}

fn alerts() -> Vec<Alert> {
    models().map(|name| world::alert(&name, 2, Utc::now())).collect()
}

/// In one payload, and Prometheus knows of none of them yet.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_models_that_alarm_together_open_the_circuit_and_it_closes_again() {
    let world = World::start(|config| {
        watch_all(config);
        config.policy.circuit_open = HumanDuration(Duration::from_secs(4));
    })
    .await;
    deploy_all(&world);
    world.deliver(alerts()).await;
    world.series("driftd_circuit_open 1").await;
    for incident in world.all_ended(N_MODELS).await {
        check_state(&incident, State::Suppressed, "circuit");
    }
    assert_eq!(world.n_ours(), 0);
    world.series("driftd_circuit_open 0").await;
    // It opens as often as it has to.
    let n_opened = async || world.handle.context().journal.notes(Kind::Circuit).await.unwrap().len();
    let before = n_opened().await;
    let later = Utc::now() + TimeDelta::minutes(1);
    world.deliver(models().map(|name| world::alert(&name, 2, later)).collect()).await;
    world.series("driftd_circuit_open 1").await;
    world.all_ended(2 * N_MODELS).await;
    assert_eq!(world.n_ours(), 0);
    assert!(n_opened().await > before);
}

/// All are decided on before the first has pushed.
#[tokio::test(flavor = "multi_thread")]
async fn budgets_hold_for_models_that_alarm_in_one_moment() {
    let world = World::start(|config| {
        watch_all(config);
        config.policy.circuit_targets = 1000;
        config.policy.unverified = Unverified::Commit;
    })
    .await;
    let budget = world.handle.context().config.policy.namespace_budget as usize;
    deploy_all(&world);
    world.hook("sleep 1"); // so that a push takes longer than a decision
    world.deliver(alerts()).await;
    let incidents = world.all_ended(N_MODELS).await;
    let n_done = incidents.iter().filter(|incident| incident.state == State::Recovered).count();
    assert_eq!((n_done, world.n_ours()), (budget, budget));
    for incident in incidents.iter().filter(|incident| incident.state != State::Recovered) {
        check_state(incident, State::Suppressed, "namespace_budget");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_is_said_as_long_as_it_is() {
    let world = World::start(|config| config.git.fetch_interval = Duration::from_millis(100)).await;
    world.series(r#"driftd_paused{scope="global"} 0"#).await;
    world.write(".drift/pause.yaml", "paused: true\nscopes: [prod/credit, elsewhere]\n");
    world.series(r#"driftd_paused{scope="prod/credit"} 1"#).await;
    world.series(r#"driftd_paused{scope="global"} 0"#).await;
    world.write(".drift/pause.yaml", "paused: yes, please\n");
    world.series(r#"driftd_paused{scope="global"} 1"#).await;
    world.write(".drift/pause.yaml", "paused: false\n");
    world.series(r#"driftd_paused{scope="global"} 0"#).await;
    world.series(r#"driftd_paused{scope="prod/credit"} 0"#).await;
    let pause = Pause {
        scope: "prod".parse().unwrap(),
        reason: String::new(),
        by: "ann".into(),
        since: DateTime::UNIX_EPOCH,
        until: Some(Utc::now() + TimeDelta::seconds(2)),
    };
    world.handle.set_pauses("ann", |pauses| pauses.push(pause)).await.unwrap();
    world.series(r#"driftd_paused{scope="prod"} 1"#).await;
    world.series(r#"driftd_paused{scope="prod"} 0"#).await; // it ends by itself
}

/// A full disk keeps nobody from ending, and what waits for it goes on at the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_written_does_not_keep_it_from_ending() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    let hold = "CREATE TRIGGER held BEFORE INSERT ON events WHEN NEW.state = 'gating' BEGIN SELECT raise(ABORT, 'full'); END";
    world.journal().execute_batch(hold).unwrap();
    world.accuse(2).await;
    world.series("driftd_journal_errors_total 1").await;
    let journal = world.journal();
    let world = tokio::time::timeout(Duration::from_secs(30), world.restart()).await.expect("it ends");
    journal.execute_batch("DROP TRIGGER held").unwrap();
    check_state(&world.ended().await, State::Recovered, "");
    assert_eq!(world.n_ours(), 1);
}
