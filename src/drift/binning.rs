//! Where the baseline builder puts a feature's edges, and how its fine bins are joined into groups.
//!
//! Both come from `partition`, which cuts a row of weights into parts of near-equal weight and keeps a weight that
//! outweighs a part to itself, so that a spike (a default value, a zero) is compared as what it is.

use std::ops::Range;

use super::{BinEdges, Groups};

/// Bins below this number cannot hold a value and the guards.
pub const MIN_BINS: usize = 1 + N_GUARDS;

/// Bins outside of the values' range, at most: two at either end.
const N_GUARDS: usize = 4;

/// Edges for at most `max_bins` bins (at least [`MIN_BINS`]) of near-equal weight.
///
/// `values` are `(value, weight)` with the values ascending: distinct values and their counts, or the quantiles of a
/// sketch. Those that are not finite or weigh nothing are passed over, equal neighbours count as one.
/// * A value heavier than a bin's share has a bin of its own, `[v, next_up(v))`: always if it weighs two shares, and
///   from one share up while bins last.
/// * At most `max_bins - 4` values: one bin a value, `[v_i, v_{i+1})`. One value is below / equal / above.
/// * Below the first value and above the last are two empty guard bins, so that values outside of the range are seen: up
///   to once the width of the range away, which a shift may bring, and further, which is another unit or a bug.
/// * No values: no edges, one bin.
///
/// # Panics
/// Never: what is not ascending is joined to its neighbour before it could make a bad edge.
pub fn edges_from_weighted(values: &[(f64, u64)], max_bins: usize) -> BinEdges {
    let (values, weights) = distinct(values);
    let n_inner = max_bins.saturating_sub(N_GUARDS).max(1);
    let starts =
        if values.len() <= n_inner { (0..values.len()).collect() } else { partition(&weights, n_inner) };
    let edges = cut_points(&values, &starts);
    BinEdges::new(edges).expect("cut points of ascending finite values are ascending and finite")
}

/// Values with a weight, equal neighbours joined, `-0.0` as `0.0`.
fn distinct(values: &[(f64, u64)]) -> (Vec<f64>, Vec<u64>) {
    let (mut distinct, mut weights) = (Vec::with_capacity(values.len()), Vec::with_capacity(values.len()));
    for &(value, weight) in values.iter().filter(|(value, weight)| value.is_finite() && *weight > 0) {
        match (distinct.last(), weights.last_mut()) {
            (Some(&last), Some(sum)) if value <= last => *sum += weight,
            _ => {
                distinct.push(value + 0.0);
                weights.push(weight);
            }
        }
    }
    (distinct, weights)
}

/// Whether a part is a single value.
fn is_spike(starts: &[usize], values: &[f64], part: usize) -> bool {
    let end = starts.get(part + 1).copied().unwrap_or(values.len());
    end - starts[part] == 1
}

/// One edge between two parts, and one at either end of the row.
fn cut_points(values: &[f64], starts: &[usize]) -> Vec<f64> {
    let mut edges = Vec::with_capacity(starts.len() + 1);
    for (part, &start) in starts.iter().enumerate() {
        let spike = is_spike(starts, values, part);
        if part > 0 && is_spike(starts, values, part - 1) && !spike {
            // The values between two spikes fall to the lower; those beside a spread belong to it.
            edges.push(values[start - 1].next_up());
        } else {
            edges.push(values[start]);
        }
    }
    // The largest finite value has no room above it: its bin is the outer one.
    if let Some(&last) = values.last()
        && last.next_up().is_finite()
    {
        edges.push(last.next_up());
    }
    if let (Some(&first), Some(&last)) = (values.first(), values.last()) {
        let (below, above) = (first - (last - first), last + (last - first));
        if below.is_finite() && below < edges[0] {
            edges.insert(0, below);
        }
        if above.is_finite() && above > edges[edges.len() - 1] {
            edges.push(above);
        }
    }
    edges
}

/// Whether a bin `[left, right)` lies outside of the range `(min, max)` by half its width or more: what
/// [`edges_from_weighted`] leaves a whole width for, a baseline merged from others perhaps less.
pub fn is_far_out((left, right): (f64, f64), (min, max): (f64, f64)) -> bool {
    let margin = 0.5 * (max - min);
    // Where numbers are so large that half the width is less than the gap between two, a bin beside the range is not far.
    right <= min - margin && (right < min || margin == 0.0) || left >= max + margin && left > max
}

