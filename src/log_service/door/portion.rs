//! [`Portion`]: what a connection has sent and is not stored yet, in a bounded part of the memory.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{self, Instant};

use super::{Desk, Door};
use crate::log_service::entry::Entry;
use crate::log_service::store::{AppendError, Counts};

/// Stored when it has as much, or is as old.
const BYTES: usize = 4 << 20;
const ENTRIES: usize = 1 << 14;
const AGE: Duration = Duration::from_secs(1);
/// What an entry takes besides its text: of small ones it is the larger part.
const ENTRY_BYTES: usize = size_of::<Entry>() + 32;
/// Between two tries to store it: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Nothing more is taken on this connection: what is not acknowledged is the sender's to send again.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotStored {
    #[error("too much is waiting to be stored")]
    NoRoom,
    #[error("{0}")]
    Refused(AppendError),
}

pub(super) struct Portion {
    desk: Arc<Desk>,
    door: Arc<Door>,
    from: Arc<str>,
    entries: Vec<Entry>,
    /// Entries that were looked at, good and bad.
    seen: usize,
    room: Option<OwnedSemaphorePermit>,
    begun: Instant,
}

impl Portion {
    pub(super) fn new(desk: Arc<Desk>, door: Arc<Door>, from: Arc<str>) -> Self {
        Self { desk, door, from, entries: Vec::new(), seen: 0, room: None, begun: Instant::now() }
    }

    /// Whether it should be stored before more is taken.
    pub(super) fn is_due(&self) -> bool {
        let bytes = self.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        self.seen > 0 && (bytes >= BYTES || self.seen >= ENTRIES || self.begun.elapsed() >= AGE)
    }

    /// Takes one more: a JSON object, or why there is none. What is bad is counted and told.
    ///
    /// # Errors
    /// There is no room for it, even after what was here is stored.
    pub(super) async fn add(&mut self, text: Result<Bytes, impl fmt::Display>) -> Result<(), NotStored> {
        let entry = text.map_err(|why| why.to_string()).and_then(|text| self.check(text));
        match entry {
            Ok(entry) => {
                self.hold(entry.text.len() + ENTRY_BYTES).await?;
                self.entries.push(entry);
            }
            Err(why) => {
                Counts::add(&self.desk.counts().rejected, 1u64);
                self.complain(&why);
            }
        }
        if self.seen == 0 {
            self.begun = Instant::now();
        }
        self.seen += 1;
        Ok(())
    }

    fn check(&self, text: Bytes) -> Result<Entry, String> {
        let most = self.desk.limits.entry_bytes;
        if text.len() > most {
            return Err(format!("larger than {most} bytes"));
        }
        Entry::of_sender(text, self.door.trust).map_err(|error| error.to_string())
    }

    /// Says in the service's log what is wrong with what was sent.
    pub(super) fn complain(&self, what: &str) {
        self.door.refusals.add(1, &self.door.name, &self.from, what);
    }

    /// Makes room, by storing what is here if there is none. Then it waits while it holds nothing: connections that each
    /// hold a part and wait for the rest would wait for ever.
    async fn hold(&mut self, bytes: usize) -> Result<(), NotStored> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = match Arc::clone(&self.desk.room).try_acquire_many_owned(bytes) {
            Ok(more) => more,
            Err(_) => {
                self.store().await?;
                let waiting = Arc::clone(&self.desk.room).acquire_many_owned(bytes);
                let more = time::timeout(self.desk.limits.body_timeout, waiting).await;
                more.ok().and_then(Result::ok).ok_or_else(|| {
                    Counts::add(&self.desk.counts().turned_away, 1u64);
                    NotStored::NoRoom
                })?
            }
        };
        match &mut self.room {
            Some(room) => room.merge(more),
            None => self.room = Some(more),
        }
        Ok(())
    }

    /// Makes durable what is here. While the store cannot, it is tried again for a while: not to read on is the only way
    /// to slow such a sender down.
    ///
    /// # Errors
    /// The store could not take it; what is here is gone.
    pub(super) async fn store(&mut self) -> Result<(), NotStored> {
        let (entries, _room) = (std::mem::take(&mut self.entries), self.room.take());
        self.seen = 0;
        let give_up = Instant::now() + self.desk.limits.body_timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            // Copies of references: the texts stay where they are.
            let stored = self.desk.store.append(entries.clone(), Arc::clone(&self.from)).await;
            let Err(error) = stored else { return Ok(()) };
            if matches!(error, AppendError::Closed) || Instant::now() + pause > give_up {
                return Err(NotStored::Refused(error));
            }
            tokio::select! {
                () = time::sleep(pause) => {}
                () = self.desk.stopped() => return Err(NotStored::Refused(error)),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
