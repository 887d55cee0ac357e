//! Puts on the disk what the system still holds, every so often, on a thread of its own: the collector need not wait for it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::Spool;
use crate::access_log::settings::Sync;

/// How often it looks whether the spool is still there when nobody calls.
const LOOK: Duration = Duration::from_secs(10);

/// Nothing runs unless the spool is on disk and has an interval.
pub(super) fn start(spool: &Arc<Spool>) {
    let Sync::Every(interval) = spool.settings.sync else { return };
    if spool.settings.dir.is_none() {
        return;
    }
    let weak = Arc::downgrade(spool);
    let thread = thread::Builder::new().name("log-sync".into()).spawn(move || keep(&weak, interval));
    match thread {
        Ok(thread) => drop(spool.syncer.set(thread.thread().clone())),
        Err(error) => {
            tracing::warn!(%error, "the log's spool has no thread that syncs it: the system does it when it likes");
        }
    }
}

/// Sleeps until something is written, waits for more, syncs. Until the spool is gone.
fn keep(spool: &Weak<Spool>, interval: Duration) {
    loop {
        thread::park_timeout(LOOK);
        // Nobody calls a second time before it has synced.
        thread::park_timeout(interval);
        let Some(spool) = spool.upgrade() else { return };
        if spool.is_dirty.swap(false, Ordering::AcqRel) {
            spool.sync();
        }
    }
}

impl Spool {
    /// Something was written.
    pub(super) fn soil(&self) {
        if !self.is_dirty.swap(true, Ordering::AcqRel) {
            self.syncer.get().into_iter().for_each(thread::Thread::unpark);
        }
    }

    /// After a failure nobody knows what the disk has: the segment is left as it is, and a new one begun.
    pub(super) fn sync(&self) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Err(error)) = current.map(|file| file.sync_data()) {
            tracing::warn!(%error, "cannot sync the log's spool");
            self.has_failed_sync.store(true, Ordering::Release);
        }
    }
}
