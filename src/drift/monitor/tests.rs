use super::*;
use crate::drift::cause::Cause;
use crate::drift::{BinEdges, Bins, Groups};

/// Ten bins that are ten groups, far guards at both ends, a thousand rows in each of the eight between.
fn reference() -> Reference {
    let bins = Bins::Numeric {
        edges: BinEdges::new([-7.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 17.0]).unwrap(),
        groups: Groups::one_per_bin(10),
        min: 1.0,
        max: 9.0,
        std: 2.3,
    };
    let mut counts = [1_000; 10];
    (counts[0], counts[9]) = (0, 0);
    Reference::new(bins, Histogram::from_parts(&counts, 0, 0)).unwrap()
}

const EVEN: [u64; 10] = [0, 25, 25, 25, 25, 25, 25, 25, 25, 0];
const MOVED: [u64; 10] = [0, 5, 5, 15, 25, 25, 25, 45, 55, 0];
const BEYOND: [u64; 10] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 200];

/// A feature and a prediction, 200 rows a look.
struct Model {
    references: Vec<Reference>,
    monitor: Monitor,
    n_looks: u64,
}

impl Model {
    fn new() -> Self {
        Self::against(Against::Baseline, vec![Duration::from_mins(5), Duration::from_hours(1)])
    }

    fn against(against: Against, windows: Vec<Duration>) -> Self {
        let references = vec![reference(), reference()];
        let settings = Settings {
            windows,
            interval: Duration::from_secs(10),
            alarms_per_look: 10.0 / (30.0 * 86_400.0),
            thresholds: vec![Thresholds::default(); 2],
            rows_depend: true,
            against,
            min_features: 1,
        };
        Self { monitor: Monitor::new(&references, 1, settings), references, n_looks: 0 }
    }

    /// What is said in the shortest window after `n` looks at these.
    fn see(&mut self, n: usize, feature: [u64; 10], prediction: [u64; 10]) -> ModelVerdict {
        self.see_more(n, &Histogram::from_parts(&feature, 0, 0), prediction, 0)
    }

    fn see_more(
        &mut self,
        n: usize,
        feature: &Histogram,
        prediction: [u64; 10],
        n_unexpected: u64,
    ) -> ModelVerdict {
        for _ in 0..n {
            self.n_looks += 1;
            let now = Timestamp::from_millis(10_000 * self.n_looks);
            let added = self.monitor.add(now, &[feature.clone(), Histogram::from_parts(&prediction, 0, 0)]);
            debug_assert_eq!(added, Added::Counted, "time does not run backwards");
            let look = Look { all_inputs_watched: true, n_unexpected, ..Look::default() };
            self.monitor.look(now, &self.references, look);
        }
        self.monitor.verdict(0)
    }
}

#[test]
fn a_feature_that_moves_is_found_at_once_and_let_go_when_it_is_itself_again() {
    let mut model = Model::new();
    assert_eq!(model.see(100, EVEN, EVEN), ModelVerdict::Ok);
    assert_eq!(model.see(1, MOVED, EVEN), ModelVerdict::Drift(Cause::Input));
    let change = *model.monitor.change(0, 0).unwrap();
    assert_eq!(change.onset, Timestamp::from_millis(1_000_000), "it began after the hundredth look");
    assert_eq!(model.see(20, MOVED, EVEN), ModelVerdict::Drift(Cause::Input));
    assert_eq!(model.see(6, EVEN, EVEN), ModelVerdict::Ok);
    assert_eq!(
        model.monitor.judgement(1, 0).verdict,
        FeatureVerdict::Ok,
        "the longer window does not hold on either"
    );
    assert_eq!(model.see(200, EVEN, EVEN), ModelVerdict::Ok, "what is over is not found again");
}

#[test]
fn predictions_that_move_alone_are_the_models_doing() {
    let mut model = Model::new();
    model.see(100, EVEN, EVEN);
    assert_eq!(model.see(1, EVEN, MOVED), ModelVerdict::Drift(Cause::Model));
    let mut model = Model::new();
    model.see(100, EVEN, EVEN);
    assert_eq!(model.see(1, MOVED, MOVED), ModelVerdict::Drift(Cause::Input));
}

#[test]
fn values_beyond_the_range_break_the_contract() {
    let mut model = Model::new();
    model.see(100, EVEN, EVEN);
    assert_eq!(model.see(1, BEYOND, EVEN), ModelVerdict::Drift(Cause::Schema));
    let breach = model.monitor.judgement(0, 0).breach.unwrap();
    assert_eq!((breach.kind, breach.share, breach.baseline_share), (BreachKind::OutOfRange, 1.0, 0.0));
    // What a model answers cannot break a contract.
    assert_eq!(model.see(30, EVEN, EVEN), ModelVerdict::Ok);
    assert_eq!(model.see(1, EVEN, BEYOND), ModelVerdict::Drift(Cause::Model));
}

