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
        let references = vec![reference(), reference()];
        let settings = Settings {
            windows: vec![Duration::from_mins(5), Duration::from_hours(1)],
            interval: Duration::from_secs(10),
            alarms_per_look: 10.0 / (30.0 * 86_400.0),
            thresholds: vec![Thresholds::default(); 2],
            rows_depend: true,
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
            self.monitor.add(now, &[feature.clone(), Histogram::from_parts(&prediction, 0, 0)]);
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
    let change = *model.monitor.change(0).unwrap();
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
