//! [`Room`]: where new requests wait for the log (`on_full = "block"`), before their records lose anything.
//!
//! A request waits once, and no longer than it may: then it goes on, and its record takes what the pressure ladder leaves
//! of it. It is let go at once when the ladder is left.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::metrics::Metrics;
use super::pressure::Step;

/// How long requests wait, who does, and what came of it.
#[derive(Debug, Default)]
pub struct Room {
    /// Longest wait; nobody waits when it is absent.
    most: Option<Duration>,
    opened: Notify,
    /// Requests that have waited or do so now.
    pub waited: AtomicU64,
    /// Of these, those that went on without room.
    pub in_vain: AtomicU64,
}

impl Room {
    pub(super) fn new(most: Option<Duration>) -> Self {
        Self { most, ..Self::default() }
    }

    /// Whether requests wait at all.
    pub(super) fn blocks(&self) -> bool {
        self.most.is_some()
    }

    /// Records are whole again: everybody goes on.
    pub(super) fn open(&self) {
        self.opened.notify_waiters();
    }
}

impl Metrics {
    /// What a new request has to wait for, if anything: that records lose nothing any more, for a limited time.
    pub fn delay(self: &Arc<Self>) -> Option<impl Future<Output = ()> + use<>> {
        let most = self.room.most?;
        (self.step() != Step::Whole).then(|| wait(Arc::clone(self), most))
    }
}

async fn wait(metrics: Arc<Metrics>, most: Duration) {
    let (room, until) = (&metrics.room, Instant::now() + most);
    room.waited.fetch_add(1, Ordering::Relaxed);
    loop {
        let mut opened = pin!(room.opened.notified());
        // Before the look at the step: what opens in between is not missed.
        opened.as_mut().enable();
        if metrics.step() == Step::Whole {
            return;
        }
        if timeout_at(until, opened).await.is_err() {
            room.in_vain.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}
