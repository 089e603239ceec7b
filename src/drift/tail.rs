//! Natural logarithms of p-values: at the levels that a budget of false alarms asks for, the p-values themselves
//! underflow long before the data run out.

use statrs::function::erf::erfc;
use statrs::function::gamma::gamma_ur;

/// `ln P(Z > z)` for a standard normal `Z`.
pub fn ln_normal(z: f64) -> f64 {
    // Past this `erfc` has no digits left, and Mills' ratio is exact to a part in a thousand.
    if z > 30.0 {
        return -0.5 * z * z - (z * (2.0 * std::f64::consts::PI).sqrt()).ln();
    }
    (0.5 * erfc(z / std::f64::consts::SQRT_2)).ln()
}

/// The `z` of which [`ln_normal`] is `ln_p`, 0 or more.
pub fn normal_quantile(ln_p: f64) -> f64 {
    let (mut low, mut high) = (0.0, (-2.0 * ln_p).max(1.0).sqrt() + 1.0);
    while high - low > 1e-9 * high {
        let middle = 0.5 * (low + high);
        *(if ln_normal(middle) > ln_p { &mut low } else { &mut high }) = middle;
    }
    low
}

/// `ln P(X > statistic)` for a `X` of χ² with `freedom` degrees of freedom; 0 without any freedom.
pub fn ln_chi_square(statistic: f64, freedom: usize) -> f64 {
    if freedom == 0 || statistic <= 0.0 {
        return 0.0;
    }
    let half = 0.5 * freedom as f64;
    let p = gamma_ur(half, 0.5 * statistic);
    if p > 1e-290 {
        return p.ln();
    }
    // The leading term of the asymptotic series: too small by less than a factor of two where it is used.
    (half - 1.0) * (0.5 * statistic).ln() - 0.5 * statistic - statrs::function::gamma::ln_gamma(half)
}

/// The logarithm of a bound on the two-sided p-value that a property seen `c` times in `m` rows has the rate behind
/// `b` times in `n` rows.
///
/// Given that it was seen `b + c` times in all, how many fall into the second sample is hypergeometric, and its tail at
/// the observed count is at most `exp(−(b + c) · KL(c / (b + c) ‖ m / (n + m)))`: valid for every size, however rare the
/// property, and with `b = 0` exactly the chance that all `c` fall there, `(m / (n + m))^c`.
/// * Source: Hoeffding (1963), J. Am. Stat. Assoc. 58, 13–30, theorems 1 and 4.
pub fn ln_rate(b: f64, n: f64, c: f64, m: f64) -> f64 {
    let total = b + c;
    if total <= 0.0 || n <= 0.0 || m <= 0.0 {
        return 0.0;
    }
    let (seen, expected) = (c / total, m / (n + m));
    let term = |share: f64, of: f64| if share > 0.0 { share * (share / of).ln() } else { 0.0 };
    let divergence = term(seen, expected) + term(1.0 - seen, 1.0 - expected);
    (std::f64::consts::LN_2 - total * divergence).min(0.0)
}

/// The logarithm of an e-value from that of a p-value: `(1 − p + p ln p) / (p ln² p)`.
///
/// Its expectation without drift is 1 at most, so unlike p-values these may be averaged, over features and over pods.
/// It is `1/p` but for the square of a logarithm.
/// * Source: Vovk & Wang (2021), Ann. Statist. 49(3), 1736–1754, equation 2.
pub fn ln_e_value(ln_p: f64) -> f64 {
    if ln_p > -1e-3 {
        return -std::f64::consts::LN_2; // the limit at p = 1
    }
    let p = ln_p.exp();
    (1.0 - p + p * ln_p).ln() - ln_p - 2.0 * (-ln_p).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(actual: f64, expected: f64, relative: f64) {
        assert!((actual / expected - 1.0).abs() < relative, "{actual} instead of {expected}");
    }

    /// Expected values are `norm.logsf` and `chi2.logsf` of `SciPy` 1.17.1.
    #[test]
    fn tails_are_those_of_scipy() {
        check(ln_normal(0.0), -std::f64::consts::LN_2, 1e-12);
        check(ln_normal(5.0), -15.064_998_393_988_727, 1e-9);
        check(ln_normal(30.0), -454.321_243_956_343_3, 1e-6);
        check(ln_normal(40.0), -804.608_442_013_754, 1e-5);
        check(ln_chi_square(50.0, 9), -16.043_695_105_226_487, 1e-9);
        check(ln_chi_square(600.0, 9), -282.478_802_196_018_1, 1e-9);
        assert!(ln_chi_square(5.0, 0).abs() < f64::EPSILON);
    }

    #[test]
    fn quantiles_are_where_tails_say() {
        for z in [0.0, 0.3, 1.959_963_984_540_054, 5.0, 29.0, 40.0] {
            assert!((normal_quantile(ln_normal(z)) - z).abs() < 1e-6, "{z}");
        }
    }

    #[test]
    fn tails_fall_without_a_step() {
        for freedom in [1, 2, 9, 51] {
            let tails: Vec<_> = (1..4_000).map(|x| ln_chi_square(f64::from(x), freedom)).collect();
            assert!(tails.windows(2).all(|pair| pair[1] <= pair[0]), "{freedom} degrees of freedom");
        }
        assert!((ln_normal(30.0 + 1e-9) - ln_normal(30.0)).abs() < 1e-2);
    }

    #[test]
    fn a_rate_that_the_baseline_never_had_is_as_rare_as_all_falling_there() {
        let ln_p = ln_rate(0.0, 10_000.0, 3.0, 50.0);
        check(ln_p, std::f64::consts::LN_2 + 3.0 * (50f64 / 10_050.0).ln(), 1e-12);
        assert!(ln_rate(0.0, 10_000.0, 0.0, 50.0).abs() < f64::EPSILON);
        assert!(ln_rate(1_000.0, 10_000.0, 5.0, 50.0).abs() < f64::EPSILON); // as often as in the baseline
        assert!(ln_rate(1_000.0, 10_000.0, 0.0, 500.0) < -40.0); // gone
    }

    /// `∫ e(p) dp = 1`, which is what makes it an e-value.
    #[test]
    fn e_values_have_mean_one() {
        let n = 4_000_000;
        let mean = (0..n).map(|i| ln_e_value(((f64::from(i) + 0.5) / f64::from(n)).ln()).exp()).sum::<f64>()
            / f64::from(n);
        assert!((0.9..=1.0).contains(&mean), "{mean}"); // the rest is in the first cell of the sum
    }
}
