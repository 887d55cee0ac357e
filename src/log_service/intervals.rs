//! [`Intervals`]: a set of sequence numbers, kept as a few ranges.

use std::ops::RangeInclusive;

/// A set of `u64`, cheap when most of its members are contiguous. Never holds more than a fixed number of ranges:
/// beyond it the lowest range is forgotten and counted, so memory stays bounded whatever a sender does.
#[derive(Clone, Debug)]
pub(crate) struct Intervals {
    /// Sorted, disjoint, not adjacent.
    ranges: Vec<(u64, u64)>,
    max_ranges: usize,
    forgotten: u64,
}

impl Intervals {
    pub(crate) fn bounded(max_ranges: usize) -> Self {
        Self { ranges: Vec::new(), max_ranges: max_ranges.max(1), forgotten: 0 }
    }

    /// Adds one number; false when it was there already.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        if self.contains(number) {
            return false;
        }
        self.insert_range(number..=number);
        true
    }

    /// Adds all numbers of a range.
    pub(crate) fn insert_range(&mut self, range: RangeInclusive<u64>) {
        let (mut from, mut to) = range.into_inner();
        if from > to {
            return;
        }
        let start = self.ranges.partition_point(|&(_, end)| end.saturating_add(1) < from);
        let stop = start + self.ranges[start..].partition_point(|&(first, _)| first <= to.saturating_add(1));
        if let (Some(first), Some(last)) = (self.ranges[start..stop].first(), self.ranges[start..stop].last())
        {
            from = from.min(first.0);
            to = to.max(last.1);
        }
        self.ranges.splice(start..stop, [(from, to)]);
        if self.ranges.len() > self.max_ranges {
            self.ranges.remove(0);
            self.forgotten += 1;
        }
    }

    /// Takes numbers out again.
    pub(crate) fn remove_range(&mut self, range: &RangeInclusive<u64>) {
        let (&first, &last) = (range.start(), range.end());
        let start = self.ranges.partition_point(|&(_, end)| end < first);
        let stop = start + self.ranges[start..].partition_point(|&(from, _)| from <= last);
        if start == stop || first > last {
            return;
        }
        let ((from, _), (_, to)) = (self.ranges[start], self.ranges[stop - 1]);
        let left = (from < first).then(|| (from, first - 1));
        let right = (last < to).then(|| (last + 1, to));
        self.ranges.splice(start..stop, left.into_iter().chain(right));
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let at = self.ranges.partition_point(|&(_, end)| end < number);
        self.ranges.get(at).is_some_and(|&(from, _)| from <= number)
    }

    /// Whether all numbers of the range are there.
    pub(crate) fn covers(&self, range: &RangeInclusive<u64>) -> bool {
        let at = self.ranges.partition_point(|&(_, end)| end < *range.start());
        self.ranges.get(at).is_some_and(|&(from, to)| from <= *range.start() && *range.end() <= to)
    }

    /// The numbers that are missing between the lowest and the highest member.
    pub(crate) fn holes(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.ranges.windows(2).map(|pair| pair[0].1 + 1..=pair[1].0 - 1)
    }

    /// The numbers of the range that are not there.
    pub(crate) fn missing_in(&self, range: &RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
        let mut missing = Vec::new();
        let mut next = *range.start();
        let start = self.ranges.partition_point(|&(_, end)| end < *range.start());
        for &(from, to) in self.ranges[start..].iter().take_while(|(from, _)| from <= range.end()) {
            if next < from {
                missing.push(next..=from - 1);
            }
            let Some(after) = to.checked_add(1) else { return missing };
            next = after;
        }
        if next <= *range.end() {
            missing.push(next..=*range.end());
        }
        missing
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.ranges.iter().map(|&(from, to)| from..=to)
    }

    /// How many ranges had to be forgotten to stay within the bound.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(steps in proptest::collection::vec((any::<bool>(), 0u64..40, 0u64..6), 0..80)) {
            let mut set = BTreeSet::new();
            let mut intervals = Intervals::bounded(1000);
            for (add, from, len) in steps {
                if add {
                    set.extend(from..=from + len);
                    intervals.insert_range(from..=from + len);
                } else {
                    set.retain(|number| !(from..=from + len).contains(number));
                    intervals.remove_range(&(from..=from + len));
                }
            }
            let members: Vec<u64> = intervals.ranges().flatten().collect();
            prop_assert_eq!(&members, &set.iter().copied().collect::<Vec<_>>());
            let missing: Vec<u64> = intervals.missing_in(&(3..=30)).into_iter().flatten().collect();
            prop_assert_eq!(missing, (3..=30).filter(|n| !set.contains(n)).collect::<Vec<_>>());
            let missing: Vec<u64> = intervals.holes().flatten().collect();
            let span = set.first().copied().unwrap_or(1)..=set.last().copied().unwrap_or(0);
            prop_assert_eq!(missing, span.filter(|n| !set.contains(n)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn forgets_the_lowest_range_when_full() {
        let mut intervals = Intervals::bounded(2);
        for number in [1, 3, 5] {
            assert!(intervals.insert(number));
        }
        assert_eq!((intervals.contains(1), intervals.contains(3), intervals.forgotten()), (false, true, 1));
        assert!(!intervals.insert(5));
    }

    #[test]
    fn holds_the_largest_number() {
        let mut intervals = Intervals::bounded(8);
        intervals.insert_range(u64::MAX - 1..=u64::MAX);
        assert!(intervals.covers(&(u64::MAX - 1..=u64::MAX)) && !intervals.contains(0));
        intervals.remove_range(&(u64::MAX..=u64::MAX));
        assert!(!intervals.contains(u64::MAX));
    }
}
