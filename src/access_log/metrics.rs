//! What the log counts about itself.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::pressure::Step;
use super::room::Room;

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
    /// The spool had no room left, so that nothing was taken out of the rings.
    SpoolFull,
    /// Left out on purpose; the records that were kept carry a weight.
    Sampled,
    /// It was in the spool, and what held it is gone or damaged.
    SpoolDamaged,
    /// It was in a dead process's ring, which is gone or cannot be read. How many there were nobody knows.
    RingLost,
}

impl Reason {
    pub const ALL: [Self; 13] = [
        Self::RingFull,
        Self::LinesFull,
        Self::BadFrame,
        Self::QueueFull,
        Self::ServiceDown,
        Self::DiskFull,
        Self::IoError,
        Self::Rejected,
        Self::Stopped,
        Self::SpoolFull,
        Self::Sampled,
        Self::SpoolDamaged,
        Self::RingLost,
    ];

    pub(super) fn of(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded => Self::DiskFull,
            _ => Self::IoError,
        }
    }

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
            Self::SpoolFull => "spool_full",
            Self::Sampled => "sampled",
            Self::SpoolDamaged => "spool_damaged",
            Self::RingLost => "ring_lost",
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
    /// Records that sampling left out.
    pub sampled: AtomicU64,
    /// Rings of dead processes that were damaged or gone at the start.
    pub rings_lost: AtomicU64,
    /// Bytes in the spool that some sink has still to deliver.
    pub spool_bytes: AtomicU64,
    /// How far the spool is filled, in thousandths.
    pub spool_fill: AtomicU64,
    /// The step of the pressure ladder, see [`Step`].
    pub step: AtomicU8,
    pub sinks: Vec<Arc<SinkMetrics>>,
    /// Where requests wait, see [`Room`].
    pub room: Room,
}

impl Metrics {
    /// What the log leaves out at the moment.
    pub fn step(&self) -> Step {
        Step::ALL.get(usize::from(self.step.load(Ordering::Relaxed))).copied().unwrap_or(Step::Whole)
    }

    /// Everything that was lost anywhere; what two sinks lost counts twice.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.total() + self.sinks.iter().map(|sink| sink.dropped.total()).sum::<u64>()
    }
}

/// Counters of one sink.
#[derive(Debug, Default)]
pub struct SinkMetrics {
    /// `stdout`, `file:PATH`, `unix:PATH`, `http://HOST:PORT`, or `sink:NAME`.
    pub name: String,
    /// Entries delivered: written to the file or output, acknowledged by the service.
    pub written: AtomicU64,
    pub written_bytes: AtomicU64,
    /// Batches delivered.
    pub batches: AtomicU64,
    /// Records that the other side will never take: they are in the dead-letter file, or counted as dropped too.
    pub refused: AtomicU64,
    /// Deliveries that failed and were tried again.
    pub retries: AtomicU64,
    /// Bytes of the spool that it has still to deliver.
    pub lag_bytes: AtomicU64,
    /// Since when the oldest of them waits, microseconds since the Unix epoch, to a second; 0 when none does.
    pub(super) waiting_since_us: AtomicI64,
    pub dropped: Dropped,
    /// Why it takes nothing at the moment, if so.
    pub(super) trouble: Mutex<Option<String>>,
    /// Whether that was told.
    pub(super) told: AtomicBool,
}

impl SinkMetrics {
    /// For how long the oldest record has waited that it has still to deliver, seconds; `None` when none does. `now_us` is
    /// microseconds since the Unix epoch.
    pub fn waits_s(&self, now_us: i64) -> Option<f64> {
        let since = self.waiting_since_us.load(Ordering::Relaxed);
        let is_waiting = since != 0 && self.lag_bytes.load(Ordering::Relaxed) > 0;
        is_waiting.then(|| now_us.saturating_sub(since).max(0) as f64 / 1e6)
    }

    /// Why it takes nothing at the moment, if so. Without secrets.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells whether that is something else than before.
    pub(super) fn set_trouble(&self, trouble: Option<&str>) -> bool {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = known.as_deref() != trouble;
        if is_news {
            *known = trouble.map(str::to_owned);
        }
        is_news
    }
}
