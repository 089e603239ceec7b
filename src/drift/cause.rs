//! What is said about a model, and what it was: rolling back helps only where the model itself is the cause.

use super::verdict::FeatureVerdict;

/// What a drift comes from, as far as one pod can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Requests break the model's contract.
    Schema,
    /// Features moved: every version would see it.
    Input,
    /// Predictions moved while all inputs are watched and none shows even evidence of a change.
    Model,
    /// Predictions moved, and the inputs cannot be ruled out.
    Unknown,
}

impl Cause {
    /// Every cause: each is exported, 0 or 1.
    pub const ALL: [Self; 4] = [Self::Schema, Self::Input, Self::Model, Self::Unknown];

    /// The label value of this cause.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Input => "input",
            Self::Model => "model",
            Self::Unknown => "unknown",
        }
    }
}

/// What one column contributes to the verdict on its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The verdict on the column.
    pub verdict: FeatureVerdict,
    /// Whether any statistic of it is beyond noise, however small.
    pub evident: bool,
}

impl Finding {
    /// Moved, and not just by a trace of it.
    fn moved(self) -> bool {
        self.evident && self.verdict >= FeatureVerdict::Warning
    }
}

/// The verdict on a model in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelVerdict {
    /// No column has enough rows to say: not the same as no drift.
    NoData,
    /// No column warns.
    Ok,
    /// A column warns and none drifts.
    Warning,
    /// A column drifts or the contract is broken.
    Drift(Cause),
}

impl ModelVerdict {
    /// Brings the columns of a model together.
    ///
    /// `all_inputs_watched` says that `features` are everything the model predicts from; `contract_broken` that requests
    /// break the contract more than the baseline itself did; `min_features` how many features must drift for the model to.
    pub fn of(
        features: &[Finding],
        predictions: &[Finding],
        (all_inputs_watched, contract_broken): (bool, bool),
        min_features: usize,
    ) -> Self {
        let any = |findings: &[Finding], verdict| findings.iter().any(|finding| finding.verdict == verdict);
        if contract_broken || any(features, FeatureVerdict::Schema) {
            return Self::Drift(Cause::Schema);
        }
        let n_drifting = features.iter().filter(|feature| feature.verdict == FeatureVerdict::Drift).count();
        if n_drifting >= min_features.max(1) {
            return Self::Drift(Cause::Input);
        }
        if predictions.iter().any(|finding| finding.verdict.is_alarm()) {
            // What moved by half a threshold can move what is made of many such by a whole one.
            if features.iter().any(|feature| feature.moved()) {
                return Self::Drift(Cause::Input);
            }
            let quiet = |feature: &Finding| feature.verdict == FeatureVerdict::Ok && !feature.evident;
            let inputs_ruled_out = all_inputs_watched && !features.is_empty() && features.iter().all(quiet);
            return Self::Drift(if inputs_ruled_out { Cause::Model } else { Cause::Unknown });
        }
        let worst = features.iter().chain(predictions).map(|finding| finding.verdict).max();
        match worst {
            Some(FeatureVerdict::Warning | FeatureVerdict::Drift) => Self::Warning,
            Some(FeatureVerdict::Ok) => Self::Ok,
            _ => Self::NoData,
        }
    }

    /// The cause, if there is a drift to have one.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::Drift(cause) => Some(cause),
            Self::NoData | Self::Ok | Self::Warning => None,
        }
    }

    /// For logs and the API; the cause apart.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoData => "no_data",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Drift(Cause::Schema) => "schema",
            Self::Drift(_) => "drift",
        }
    }
}

#[cfg(test)]
mod tests {
    use FeatureVerdict::{Drift, Filling, Ok, Stale, Warning};

    use super::*;

    fn findings(verdicts: &[FeatureVerdict]) -> Vec<Finding> {
        verdicts.iter().map(|&verdict| Finding { verdict, evident: verdict > Ok }).collect()
    }

    #[track_caller]
    fn check(
        features: &[FeatureVerdict],
        predictions: &[FeatureVerdict],
        watched: bool,
        expected: ModelVerdict,
    ) {
        let actual = ModelVerdict::of(&findings(features), &findings(predictions), (watched, false), 1);
        assert_eq!(actual, expected);
    }

    #[test]
    fn the_model_is_the_cause_only_where_the_inputs_are_ruled_out() {
        check(&[Ok, Ok], &[Drift], true, ModelVerdict::Drift(Cause::Model));
        check(&[Ok, Ok], &[Drift], false, ModelVerdict::Drift(Cause::Unknown));
        check(&[Ok, Filling], &[Drift], true, ModelVerdict::Drift(Cause::Unknown));
        check(&[Ok, Stale], &[Drift], true, ModelVerdict::Drift(Cause::Unknown));
        check(&[], &[Drift], true, ModelVerdict::Drift(Cause::Unknown));
    }

    #[test]
    fn evidence_below_a_warning_keeps_the_model_from_being_blamed() {
        let moved_a_little = [Finding { verdict: Ok, evident: true }];
        let verdict = ModelVerdict::of(&moved_a_little, &findings(&[Drift]), (true, false), 1);
        assert_eq!(verdict, ModelVerdict::Drift(Cause::Unknown));
    }

    #[test]
    fn moved_features_are_the_cause_of_moved_predictions() {
        check(&[Drift, Ok], &[Drift], true, ModelVerdict::Drift(Cause::Input));
        check(&[Drift, Filling], &[Ok], true, ModelVerdict::Drift(Cause::Input));
        check(&[Ok, Warning], &[Drift], true, ModelVerdict::Drift(Cause::Input));
    }

    #[test]
    fn a_broken_contract_comes_first_and_needs_no_window() {
        let verdict = ModelVerdict::of(&findings(&[Filling, Drift]), &findings(&[Drift]), (true, true), 1);
        assert_eq!(verdict, ModelVerdict::Drift(Cause::Schema));
    }

    #[test]
    fn without_drift_the_worst_column_speaks() {
        check(&[Ok, Warning], &[Ok], true, ModelVerdict::Warning);
        check(&[Ok, Stale], &[Filling], true, ModelVerdict::Ok);
        check(&[Stale], &[Filling], true, ModelVerdict::NoData);
        check(&[], &[], true, ModelVerdict::NoData);
        assert_eq!(ModelVerdict::Drift(Cause::Model).cause(), Some(Cause::Model));
        assert_eq!(ModelVerdict::Warning.cause(), None);
    }
    #[test]
    fn fewer_features_than_asked_for_are_a_warning() {
        let of = |features: &[FeatureVerdict], predictions: &[FeatureVerdict]| {
            ModelVerdict::of(&findings(features), &findings(predictions), (true, false), 2)
        };
        assert_eq!(of(&[Drift, Ok, Ok], &[Ok]), ModelVerdict::Warning);
        assert_eq!(of(&[Drift, Drift, Ok], &[Ok]), ModelVerdict::Drift(Cause::Input));
        assert_eq!(
            of(&[Drift, Ok, Ok], &[Drift]),
            ModelVerdict::Drift(Cause::Input),
            "what came of it counts"
        );
    }
}
