//! Tables against a baseline, all rows at once: the gate before a batch is scored or a model is promoted.

pub mod convention;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::baseline::count::TableCounter;
use crate::baseline::{Baseline, FeatureBaseline, Role};
use crate::drift::cause::ModelVerdict;
use crate::drift::monitor::{Judgement, Look, Monitor, Settings};
use crate::drift::scan::Against;
use crate::drift::score::Reference;
use crate::drift::verdict::{FeatureVerdict, Sensitivity, Thresholds};
use crate::drift::window::Added;
use crate::drift::{Histogram, Timestamp};
use crate::pipeline::report::ScoreReport;
use crate::table::{InputFormat, Inputs, Progress, Reader, Stdin, Table, TableError};
use convention::{Convention, PeerScore};

/// The chance that a check of rows like the baseline's finds anything, in any column.
const ALARMS_PER_CHECK: f64 = 1e-4;

/// Names of unexpected columns that are kept.
const MAX_UNEXPECTED: usize = 16;

/// What to check, beside the data.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// What the files hold; by their names if not given, CSV on standard input.
    pub input_format: Option<InputFormat>,
    /// Columns to leave out.
    pub ignore: Vec<String>,
    /// What is told.
    pub sensitivity: Sensitivity,
    /// Rows without which nothing is said, unless they differ already.
    pub min_samples: u64,
    /// Whose numbers to give beside ours.
    pub convention: Option<Convention>,
    /// Threads; all cores if not given.
    pub n_threads: Option<usize>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            input_format: None,
            ignore: Vec::new(),
            sensitivity: Sensitivity::Practical,
            min_samples: Thresholds::default().min_samples,
            convention: None,
            n_threads: None,
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckReport {
    /// The baseline's model.
    pub model: Option<String>,
    /// The baseline's version.
    pub version: Option<String>,
    /// Rows read.
    pub rows: u64,
    /// Rows of the baseline.
    pub baseline_rows: u64,
    /// `no_data` (too few rows to tell), `ok`, `warning`, `drift` or `schema`.
    pub verdict: &'static str,
    /// Why, while it is `drift` or `schema`: `schema`, `input`, `model` or `unknown`.
    pub cause: Option<&'static str>,
    /// Columns of the data that the baseline does not know, a few of them.
    pub unexpected: Vec<String>,
    /// Every feature and prediction, the worst first.
    pub columns: Vec<ColumnReport>,
}

/// What a check found of one column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnReport {
    /// Its name.
    pub name: String,
    /// Feature or prediction.
    pub role: Role,
    /// How its values are read.
    pub kind: &'static str,
    /// `filling` (too few rows to tell), `ok`, `warning`, `drift` or `schema`.
    pub verdict: &'static str,
    /// In words, where the verdict is not `ok`.
    pub reason: Option<String>,
    /// Rows.
    pub samples: u64,
    /// Share of rows without a value, in the baseline and now.
    pub missing: [f64; 2],
    /// Share of rows with a value of the wrong type or of an unseen category, in the baseline and now.
    pub other: [f64; 2],
    /// `None` without a single row.
    pub scores: Option<ScoreReport>,
    /// What a peer says of the same counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<PeerScore>,
    /// Rows of the baseline in each PSI group, then `missing`, then `other`.
    pub baseline_counts: Vec<u64>,
    /// Rows now, in the same.
    pub counts: Vec<u64>,
    #[serde(skip)]
    rank: FeatureVerdict,
    #[serde(skip)]
    fine: Histogram,
}

impl CheckReport {
    /// Whether people should hear of it.
    pub fn is_alarm(&self) -> bool {
        self.cause.is_some()
    }

    /// Whether there were too few rows to say anything.
    pub fn is_undecided(&self) -> bool {
        self.verdict == ModelVerdict::NoData.as_str()
    }
}

impl ColumnReport {
    /// Counts over the fine bins of the baseline.
    pub fn fine_counts(&self) -> &Histogram {
        &self.fine
    }

    /// Whether it alone would be an alarm.
    pub fn is_alarm(&self) -> bool {
        self.rank.is_alarm()
    }
}

/// Checks the tables that `inputs` name: paths, patterns, or `-` for standard input. They are read once, in bounded memory.
///
/// # Errors
/// [`TableError`] if the data are not what their format says.
pub fn check(
    baseline: &Baseline,
    inputs: &[String],
    options: &CheckOptions,
    progress: Progress<'_>,
) -> Result<CheckReport, TableError> {
    let files = Inputs::find(inputs, options.input_format, (Stdin::Stream, InputFormat::Csv), progress)?
        .prepared()?;
    let reader = Reader::new(&files, options.n_threads, 1, progress);
    let counter = TableCounter::new(baseline);
    let wanted = |name: &str| !options.ignore.iter().any(|ignored| ignored == name);
    let mut counted = Counted { counts: counter.zero(), ..Counted::default() };
    for file in files.iter() {
        reader.each_unit(
            &file,
            &wanted,
            |part: &mut Counted, table| part.add(&counter, &table),
            |part| {
                counted.merge(&part);
                Ok::<_, TableError>(())
            },
        )?;
    }
    Ok(report(baseline, options, counted))
}

/// What was counted of some rows.
#[derive(Debug, Default)]
struct Counted {
    counts: Vec<Histogram>,
    n_rows: u64,
    n_unexpected: u64,
    unexpected: BTreeSet<String>,
}

