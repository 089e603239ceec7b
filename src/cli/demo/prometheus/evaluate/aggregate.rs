//! Many series to few.

use std::collections::BTreeMap;

use super::super::series::Labels;
use super::{Sample, Value};

/// `how by (by) (arguments)`.
pub fn aggregate(how: &str, by: &[String], arguments: Vec<Value>, at: i64) -> Result<Value, String> {
    match (how, <[Value; 1]>::try_from(arguments)) {
        ("topk", Err(arguments)) => match &arguments[..] {
            [Value::Scalar(n_best), Value::Vector(samples)] => Ok(Value::Vector(topk(*n_best, by, samples))),
            _ => Err("`topk` takes a number and a vector".to_owned()),
        },
        (how, Ok([Value::Vector(samples)])) => {
            let one = |(labels, members): (Labels, Vec<&Sample>)| {
                Ok(Sample { labels, at, value: together(how, &members)? })
            };
            groups(by, &samples).into_iter().map(one).collect::<Result<_, _>>().map(Value::Vector)
        }
        (how, _) => Err(format!("`{how}` takes a vector")),
    }
}

fn groups<'a>(by: &[String], samples: &'a [Sample]) -> BTreeMap<Labels, Vec<&'a Sample>> {
    let mut groups: BTreeMap<Labels, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        let mut labels = sample.labels.clone();
        labels.retain(|name, _| by.contains(name));
        groups.entry(labels).or_default().push(sample);
    }
    groups
}

fn together(how: &str, members: &[&Sample]) -> Result<f64, String> {
    let values = members.iter().map(|sample| sample.value);
    Ok(match how {
        "sum" => values.sum(),
        "count" => members.len() as f64,
        "avg" => values.sum::<f64>() / members.len() as f64,
        "max" => values.fold(f64::NEG_INFINITY, f64::max),
        "min" => values.fold(f64::INFINITY, f64::min),
        "group" => 1.0,
        _ => return Err(format!("`{how}` is not known here")),
    })
}

/// The largest of each group, as they are.
fn topk(n_best: f64, by: &[String], samples: &[Sample]) -> Vec<Sample> {
    let mut best = Vec::new();
    for mut members in groups(by, samples).into_values() {
        members.sort_by(|a, b| b.value.total_cmp(&a.value));
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count, and `as` saturates"
        )]
        let n_best = n_best as usize;
        best.extend(members.into_iter().take(n_best).cloned());
    }
    best
}