#[test]
fn a_feature_that_stands_still_breaks_the_contract() {
    let mut model = Model::new();
    model.see(100, EVEN, EVEN);
    assert_eq!(model.see(1, [0, 0, 0, 200, 0, 0, 0, 0, 0, 0], EVEN), ModelVerdict::Drift(Cause::Schema));
    assert_eq!(model.monitor.judgement(0, 0).breach.unwrap().kind, BreachKind::Constant);
}

#[test]
fn a_burst_of_nulls_breaks_the_contract_and_a_few_do_not() {
    let mut model = Model::new();
    model.see(100, EVEN, EVEN);
    let nulls = |n| Histogram::from_parts(&EVEN, n, 0);
    assert_eq!(model.see_more(1, &nulls(2), EVEN, 0), ModelVerdict::Ok);
    assert_eq!(model.see_more(1, &nulls(50), EVEN, 0), ModelVerdict::Drift(Cause::Schema));
}

#[test]
fn unexpected_features_break_the_contract_once_they_are_no_accident() {
    let mut model = Model::new();
    let even = Histogram::from_parts(&EVEN, 0, 0);
    model.see(100, EVEN, EVEN);
    assert_eq!(model.see_more(1, &even, EVEN, 1), ModelVerdict::Ok);
    assert_eq!(model.see_more(1, &even, EVEN, 200), ModelVerdict::Drift(Cause::Schema));
    assert!(model.monitor.has_unexpected());
}

#[test]
fn silence_is_not_no_drift() {
    let mut model = Model::new();
    assert_eq!(model.see(1, EVEN, EVEN), ModelVerdict::NoData, "200 rows of 500");
    model.see(100, EVEN, EVEN);
    model.monitor.look(Timestamp::from_millis(2_000_000), &model.references, Look::default());
    assert_eq!(model.monitor.verdict(0), ModelVerdict::NoData);
    assert_eq!(model.monitor.judgement(1, 0).verdict, FeatureVerdict::Stale);
}

#[test]
fn evidence_for_the_fleet_passes_one_where_a_pod_alone_is_sure() {
    let mut model = Model::new();
    model.see(100, EVEN, EVEN);
    assert!(model.monitor.evidence(false) < 0.1);
    model.see(1, MOVED, EVEN);
    assert!(model.monitor.evidence(false) > 1.0 && model.monitor.evidence(true) < 0.1);
}

/// Counts of 200 rows whose mean is that many groups higher than usual.
fn random(random: &mut fastrand::Rng, higher: f64) -> [u64; 10] {
    let mut counts = [0; 10];
    for _ in 0..200 {
        let value = (1.0 + 8.0 * random.f64() + higher).clamp(1.0, 8.99);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 8")]
        (counts[value as usize] += 1);
    }
    counts
}

const LOOKS_PER_HOUR: usize = 360;

/// The verdicts of an hour of traffic, one a look, whose mean follows the hour of the day, and is `higher` besides.
fn hour(model: &mut Model, rng: &mut fastrand::Rng, higher: f64) -> Vec<ModelVerdict> {
    let verdict = |_| {
        let phase = (model.n_looks as f64 / (24 * LOOKS_PER_HOUR) as f64) * std::f64::consts::TAU;
        let feature = random(rng, 1.5 * phase.sin() + higher);
        model.see(1, feature, EVEN)
    };
    (0..LOOKS_PER_HOUR).map(verdict).collect()
}

#[test]
fn the_rhythm_of_the_day_is_no_drift_from_the_same_hour_yesterday() {
    let rng = &mut fastrand::Rng::with_seed(7);
    let mut model = Model::against(Against::SameHourYesterday, vec![Duration::from_hours(1)]);
    let said: Vec<_> = (0..24).flat_map(|_| hour(&mut model, rng, 0.0)).collect();
    assert!(said.iter().all(|verdict| *verdict == ModelVerdict::NoData), "there is no yesterday yet");
    let said: Vec<_> = (0..48).flat_map(|_| hour(&mut model, rng, 0.0)).skip(LOOKS_PER_HOUR + 70).collect();
    assert!(said.iter().all(|verdict| *verdict == ModelVerdict::Ok));
    let said = hour(&mut model, rng, 3.0);
    assert_eq!(said.last(), Some(&ModelVerdict::Drift(Cause::Input)));
    // A day later that is what it is held against.
    for _ in 0..24 {
        hour(&mut model, rng, 3.0);
    }
    assert_eq!(hour(&mut model, rng, 3.0).last(), Some(&ModelVerdict::Ok));

    let mut of_baseline = Model::against(Against::Baseline, vec![Duration::from_hours(1)]);
    let said: Vec<_> = (0..24).flat_map(|_| hour(&mut of_baseline, rng, 0.0)).collect();
    assert!(said.contains(&ModelVerdict::Drift(Cause::Input)), "the rhythm is far from the baseline's mean");
}

