//! Rows that were recorded, judged as the daemon would have judged them on their way: what would have been found, and when.

use std::time::Duration;

use serde::Serialize;

use crate::baseline::count::TableCounter;
use crate::baseline::{Baseline, Role};
use crate::config::Budget;
use crate::drift::cause::ModelVerdict;
use crate::drift::monitor::{Judgement, Look, Monitor, Settings};
use crate::drift::repeats::RepeatCounter;
use crate::drift::scan::Against;
use crate::drift::score::Reference;
use crate::drift::verdict::{FeatureVerdict, Sensitivity, Thresholds};
use crate::drift::window::Added;
use crate::drift::{Histogram, Timestamp};
use crate::table::{InputFormat, Inputs, Progress, Reader, Stdin, Table, TableError};

/// Time between two looks, unless it is given in rows.
const INTERVAL: Duration = Duration::from_secs(10);

/// Looks to a false alarm where looks are given in rows, and the budget is not.
const LOOKS_PER_ALARM: f64 = 200_000.0;

/// How to replay.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// What the files hold; by their names if not given, JSON Lines on standard input.
    pub input_format: Option<InputFormat>,
    /// Columns to leave out.
    pub ignore: Vec<String>,
    /// Rows of a second.
    pub rows_per_second: f64,
    /// Rows from one look to the next; ten seconds' worth if not given.
    pub tick_rows: Option<u64>,
    /// False alarms allowed. If not given, one in two hundred thousand looks where `tick_rows` is, else the daemon's default.
    pub false_alarms: Option<Budget>,
    /// What is told.
    pub sensitivity: Sensitivity,
    /// What drift is measured from.
    pub against: Against,
    /// Stretches of up to this long are held against that.
    pub window: Duration,
}

/// A verdict that is not the one before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerdictChange {
    /// The last row seen, counted from 0.
    pub row: u64,
    /// `ok`, `warning`, `drift` or `schema`.
    pub verdict: &'static str,
    /// Why, while it is `drift` or `schema`.
    pub cause: Option<&'static str>,
    /// What is not ok, the worst first.
    pub features: Vec<Changed>,
}

/// A feature or prediction that is not ok.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// What is furthest beyond its threshold: `psi`, `ks`, or the share of rows `missing`, `other` or `out_of_range`.
    pub statistic: &'static str,
    /// Its value in the rows since the change began.
    pub value: f64,
    /// What it is held against.
    pub threshold: f64,
    /// How many rows those are.
    pub samples: u64,
}

/// What a replay comes to, and what to expect of traffic like it.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Rows read.
    pub n_rows: u64,
    /// Looks taken.
    pub n_looks: u64,
    /// Verdicts that were not the one before.
    pub n_changes: u64,
    /// False alarms a day that the budget allows.
    pub alarms_per_day: f64,
    /// Shifts of a numeric feature's mean, in standard deviations, and about how many rows show them; `None` where no
    /// number of rows does, against so small a baseline.
    pub rows_to_detect: Vec<(f64, Option<f64>)>,
}

/// Replays the tables that `inputs` name against a baseline; `told` hears of every verdict that is not the one before.
///
/// # Errors
/// [`TableError`] if the data are not what their format says.
pub fn replay(
    baseline: &Baseline,
    inputs: &[String],
    options: &ReplayOptions,
    progress: Progress<'_>,
    told: &mut dyn FnMut(&VerdictChange),
) -> Result<Summary, TableError> {
    let files = Inputs::find(inputs, options.input_format, (Stdin::Stream, InputFormat::Jsonl), progress)?
        .prepared()?;
    let reader = Reader::new(&files, None, 1, progress);
    let mut replay = Replay::new(baseline, options, told);
    let wanted = |name: &str| !options.ignore.iter().any(|ignored| ignored == name);
    for file in files.iter() {
        reader.each_unit(
            &file,
            &wanted,
            |tables: &mut Vec<Table>, table| tables.push(table),
            |tables| {
                for table in &tables {
                    replay.add(table);
                }
                Ok::<_, TableError>(())
            },
        )?;
    }
    Ok(replay.finish())
}

/// A replay on its way.
struct Replay<'a> {
    baseline: &'a Baseline,
    references: Vec<Reference>,
    counter: TableCounter,
    monitor: Monitor,
    repeats: RepeatCounter,
    counts: Vec<Histogram>,
    look: Look,
    n_since_look: u64,
    tick_rows: u64,
    rows_per_second: f64,
    last: (&'static str, Option<&'static str>),
    summary: Summary,
    told: &'a mut dyn FnMut(&VerdictChange),
}

