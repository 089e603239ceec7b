//! A natural logarithm that compilers can vectorise: no branch, no table, no call.

/// √½, where the significand is cut so that it lies about 1.
const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;

/// 2^52, whose low bits count in ones.
const TWO_TO_52: u64 = 0x4330_0000_0000_0000;

/// `ln 2`, its leading 32 bits of significand and the rest: a multiple of the former by an exponent is exact.
const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// `(ln((1 + s) / (1 − s)) / s − 2) / s²` as a polynomial in `s²`, highest power first: its interpolation at the seven
/// Chebyshev nodes of `0 ..= (√2 − 1)² / (√2 + 1)²`, computed to 40 digits. It misses `ln` by at most 2^-57 of it, where the
/// series itself would take ten terms.
const SERIES: [f64; 7] = [
    0.146_164_496_850_433_4,
    0.153_317_216_005_560_4,
    0.181_828_891_252_617_2,
    0.222_222_111_347_950_8,
    0.285_714_286_259_754_8,
    0.399_999_999_998_995_1,
    0.666_666_666_666_666_9,
];

/// `ln x` for a normal positive number, within 3 units in the last place of `f64::ln` (see the test); some finite number
/// for 0, so that 0 times it is 0; anything else gives a number without meaning. `x = 2^k · m` with `√½ ≤ m < √2`, and
/// `ln m = 2 atanh s` for `s = (m − 1) / (m + 1)`.
///
/// Fused multiplications round once wherever they run, so every kernel gets the same bits; without hardware for them it
/// is slow.
#[inline(always)]
#[expect(clippy::inline_always, reason = "takes the vector features of the kernel it is inlined into")]
pub(super) fn ln(x: f64) -> f64 {
    let biased = x.to_bits().wrapping_sub(SQRT_HALF).wrapping_add(1_024 << 52) >> 52;
    let significand = x.to_bits().wrapping_sub(biased.wrapping_sub(1_024) << 52);
    let m = f64::from_bits(significand);
    // The integer as a number, for vectors without a conversion.
    let k = f64::from_bits(TWO_TO_52 | biased) - (f64::from_bits(TWO_TO_52) + 1_024.0);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut series = SERIES[0];
    for coefficient in &SERIES[1..] {
        series = z.mul_add(series, *coefficient);
    }
    let small = (s * z).mul_add(series, k * LN_2_LOW);
    k.mul_add(LN_2_HIGH, s.mul_add(2.0, small))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(x: f64) {
        let (actual, expected) = (ln(x), x.ln());
        let ulp = expected.abs().next_up() - expected.abs();
        assert!((actual - expected).abs() <= 3.0 * ulp, "ln {x:e} is {actual:e}, not {expected:e}");
    }

    #[test]
    fn known_logarithms() {
        assert_eq!(ln(1.0).to_bits(), 0);
        assert!(ln(0.0).is_finite());
        for x in
            [2.0, 0.5, std::f64::consts::E, f64::MIN_POSITIVE, f64::MAX, 1e300, 0.5f64.sqrt(), 2f64.sqrt()]
        {
            check(x);
        }
        for ulps in 1..100 {
            check(f64::from_bits(1f64.to_bits() + ulps));
            check(f64::from_bits(1f64.to_bits() - ulps));
        }
    }

    proptest! {
        #[test]
        fn logarithms_are_those_of_the_standard_library(bits in f64::MIN_POSITIVE.to_bits()..f64::INFINITY.to_bits(), near in 0.5f64..2.0) {
            check(f64::from_bits(bits));
            check(near);
        }
    }
}
