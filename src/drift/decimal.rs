//! The decimals that 32-bit floats stand for.

/// Bits of an `f64` that an `f32` has no place for.
const BELOW_F32: u64 = (1 << 29) - 1;

/// More decimals than these, and a number is written out to find them.
const MAX_DECIMALS: usize = 9;

/// The shortest decimal that rounds to `number` as an `f32`, if `number` is one; else the number itself.
///
/// A table says 5.1, an FP32 tensor 5.099999904632568, and an edge between the two would tell them apart: a caller that
/// changes its number type is no drift. Baselines and traffic both read numbers this way, whatever they come in.
/// Whole numbers stand for themselves.
#[inline]
pub fn decimal(number: f64) -> f64 {
    if number.to_bits() & BELOW_F32 != 0 { number } else { of_single(number) }
}

/// `10^n` and its inverse, as near as it gets.
const SCALES: [(f64, f64); MAX_DECIMALS] = {
    let mut scales = [(10.0, 0.1); MAX_DECIMALS];
    let mut n = 1;
    while n < MAX_DECIMALS {
        scales[n].0 = 10.0 * scales[n - 1].0;
        scales[n].1 = 1.0 / scales[n].0;
        n += 1;
    }
    scales
};

#[expect(clippy::cast_possible_truncation, clippy::float_cmp, reason = "exactly an `f32` or not")]
fn of_single(number: f64) -> f64 {
    // An `f32` as large as that is whole, as are infinities.
    let may_have_fraction = number.abs() < f64::from(1 << 24);
    if !may_have_fraction || rounded(number) == number || f64::from(number as f32) != number {
        return number;
    }
    for (scale, inverse) in SCALES {
        let digits = rounded(number * scale);
        if f64::from((digits * inverse) as f32) == number {
            return digits / scale; // both are exact, so this is the `f64` next to the decimal
        }
    }
    (number as f32).to_string().parse().unwrap_or(number)
}

/// To the nearest whole number, for less than `2^51`: larger sums have no room for fractions. A call of `f64::round` takes longer
/// than all of the rest.
fn rounded(number: f64) -> f64 {
    const SHIFT: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52
    (number + SHIFT) - SHIFT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tables_and_tensors_agree() {
        for number in [5.1, 0.3, -0.7, 1234.56, 0.000_012, 1e-20, 3.402_823_5e38] {
            #[expect(clippy::cast_possible_truncation, reason = "the loss is what is tested")]
            let single = f64::from(number as f32);
            assert!(decimal(single).to_bits() == f64::to_bits(number) || number > 1e38, "{number}");
        }
        for number in [0.1, 1.0 / 3.0, 1e300, 16_777_216.0, 2f64.powi(64), 0.5, f64::INFINITY, -0.0] {
            assert_eq!(decimal(number).to_bits(), number.to_bits(), "{number} is no longer than it seems");
        }
        assert!(decimal(f64::NAN).is_nan());
    }

    proptest! {
        #[test]
        fn it_is_as_short_as_what_is_printed_and_as_near(single in -1e7f32..1e7, power in 0i32..30) {
            let single = single * 10f32.powi(-power);
            prop_assume!(single.fract() != 0.0);
            let (found, printed) = (decimal(single.into()), single.to_string());
            #[expect(clippy::cast_possible_truncation, reason = "that it is the same number is the question")]
            let back = found as f32;
            prop_assert_eq!(back.to_bits(), single.to_bits());
            prop_assert!(found.to_string().len() <= printed.len(), "{} for {}", found, printed);
            // Two decimals may be as near; then it is the even one, as NumPy prints it.
            let distance = |decimal: f64| (decimal - f64::from(single)).abs();
            prop_assert!(distance(found) <= distance(printed.parse().unwrap()), "{} for {}", found, printed);
        }

        #[test]
        fn order_is_kept(single in -1e8f32..1e8, power in 0i32..30) {
            let single = single * 10f32.powi(-power);
            prop_assert!(decimal(single.into()) < decimal(single.next_up().into()));
        }
    }
}
