//! How a row is measured, judged and printed.

use std::time::{Duration, Instant};

/// How often each row runs, and which.
pub(crate) struct Meter {
    rounds: usize,
    /// Per round.
    calls: usize,
    only: Option<String>,
    is_counting: bool,
}

/// Things that are made together and then used together, so that reading the clock costs little of their time. No
/// more than the first cache holds.
const BATCH: usize = 16;

impl Meter {
    /// `count`, and the name of a row; options are cargo's.
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Self {
        let (count, names): (Vec<_>, Vec<_>) =
            arguments.filter(|word| !word.starts_with('-')).partition(|word| word == "count");
        let is_counting = !count.is_empty();
        let (rounds, calls) = if is_counting { (1, 1024) } else { (25, 40_000) };
        Self { rounds, calls, only: names.into_iter().next(), is_counting }
    }

    /// A row of calls that need nothing made for them.
    pub(crate) fn row(&self, name: &str, budget: u32, mut call: impl FnMut()) {
        self.median(name, budget, || {
            let start = Instant::now();
            (0..self.calls).for_each(|_| call());
            start.elapsed()
        });
    }

    /// A row of calls that each use up one thing; neither its making nor what is left of it costs time.
    pub(crate) fn row_on<T>(
        &self,
        name: &str,
        budget: u32,
        mut make: impl FnMut() -> T,
        mut call: impl FnMut(&mut T),
    ) {
        let mut things = Vec::with_capacity(BATCH);
        self.median(name, budget, || {
            let mut sum = Duration::ZERO;
            for _ in 0..self.calls / BATCH {
                things.clear();
                things.extend((0..BATCH).map(|_| make()));
                let start = Instant::now();
                things.iter_mut().for_each(&mut call);
                sum += start.elapsed();
            }
            sum
        });
    }

    /// Prints the median of the rounds, per call.
    fn median(&self, name: &str, budget: u32, mut round: impl FnMut() -> Duration) {
        if self.only.as_ref().is_some_and(|only| !name.contains(only)) {
            return;
        }
        let mut rounds: Vec<Duration> = (0..self.rounds).map(|_| round()).collect();
        rounds.sort_unstable();
        let median = rounds[self.rounds / 2].as_nanos() as f64 / self.calls as f64;
        match self.is_counting {
            true => println!("{name:<44} {} calls", self.calls),
            false => {
                let verdict = if median <= f64::from(budget) { "met" } else { "missed" };
                println!("{name:<44} {median:8.1} ns of {budget:3}  {verdict}");
            }
        }
    }
}
