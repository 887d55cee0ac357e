//! [`Stop`]: when the sinks have to end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Tells the sinks when to stop trying.
#[derive(Clone, Debug)]
pub(in crate::access_log) struct Stop(watch::Receiver<Option<Instant>>);

impl Stop {
    pub(in crate::access_log) fn new(deadline: watch::Receiver<Option<Instant>>) -> Self {
        Self(deadline)
    }

    /// `None` when the time has run out.
    pub(super) fn time_left(&self) -> Option<Duration> {
        match *self.0.borrow() {
            None => Some(Duration::MAX),
            Some(deadline) => deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()),
        }
    }

    /// Waits; less when the end is announced meanwhile. Tells whether there is time left.
    pub(super) async fn pause(&mut self, pause: Duration) -> bool {
        let is_asked = self.0.borrow_and_update().is_some();
        let Some(left) = self.time_left() else { return false };
        if is_asked {
            sleep(pause.min(left)).await;
        } else {
            let _ = timeout(pause, self.0.changed()).await;
        }
        self.time_left().is_some()
    }
}
