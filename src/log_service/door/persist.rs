//! Storing what nobody sends again: a sender that is not answered does not know that the disk is full. Not to read on is the
//! only way to slow it down; what is held meanwhile has its bound.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{self, Instant};

use super::{Desk, Door};
use crate::log_service::entry::Entry;
use crate::log_service::store::{AppendError, Counts};

/// Between two tries to store: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How many wait for the disk with something in their hands.
#[derive(Debug, Default)]
pub(super) struct Waiters(AtomicUsize);

struct Waiter<'w>(&'w Waiters);

impl Waiters {
    fn enter(&self) -> Waiter<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waiter(self)
    }

    fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Desk {
    /// Stores entries: as often as it takes, until `give_up`, or the service stops.
    ///
    /// # Errors
    /// Why the store did not take them the last time. None of them is stored.
    pub(super) async fn persist(
        &self,
        entries: &[Entry],
        from: &Arc<str>,
        give_up: Option<Instant>,
    ) -> Result<(), AppendError> {
        let _waiter = self.waiters.enter();
        let mut pause = FIRST_PAUSE;
        loop {
            // Copies of references: the texts stay where they are.
            let stored = self.store.append(entries.to_vec(), Arc::clone(from)).await;
            let Err(error) = stored else { return Ok(()) };
            let is_late = give_up.is_some_and(|give_up| Instant::now() + pause > give_up);
            if is_late || matches!(error, AppendError::Closed) {
                return Err(error);
            }
            tracing::debug!(%from, %error, "a sender waits");
            tokio::select! {
                biased;
                () = self.stopped() => return Err(error),
                () = time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Room for so many bytes: waits so long, and for as long as those who have it wait for the disk. `None`: there was
    /// none, or the service stops.
    pub(super) async fn wait_for_room(&self, bytes: u32, within: Duration) -> Option<OwnedSemaphorePermit> {
        let mut room = pin!(Arc::clone(&self.room).acquire_many_owned(bytes));
        loop {
            tokio::select! {
                biased;
                // The semaphore is never closed.
                room = room.as_mut() => return room.ok(),
                () = self.stopped() => return None,
                () = time::sleep(within) => {}
            }
            if !self.waiters.is_any() {
                return None;
            }
        }
    }

    /// Counts and tells entries that could not be stored and that the sender believes to be.
    pub(super) fn lose(&self, count: usize, door: &Door, from: &str) {
        if count == 0 {
            return;
        }
        Counts::add(&self.counts().lost, count);
        door.refusals.add(count, &door.name, from, "they are not stored, and nobody sends them again");
    }
}
