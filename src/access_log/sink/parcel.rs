//! [`Parcel`]: what goes out at once; [`Fault`]: why it was not taken.

use std::time::Duration;

use bytes::Bytes;

use super::ship::{Item, Todo};
use crate::access_log::metrics::Reason;
use crate::access_log::spool::Chunk;

/// What goes out at once: whole lines or whole frames, and which records they are.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    pub(super) chunks: Vec<Bytes>,
    pub(super) has_lines: bool,
    pub(super) chunk: Chunk,
    /// Its lines one by one, for a sink that sends them so; which of them are still to be sent.
    pub(super) items: Vec<Item>,
    pub(super) todo: Todo,
    /// Of lines that are not kept any more.
    pub(super) joined_bytes: usize,
}

impl Parcel {
    pub(super) fn bytes(&self) -> usize {
        self.joined_bytes + self.chunks.iter().map(Bytes::len).sum::<usize>()
    }

    /// How many items have no verdict yet.
    pub(super) fn left(&self) -> usize {
        self.todo.left(self.items.len())
    }

    /// What has come meanwhile goes with it, as items.
    pub(super) fn join(&mut self, other: Self) {
        let (Some(text), Some(other_text)) = (self.chunks.first_mut(), other.chunks.first()) else { return };
        let before = text.len();
        self.todo.join((&mut *text, &mut self.items), (other_text, other.items));
        self.joined_bytes += before + other_text.len() - text.len();
        self.chunk.join(other.chunk);
    }
}

/// Why a parcel was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The other side does not know frames: the same again as lines.
    Lines,
    Is {
        reason: Reason,
        /// Trying again is of no use.
        is_final: bool,
        /// How long to wait, if the other side said so.
        after: Option<Duration>,
    },
}

impl Fault {
    pub(super) fn passing(reason: Reason) -> Self {
        Self::Is { reason, is_final: false, after: None }
    }

    pub(super) fn lasting(reason: Reason) -> Self {
        Self::Is { reason, is_final: true, after: None }
    }

    pub(super) fn io(error: &std::io::Error) -> Self {
        Self::passing(Reason::of(error))
    }
}
