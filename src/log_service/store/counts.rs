//! What the service counts about itself; shown by `GET /status`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counters since the start. Each stands alone, so relaxed order is enough.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Entries stored and acknowledged.
    pub(crate) accepted: AtomicU64,
    /// Entries that had been stored before.
    pub(crate) duplicates: AtomicU64,
    /// Entries that were no JSON object, too large or too many.
    pub(crate) rejected: AtomicU64,
    /// Entries turned away because the disk was full, failed, or too much was waiting; each time that they come.
    pub(crate) turned_away: AtomicU64,
    /// Entries that could not be stored, and that nobody sends again: their sender is not answered.
    pub(crate) lost: AtomicU64,
    /// Records that proxies declared lost with `gap` records.
    pub(crate) declared_lost: AtomicU64,
    /// Packets that were no valid packet.
    pub(crate) bad_packets: AtomicU64,
    /// Connections of shippers that ended because what came could not be read any further.
    pub(crate) bad_messages: AtomicU64,
    /// Connections of shippers that did not show the secret.
    pub(crate) denied: AtomicU64,
    /// Frames that were damaged or could not be read.
    pub(crate) bad_frames: AtomicU64,
    /// Bytes written to the write-ahead log.
    pub(crate) bytes: AtomicU64,
    /// `fdatasync` calls; entries divided by it is the size of a group.
    pub(crate) syncs: AtomicU64,
    /// Files of the log sealed after a failed write or sync.
    pub(crate) sealed: AtomicU64,
    /// Half-written bytes found at the start.
    pub(crate) cut_bytes: AtomicU64,
    /// Bytes of the log that were changed, found at the start.
    pub(crate) damaged_bytes: AtomicU64,
    /// Checked entries that could not become rows.
    pub(crate) damaged: AtomicU64,
    /// Files written from rows.
    pub(crate) files: AtomicU64,
    /// Files that could not be written; they are tried again.
    pub(crate) failed_files: AtomicU64,
    /// Files deleted because they were too old or too many.
    pub(crate) deleted_files: AtomicU64,
    /// Entries that live tails had to skip.
    pub(crate) tail_skipped: AtomicU64,
    /// The last write found the disk full.
    pub(crate) disk_full: AtomicBool,
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64, count: impl TryInto<u64>) {
        counter.fetch_add(count.try_into().unwrap_or(0), Ordering::Relaxed);
    }

    /// All counters by name.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        serde_json::json!({
            "accepted": get(&self.accepted),
            "duplicates": get(&self.duplicates),
            "rejected": get(&self.rejected),
            "turned_away": get(&self.turned_away),
            "lost": get(&self.lost),
            "declared_lost": get(&self.declared_lost),
            "bad_packets": get(&self.bad_packets),
            "bad_messages": get(&self.bad_messages),
            "denied": get(&self.denied),
            "bad_frames": get(&self.bad_frames),
            "bytes": get(&self.bytes),
            "syncs": get(&self.syncs),
            "sealed": get(&self.sealed),
            "cut_bytes": get(&self.cut_bytes),
            "damaged_bytes": get(&self.damaged_bytes),
            "damaged": get(&self.damaged),
            "written_files": get(&self.files),
            "failed_files": get(&self.failed_files),
            "deleted_files": get(&self.deleted_files),
            "tail_skipped": get(&self.tail_skipped),
            "disk_full": self.disk_full.load(Ordering::Relaxed),
        })
    }
}
