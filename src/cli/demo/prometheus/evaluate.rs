//! What an expression is at a time.

mod aggregate;
mod binary;

use std::collections::BTreeMap;

use super::parse::{Expr, Selector};
use super::series::{Labels, Series};

/// The label that a name is in an answer.
const NAME: &str = "__name__";

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(f64),
    /// A text, which only functions take.
    Text(String),
    /// A value of each series.
    Vector(Vec<Sample>),
    /// Values of each series, oldest first.
    Ranges(Vec<(Labels, Vec<(i64, f64)>)>),
}

/// One value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels, and its name where it has one.
    pub labels: Labels,
    /// When it was read, or the time of the query where it was computed.
    pub at: i64,
    /// The value.
    pub value: f64,
}

/// Series, at a time in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// What there is.
    pub series: &'a Series,
    /// When.
    pub at: i64,
}

impl Moment<'_> {
    /// What `expr` is.
    ///
    /// # Errors
    /// What cannot be computed here.
    pub fn evaluate(&self, expr: &Expr) -> Result<Value, String> {
        match expr {
            Expr::Number(number) => Ok(Value::Scalar(*number)),
            Expr::Text(text) => Ok(Value::Text(text.clone())),
            Expr::Selector(selector) => Ok(Value::Vector(self.select(selector))),
            Expr::Range { of, length, step } => self.range(of, *length, *step),
            Expr::Call { function, arguments } => self.call(function, arguments),
            Expr::Aggregate { how, by, arguments } => {
                aggregate::aggregate(how, by, self.all(arguments)?, self.at)
            }
            Expr::Binary { operator, matching, left, right } => {
                binary::binary(operator, matching, self.evaluate(left)?, self.evaluate(right)?, self.at)
            }
        }
    }

    /// The same where only a vector will do.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and where it is something else.
    pub fn vector(&self, expr: &Expr) -> Result<Vec<Sample>, String> {
        match self.evaluate(expr)? {
            Value::Vector(samples) => Ok(samples),
            other => Err(format!("{other:?} stands where a vector is expected")),
        }
    }

    fn all(&self, expressions: &[Expr]) -> Result<Vec<Value>, String> {
        expressions.iter().map(|expr| self.evaluate(expr)).collect()
    }

    fn select(&self, selector: &Selector) -> Vec<Sample> {
        let found = self.series.at(selector, selector.at.unwrap_or(self.at));
        let named = |(mut labels, at, value): (Labels, i64, f64)| {
            labels.insert(NAME.to_owned(), selector.name.clone());
            Sample { labels, at, value }
        };
        found.into_iter().map(named).collect()
    }

    fn range(&self, of: &Expr, length: i64, step: Option<i64>) -> Result<Value, String> {
        match (of, step) {
            (Expr::Selector(selector), None) => {
                Ok(Value::Ranges(self.series.within(selector, self.at - length, self.at)))
            }
            (_, None) => Err("a range of an expression needs a step".to_owned()),
            (_, Some(step @ 1..)) => self.subquery(of, length, step),
            (_, Some(step)) => Err(format!("{step} ms is no step")),
        }
    }

    /// At multiples of `step`, as Prometheus does it.
    fn subquery(&self, of: &Expr, length: i64, step: i64) -> Result<Value, String> {
        let mut ranges: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
        let mut at = ((self.at - length).div_euclid(step) + 1) * step;
        while at <= self.at {
            for sample in (Moment { at, ..*self }).vector(of)? {
                ranges.entry(sample.labels).or_default().push((at, sample.value));
            }
            at += step;
        }
        Ok(Value::Ranges(ranges.into_iter().collect()))
    }

    fn call(&self, function: &str, arguments: &[Expr]) -> Result<Value, String> {
        match (function, &self.all(arguments)?[..]) {
            ("time", []) => Ok(Value::Scalar(seconds(self.at))),
            ("timestamp", [Value::Vector(samples)]) => {
                Ok(self.computed(samples.iter().map(|sample| (&sample.labels, Some(seconds(sample.at))))))
            }
            ("min_over_time", [Value::Ranges(ranges)]) => {
                Ok(self.over_time(ranges, |values| fold(values, f64::min)))
            }
            ("max_over_time", [Value::Ranges(ranges)]) => {
                Ok(self.over_time(ranges, |values| fold(values, f64::max)))
            }
            ("increase", [Value::Ranges(ranges)]) => Ok(self.over_time(ranges, increase)),
            ("rate", [Value::Ranges(ranges)]) => Ok(self.over_time(ranges, rate)),
            (
                "label_replace",
                [Value::Vector(samples), Value::Text(label), Value::Text(text), from, pattern],
            ) if [from, pattern].iter().all(|text| **text == Value::Text(String::new())) => {
                let with = |sample: &Sample| {
                    let mut sample = sample.clone();
                    sample.labels.insert(label.clone(), text.clone());
                    sample
                };
                Ok(Value::Vector(samples.iter().map(with).collect()))
            }
            (function, _) => Err(format!("`{function}` of such arguments is not known here")),
        }
    }

    fn over_time(
        &self,
        ranges: &[(Labels, Vec<(i64, f64)>)],
        of: impl Fn(&[(i64, f64)]) -> Option<f64>,
    ) -> Value {
        self.computed(ranges.iter().map(|(labels, values)| (labels, of(values))))
    }

    /// What is computed has no name.
    fn computed<'a>(&self, values: impl Iterator<Item = (&'a Labels, Option<f64>)>) -> Value {
        let sample = |(labels, value): (&Labels, Option<f64>)| {
            Some(Sample { labels: nameless(labels), at: self.at, value: value? })
        };
        Value::Vector(values.filter_map(sample).collect())
    }
}

fn nameless(labels: &Labels) -> Labels {
    let mut labels = labels.clone();
    labels.remove(NAME);
    labels
}

fn fold(values: &[(i64, f64)], two: fn(f64, f64) -> f64) -> Option<f64> {
    values.iter().map(|(_, value)| *value).reduce(two)
}

/// What a counter has grown by, over its restarts. Prometheus also guesses what lies before the first value and behind the last;
/// what is asked here, whether there is any and shares of two, needs no such guess.
fn increase(values: &[(i64, f64)]) -> Option<f64> {
    let steps = values.windows(2).map(|pair| {
        let (before, after) = (pair[0].1, pair[1].1);
        if after >= before { after - before } else { after }
    });
    (values.len() >= 2).then(|| steps.sum())
}

fn rate(values: &[(i64, f64)]) -> Option<f64> {
    let (first, last) = (values.first()?.0, values.last()?.0);
    Some(increase(values)? / seconds(last - first))
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}
