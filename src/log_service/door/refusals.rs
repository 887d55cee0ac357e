//! [`Refusals`]: telling why something was not taken, where the sender cannot be told: not more often than every few seconds.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Time between two tellings of one door.
const PAUSE: Duration = Duration::from_secs(5);

/// What one door has refused since it was last told.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    count: u64,
    again: Option<Instant>,
}

impl Refusals {
    /// Tells of these refusals, for this reason, or keeps them for the next telling.
    pub(super) fn add(&self, count: usize, input: &str, from: &str, reason: &str) {
        if let Some(refused) = self.due(count, Instant::now()) {
            tracing::warn!(input, from, refused, reason = %reason.escape_debug(), "entries were refused");
        }
    }

    /// How many are to be told now.
    fn due(&self, count: usize, now: Instant) -> Option<u64> {
        let mut untold = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        untold.count += count as u64;
        if untold.count == 0 || untold.again.is_some_and(|again| now < again) {
            return None;
        }
        untold.again = Some(now + PAUSE);
        Some(std::mem::take(&mut untold.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_refusals_are_told_together() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let told = [0, 1, 2, 3].map(|count| refusals.due(count, now));
        assert_eq!(told, [None, Some(1), None, None]);
        assert_eq!([1, 1].map(|count| refusals.due(count, now + PAUSE)), [Some(6), None]);
    }
}
