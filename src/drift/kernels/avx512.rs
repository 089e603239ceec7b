//! 512-bit vectors: eight values at a time. Only comparing gains by them: a grid's time goes into its lookups, so it
//! takes its cells from [`super::avx2`].
#![expect(
    unsafe_code,
    reason = "vector instructions: loads and stores by pointer, features the build does not assume"
)]
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their namespace in their names")]

use std::arch::x86_64::*;

use super::divergence::{Divergence, Divergences};

const LANES: usize = 8;

/// Adds to `reached[i]` how many values are at or above `thresholds[i]`.
pub(super) fn count_reached(thresholds: &[f64], values: &[f64], reached: &mut [u64]) {
    // SAFETY: a `Recorder` holds this kernel only if `available` found AVX-512F.
    unsafe { count_reached_avx512(thresholds, values, reached) }
}

#[target_feature(enable = "avx512f")]
fn count_reached_avx512(thresholds: &[f64], values: &[f64], reached: &mut [u64]) {
    let (groups, rest) = thresholds.as_chunks::<12>();
    let (group_counts, rest_counts) = reached.as_chunks_mut::<12>();
    for (group, counts) in groups.iter().zip(group_counts) {
        count_group(group, values, counts);
    }
    match rest.len() {
        0 => (),
        1..=2 => count_padded::<2>(rest, values, rest_counts),
        3..=4 => count_padded::<4>(rest, values, rest_counts),
        5..=6 => count_padded::<6>(rest, values, rest_counts),
        7..=8 => count_padded::<8>(rest, values, rest_counts),
        9..=10 => count_padded::<10>(rest, values, rest_counts),
        _ => count_padded::<12>(rest, values, rest_counts),
    }
}

/// [`count_group`] for at most `K` thresholds.
#[target_feature(enable = "avx512f")]
fn count_padded<const K: usize>(thresholds: &[f64], values: &[f64], reached: &mut [u64]) {
    let (mut padded, mut counts) = ([f64::NAN; K], [0; K]);
    padded[..thresholds.len()].copy_from_slice(thresholds);
    count_group(&padded, values, &mut counts);
    for (reached, count) in reached.iter_mut().zip(counts) {
        *reached += count;
    }
}

/// One pass for `K` thresholds, which with their counters stay in registers.
#[target_feature(enable = "avx512f")]
fn count_group<const K: usize>(thresholds: &[f64; K], values: &[f64], reached: &mut [u64]) {
    let edges = thresholds.map(|threshold| _mm512_set1_pd(threshold));
    let mut counters = [_mm512_setzero_si512(); K];
    let one = _mm512_set1_epi64(1);
    let (vectors, rest) = values.as_chunks::<LANES>();
    let mut add = |value| {
        for k in 0..K {
            let holds = _mm512_cmp_pd_mask::<_CMP_GE_OQ>(value, edges[k]);
            counters[k] = _mm512_mask_add_epi64(counters[k], holds, counters[k], one);
        }
    };
    for vector in vectors {
        // SAFETY: `vector` is eight `f64`, and the load asks for no alignment.
        add(unsafe { _mm512_loadu_pd(vector.as_ptr()) });
    }
    if !rest.is_empty() {
        let mut last = [f64::NAN; LANES];
        last[..rest.len()].copy_from_slice(rest);
        // SAFETY: `last` is eight `f64`, and the load asks for no alignment.
        add(unsafe { _mm512_loadu_pd(last.as_ptr()) });
    }
    for (reached, counter) in reached.iter_mut().zip(counters) {
        *reached += _mm512_reduce_add_epi64(counter).cast_unsigned();
    }
}

/// [`Divergence::pass`] by vectors of half the size, as a feature's bins are too few to fill whole ones; what it gains over
/// [`super::avx2`] are conversions from integers and twice the registers.
pub(super) fn divergences(baseline: &Divergence, current: &[u64], n_current: u64) -> Divergences {
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
    fn pass(baseline: &Divergence, current: &[u64], n_current: u64) -> Divergences {
        baseline.pass::<4>(current, n_current)
    }
    // SAFETY: a `Divergence` holds this kernel only if `available` found AVX-512F, DQ and VL beside AVX2 and FMA.
    unsafe { pass(baseline, current, n_current) }
}