impl<'a> Replay<'a> {
    fn new(baseline: &'a Baseline, options: &ReplayOptions, told: &'a mut dyn FnMut(&VerdictChange)) -> Self {
        let features = baseline.features();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and positive")]
        let rows_of_interval = (options.rows_per_second * INTERVAL.as_secs_f64()).round().max(1.0) as u64;
        let tick_rows = options.tick_rows.unwrap_or(rows_of_interval);
        let interval = Duration::from_secs_f64(tick_rows as f64 / options.rows_per_second);
        let alarms_per_look = match (options.false_alarms, options.tick_rows) {
            (None, Some(_)) => 1.0 / LOOKS_PER_ALARM,
            (budget, _) => budget.unwrap_or_default().per_look(interval, tick_rows as f64),
        };
        let thresholds = Thresholds { sensitivity: options.sensitivity, ..Thresholds::default() };
        let settings = Settings {
            windows: vec![options.window.max(interval)],
            interval,
            alarms_per_look,
            thresholds: vec![thresholds; features.len()],
            rows_depend: true,
            against: options.against,
            min_features: 1,
        };
        let references: Vec<_> = features.iter().map(|feature| feature.reference().clone()).collect();
        let n_features = features.iter().filter(|feature| feature.role == Role::Feature).count();
        let counter = TableCounter::new(baseline);
        let all_inputs_watched = !features.iter().any(|feature| feature.kind().is_watched_in_part());
        Self {
            monitor: Monitor::new(&references, n_features, settings),
            counts: counter.zero(),
            counter,
            references,
            baseline,
            repeats: RepeatCounter::default(),
            look: Look { all_inputs_watched, ..Look::default() },
            n_since_look: 0,
            tick_rows,
            rows_per_second: options.rows_per_second,
            last: ("ok", None),
            summary: Summary {
                n_rows: 0,
                n_looks: 0,
                n_changes: 0,
                alarms_per_day: alarms_per_look * 86_400.0 / interval.as_secs_f64(),
                rows_to_detect: Vec::new(),
            },
            told,
        }
    }

    fn add(&mut self, table: &Table) {
        let hashes = self.counter.hashes(table);
        let mut at = 0;
        while at < hashes.len() {
            let left = usize::try_from(self.tick_rows - self.n_since_look).unwrap_or(usize::MAX);
            let rows = at..hashes.len().min(at.saturating_add(left));
            self.counter.count(table, &rows, &mut self.counts);
            self.look.n_unexpected += self.counter.n_unexpected(table, &rows);
            for &hash in hashes[rows.clone()].iter().flatten() {
                self.repeats.see(hash, 1);
            }
            self.n_since_look += rows.len() as u64;
            self.summary.n_rows += rows.len() as u64;
            if self.n_since_look == self.tick_rows {
                self.look();
            }
            at = rows.end;
        }
    }

    fn look(&mut self) {
        self.summary.n_looks += 1;
        let seconds = self.summary.n_rows as f64 / self.rows_per_second;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no stream is that long")]
        let millis = ((seconds * 1e3) as u64).max(self.summary.n_looks);
        let now = Timestamp::from_millis(millis);
        let added = self.monitor.add(now, &self.counts);
        debug_assert_eq!(added, Added::Counted, "time does not run backwards");
        let look = Look { repeats: self.repeats.take(), ..std::mem::take(&mut self.look) };
        self.look.all_inputs_watched = look.all_inputs_watched;
        self.monitor.look(now, &self.references, look);
        self.counts.iter_mut().for_each(Histogram::clear);
        self.n_since_look = 0;
        self.tell();
    }

    fn tell(&mut self) {
        let model = self.monitor.verdict(0);
        let verdict = if model == ModelVerdict::NoData { ModelVerdict::Ok.as_str() } else { model.as_str() };
        let cause = model.cause().map(crate::drift::cause::Cause::as_str);
        if (verdict, cause) == self.last {
            return;
        }
        self.last = (verdict, cause);
        self.summary.n_changes += 1;
        let mut features: Vec<_> =
            (0..self.references.len()).filter_map(|column| self.changed(column)).collect();
        features.sort_by(|(a, _), (b, _)| b.cmp(a));
        let features = features.into_iter().map(|(_, changed)| changed).collect();
        (self.told)(&VerdictChange { row: self.summary.n_rows - 1, verdict, cause, features });
    }

    fn changed(&self, column: usize) -> Option<(FeatureVerdict, Changed)> {
        let judgement = self.monitor.judgement(0, column);
        if judgement.verdict < FeatureVerdict::Warning {
            return None;
        }
        let name = self.baseline.features()[column].name.clone();
        let (statistic, value, threshold) = furthest(judgement, self.monitor.thresholds(column))?;
        Some((judgement.verdict, Changed { name, statistic, value, threshold, samples: judgement.n_rows }))
    }

    fn finish(mut self) -> Summary {
        if self.n_since_look > 0 {
            self.look();
        }
        let rows = |shift| self.monitor.rows_to_shift(shift, self.tick_rows as f64);
        self.summary.rows_to_detect = [0.1, 0.25, 0.5, 1.0].map(|shift| (shift, rows(shift))).into();
        self.summary
    }
}

/// What is furthest beyond its threshold, or nearest to it.
fn furthest(judgement: &Judgement, thresholds: &Thresholds) -> Option<(&'static str, f64, f64)> {
    if let Some(breach) = &judgement.breach {
        let threshold = breach.baseline_share + thresholds.violations;
        return Some((breach.kind.as_str(), breach.share, threshold));
    }
    let share = |&(_, value, threshold): &(&str, f64, f64)| value / threshold;
    judgement.effect?.held_against(thresholds).max_by(|a, b| share(a).total_cmp(&share(b)))
}
