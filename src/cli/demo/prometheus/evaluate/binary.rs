//! Two sides of an operator.

use std::collections::BTreeMap;

use super::super::parse::Matching;
use super::super::series::Labels;
use super::{NAME, Sample, Value, nameless};

/// `left operator right`.
pub fn binary(
    operator: &str,
    matching: &Matching,
    left: Value,
    right: Value,
    at: i64,
) -> Result<Value, String> {
    use Value::{Scalar, Vector};
    match (left, right) {
        (Vector(left), Vector(right)) if matches!(operator, "and" | "or") => {
            Ok(Vector(if operator == "and" {
                both(matching, left, &right)
            } else {
                either(matching, left, right)
            }))
        }
        (Vector(left), Vector(right)) => paired(operator, matching, left, &right, at).map(Vector),
        (Vector(left), Scalar(right)) => {
            Ok(Vector(left.into_iter().filter_map(|sample| with(operator, sample, right, at)).collect()))
        }
        (Scalar(left), Vector(right)) if !is_comparison(operator) => {
            let computed = |sample: Sample| {
                let value = compute(operator, left, sample.value);
                Sample { labels: nameless(&sample.labels), at, value }
            };
            Ok(Vector(right.into_iter().map(computed).collect()))
        }
        (Scalar(left), Scalar(right)) if !is_comparison(operator) => {
            Ok(Scalar(compute(operator, left, right)))
        }
        _ => Err(format!("`{operator}` of such sides is not known here")),
    }
}

/// What two sides are matched by.
fn key(matching: &Matching, labels: &Labels) -> Labels {
    let is_kept =
        |name: &str| name != NAME && matching.labels.iter().any(|label| label == name) == matching.is_on;
    labels
        .iter()
        .filter(|(name, _)| is_kept(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn both(matching: &Matching, mut left: Vec<Sample>, right: &[Sample]) -> Vec<Sample> {
    let there: Vec<Labels> = right.iter().map(|sample| key(matching, &sample.labels)).collect();
    left.retain(|sample| there.contains(&key(matching, &sample.labels)));
    left
}

fn either(matching: &Matching, mut left: Vec<Sample>, right: Vec<Sample>) -> Vec<Sample> {
    let there: Vec<Labels> = left.iter().map(|sample| key(matching, &sample.labels)).collect();
    left.extend(right.into_iter().filter(|sample| !there.contains(&key(matching, &sample.labels))));
    left
}

fn paired(
    operator: &str,
    matching: &Matching,
    left: Vec<Sample>,
    right: &[Sample],
    at: i64,
) -> Result<Vec<Sample>, String> {
    let mut ones: BTreeMap<Labels, &Sample> = BTreeMap::new();
    for sample in right {
        if ones.insert(key(matching, &sample.labels), sample).is_some() {
            return Err(format!("several series on the right of `{operator}` belong to one on the left"));
        }
    }
    let mut found = Vec::new();
    for sample in left {
        let key = key(matching, &sample.labels);
        let Some(one) = ones.get(&key) else { continue };
        let Some(mut computed) = with(operator, sample, one.value, at) else { continue };
        match &matching.group_left {
            Some(names) => {
                let given = one.labels.iter().filter(|(name, _)| names.contains(name));
                computed.labels.extend(given.map(|(name, value)| (name.clone(), value.clone())));
            }
            None => computed.labels = key,
        }
        found.push(computed);
    }
    Ok(found)
}

/// A comparison keeps the sample where it holds; all else makes a new one, without a name.
fn with(operator: &str, sample: Sample, right: f64, at: i64) -> Option<Sample> {
    if is_comparison(operator) {
        return holds(operator, sample.value, right).then_some(sample);
    }
    Some(Sample { labels: nameless(&sample.labels), at, value: compute(operator, sample.value, right) })
}

fn is_comparison(operator: &str) -> bool {
    matches!(operator, ">" | "<" | ">=" | "<=" | "==")
}

#[allow(clippy::float_cmp, reason = "as PromQL has it")]
fn holds(operator: &str, left: f64, right: f64) -> bool {
    match operator {
        ">" => left > right,
        "<" => left < right,
        ">=" => left >= right,
        "<=" => left <= right,
        _ => left == right,
    }
}

fn compute(operator: &str, left: f64, right: f64) -> f64 {
    match operator {
        "+" => left + right,
        "-" => left - right,
        "*" => left * right,
        _ => left / right,
    }
}
