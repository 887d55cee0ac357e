//! What the log counts about itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a record did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The collector was too slow for a core.
    RingFull,
    /// The collector was too slow for worker lines.
    LinesFull,
    /// A frame could not be read back: a defect of ours.
    BadFrame,
    /// The sink was too slow.
    QueueFull,
    /// The log service did not answer, or not with an acknowledgement.
    ServiceDown,
    DiskFull,
    IoError,
    /// The log service will never take the batch.
    Rejected,
    /// The process ended before the record was delivered.
    Stopped,
}

impl Reason {
    pub const ALL: [Self; 9] = [
        Self::RingFull,
        Self::LinesFull,
        Self::BadFrame,
        Self::QueueFull,
        Self::ServiceDown,
        Self::DiskFull,
        Self::IoError,
        Self::Rejected,
        Self::Stopped,
    ];

    /// The word in `gap` records and in `status`.
    pub fn word(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::LinesFull => "lines_full",
            Self::BadFrame => "bad_frame",
            Self::QueueFull => "queue_full",
            Self::ServiceDown => "service_down",
            Self::DiskFull => "disk_full",
            Self::IoError => "io_error",
            Self::Rejected => "rejected",
            Self::Stopped => "stopped",
        }
    }
}

/// Records that were lost, by reason.
#[derive(Debug, Default)]
pub struct Dropped([AtomicU64; Reason::ALL.len()]);

impl Dropped {
    pub fn get(&self, reason: Reason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn add(&self, reason: Reason, count: u64) {
        self.0[reason as usize].fetch_add(count, Ordering::Relaxed);
    }
}

/// Counters of the whole log; read them from anywhere.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Records that came out of the rings.
    pub records: AtomicU64,
    /// Worker lines and process events.
    pub lines: AtomicU64,
    /// Lost before any sink saw them.
    pub dropped: Dropped,
    pub sinks: Vec<Arc<SinkMetrics>>,
}

impl Metrics {
    /// Everything that was lost anywhere; what two sinks lost counts twice.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.total() + self.sinks.iter().map(|sink| sink.dropped.total()).sum::<u64>()
    }
}

/// Counters of one sink.
#[derive(Debug, Default)]
pub struct SinkMetrics {
    /// `stdout`, `file:PATH`, `unix:PATH` or `http://HOST:PORT`.
    pub name: String,
    /// Entries delivered: written to the file or output, acknowledged by the service.
    pub written: AtomicU64,
    pub written_bytes: AtomicU64,
    /// Batches delivered.
    pub batches: AtomicU64,
    /// Deliveries that failed and were tried again.
    pub retries: AtomicU64,
    /// Memory held by what waits, the batch on its way included.
    pub queue_bytes: AtomicU64,
    pub dropped: Dropped,
}