impl Counted {
    fn add(&mut self, counter: &TableCounter, table: &Table) {
        if self.counts.is_empty() {
            self.counts = counter.zero();
        }
        let rows = 0..usize::try_from(table.n_rows).expect("a table fits into memory");
        counter.count(table, &rows, &mut self.counts);
        self.n_rows += table.n_rows;
        self.n_unexpected += counter.n_unexpected(table, &rows);
        let unknown = table.columns.iter().filter(|(name, _)| !counter.knows(name));
        for (name, _) in unknown.take(MAX_UNEXPECTED - self.unexpected.len().min(MAX_UNEXPECTED)) {
            self.unexpected.insert(name.to_string());
        }
    }

    fn merge(&mut self, part: &Self) {
        self.counts.iter_mut().zip(&part.counts).for_each(|(sum, more)| sum.add(more));
        self.n_rows += part.n_rows;
        self.n_unexpected += part.n_unexpected;
        self.unexpected.extend(part.unexpected.iter().cloned());
    }
}

/// One look at all rows.
fn report(baseline: &Baseline, options: &CheckOptions, counted: Counted) -> CheckReport {
    let features = baseline.features();
    let references: Vec<Reference> = features.iter().map(|feature| feature.reference().clone()).collect();
    let n_features = features.iter().filter(|feature| feature.role == Role::Feature).count();
    let length = Duration::from_secs(1);
    let thresholds = Thresholds {
        sensitivity: options.sensitivity,
        min_samples: options.min_samples,
        ..Thresholds::default()
    };
    let settings = Settings {
        windows: vec![length],
        interval: length,
        alarms_per_look: ALARMS_PER_CHECK,
        thresholds: vec![thresholds; features.len()],
        // One look has nothing to learn it from.
        rows_depend: false,
        against: Against::Baseline,
        min_features: 1,
    };
    let mut monitor = Monitor::new(&references, n_features, settings);
    let is_watched_in_part = |feature: &FeatureBaseline| feature.kind().is_watched_in_part();
    let now = Timestamp::from_millis(1_000);
    let added = monitor.add(now, &counted.counts);
    debug_assert_eq!(added, Added::Counted, "time does not run backwards");
    let look = Look {
        n_unexpected: counted.n_unexpected,
        all_inputs_watched: !features.iter().any(is_watched_in_part),
        ..Look::default()
    };
    monitor.look(now, &references, look);

    let column = |(at, counts): (usize, Histogram)| {
        let (feature, reference) = (&features[at], &references[at]);
        let judgement = monitor.judgement(0, at);
        let folded = reference.fold(&counts).expect("counted over its bins");
        let share = |histogram: &Histogram, n: u64| n as f64 / histogram.total().max(1) as f64;
        let shares = |of: fn(&Histogram) -> u64| {
            [reference.baseline(), &counts].map(|histogram| share(histogram, of(histogram)))
        };
        ColumnReport {
            name: feature.name.clone(),
            role: feature.role,
            kind: feature.kind().as_str(),
            verdict: judgement.verdict.as_str(),
            reason: reason(judgement, &thresholds),
            samples: counts.total(),
            missing: shares(Histogram::missing),
            other: shares(Histogram::other),
            scores: reference.score(&counts).ok().map(|scores| ScoreReport::new(&scores, &thresholds)),
            peer: options
                .convention
                .map_or_else(Vec::new, |convention| convention.scores(reference, &counts)),
            baseline_counts: reference.psi_bins().to_vec(),
            counts: folded,
            rank: judgement.verdict,
            fine: counts,
        }
    };
    let mut columns: Vec<_> = counted.counts.into_iter().enumerate().map(column).collect();
    let psi = |column: &ColumnReport| column.scores.map_or(0.0, |scores| scores.psi - scores.psi_null);
    columns.sort_by(|a, b| b.rank.cmp(&a.rank).then(psi(b).total_cmp(&psi(a))));
    let model = monitor.verdict(0);
    CheckReport {
        model: baseline.model().map(str::to_owned),
        version: baseline.version().map(str::to_owned),
        rows: counted.n_rows,
        baseline_rows: baseline.rows(),
        verdict: model.as_str(),
        cause: model.cause().map(crate::drift::cause::Cause::as_str),
        unexpected: counted.unexpected.into_iter().collect(),
        columns,
    }
}

fn reason(judgement: &Judgement, thresholds: &Thresholds) -> Option<String> {
    if judgement.verdict < FeatureVerdict::Warning {
        return (judgement.verdict == FeatureVerdict::Filling)
            .then(|| format!("fewer than {} rows", thresholds.min_samples));
    }
    if let Some(breach) = &judgement.breach {
        return Some(format!(
            "{:.1} % of rows {}, {:.1} % in the baseline",
            100.0 * breach.share,
            breach.kind.in_words(),
            100.0 * breach.baseline_share
        ));
    }
    let in_words = |(name, value, threshold): (&str, f64, f64)| {
        let name = if name == "wasserstein" { "Wasserstein".to_owned() } else { name.to_uppercase() };
        format!("{name} {value:.3} of {threshold:.3}")
    };
    Some(judgement.effect?.held_against(thresholds).map(in_words).collect::<Vec<_>>().join(", "))
}
