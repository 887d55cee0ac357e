//! What takes a busy disk its time, on a thread of its own: while the collector waits for a disk, the rings fill. It only
//! appends, and begins new files. With `sync = "always"` it waits, as that says; without the thread it does all itself.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::Spool;
use super::ends::Ends;
use crate::access_log::settings::Sync;

/// How often it looks whether the spool is still there when nobody calls.
const LOOK: Duration = Duration::from_secs(10);

/// What is to be done besides.
#[derive(Debug, Default)]
pub(super) struct Chores {
    left: Mutex<Left>,
    /// Held by who does them, so that they are done in their order.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
pub(super) struct Left {
    /// Complete segments with their numbers, of which the disk may not have all.
    pub(super) files: Vec<(u64, Arc<File>)>,
    /// The directory has a file that it may forget.
    pub(super) has_new_file: bool,
    /// A segment is complete that all sinks may have passed already.
    pub(super) has_sealed: bool,
    /// To be written down.
    pub(super) ends: Option<Ends>,
    pub(super) once_safe: Option<OnceSafe>,
}

/// What may be done when everything up to here is on the disk.
pub(super) struct OnceSafe {
    /// The segment that is being written; those before are among the files.
    pub(super) current: Option<Arc<File>>,
    /// How many syncs had failed before anything of it was appended.
    pub(super) failed_syncs: u64,
    pub(super) act: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for OnceSafe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnceSafe").field("failed_syncs", &self.failed_syncs).finish_non_exhaustive()
    }
}

impl Chores {
    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
            tracing::warn!(%error, "the log's spool has no thread that syncs it: the collector waits for the disk");
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
            spool.do_chores();
            spool.sync();
        }
    }
}

impl Spool {
    /// Something was written.
    pub(super) fn soil(&self) {
        if !self.is_dirty.swap(true, Ordering::AcqRel) {
            self.hurry();
        }
    }

    /// Wakes the thread; a second call ends its wait for the interval.
    pub(super) fn hurry(&self) {
        self.syncer.get().into_iter().for_each(thread::Thread::unpark);
    }

    /// Leaves something to the thread; where there is none it is done at once.
    pub(super) fn leave(&self, note: impl FnOnce(&mut Left)) {
        note(&mut self.chores.left());
        match self.syncer.get() {
            Some(_) => self.soil(),
            None => self.do_chores(),
        }
    }

    /// Does what was left. Returns when it is done, whoever did it.
    pub(super) fn do_chores(&self) {
        let _turn = self.chores.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Left { files, has_new_file, has_sealed, ends, once_safe } =
            std::mem::take(&mut *self.chores.left());
        if has_sealed {
            self.prune();
        }
        for (number, file) in files {
            // One that is deleted needs no place on the disk.
            if self.lock().segments.iter().any(|segment| segment.number == number) {
                self.sync_file(&file);
            }
        }
        if has_new_file && let Err(error) = self.sync_directory() {
            // Another segment would not help. It is tried again with the next one.
            tracing::warn!(%error, "cannot sync the directory of the log's spool");
        }
        if let (Some(ends), Some(dir)) = (ends, &self.settings.dir)
            && let Err(error) = ends.write(dir)
        {
            tracing::debug!(%error, "cannot write down what the log's spool holds");
        }
        if let Some(once_safe) = once_safe {
            self.act_if_safe(once_safe);
        }
    }

    /// Also the name of a segment must be on the disk. What a directory refuses it may take at a later turn; what a file
    /// has refused once nobody knows.
    fn act_if_safe(&self, once_safe: OnceSafe) {
        once_safe.current.iter().for_each(|file| self.sync_file(file));
        if self.failed_syncs.load(Ordering::Acquire) != once_safe.failed_syncs {
            tracing::warn!("what the last start has left of its log stays there until the next");
        } else if self.sync_directory().is_ok() {
            (once_safe.act)();
        } else {
            self.chores.left().once_safe = Some(once_safe);
        }
    }

    /// What still waits to be safe is not done any more. Call it when nothing is appended any more.
    pub(super) fn forget_unsafe(&self) {
        let _turn = self.chores.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.chores.left().once_safe = None;
    }

    pub(super) fn sync_directory(&self) -> io::Result<()> {
        match &self.settings.dir {
            Some(dir) => self.sync_fault().and_then(|()| File::open(dir)?.sync_all()),
            None => Ok(()),
        }
    }

    /// Puts on the disk what was appended to the current segment.
    pub(super) fn sync(&self) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        current.iter().for_each(|file| self.sync_file(file));
    }

    /// After a failure nobody knows what the disk has: the segment is left as it is, and a new one begun.
    fn sync_file(&self, file: &File) {
        if let Err(error) = self.sync_fault().and_then(|()| file.sync_data()) {
            tracing::warn!(%error, "cannot sync the log's spool");
            self.failed_syncs.fetch_add(1, Ordering::AcqRel);
        }
    }
}
