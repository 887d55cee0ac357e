//! Telling the operator what was refused at a door: at once, but not once for each.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two complaints of one door.
const PAUSE: Duration = Duration::from_secs(10);

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    /// Not told since.
    hidden: u64,
}

impl Complaints {
    /// How many times something like it was not told since the last time; `None` when this is to be passed over too.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.at.is_some_and(|at| now - at < PAUSE) {
            told.hidden += 1;
            return None;
        }
        told.at = Some(now);
        Some(std::mem::take(&mut told.hidden))
    }

    /// Says in the service's own log what `from` sent to the door `input` and what is wrong with it.
    pub(super) fn tell(&self, input: &str, from: &str, what: &str) {
        if let Some(hidden) = self.due(Instant::now()) {
            tracing::warn!(input, from, hidden, "{}", what.escape_debug());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_told_every_ten_seconds_with_its_number() {
        let complaints = Complaints::default();
        let now = Instant::now();
        assert_eq!([(); 3].map(|()| complaints.due(now)), [Some(0), None, None]);
        assert_eq!([(); 2].map(|()| complaints.due(now + PAUSE)), [Some(2), None]);
    }
}
