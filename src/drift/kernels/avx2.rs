//! 256-bit vectors: four values at a time.
#![expect(
    unsafe_code,
    reason = "vector instructions: loads and stores by pointer, features the build does not assume"
)]
#![allow(clippy::wildcard_imports, reason = "intrinsics carry their namespace in their names")]

use std::arch::x86_64::*;

use super::divergence::{Divergence, Divergences};
use super::grid::{HALF, Linear, MISSING_CELL, Symlog};
use super::stretch::{StretchSums, Sums, add_pass};

const LANES: usize = 4;

/// Adds to `reached[i]` how many values are at or above `thresholds[i]`.
pub(super) fn count_reached(thresholds: &[f64], values: &[f64], reached: &mut [u64]) {
    // SAFETY: a `Recorder` holds this kernel only if `available` found AVX2.
    unsafe { count_reached_avx2(thresholds, values, reached) }
}

#[target_feature(enable = "avx2")]
fn count_reached_avx2(thresholds: &[f64], values: &[f64], reached: &mut [u64]) {
    let (groups, rest) = thresholds.as_chunks::<5>();
    let (group_counts, rest_counts) = reached.as_chunks_mut::<5>();
    for (group, counts) in groups.iter().zip(group_counts) {
        count_group(group, values, counts);
    }
    match (rest, rest_counts) {
        ([a, b, c, d], counts) => count_group(&[*a, *b, *c, *d], values, counts),
        ([a, b, c], counts) => count_group(&[*a, *b, *c], values, counts),
        ([a, b], counts) => count_group(&[*a, *b], values, counts),
        ([a], counts) => count_group(&[*a], values, counts),
        _ => (),
    }
}

/// One pass for `K` thresholds, which with their counters stay in registers.
#[target_feature(enable = "avx2")]
fn count_group<const K: usize>(thresholds: &[f64; K], values: &[f64], reached: &mut [u64]) {
    let edges = thresholds.map(|threshold| _mm256_set1_pd(threshold));
    let mut counters = [_mm256_setzero_si256(); K];
    let (vectors, rest) = values.as_chunks::<LANES>();
    for vector in vectors {
        // SAFETY: `vector` is four `f64`, and the load asks for no alignment.
        let value = unsafe { _mm256_loadu_pd(vector.as_ptr()) };
        for k in 0..K {
            // A lane that holds is all ones, which is −1.
            let holds = _mm256_castpd_si256(_mm256_cmp_pd::<_CMP_GE_OQ>(value, edges[k]));
            counters[k] = _mm256_sub_epi64(counters[k], holds);
        }
    }
    for k in 0..K {
        let mut lanes = [0u64; LANES];
        // SAFETY: `lanes` is four `u64`, and the store asks for no alignment.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), counters[k]) };
        let last = rest.iter().filter(|&&value| value >= thresholds[k]).count() as u64;
        reached[k] += lanes.iter().sum::<u64>() + last;
    }
}

/// The cells of as many values.
pub(super) fn linear_cells(map: &Linear, values: &[f64], cells: &mut [u32]) {
    // SAFETY: a `Recorder` holds this kernel only if `available` found AVX2.
    unsafe { linear_cells_avx2(map, values, cells) }
}

#[target_feature(enable = "avx2")]
fn linear_cells_avx2(map: &Linear, values: &[f64], cells: &mut [u32]) {
    let (low, scale) = (_mm256_set1_pd(map.low), _mm256_set1_pd(map.scale));
    let (zero, last) = (_mm256_setzero_pd(), _mm256_set1_pd(f64::from(MISSING_CELL - 1)));
    let missing = _mm256_set1_pd(f64::from(MISSING_CELL));
    let ((vectors, rest), (outs, last_cells)) = (values.as_chunks::<LANES>(), cells.as_chunks_mut::<LANES>());
    for (vector, out) in vectors.iter().zip(outs) {
        // SAFETY: `vector` is four `f64`, and the load asks for no alignment.
        let value = unsafe { _mm256_loadu_pd(vector.as_ptr()) };
        let place = _mm256_mul_pd(_mm256_sub_pd(value, low), scale);
        let place = _mm256_min_pd(_mm256_max_pd(place, zero), last);
        let place = _mm256_blendv_pd(place, missing, _mm256_cmp_pd::<_CMP_UNORD_Q>(value, value));
        // SAFETY: `out` is four `u32`, and the store asks for no alignment.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_cvttpd_epi32(place)) };
    }
    for (cell, &value) in last_cells.iter_mut().zip(rest) {
        *cell = map.cell_of(value);
    }
}

