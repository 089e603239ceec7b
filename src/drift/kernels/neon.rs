//! 128-bit vectors of `aarch64`, where every processor has them: two values at a time.
#![expect(
    unsafe_code,
    reason = "vector instructions: loads and stores by pointer, features the build does not assume"
)]
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their namespace in their names")]

use std::arch::aarch64::*;

const LANES: usize = 2;

/// Adds to `reached[i]` how many values are at or above `thresholds[i]`.
pub(super) fn count_reached(thresholds: &[f64], values: &[f64], reached: &mut [u64]) {
    let (groups, rest) = thresholds.as_chunks::<6>();
    let (group_counts, rest_counts) = reached.as_chunks_mut::<6>();
    for (group, counts) in groups.iter().zip(group_counts) {
        count_group(group, values, counts);
    }
    let (pairs, last) = rest.as_chunks::<2>();
    let (pair_counts, last_count) = rest_counts.as_chunks_mut::<2>();
    for (pair, counts) in pairs.iter().zip(pair_counts) {
        count_group(pair, values, counts);
    }
    if let [threshold] = last {
        count_group(&[*threshold], values, last_count);
    }
}

/// One pass for `K` thresholds, which with their counters stay in registers.
fn count_group<const K: usize>(thresholds: &[f64; K], values: &[f64], reached: &mut [u64]) {
    let (vectors, rest) = values.as_chunks::<LANES>();
    // SAFETY: NEON is part of the `aarch64` targets; the load is of `vector`, which is two `f64`.
    let counters = unsafe {
        let edges = thresholds.map(|threshold| vdupq_n_f64(threshold));
        let mut counters = [vdupq_n_u64(0); K];
        for vector in vectors {
            let value = vld1q_f64(vector.as_ptr());
            for k in 0..K {
                // A lane that holds is all ones, which is −1.
                counters[k] = vsubq_u64(counters[k], vcgeq_f64(value, edges[k]));
            }
        }
        counters.map(|counter| vaddvq_u64(counter))
    };
    for k in 0..K {
        let last = rest.iter().filter(|&&value| value >= thresholds[k]).count() as u64;
        reached[k] += counters[k] + last;
    }
}
