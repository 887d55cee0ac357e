//! [`Flusher`]: a thread that makes files of rows in memory, so that ingest goes on meanwhile.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::files::Files;
use super::hot::Hot;
use super::manifest::{KnownStream, WalPosition};
use super::rows::{Rows, RowsPart};
use super::{AppendError, Counts, Settings, wal_files};
use crate::log_service::rollup::{self, Packed};
use crate::process::memory;

/// After a file could not be written it is tried again so much later.
const RETRY: Duration = Duration::from_secs(5);

/// Rows to be put into files.
pub(super) struct Job {
    pub(super) part: Arc<RowsPart>,
    /// What was counted of them.
    pub(super) counted: Arc<Vec<Packed>>,
    /// Files of the log up to this number hold nothing that the rows do not.
    pub(super) covered: u64,
    /// What is known of the streams that have changed.
    pub(super) known: Vec<KnownStream>,
}

/// The thread as the writing thread sees it.
pub(super) struct Flusher {
    sender: Option<Sender<Job>>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    is_busy: AtomicBool,
    /// Why the last try failed.
    refused: Mutex<Option<AppendError>>,
}

impl Flusher {
    pub(super) fn start(
        files: Arc<Files>,
        hot: Arc<Hot>,
        counts: Arc<Counts>,
        settings: &Settings,
    ) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let state = Arc::new(State::default());
        let settings = settings.clone();
        let worker = Worker { receiver, files, hot, counts, state: Arc::clone(&state), settings };
        let thread = std::thread::Builder::new().name("log-files".into()).spawn(move || worker.run())?;
        Ok(Self { sender: Some(sender), state, thread: Some(thread) })
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.state.is_busy.load(Ordering::Acquire)
    }

    /// Hands over a job; only when idle.
    pub(super) fn begin(&self, job: Job) {
        self.state.is_busy.store(true, Ordering::Release);
        // Without the thread the rows stay in memory and in the log.
        let _ = self.sender.as_ref().map(|sender| sender.send(job));
    }

    /// Why files cannot be written, when that is so.
    pub(super) fn refused(&self) -> Option<AppendError> {
        *self.state.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the file at hand; what could not be written stays in the log.
    pub(super) fn close(&mut self) {
        self.sender = None;
        self.thread.take().map(JoinHandle::join);
    }
}

struct Worker {
    receiver: Receiver<Job>,
    files: Arc<Files>,
    hot: Arc<Hot>,
    counts: Arc<Counts>,
    state: Arc<State>,
    settings: Settings,
}

impl Worker {
    fn run(self) {
        while let Ok(job) = self.receiver.recv() {
            while let Err(error) = self.write(&job) {
                tracing::error!(%error, "rows could not be put into a file; they stay in memory and in the log");
                Counts::add(&self.counts.failed_files, 1);
                *self.state.refused.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(AppendError::of(&error));
                // Nothing is sent while a job is at hand: anything but time means that it is over.
                if !matches!(self.receiver.recv_timeout(RETRY), Err(RecvTimeoutError::Timeout)) {
                    return;
                }
            }
            *self.state.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let kept = Duration::from_secs(u64::from(self.settings.keep_rollup_hours) * 3600);
            rollup::keep_house(self.files.data(), job.covered, kept);
            // The next file may be minutes away, and what this one took is much.
            drop(job);
            memory::release();
            self.state.is_busy.store(false, Ordering::Release);
        }
    }

    /// Rollups, then the rows, then the manifest; only then the log goes.
    fn write(&self, job: &Job) -> io::Result<()> {
        let data = self.files.data();
        rollup::write(data, job.covered, &job.counted)?;
        let position = covered_to(job.covered);
        let swap = || self.hot.lock().leaving.retain(|part| !Arc::ptr_eq(part, &job.part));
        self.files.flush(&job.part.batches(), position, job.known.clone(), swap)?;
        Counts::add(&self.counts.files, 1);
        remove_log(data, job.covered);
        Ok(())
    }
}

/// Puts rows that the log holds up to file `covered` into files of the store; gives them back after an error.
pub(super) fn at_once(
    files: &Files,
    mut rows: Rows,
    covered: u64,
    known: Vec<KnownStream>,
) -> Result<(), (io::Error, Box<Rows>)> {
    let written = rollup::write(files.data(), covered, &rows.counted());
    let batches = rows.part().batches();
    let written = written.and_then(|()| files.flush(&batches, covered_to(covered), known, || ()));
    if let Err(error) = written {
        // The rows will be counted again, with a later part of the log.
        let _ = rollup::remove_unless_covered(files.data(), covered_by(files.wal()));
        return Err((error, Box::new(rows)));
    }
    remove_log(files.data(), covered);
    Ok(())
}

/// Files of the log up to this number go.
fn remove_log(data: &Path, covered: u64) {
    let log = wal_files::list(data).unwrap_or_default();
    for file in log.into_iter().filter(|file| file.number <= covered) {
        if let Err(error) = file.remove() {
            // The next start tries again; until then it only takes room.
            tracing::warn!(file = %file.path.display(), %error, "a file of the log cannot be deleted");
        }
    }
}

/// Files of the log up to this number are in the files of the store.
fn covered_to(number: u64) -> WalPosition {
    WalPosition { segment: number + 1, offset: 0 }
}

/// The last file of the log that is in the files of the store as a whole.
pub(super) fn covered_by(position: WalPosition) -> u64 {
    position.segment.saturating_sub(1)
}
