//! How long to wait before a dead worker is started again. No clock in here.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::Restart;

/// Counts quick deaths in a row.
#[derive(Debug)]
pub(super) struct Backoff {
    rules: Restart,
    quick_deaths: u32,
}

/// What to do after a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) delay: Duration,
    pub(super) errored: bool,
}

impl Backoff {
    pub(super) fn new(rules: Restart) -> Self {
        Self { rules, quick_deaths: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.quick_deaths = 0;
    }

    /// After a death: `served` is how long the worker had been serving (zero: it never became ready), `jitter`
    /// between 0 and 1 keeps workers that died together from starting together: it adds up to a quarter.
    pub(super) fn after_death(&mut self, served: Duration, jitter: f64) -> Wait {
        if served >= self.rules.steady_after {
            self.quick_deaths = 0;
        } else {
            self.quick_deaths = self.quick_deaths.saturating_add(1);
        }
        if self.quick_deaths >= self.rules.max_quick_deaths {
            return Wait { delay: self.rules.errored_delay, errored: true };
        }
        let doublings = self.quick_deaths.saturating_sub(1).min(30);
        let delay = self.rules.first_delay.saturating_mul(1 << doublings).min(self.rules.max_delay);
        Wait { delay: delay.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 4.0), errored: false }
    }
}

/// Between 0 and 1. The seed of a hash map is random enough to spread restarts.
pub(super) fn jitter() -> f64 {
    f64::from((RandomState::new().hash_one(0_u8) & 0xffff) as u16) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::ZERO;

    #[test]
    fn delay_doubles_up_to_its_cap_and_then_the_worker_is_errored() {
        let mut backoff = Backoff::new(Restart::default());
        let delays: Vec<u128> = (0..15).map(|_| backoff.after_death(NEVER, 0.0).delay.as_millis()).collect();
        assert_eq!(delays[..9], [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000]);
        assert_eq!(delays[14], 15_000);
        assert_eq!(backoff.after_death(NEVER, 0.0), Wait { delay: Duration::from_secs(60), errored: true });
        assert!(backoff.after_death(NEVER, 0.0).errored);
    }

    #[test]
    fn serving_steadily_forgets_earlier_deaths() {
        let mut backoff = Backoff::new(Restart::default());
        for _ in 0..20 {
            backoff.after_death(NEVER, 0.0);
        }
        let wait = backoff.after_death(Duration::from_secs(2), 0.0);
        assert_eq!(wait, Wait { delay: Duration::from_millis(100), errored: false });
    }

    #[test]
    fn jitter_adds_at_most_a_quarter() {
        let mut backoff = Backoff::new(Restart::default());
        assert_eq!(backoff.after_death(NEVER, 1.0).delay, Duration::from_millis(125));
        assert!((0..100).all(|_| (0.0..=1.0).contains(&jitter())));
    }
}
