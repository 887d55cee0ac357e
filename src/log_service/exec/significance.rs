//! How sure a difference is: the two-proportion z-test, and bounds of percentiles by rank.

use super::tally::Tally;

/// The chance that shares at least as different come from the same source: the two-sided z-test with the pooled
/// share. `(hits, all)` of both; 1 when nothing can be said.
pub(super) fn two_shares((hits_a, all_a): (f64, f64), (hits_b, all_b): (f64, f64)) -> f64 {
    if all_a <= 0.0 || all_b <= 0.0 {
        return 1.0;
    }
    let pooled = (hits_a + hits_b) / (all_a + all_b);
    let spread = (pooled * (1.0 - pooled) * (1.0 / all_a + 1.0 / all_b)).sqrt();
    if spread > 0.0 { chance((hits_a / all_a - hits_b / all_b) / spread) } else { 1.0 }
}

/// The chance of a deviation of at least `z` standard errors to either side.
pub(super) fn chance(z: f64) -> f64 {
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// The deviation that has this chance.
pub(super) fn deviation(chance_of: f64) -> f64 {
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if chance(middle) > chance_of { low = middle } else { high = middle }
    }
    high
}

/// Between which numbers the true percentile lies, `z` standard errors of its rank to either side. `None` when there
/// are too few rows to say so.
pub(super) fn bounds(tally: &Tally, share: f64, z: f64) -> Option<(u64, u64)> {
    let spread = z * (share * (1.0 - share) / tally.independent()).sqrt();
    let (low, high) = (share - spread, share + spread);
    // The rank must have rows on both sides; a NaN (no rows at all) has none.
    if low > 0.0 && high < 1.0 { tally.durations.at(low).zip(tally.durations.at(high)) } else { None }
}

/// The complement of the error function, for numbers not below 0; Press et al., Numerical Recipes, 6.2: relative
/// error below 1.2e-7.
fn erfc(x: f64) -> f64 {
    const TERMS: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x);
    let sum = TERMS.iter().rev().fold(0.0, |sum, term| sum * t + term);
    t * (sum - x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_those_of_the_tables() {
        for (z, expected) in
            [(0.0, 1.0), (1.0, 0.317_311), (1.959_964, 0.05), (3.0, 0.002_699_8), (6.0, 1.973e-9)]
        {
            let found = chance(z);
            assert!((found - expected).abs() < expected * 1e-3, "{z}: {found}");
            assert!((deviation(expected) - z).abs() < 1e-3, "{expected}");
        }
    }

    #[test]
    fn shares_of_few_rows_are_not_different() {
        assert!(two_shares((1.0, 3.0), (0.0, 3.0)) > 0.2);
        assert!(two_shares((0.0, 0.0), (5.0, 9.0)) >= 1.0);
        assert!(two_shares((0.0, 9.0), (0.0, 9.0)) >= 1.0);
        // 10 % against 14 % of a thousand each: z = 2.752.
        let found = two_shares((100.0, 1000.0), (140.0, 1000.0));
        assert!((found - 0.005_93).abs() < 1e-4, "{found}");
    }
}
