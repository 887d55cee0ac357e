//! [`Lag`]: how late an event loop comes to what is due. Its core notes, anybody takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How late the sweeps of one core were since it was looked at last. Timers go off up to a millisecond late on an idle
/// core, too.
#[derive(Debug, Default)]
pub struct Lag {
    max_us: AtomicU64,
    sum_us: AtomicU64,
    sweeps: AtomicU64,
}

/// What was [taken](Lag::take).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    pub max_us: u64,
    pub mean_us: u64,
}

impl Lag {
    /// One sweep came so late.
    pub fn note(&self, late: Duration) {
        let us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        self.max_us.fetch_max(us, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.sweeps.fetch_add(1, Ordering::Relaxed);
    }

    /// What was noted since the last call; `None` when the core has swept nothing in this time: it hangs, or has ended.
    pub fn take(&self) -> Option<Late> {
        let [sweeps, sum, max_us] =
            [&self.sweeps, &self.sum_us, &self.max_us].map(|count| count.swap(0, Ordering::Relaxed));
        // A sweep in between may be in only some of them.
        sum.checked_div(sweeps).map(|mean| Late { max_us, mean_us: mean.min(max_us) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_gone() {
        let lag = Lag::default();
        assert_eq!(lag.take(), None);
        for ms in [1, 2, 6] {
            lag.note(Duration::from_millis(ms));
        }
        assert_eq!(lag.take(), Some(Late { max_us: 6_000, mean_us: 3_000 }));
        assert_eq!(lag.take(), None);
    }
}
