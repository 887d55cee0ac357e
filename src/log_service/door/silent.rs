//! [`Intake`]: a connection of a form that has no answers. What comes is stored before more is read, so that a sender who is
//! too quick, or whom the disk keeps waiting, is held back by TCP. Nothing that is whole is given up while the service runs.
//!
//! When the service stops, it ends its own direction first and takes what is already on its way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time;

use super::lines::Lines;
use super::room::Room;
use super::sockets::Stream;
use super::syslog::Messages;
use super::{Desk, Door};
use crate::log_service::batch::Parsed;
use crate::log_service::store::Counts;
use crate::wire::syslog::{Framing, Unframed};

const READ_BYTES: usize = 64 << 10;
const TOO_LONG: &str = "a message is larger than an entry may be";
/// The most entries that are stored at once: as many as one read may bring, but for the very shortest.
const BATCH: usize = 4096;
/// When the service stops: how long the line must be quiet.
const LAST_QUIET: Duration = Duration::from_millis(200);

/// What messages are.
pub(super) enum Reader {
    Syslog(Messages),
    Lines(Lines),
}

impl Reader {
    /// Adds what the message gives.
    ///
    /// # Errors
    /// Nothing more is taken of this sender, for this reason.
    fn take(&mut self, message: &Bytes, parsed: &mut Parsed) -> Result<(), &'static str> {
        match self {
            Self::Syslog(messages) => messages.take(message, parsed),
            Self::Lines(lines) => lines.take(message, parsed),
        }
    }

    /// Whether the sender has shown what it must.
    fn is_admitted(&self) -> bool {
        match self {
            Self::Syslog(messages) => messages.is_admitted(),
            Self::Lines(lines) => lines.is_admitted(),
        }
    }
}

pub(super) struct Intake {
    stream: Stream,
    from: Arc<str>,
    desk: Arc<Desk>,
    door: Arc<Door>,
    framing: Framing,
    reader: Reader,
    /// For what is held.
    room: Room,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    Ended,
}

impl Intake {
    pub(super) fn new(
        stream: Stream,
        from: Arc<str>,
        desk: Arc<Desk>,
        door: Arc<Door>,
        framing: Framing,
        reader: Reader,
    ) -> Self {
        stream.keep_alive();
        Self { stream, from, desk, door, framing, reader, room: Room::default() }
    }

    /// Takes what comes until the sender ends, or the service stops.
    pub(super) async fn run(mut self) {
        let desk = Arc::clone(&self.desk);
        loop {
            let read = tokio::select! {
                read = self.read() => read,
                () = desk.stopped() => return self.last().await,
            };
            if self.store(read).await == Line::Ended {
                return;
            }
        }
    }

    /// Senders of logs may be silent for days; one that stops in the middle of a message is given up, and a stranger who says
    /// nothing: it would keep the place of a sender.
    async fn read(&mut self) -> Line {
        self.framing.buffer.reserve(READ_BYTES);
        let may_be_silent = self.framing.is_between() && self.reader.is_admitted();
        let within = if may_be_silent { Duration::MAX } else { self.desk.limits.idle_timeout };
        match time::timeout(within, self.stream.read_buf(&mut self.framing.buffer)).await {
            Ok(Ok(1..)) => Line::Open,
            _ => Line::Ended,
        }
    }

    async fn last(&mut self) {
        // A sender that is gone already has nothing on its way.
        let _ = self.stream.shutdown().await;
        // Time is left to store what was read.
        let until = time::Instant::now() + self.desk.limits.grace / 2;
        while time::Instant::now() < until {
            let read = time::timeout(LAST_QUIET, self.read()).await.unwrap_or(Line::Ended);
            if self.store(read).await == Line::Ended {
                return;
            }
        }
    }

    /// Stores all whole messages that have come; at the end of the line what is left, too.
    async fn store(&mut self, line: Line) -> Line {
        if !self.make_room().await {
            self.refuse("no memory became free for it");
            return Line::Ended;
        }
        loop {
            let mut parsed = Parsed::default();
            let taken = self.messages(&mut parsed, line);
            let is_all = parsed.entries.len() < BATCH;
            self.keep(parsed).await;
            if let Err(reason) = taken {
                self.refuse(reason);
                return Line::Ended;
            }
            if is_all {
                self.leave_room();
                return line;
            }
        }
    }

    /// Permission to hold what has come, and what is made of it. Waits, as other messages are on their way to the disk, but
    /// for ever only if these do: those who wait hold something, too. At the stop of the service what is here goes on without.
    async fn make_room(&mut self) -> bool {
        let wanted = self.framing.buffer.len().saturating_mul(2);
        let more = u32::try_from(wanted.saturating_sub(self.room.bytes())).unwrap_or(u32::MAX);
        let Some(more) = self.desk.wait_for_room(more, self.desk.limits.idle_timeout).await else {
            return *self.desk.stopping.borrow();
        };
        self.room.add(more);
        true
    }

    /// The beginning of a message stays, and what it takes.
    fn leave_room(&mut self) {
        self.room.shrink(self.framing.buffer.len());
    }

    fn messages(&mut self, parsed: &mut Parsed, line: Line) -> Result<(), &'static str> {
        while parsed.entries.len() < BATCH {
            let next = match self.framing.message() {
                Ok(None) if line == Line::Ended => self.framing.end(),
                next => next,
            };
            match next {
                Ok(Some(message)) => self.reader.take(&message, parsed)?,
                Ok(None) => break,
                Err(Unframed::TooLong) => self.refuse(TOO_LONG),
                Err(Unframed::NoCount) => {
                    return Err("it is no message, and where the next one begins is not known");
                }
                Err(Unframed::Torn) => return Err("the connection ended in the middle of a message"),
            }
        }
        Ok(())
    }

    /// Until it is kept, or the service stops.
    async fn keep(&self, parsed: Parsed) {
        Counts::add(&self.desk.counts().rejected, parsed.rejected_count);
        for (reason, count) in parsed.reasons() {
            self.door.refusals.add(count, &self.door.name, &self.from, reason);
        }
        if self.desk.persist(&parsed.entries, &self.from, None).await.is_err() {
            self.desk.lose(parsed.entries.len(), &self.door, &self.from);
        }
    }

    fn refuse(&self, reason: &str) {
        Counts::add(&self.desk.counts().rejected, 1u64);
        self.door.refusals.add(1, &self.door.name, &self.from, reason);
    }
}
