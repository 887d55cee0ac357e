//! Puts on the disk what the system still holds, every so often, on a thread of its own: the spooler need not wait for it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::Spool;
use crate::access_log::settings::Sync;

/// Nothing runs unless the spool is on disk and has an interval.
pub(super) fn start(spool: &Arc<Spool>) {
    let Sync::Every(interval) = spool.settings.sync else { return };
    if spool.settings.dir.is_none() {
        return;
    }
    let weak = Arc::downgrade(spool);
    let thread = thread::Builder::new().name("log-sync".into()).spawn(move || keep(&weak, interval));
    if let Err(error) = thread {
        tracing::warn!(%error, "the log's spool has no thread that syncs it: the system does it when it likes");
    }
}

/// Until the spool is gone.
fn keep(spool: &Weak<Spool>, interval: Duration) {
    loop {
        thread::park_timeout(interval);
        let Some(spool) = spool.upgrade() else { return };
        if spool.is_dirty.swap(false, Ordering::AcqRel) {
            spool.sync();
        }
    }
}

impl Spool {
    /// After a failure nobody knows what the disk has: the segment is left as it is, and a new one begun.
    pub(super) fn sync(&self) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Err(error)) = current.map(|file| file.sync_data()) {
            tracing::warn!(%error, "cannot sync the log's spool");
            self.has_failed_sync.store(true, Ordering::Release);
        }
    }
}
