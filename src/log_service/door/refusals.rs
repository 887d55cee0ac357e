//! [`Refusals`]: telling why something was not taken, where the sender cannot be told: each reason not more often than every
//! few seconds.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Time between two tellings of one reason at one door.
const PAUSE: Duration = Duration::from_secs(5);
/// Reasons that are told apart within that time; what is refused for further ones is counted together.
const MOST: usize = 8;

/// What one door has refused since it was last told.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    /// Reasons that were told, with what has been refused for them since.
    reasons: Vec<Refused>,
    /// Refused for none of these.
    others: u64,
    again: Option<Instant>,
    /// The name of the door.
    input: String,
    /// The last sender.
    from: String,
}

/// Refusals for one reason.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    /// `None`: there were too many others.
    reason: Option<String>,
    /// The last one.
    from: String,
    count: u64,
}

impl Refused {
    fn tell(&self, input: &str) {
        let Self { reason, from, count: refused } = self;
        let reason = reason.as_deref().unwrap_or("other reasons, too many to tell");
        tracing::warn!(input, from, refused, reason = %reason.escape_debug(), "entries were refused");
    }
}

impl Refusals {
    /// Tells of these refusals, for this reason, or keeps them for the next telling.
    pub(super) fn add(&self, count: usize, input: &str, from: &str, reason: &str) {
        self.due(count, (input, from, reason), Instant::now()).iter().for_each(|refused| refused.tell(input));
    }

    /// What is to be told now.
    fn due(&self, count: usize, (input, from, reason): (&str, &str, &str), now: Instant) -> Vec<Refused> {
        if count == 0 {
            return Vec::new();
        }
        let refused = Refused { reason: Some(reason.to_owned()), from: from.to_owned(), count: count as u64 };
        let mut untold = self.untold();
        input.clone_into(&mut untold.input);
        from.clone_into(&mut untold.from);
        if untold.again.is_none_or(|again| again <= now) {
            untold.again = Some(now + PAUSE);
            return untold.turn_over(refused);
        }
        untold.keep(refused).into_iter().collect()
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// At the end of the service nothing stays untold.
impl Drop for Refusals {
    fn drop(&mut self) {
        let mut untold = self.untold();
        let input = std::mem::take(&mut untold.input);
        untold.take().iter().for_each(|refused| refused.tell(&input));
    }
}

impl Untold {
    /// Everything that was kept.
    fn take(&mut self) -> Vec<Refused> {
        let mut due = std::mem::take(&mut self.reasons);
        due.retain(|one| one.count > 0);
        let others = std::mem::take(&mut self.others);
        let from = self.from.clone();
        due.extend((others > 0).then_some(Refused { reason: None, from, count: others }));
        due
    }

    /// Everything that was kept, with this; these reasons count as told.
    fn turn_over(&mut self, refused: Refused) -> Vec<Refused> {
        match self.reasons.iter_mut().find(|known| known.reason == refused.reason) {
            Some(known) => *known = Refused { count: known.count + refused.count, ..refused },
            None => self.reasons.push(refused),
        }
        let due = self.take();
        let told = due.iter().filter(|one| one.reason.is_some());
        self.reasons = told
            .map(|one| Refused { reason: one.reason.clone(), from: one.from.clone(), count: 0 })
            .collect();
        due
    }

    /// Keeps what was told not long ago; a new reason is due at once, if it is not one too many.
    fn keep(&mut self, refused: Refused) -> Option<Refused> {
        if let Some(known) = self.reasons.iter_mut().find(|known| known.reason == refused.reason) {
            known.count += refused.count;
            known.from = refused.from;
            return None;
        }
        if self.reasons.len() >= MOST {
            self.others += refused.count;
            return None;
        }
        self.reasons.push(Refused { reason: refused.reason.clone(), from: refused.from.clone(), count: 0 });
        Some(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(due: &[Refused]) -> Vec<(Option<&str>, u64)> {
        due.iter().map(|one| (one.reason.as_deref(), one.count)).collect()
    }

    #[test]
    fn many_refusals_for_one_reason_are_told_together() {
        let sum = |due: Vec<Refused>| due.iter().map(|one| one.count).sum::<u64>();
        let (refusals, now) = (Refusals::default(), Instant::now());
        let told = [0, 1, 2, 3].map(|count| refusals.due(count, ("app", "a", "one"), now));
        assert_eq!(told.map(sum), [0, 1, 0, 0]);
        let told = [1, 1].map(|count| refusals.due(count, ("app", "a", "one"), now + PAUSE));
        assert_eq!(told.map(sum), [6, 0]);
    }

    #[test]
    fn each_reason_is_told_when_it_comes_and_counted_for_itself() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let told = ["one", "two", "two", "one"].map(|reason| refusals.due(1, ("app", "a", reason), now));
        assert_eq!(
            told.each_ref().map(|due| counts(due)),
            [vec![(Some("one"), 1)], vec![(Some("two"), 1)], vec![], vec![]]
        );
        let later = refusals.due(1, ("app", "b", "three"), now + PAUSE);
        assert_eq!(counts(&later), [(Some("one"), 1), (Some("two"), 1), (Some("three"), 1)]);
    }

    #[test]
    fn what_is_refused_for_too_many_reasons_is_counted_together() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let told = (0..100)
            .map(|reason| refusals.due(1, ("app", "a", &reason.to_string()), now).len())
            .sum::<usize>();
        assert_eq!(told, MOST);
        let later = refusals.due(1, ("app", "a", "0"), now + PAUSE);
        assert_eq!(counts(&later), [(Some("0"), 1), (None, 100 - MOST as u64)]);
    }

    #[test]
    fn what_is_still_untold_at_the_end_is_told_with_its_reasons() {
        let refusals = Refusals::default();
        assert_eq!(refusals.untold().take(), []);
        for (count, reason) in [(1, "a"), (2, "a"), (1, "b"), (3, "b"), (0, "nothing")] {
            refusals.add(count, "app", "10.0.0.1", reason);
        }
        assert_eq!(counts(&refusals.untold().take()), [(Some("a"), 2), (Some("b"), 3)]);
        assert_eq!(refusals.untold().take(), []);
    }
}
