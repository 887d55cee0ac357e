//! [`Quantiles`]: percentiles of many numbers in little memory.

use std::collections::BTreeMap;

/// Each power of two is divided into so many equal parts, so an answer is within 1/64 of the true value.
const PARTS_LOG2: u32 = 5;

/// Counts of whole numbers by size. Memory is at most a few thousand counters however many numbers are added;
/// percentiles are within 1.6 % of the true ones, the smallest and the largest number exact.
#[derive(Clone, Debug, Default)]
pub struct Quantiles {
    counts: BTreeMap<u16, u64>,
    count: u64,
    sum: u128,
    least: u64,
    most: u64,
}

impl Quantiles {
    pub fn add(&mut self, number: u64) {
        self.add_many(number, 1);
    }

    /// The same number so many times.
    pub fn add_many(&mut self, number: u64, times: u64) {
        let times = times.min(u64::MAX - self.count);
        if times == 0 {
            return;
        }
        *self.counts.entry(part_of(number)).or_default() += times;
        self.least = if self.count == 0 { number } else { self.least.min(number) };
        self.most = self.most.max(number);
        self.sum = self.sum.saturating_add(u128::from(number) * u128::from(times));
        self.count += times;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn max(&self) -> u64 {
        self.most
    }

    /// The arithmetic mean, 0 when there is nothing.
    pub fn mean(&self) -> u64 {
        u64::try_from(self.sum / u128::from(self.count.max(1))).unwrap_or(u64::MAX)
    }

    /// The number that `share` (0 to 1) of all numbers do not exceed; `None` when there is nothing.
    pub fn at(&self, share: f64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        // Nearest rank; a count beyond 2^53 would only blur the rank.
        let rank = ((share.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        if rank >= self.count {
            return Some(self.most);
        }
        let mut before = 0;
        for (&part, &count) in &self.counts {
            before += count;
            if before >= rank {
                return Some(middle_of(part).clamp(self.least, self.most));
            }
        }
        Some(self.most)
    }
}

/// Small numbers have a part of their own; above, the highest bits name it.
fn part_of(number: u64) -> u16 {
    let bits = u64::BITS - number.leading_zeros();
    let shift = bits.saturating_sub(PARTS_LOG2 + 1);
    // At most 58 shifts of 64 parts: fits in 16 bits.
    ((u64::from(shift) << PARTS_LOG2) + (number >> shift)) as u16
}

fn middle_of(part: u16) -> u64 {
    let parts = 1u64 << PARTS_LOG2;
    let part = u64::from(part);
    if part < 2 * parts {
        return part;
    }
    let shift = part / parts - 1;
    let top = part - shift * parts;
    (top << shift) + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn percentiles_are_near_the_true_ones(
            mut numbers in proptest::collection::vec(prop_oneof![0u64..100, 0u64..100_000_000, any::<u64>()], 1..200),
            share in 0.0f64..=1.0,
        ) {
            let mut quantiles = Quantiles::default();
            numbers.iter().for_each(|&number| quantiles.add(number));
            numbers.sort_unstable();
            let rank = ((share * numbers.len() as f64).ceil() as usize).max(1);
            let (truth, found) = (numbers[rank - 1], quantiles.at(share).unwrap());
            prop_assert!(truth.abs_diff(found) <= truth / 60 + 1, "{truth} {found}");
        }
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!((Quantiles::default().at(0.5), Quantiles::default().mean()), (None, 0));
    }

    #[test]
    fn few_values_are_exact_at_both_ends() {
        let mut quantiles = Quantiles::default();
        [1_000_003, 7_000_001].into_iter().for_each(|number| quantiles.add(number));
        assert_eq!(
            (quantiles.at(1.0), quantiles.max(), quantiles.mean()),
            (Some(7_000_001), 7_000_001, 4_000_002)
        );
    }
}
