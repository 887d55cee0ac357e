//! [`Flusher`]: a thread that makes files of rows in memory, so that ingest goes on meanwhile.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::hot::Hot;
use super::rows::RowsPart;
use super::streams::Streams;
use super::{AppendError, Counts, Settings};
use crate::log_service::part::Part;
use crate::log_service::rollup::Packed;

/// After a file could not be written it is tried again so much later.
const RETRY: Duration = Duration::from_secs(5);

/// Rows to be put into files.
pub(super) struct Job {
    pub(super) part: Arc<RowsPart>,
    /// What was counted of them.
    pub(super) counted: Arc<Vec<Packed>>,
    /// Files of the log up to this number hold nothing that the rows do not.
    pub(super) covered: u64,
    /// All numbers stored up to there.
    pub(super) known: Streams,
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
    pub(super) fn start(shelf: Shelf, hot: Arc<Hot>, counts: Arc<Counts>) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let state = Arc::new(State::default());
        let worker = Worker { receiver, shelf, hot, counts, state: Arc::clone(&state) };
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
    shelf: Shelf,
    hot: Arc<Hot>,
    counts: Arc<Counts>,
    state: Arc<State>,
}

impl Worker {
    fn run(mut self) {
        while let Ok(job) = self.receiver.recv() {
            while let Err(error) = self.write(&job) {
                tracing::error!(%error, "rows could not be put into a file; they stay in memory and in the log");
                Counts::add(&self.counts.failed_files, 1);
                *self.state.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(AppendError::of(&error));
                // Nothing is sent while a job is at hand: anything but time means that it is over.
                if !matches!(self.receiver.recv_timeout(RETRY), Err(RecvTimeoutError::Timeout)) {
                    return;
                }
            }
            *self.state.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.state.is_busy.store(false, Ordering::Release);
        }
    }

    fn write(&mut self, job: &Job) -> io::Result<()> {
        let files = self.shelf.put(job)?;
        Counts::add(&self.counts.files, files.len());
        let mut state = self.hot.lock();
        state.leaving.retain(|part| !Arc::ptr_eq(part, &job.part));
        state.files.extend(files);
        drop(state);
        self.shelf.drop_log(job.covered);
        Ok(())
    }
}

/// The files of a store as their only writer sees them.
pub(super) struct Shelf {
    settings: Settings,
}

/// A store that was just opened.
pub(super) struct Opened {
    pub(super) known: Streams,
    pub(super) covered: u64,
    pub(super) files: Vec<Arc<dyn Part>>,
    pub(super) shelf: Shelf,
}

/// The files of a store as a reader sees them.
pub(super) struct Stock {
    pub(super) known: Streams,
    pub(super) covered: u64,
    pub(super) files: Vec<Arc<dyn Part>>,
}

pub(super) fn open(settings: &Settings, _counts: &Arc<Counts>) -> io::Result<Opened> {
    let shelf = Shelf { settings: settings.clone() };
    Ok(Opened { known: Streams::default(), covered: 0, files: Vec::new(), shelf })
}

pub(super) fn look(_data: &Path) -> io::Result<Stock> {
    Ok(Stock { known: Streams::default(), covered: 0, files: Vec::new() })
}

pub(super) fn covered(_data: &Path) -> io::Result<u64> {
    Ok(0)
}

impl Shelf {
    fn put(&mut self, _job: &Job) -> io::Result<Vec<Arc<dyn Part>>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn drop_log(&mut self, _covered: u64) {}
}