/// Groups of fine bins for PSI: at most `max_groups` (at least 1) of near-equal baseline count, missing and other not
/// among them, and the guards.
///
/// No bin is split. Bins without baseline observations at the ends are the guards, two groups at either end, the outermost
/// bin and the others: joined to a neighbour, values outside of the baseline's range would be lost in its mass. While the
/// window has none there either, PSI leaves such a group out. A bin heavier than a group's share stands alone as
/// in [`edges_from_weighted`].
///
/// # Panics
/// Never: parts start at 0 and rise.
pub fn groups_from_counts(counts: &[u64], max_groups: usize) -> Groups {
    let Some(first) = counts.iter().position(|&count| count > 0) else {
        return Groups::one_per_bin(1);
    };
    let last = counts.iter().rposition(|&count| count > 0).unwrap_or(first);
    let inner = partition(&counts[first..=last], max_groups.max(1));
    let mut starts = Vec::with_capacity(inner.len() + N_GUARDS);
    starts.extend([0, 1].into_iter().filter(|&guard| guard < first));
    starts.extend(inner.into_iter().map(|start| first + start));
    starts.extend(
        [last + 1, counts.len() - 1].into_iter().filter(|&guard| guard > last && guard < counts.len()),
    );
    starts.dedup();
    Groups::new(starts, counts.len()).expect("parts start at 0 and rise")
}

/// Cuts `weights` into at most `max_parts` (at least 1) runs of near-equal weight; returns where each starts.
///
/// A weight above its share, `total / max_parts`, is a run of its own: the heaviest first, for as long as the runs
/// between them still fit. Those of two shares or more always do, as there are less than `max_parts / 2` of them.
fn partition(weights: &[u64], max_parts: usize) -> Vec<usize> {
    if weights.len() <= max_parts {
        return (0..weights.len()).collect();
    }
    let heavy = heavy_weights(weights, max_parts);
    let runs = runs_between(&heavy, weights.len());
    let weight = |run: &Range<usize>| weights[run.clone()].iter().map(|&w| u128::from(w)).sum::<u128>();
    let light = runs.iter().map(weight).sum::<u128>().max(1);
    let n_extra = (max_parts - heavy.len() - runs.len()) as u128;
    let mut starts = heavy;
    let mut below = 0;
    for run in runs {
        let above = below + weight(&run);
        // Rounding the running sum rather than each share spends every part.
        let n_parts = 1 + (above * n_extra / light - below * n_extra / light);
        cut_evenly(weights, run, n_parts, &mut starts);
        below = above;
    }
    starts.sort_unstable();
    starts
}

/// The indices of the weights that get a part of their own, ascending.
fn heavy_weights(weights: &[u64], max_parts: usize) -> Vec<usize> {
    let total: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    let mut candidates: Vec<usize> =
        (0..weights.len()).filter(|&at| u128::from(weights[at]) * max_parts as u128 > total).collect();
    candidates.sort_by_key(|&at| (std::cmp::Reverse(weights[at]), at));
    let mut heavy = Vec::new();
    for at in candidates {
        let mut more = heavy.clone();
        more.insert(more.partition_point(|&other| other < at), at);
        if more.len() + runs_between(&more, weights.len()).len() > max_parts {
            break;
        }
        heavy = more;
    }
    heavy
}

/// The runs of indices between those of `heavy`.
fn runs_between(heavy: &[usize], len: usize) -> Vec<Range<usize>> {
    let begins = [0].into_iter().chain(heavy.iter().map(|at| at + 1));
    let ends = heavy.iter().copied().chain([len]);
    begins.zip(ends).map(|(begin, end)| begin..end).filter(|run| !run.is_empty()).collect()
}

/// Cuts one run into at most `n_parts` of near-equal weight: each cut lies where the running sum comes closest.
fn cut_evenly(weights: &[u64], run: Range<usize>, n_parts: u128, starts: &mut Vec<usize>) {
    starts.push(run.start);
    let total: u128 = weights[run.clone()].iter().map(|&weight| u128::from(weight)).sum();
    let (mut below, mut n_cuts) = (u128::from(weights[run.start]), 0);
    for (at, &weight) in weights.iter().enumerate().take(run.end).skip(run.start + 1) {
        // A cut before this weight is the closest for every share that ends below its middle.
        let middle = 2 * below + u128::from(weight);
        let n_reached = (middle * n_parts / (2 * total).max(1)).min(n_parts - 1);
        if n_reached > n_cuts {
            starts.push(at);
            n_cuts = n_reached;
        }
        below += u128::from(weight);
    }
}

#[cfg(test)]
mod tests;
