//! [`Refusals`]: telling why something was not taken, where the sender cannot be told: not more often than every few seconds.

use std::sync::{Mutex, MutexGuard};
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
    /// Of the last of them: the name of the door, the sender and the reason.
    last: Option<[String; 3]>,
}

impl Refusals {
    /// Tells of these refusals, for this reason, or keeps them for the next telling.
    pub(super) fn add(&self, count: usize, input: &str, from: &str, reason: &str) {
        let refused = self.due(count, Instant::now());
        if let Some(refused) = refused {
            tell(refused, input, from, reason);
        }
        self.untold().last = refused.is_none().then(|| [input, from, reason].map(str::to_owned));
    }

    /// How many are to be told now.
    fn due(&self, count: usize, now: Instant) -> Option<u64> {
        let mut untold = self.untold();
        untold.count += count as u64;
        if untold.count == 0 || untold.again.is_some_and(|again| now < again) {
            return None;
        }
        untold.again = Some(now + PAUSE);
        Some(std::mem::take(&mut untold.count))
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// At the end of the service nothing stays untold.
impl Drop for Refusals {
    fn drop(&mut self) {
        if let Some((refused, [input, from, reason])) = self.untold().take() {
            tell(refused, &input, &from, &reason);
        }
    }
}

impl Untold {
    /// How many there are, and what is known of the last of them.
    fn take(&mut self) -> Option<(u64, [String; 3])> {
        let count = std::mem::take(&mut self.count);
        self.last.take().filter(|_| count > 0).map(|last| (count, last))
    }
}

fn tell(refused: u64, input: &str, from: &str, reason: &str) {
    tracing::warn!(input, from, refused, reason = %reason.escape_debug(), "entries were refused");
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

    #[test]
    fn what_is_still_untold_at_the_end_is_told_with_the_last_reason() {
        let refusals = Refusals::default();
        assert_eq!(refusals.untold().take(), None);
        for (count, reason) in [(1, "told at once"), (2, "a"), (3, "b")] {
            refusals.add(count, "app", "10.0.0.1", reason);
        }
        let last = ["app", "10.0.0.1", "b"].map(str::to_owned);
        assert_eq!(refusals.untold().take(), Some((5, last)));
        refusals.add(0, "app", "10.0.0.1", "nothing");
        assert_eq!(refusals.untold().take(), None);
    }
}