#[test]
fn what_has_become_usual_is_no_drift_from_the_window_before() {
    let rng = &mut fastrand::Rng::with_seed(8);
    let mut model = Model::against(Against::PreviousWindow, vec![Duration::from_mins(5)]);
    let mut see = |n: usize, higher: f64| {
        let mut verdicts = Vec::new();
        for _ in 0..n {
            verdicts.push(model.see(1, random(rng, higher), EVEN));
        }
        verdicts
    };
    see(61, 0.0);
    assert!(see(300, 0.0).iter().all(|verdict| *verdict == ModelVerdict::Ok));
    let said = see(60, 3.0);
    assert_eq!((said[2], said[20]), (ModelVerdict::Ok, ModelVerdict::Drift(Cause::Input)));
    assert!(see(60, 3.0).ends_with(&[ModelVerdict::Ok]));
}

#[test]
fn the_contract_is_the_baselines_whatever_drift_is_measured_from() {
    let mut model = Model::against(Against::PreviousWindow, vec![Duration::from_mins(5)]);
    let nulls = Histogram::from_parts(&EVEN, 50, 0);
    assert_eq!(model.see(100, EVEN, EVEN), ModelVerdict::Ok);
    assert_eq!(model.see_more(300, &nulls, EVEN, 0), ModelVerdict::Drift(Cause::Schema), "and it stays so");
    assert_eq!(model.monitor.judgement(0, 0).breach.unwrap().kind, BreachKind::Missing);
}

/// Kept and restored at any time, a monitor goes on as if nothing had happened.
#[test]
fn a_restart_changes_nothing_that_is_said() {
    for against in [Against::Baseline, Against::PreviousWindow] {
        let windows = || vec![Duration::from_mins(5), Duration::from_hours(1)];
        let mut lasting = Model::against(against, windows());
        let mut restarted = Model::against(against, windows());
        let mut verdicts = Vec::new();
        for step in 0..300 {
            let feature = if (120..200).contains(&step) { MOVED } else { EVEN };
            verdicts.push(lasting.see(1, feature, EVEN));
            assert_eq!(restarted.see(1, feature, EVEN), verdicts[step], "{against:?} at look {step}");
            if step % 7 == 0 {
                let kept = postcard::to_allocvec(&restarted.monitor.memory()).unwrap();
                let n_looks = restarted.n_looks;
                restarted = Model { n_looks, ..Model::against(against, windows()) };
                restarted.monitor.restore(postcard::from_bytes(&kept).unwrap()).unwrap();
            }
            for column in 0..2 {
                let of = |model: &Model| {
                    let change = model.monitor.change(0, column).copied();
                    (
                        change,
                        model.monitor.counts(1)[column].clone(),
                        model.monitor.evidence(column == 1).to_bits(),
                    )
                };
                assert_eq!(of(&lasting), of(&restarted), "{against:?} at look {step}");
            }
        }
        assert!(verdicts.iter().any(|verdict| verdict.cause().is_some()), "{against:?}: something was said");
    }
}

#[test]
fn a_memory_of_other_columns_is_refused_and_other_windows_begin_empty() {
    let mut model = Model::new();
    model.see(10, EVEN, EVEN);
    let kept = || postcard::to_allocvec(&model.monitor.memory()).unwrap();
    let references = [reference()];
    let settings = Settings { thresholds: vec![Thresholds::default()], ..model.monitor.settings.clone() };
    let mut other = Monitor::new(&references, 1, settings);
    assert_eq!(other.restore(postcard::from_bytes(&kept()).unwrap()), Err(NotLike));
    let mut other = Model::against(Against::Baseline, vec![Duration::from_mins(5), Duration::from_hours(2)]);
    other.monitor.restore(postcard::from_bytes(&kept()).unwrap()).unwrap();
    let n_rows = |model: &Model, window| model.monitor.counts(window)[0].total();
    assert_eq!([0, 1].map(|window| n_rows(&other, window)), [n_rows(&model, 0), 0]);
}
