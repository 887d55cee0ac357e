//! [`Control`]: what the one who asks can do and see while a scan runs.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared between the thread that scans and the one that waits for the answer.
#[derive(Debug, Default)]
pub(crate) struct Control {
    is_stopped: AtomicBool,
    looked: AtomicU64,
    total: AtomicU64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    /// [`Control::stop`] was called.
    #[error("the query was stopped")]
    Stopped,
    #[error("cannot read the log")]
    Read(#[from] io::Error),
}

impl Control {
    /// The scan ends with [`ExecError::Stopped`] before its next batch.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Rows looked at, and rows to look at as far as is known; the first may end below the second.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.looked.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    pub(super) fn expect(&self, rows: u64) {
        self.total.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn looked_at(&self, rows: usize) {
        self.looked.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// An error once it was stopped.
    pub(crate) fn check(&self) -> Result<(), ExecError> {
        if self.is_stopped.load(Ordering::Relaxed) { Err(ExecError::Stopped) } else { Ok(()) }
    }
}
