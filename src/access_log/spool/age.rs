//! [`Marks`]: when what stands in the spool was appended, roughly: to a second, and to more when much waits for long.

use std::collections::VecDeque;

use super::Position;

/// A mark at most so often, microseconds…
const EVERY: i64 = 1_000_000;
/// …and so many; beyond it every second one goes.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Ascending: where something was appended, and when, microseconds since the Unix epoch.
    marks: VecDeque<(Position, i64)>,
    every: i64,
}

impl Marks {
    /// Something was appended here.
    pub(super) fn add(&mut self, at: Position, now_us: i64) {
        let every = self.every.max(EVERY);
        if self.marks.back().is_some_and(|(_, last)| (0..every).contains(&(now_us - last))) {
            return;
        }
        self.marks.push_back((at, now_us));
        if self.marks.len() > MOST {
            let mut is_kept = false;
            self.marks.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.every = every.saturating_mul(2);
        }
    }

    /// Nobody waits for what is before.
    pub(super) fn forget_before(&mut self, at: Position) {
        while self.marks.get(1).is_some_and(|(next, _)| *next <= at) {
            self.marks.pop_front();
        }
        if self.marks.len() < MOST / 4 {
            self.every = EVERY;
        }
    }

    /// When what stands here was appended; not earlier than it was.
    pub(super) fn time_of(&self, at: Position) -> Option<i64> {
        let later = self.marks.partition_point(|(mark, _)| *mark <= at);
        self.marks.get(later.saturating_sub(1)).map(|(_, time)| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position { segment: 1, offset }
    }

    #[test]
    fn a_place_has_the_time_of_the_mark_before_it() {
        let mut marks = Marks::default();
        assert_eq!(marks.time_of(at(0)), None);
        for second in 0..10 {
            marks.add(at(second * 100), second as i64 * EVERY);
            marks.add(at(second * 100 + 50), second as i64 * EVERY + 1);
        }
        assert_eq!(
            (marks.time_of(at(0)), marks.time_of(at(450)), marks.time_of(at(5_000))),
            (Some(0), Some(4 * EVERY), Some(9 * EVERY))
        );
        marks.forget_before(at(450));
        assert_eq!((marks.time_of(at(450)), marks.marks.len()), (Some(4 * EVERY), 6));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_a_mark() {
        let mut marks = Marks::default();
        marks.add(at(0), 100 * EVERY);
        marks.add(at(10), 0);
        assert_eq!(marks.time_of(at(10)), Some(0));
    }

    #[test]
    fn marks_are_bounded() {
        let mut marks = Marks::default();
        for second in 0..100_000 {
            marks.add(at(second), second as i64 * EVERY);
        }
        assert!(marks.marks.len() <= MOST);
        let time = marks.time_of(at(50_000)).unwrap_or_default();
        assert!((50_000 - 64..=50_000).contains(&(time / EVERY)), "{time}");
    }
}
