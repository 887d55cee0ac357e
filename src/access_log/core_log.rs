//! [`CoreLog`]: the core's end of the log. The hot path: no lock, no allocation, no system call.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::handle::Wake;
use super::metrics::{Metrics, Reason};
use super::ring::{self, Reader, Writer};
use crate::record::{Record, binary};

/// The log of one core. Move it to its core's thread; it is used behind `&` there.
#[derive(Debug)]
pub struct CoreLog {
    ring: RefCell<Writer>,
    seq: Cell<u64>,
    is_on: bool,
    refused: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
    wake: Arc<Wake>,
}

/// The collector's end.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) reader: Reader,
    /// The sequence number that should come next.
    pub(super) expected: u64,
    /// The last number that found no room.
    pub(super) refused: Arc<AtomicU64>,
}

pub(super) fn pair(
    ring_bytes: usize,
    is_on: bool,
    metrics: &Arc<Metrics>,
    wake: &Arc<Wake>,
) -> (CoreLog, Source) {
    let (writer, reader) = ring::ring(ring_bytes);
    let refused = Arc::new(AtomicU64::new(0));
    let log = CoreLog {
        ring: RefCell::new(writer),
        seq: Cell::new(0),
        is_on,
        refused: Arc::clone(&refused),
        metrics: Arc::clone(metrics),
        wake: Arc::clone(wake),
    };
    (log, Source { reader, expected: 1, refused })
}

impl CoreLog {
    /// Gives the record the next sequence number and hands it to the collector. Never waits: when the ring is full the
    /// record is dropped and counted, and the collector declares the hole.
    pub fn write(&self, record: &Record<'_>) {
        if !self.is_on {
            return;
        }
        let seq = self.seq.get() + 1;
        self.seq.set(seq);
        if self.ring.borrow_mut().push(|room| binary::encode_into(room, record, seq)).is_err() {
            self.refuse(seq);
        }
        self.wake.if_idle();
    }

    /// Sequence number of the last record.
    pub fn last_seq(&self) -> u64 {
        self.seq.get()
    }

    #[cold]
    fn refuse(&self, seq: u64) {
        self.metrics.dropped.add(Reason::RingFull, 1);
        // Release: whoever sees this number also sees all entries before it in the ring.
        self.refused.store(seq, Ordering::Release);
    }
}
