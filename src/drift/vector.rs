//! A vector as two numbers: its Euclidean norm, and how far it lies from the mean of the baseline's vectors.

/// Numbers a vector may have. The centroid of one of these takes 45 KiB in a baseline, which is to stay fit for Git.
pub const MAX_DIMENSION: usize = 4096;

/// Sums that are kept side by side: one alone would wait for each addition before the next.
const N_LANES: usize = 8;

/// Bits of a number that are left out of it: what is kept are 16 and the leading one, steps of 0.0015 %.
const BITS_LEFT_OUT: u32 = 36;

/// A number as vectors hold it. Embeddings travel as 32-bit floats; read as such, a table of 64-bit floats and an FP32 tensor
/// of the same vectors are one.
#[expect(
    clippy::cast_possible_truncation,
    reason = "that is what it is for; what is out of range is infinite"
)]
pub fn element(number: f64) -> f32 {
    number as f32
}

/// `√Σ vᵢ²`, rounded to 17 bits.
///
/// The same vector has the same norm wherever it is read: the order of the sum is fixed. It is rounded because embeddings are often
/// of norm 1 but for their last bits, and bins over those bits would tell one server's arithmetic from another's.
pub fn norm(vector: &[f32]) -> f64 {
    rounded(sum(vector.len(), |at| f64::from(vector[at]).powi(2)).sqrt())
}

/// `√Σ (vᵢ − cᵢ)²`, rounded to 17 bits, of a vector and a centroid of one length.
///
/// # Panics
/// If `vector` is the longer one.
pub fn distance(vector: &[f32], centroid: &[f32]) -> f64 {
    rounded(sum(vector.len(), |at| (f64::from(vector[at]) - f64::from(centroid[at])).powi(2)).sqrt())
}

fn sum(n: usize, term: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0; N_LANES];
    let whole = n - n % N_LANES;
    for start in (0..whole).step_by(N_LANES) {
        for (at, lane) in lanes.iter_mut().enumerate() {
            *lane += term(start + at);
        }
    }
    let rest: f64 = (whole..n).map(term).sum();
    lanes.iter().sum::<f64>() + rest
}

/// To the nearest number of 17 bits; infinity and `NaN` are themselves.
fn rounded(number: f64) -> f64 {
    let half = 1 << (BITS_LEFT_OUT - 1);
    f64::from_bits((number.to_bits() + half) >> BITS_LEFT_OUT << BITS_LEFT_OUT)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_vectors() {
        assert_eq!(norm(&[3.0, 4.0]).to_bits(), 5f64.to_bits());
        assert_eq!(distance(&[3.0, 4.0], &[3.0, -8.0]).to_bits(), 12f64.to_bits());
        assert_eq!(norm(&[1.0; 16]).to_bits(), 4f64.to_bits());
        assert_eq!(norm(&[]).to_bits(), 0f64.to_bits());
        assert!(norm(&[f32::INFINITY, 1.0]).is_infinite() && norm(&[f32::NAN, 1.0]).is_nan());
        assert!(element(1e300).is_infinite());
    }

    #[test]
    fn normalised_vectors_have_one_norm() {
        let mut random = fastrand::Rng::with_seed(5);
        for n in [3, 64, 1536] {
            let raw: Vec<f64> = (0..n).map(|_| random.f64() - 0.5).collect();
            let length = raw.iter().map(|number| number * number).sum::<f64>().sqrt();
            let vector: Vec<f32> = raw.iter().map(|number| element(number / length)).collect();
            assert_eq!(norm(&vector).to_bits(), 1f64.to_bits(), "{n}");
        }
    }

    proptest! {
        #[test]
        fn both_are_what_they_are_called(pairs in vec((-1e6f32..1e6, -1e6f32..1e6), 1..100)) {
            let (vector, centroid): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let root = |squares: f64| squares.sqrt();
            let of = |v: f32| f64::from(v).powi(2);
            let expected = root(vector.iter().map(|v| of(*v)).sum());
            prop_assert!((norm(&vector) - expected).abs() <= expected / f64::from(1 << 16));
            let apart = vector.iter().zip(&centroid).map(|(v, c)| (f64::from(*v) - f64::from(*c)).powi(2));
            let expected = root(apart.sum());
            prop_assert!((distance(&vector, &centroid) - expected).abs() <= expected / f64::from(1 << 16));
        }
    }
}
