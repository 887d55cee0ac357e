//! [`CoreLog`]: the core's end of the log. The hot path: no lock, no allocation, no system call.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::flight::{Arriving, Table};
use super::handle::{Wake, now_us};
use super::metrics::{Metrics, Reason};
use super::pressure::Step;
use super::ring::{Reader, Writer};
use crate::record::{Record, binary};

/// The reason in the record of a request that was refused because it could not be recorded.
pub const UNRECORDED: &str = "log_full";

/// The log of one core. Move it to its core's thread; it is used behind `&` there.
#[derive(Debug)]
pub struct CoreLog {
    ring: RefCell<Writer>,
    seq: Cell<u64>,
    is_on: bool,
    /// Requests are refused while their records have no room.
    fails_closed: bool,
    /// Requests wait while their records would lose something.
    blocks: bool,
    flight: Table,
    metrics: Arc<Metrics>,
    wake: Arc<Wake>,
}

/// The collector's end.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) reader: Reader,
    /// The sequence number that should come next.
    pub(super) expected: u64,
}

impl Source {
    /// Everything that was drained is safe elsewhere, and every number before `expected` is delivered or declared, but for the
    /// `left_out` last ones (first and last): sampling left these out, and they are declared later. The ring may use the room
    /// again. Call it after each turn, also after one that found nothing.
    pub(super) fn commit(&mut self, left_out: Option<(u64, u64)>) {
        let accounted = left_out.map_or(self.expected - 1, |(first, _)| first - 1);
        self.reader.commit((accounted, left_out.map_or(0, |(_, last)| last)), now_us());
    }
}

/// Both ends of a core's log over the ends of its ring.
pub(super) fn pair(
    (writer, reader): (Writer, Reader),
    (is_on, fails_closed): (bool, bool),
    metrics: &Arc<Metrics>,
    wake: &Arc<Wake>,
) -> (CoreLog, Source) {
    let log = CoreLog {
        flight: Table::new(writer.mapped()),
        ring: RefCell::new(writer),
        seq: Cell::new(0),
        is_on,
        fails_closed,
        blocks: metrics.room.blocks(),
        metrics: Arc::clone(metrics),
        wake: Arc::clone(wake),
    };
    (log, Source { reader, expected: 1 })
}

impl CoreLog {
    /// Gives the record the next sequence number and hands it to the collector. Never waits: when the ring is full the
    /// record is dropped and counted, and the collector declares the hole.
    pub fn write(&self, record: &Record<'_>) {
        self.push(record, None);
    }

    /// The same for the last record of the exchange at `place` of the in-flight table, so that a death at any moment
    /// leaves the record or the place, and never both.
    pub(super) fn write_last(&self, record: &Record<'_>, place: Option<u32>) {
        self.push(record, place);
    }

    #[inline(always)]
    fn push(&self, record: &Record<'_>, place: Option<u32>) {
        if !self.is_on {
            return;
        }
        let seq = self.seq.get() + 1;
        self.seq.set(seq);
        let mut ring = self.ring.borrow_mut();
        if let Some(place) = place {
            self.flight.close(place, ring.position());
        }
        // What the ring has left is for requests that were let in.
        let is_refusal = self.fails_closed && record.reason == Some(UNRECORDED);
        if is_refusal || ring.push(|room| binary::encode_into(room, record, seq)).is_err() {
            self.refuse(&ring, seq);
        }
        self.wake.if_idle();
    }

    /// Whether requests are to be refused because they could not be recorded (`on_full = "fail_closed"`).
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.fails_closed && self.metrics.step() == Step::Full
    }

    /// What a new request has to wait for, if anything (`on_full = "block"`).
    #[inline]
    pub fn delay(&self) -> Option<impl Future<Output = ()> + use<>> {
        if self.blocks { self.metrics.delay() } else { None }
    }

    /// Takes a place in the in-flight table, if there is a log.
    pub(super) fn enter(&self, arriving: &Arriving<'_>) -> Option<u32> {
        self.is_on.then(|| self.flight.enter(arriving))
    }

    pub(super) fn flight(&self) -> &Table {
        &self.flight
    }

    /// Sequence number of the last record.
    pub fn last_seq(&self) -> u64 {
        self.seq.get()
    }

    #[cold]
    fn refuse(&self, ring: &Writer, seq: u64) {
        self.metrics.dropped.add(Reason::RingFull, 1);
        ring.refuse(seq);
    }
}
