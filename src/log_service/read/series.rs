//! [`Series`]: counts over time in bounded memory.

use serde::{Deserialize, Serialize};

/// Steps that are kept; when time goes on, each step becomes twice as long.
const STEPS: usize = 64;
/// The shortest step that is chosen by itself, in microseconds.
const SECOND: i64 = 1_000_000;

/// Counts in steps of equal length. Two series with the same step can be drawn under each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Length of a step in microseconds; 0 when nothing was counted.
    step: i64,
    /// Number of the first step since 1970.
    first: i64,
    counts: Vec<u64>,
}

impl Series {
    /// Memory beside the value itself, in bytes, roughly.
    pub const MAX_BYTES: usize = STEPS * size_of::<u64>();

    /// Counts at a time (both in microseconds), in steps of `step` or some power of two of it.
    pub fn add(&mut self, micros: i64, step: Option<i64>, count: u64) {
        if self.step == 0 {
            let step = step.filter(|step| *step > 0).unwrap_or(SECOND);
            *self = Self { step, first: micros.div_euclid(step), counts: vec![0] };
        }
        while !self.holds(micros) {
            self.widen();
        }
        let index = micros.div_euclid(self.step) - self.first;
        if index < 0 {
            // Fits: `holds` has counted these steps.
            let more = index.unsigned_abs() as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.first += index;
        }
        let index = (micros.div_euclid(self.step) - self.first) as usize;
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] = self.counts[index].saturating_add(count);
    }

    fn holds(&self, micros: i64) -> bool {
        let step = micros.div_euclid(self.step);
        let last = self.first + self.counts.len() as i64 - 1;
        step.max(last) - step.min(self.first) < STEPS as i64
    }

    /// Makes each step twice as long.
    fn widen(&mut self) {
        let first = self.first.div_euclid(2);
        let mut counts = Vec::with_capacity(STEPS);
        for (index, count) in self.counts.iter().enumerate() {
            let place = ((self.first + index as i64).div_euclid(2) - first) as usize;
            counts.resize(counts.len().max(place + 1), 0);
            counts[place] += count;
        }
        *self = Self { step: self.step.saturating_mul(2), first, counts };
    }

    /// The steps between two times, in the steps of `frame`, which is as coarse as this one or coarser.
    pub fn within(&self, frame: &Self) -> Vec<u64> {
        let mut own = self.clone();
        while own.step != 0 && own.step < frame.step {
            own.widen();
        }
        let at = |index: usize| {
            let place = frame.first + index as i64 - own.first;
            usize::try_from(place).ok().and_then(|place| own.counts.get(place)).copied().unwrap_or(0)
        };
        (0..frame.counts.len()).map(at).collect()
    }

    /// The counts, oldest first.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_everything_in_bounded_memory(times in proptest::collection::vec(-1_000_000_000_000i64..2_000_000_000_000_000, 1..200)) {
            let mut series = Series::default();
            times.iter().for_each(|time| series.add(*time, Some(1_000), 1));
            prop_assert!(series.counts.len() <= STEPS);
            prop_assert_eq!(series.counts.iter().sum::<u64>(), times.len() as u64);
            prop_assert_eq!(series.within(&series).len(), series.counts.len());
        }
    }
}
