//! [`Portion`]: what a connection has sent and is not stored yet, in a bounded part of the memory.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{self, Instant};

use super::room::Room;
use super::{Desk, Door};
use crate::log_service::entry::Entry;
use crate::log_service::store::{AppendError, Counts};

/// Stored when it has as much, or is as old.
const BYTES: usize = 4 << 20;
const ENTRIES: usize = 1 << 14;
const AGE: Duration = Duration::from_secs(1);
/// What an entry takes besides its text: of small ones it is the larger part.
const ENTRY_BYTES: usize = size_of::<Entry>() + 32;

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
    rejected: usize,
    /// Good ones of whole messages that nobody sends again.
    only_here: usize,
    /// Good ones of the message under way.
    under_way: usize,
    /// Whether the sender asks for acknowledgements, as far as is known: then it sends again what has none.
    asks: bool,
    room: Room,
    begun: Instant,
}

impl Portion {
    /// `asks`: see [`Self::end_message`].
    pub(super) fn new(desk: Arc<Desk>, door: Arc<Door>, from: Arc<str>, asks: bool) -> Self {
        Self {
            desk,
            door,
            from,
            entries: Vec::new(),
            seen: 0,
            rejected: 0,
            only_here: 0,
            under_way: 0,
            asks,
            room: Room::default(),
            begun: Instant::now(),
        }
    }

    /// A message is whole; whether it asks for an acknowledgement, which is taken for the sender's habit. What comes of one
    /// that does not is given up only when the service stops.
    pub(super) fn end_message(&mut self, asks: bool) {
        self.only_here += if asks { 0 } else { self.under_way };
        (self.under_way, self.asks) = (0, asks);
    }

    /// Entries that are gone if they are not stored.
    fn only_here(&self) -> usize {
        self.only_here + if self.asks { 0 } else { self.under_way }
    }

    /// Whether it should be stored before more is taken.
    pub(super) fn is_due(&self) -> bool {
        let bytes = self.room.bytes();
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
                let held = self.hold(entry.text.len() + ENTRY_BYTES).await;
                self.under_way += 1;
                held?;
                self.entries.push(entry);
            }
            Err(why) => {
                self.rejected += 1;
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
                self.wait_for_room(bytes).await.ok_or_else(|| {
                    Counts::add(&self.desk.counts().turned_away, 1u64);
                    NotStored::NoRoom
                })?
            }
        };
        self.room.add(more);
        Ok(())
    }

    async fn wait_for_room(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        let within = self.desk.limits.body_timeout;
        if !self.asks {
            return self.desk.wait_for_room(bytes, within).await;
        }
        let room = Arc::clone(&self.desk.room).acquire_many_owned(bytes);
        time::timeout(within, room).await.ok().and_then(Result::ok)
    }

    /// Makes durable what is here. While the store cannot, it is tried again: not to read on is the only way to slow such a
    /// sender down. A sender that asks for acknowledgements is not kept waiting for ever.
    ///
    /// # Errors
    /// The store could not take it, and nothing more may be added.
    pub(super) async fn store(&mut self) -> Result<(), NotStored> {
        let give_up = (self.only_here() == 0).then(|| Instant::now() + self.desk.limits.body_timeout);
        self.desk.persist(&self.entries, &self.from, give_up).await.map_err(NotStored::Refused)?;
        Counts::add(&self.desk.counts().rejected, std::mem::take(&mut self.rejected));
        (self.entries, self.room) = (Vec::new(), Room::default());
        (self.seen, self.only_here, self.under_way) = (0, 0, 0);
        Ok(())
    }
}

/// What is still here is not stored.
impl Drop for Portion {
    fn drop(&mut self) {
        let lost = self.only_here();
        if lost > 0 {
            Counts::add(&self.desk.counts().rejected, self.rejected);
            self.desk.lose(lost, &self.door, &self.from);
        }
    }
}
