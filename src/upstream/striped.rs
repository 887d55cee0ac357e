//! [`Striped`]: a counter that every core writes often and somebody reads now and then. Each core has a cache line of
//! its own, so counting never makes cores wait for each other; reading adds the lines up.

use std::sync::atomic::{AtomicU64, Ordering};

/// Two lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// See the module.
#[derive(Debug)]
pub struct Striped {
    lines: Box<[Line]>,
}

thread_local! {
    /// The line of this thread: cores are threads, and each gets the next one when it first counts.
    static MINE: usize = {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

impl Striped {
    pub fn new() -> Self {
        let lines = std::thread::available_parallelism().map_or(1, usize::from).next_power_of_two();
        Self { lines: (0..lines).map(|_| Line::default()).collect() }
    }

    pub fn add(&self, count: u64) {
        self.mine().fetch_add(count, Ordering::Relaxed);
    }

    pub fn sub(&self, count: u64) {
        self.mine().fetch_sub(count, Ordering::Relaxed);
    }

    /// The sum over all cores. A line may be "negative" when another thread took back what this one counted, so the
    /// sum wraps; a reading in the middle of such a move never shows less than nothing.
    pub fn sum(&self) -> u64 {
        let sum = self.lines.iter().fold(0_u64, |sum, line| sum.wrapping_add(line.0.load(Ordering::Relaxed)));
        if sum > u64::MAX / 2 { 0 } else { sum }
    }

    fn mine(&self) -> &AtomicU64 {
        let index = MINE.with(|mine| *mine) & (self.lines.len() - 1);
        &self.lines[index].0
    }
}

impl Default for Striped {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_what_all_threads_counted() {
        let counter = Striped::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1_000).for_each(|_| counter.add(1)));
            }
        });
        assert_eq!(counter.sum(), 8_000);
    }

    #[test]
    fn one_thread_may_take_back_what_another_counted() {
        let counter = Striped::new();
        counter.add(2);
        std::thread::scope(|scope| {
            scope.spawn(|| counter.sub(1));
        });
        assert_eq!(counter.sum(), 1);
    }
}