/// The cells of as many values.
pub(super) fn symlog_cells(map: &Symlog, values: &[f64], cells: &mut [u32]) {
    // SAFETY: a `Recorder` holds this kernel only if `available` found AVX2.
    unsafe { symlog_cells_avx2(map, values, cells) }
}

#[target_feature(enable = "avx2")]
fn symlog_cells_avx2(map: &Symlog, values: &[f64], cells: &mut [u32]) {
    let (centre, softening) = (_mm256_set1_pd(map.centre), _mm256_set1_pd(map.softening));
    let (far, sign) = (_mm256_set1_pd(map.far), _mm256_set1_pd(-0.0));
    let (half, missing) = (_mm256_set1_epi64x(i64::from(HALF)), _mm256_set1_epi64x(i64::from(MISSING_CELL)));
    let shift = _mm_cvtsi32_si128(map.shift.cast_signed());
    // The low halves of the four lanes side by side.
    let narrow = _mm256_setr_epi32(0, 2, 4, 6, 0, 0, 0, 0);
    let ((vectors, rest), (outs, last_cells)) = (values.as_chunks::<LANES>(), cells.as_chunks_mut::<LANES>());
    for (vector, out) in vectors.iter().zip(outs) {
        // SAFETY: `vector` is four `f64`, and the load asks for no alignment.
        let value = unsafe { _mm256_loadu_pd(vector.as_ptr()) };
        let offset = _mm256_sub_pd(value, centre);
        let distance = _mm256_min_pd(_mm256_add_pd(_mm256_andnot_pd(sign, offset), softening), far);
        let bits = _mm256_sub_epi64(_mm256_castpd_si256(distance), _mm256_castpd_si256(softening));
        let cell = _mm256_srl_epi64(bits, shift);
        // All ones below the centre, where the complement `−1 − cell` counts down from it.
        let below = _mm256_castpd_si256(_mm256_cmp_pd::<_CMP_LT_OQ>(offset, _mm256_setzero_pd()));
        let cell = _mm256_add_epi64(_mm256_xor_si256(cell, below), half);
        let is_missing = _mm256_castpd_si256(_mm256_cmp_pd::<_CMP_UNORD_Q>(value, value));
        let cell = _mm256_blendv_epi8(cell, missing, is_missing);
        let cell = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(cell, narrow));
        // SAFETY: `out` is four `u32`, and the store asks for no alignment.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), cell) };
    }
    for (cell, &value) in last_cells.iter_mut().zip(rest) {
        *cell = map.cell_of(value);
    }
}

/// [`Divergence::pass`] by these vectors.
pub(super) fn divergences(baseline: &Divergence, current: &[u64], n_current: u64) -> Divergences {
    #[target_feature(enable = "avx2,fma")]
    fn pass(baseline: &Divergence, current: &[u64], n_current: u64) -> Divergences {
        baseline.pass::<LANES>(current, n_current)
    }
    // SAFETY: a `Divergence` holds this kernel only if `available` found AVX2 and FMA.
    unsafe { pass(baseline, current, n_current) }
}

/// [`StretchSums::pass`] by these vectors.
pub(super) fn stretch_sums(null: &StretchSums, cells: &[f64]) -> Sums {
    #[target_feature(enable = "avx2,fma")]
    fn pass(null: &StretchSums, cells: &[f64]) -> Sums {
        null.pass(cells)
    }
    // SAFETY: a `StretchSums` holds this kernel only if `available` found AVX2 and FMA.
    unsafe { pass(null, cells) }
}

/// [`add_pass`] by these vectors.
pub(super) fn add(sum: &mut [f64], counts: &[f64]) {
    #[target_feature(enable = "avx2")]
    fn pass(sum: &mut [f64], counts: &[f64]) {
        add_pass(sum, counts);
    }
    // SAFETY: this is called only where the best kernel that `available` found has AVX2.
    unsafe { pass(sum, counts) }
}
