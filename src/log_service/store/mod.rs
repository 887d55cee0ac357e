//! Keeping entries: one thread owns the files, writes what all senders sent meanwhile in one go, makes it durable
//! with one `fdatasync`, and only then says so to each of them.
//!
//! Today's form is one file of checked JSON lines per hour. What the rest of the service knows of it is
//! [`Store::append`] and [`Store::tail`]; a columnar store can stand behind the same two.

mod commit;
#[allow(dead_code, unused_imports, reason = "the writer of the store comes with its own branch")]
pub(crate) mod compact;
#[cfg(test)]
mod compact_tests;
mod counts;
#[allow(dead_code, unused_imports, reason = "the writer of the store comes with its own branch")]
pub(crate) mod files;
mod hours;
#[allow(dead_code, unused_imports, reason = "the writer of the store comes with its own branch")]
pub(crate) mod manifest;
mod recover;
mod retain;
#[allow(dead_code, unused_imports, reason = "the writer of the store comes with its own branch")]
mod retention;
mod streams;
#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::ServiceError;
use super::entry::Entry;
pub(crate) use commit::Group;
pub(crate) use counts::Counts;

/// Batches that may wait for the writing thread; senders beyond it wait in line, each within its own timeout.
const QUEUE: usize = 64;
/// Groups that a live tail may be behind before it skips.
const TAIL_GROUPS: usize = 64;

/// What the store needs to know.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) data: PathBuf,
    pub(crate) keep_bytes: u64,
    pub(crate) keep_hours: u32,
    /// Where the receive time comes from.
    pub(crate) clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    #[cfg(test)]
    pub(crate) faults: hours::Faults,
}

impl Settings {
    pub(crate) fn from_service(settings: &super::Settings) -> Self {
        Self {
            data: settings.data.clone(),
            keep_bytes: settings.limits.keep_bytes,
            keep_hours: settings.limits.keep_hours,
            clock: Arc::new(Timestamp::now),
            #[cfg(test)]
            faults: hours::Faults::default(),
        }
    }
}

/// Why entries were not stored. None of them is half stored: the sender may send all of them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the disk is full")]
    Full,
    #[error("the disk failed")]
    Failed,
    #[error("the service is stopping")]
    Closed,
}

/// What became of a batch that is now durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Stored now.
    pub(crate) accepted: usize,
    /// Stored already by an earlier, unacknowledged try.
    pub(crate) duplicates: usize,
}

pub(crate) struct Batch {
    entries: Vec<Entry>,
    /// Address of the sender, free of anything that JSON would have to escape.
    from: Arc<str>,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
}

pub(crate) enum Message {
    Append(Batch),
    Close,
}

/// The store as its users see it.
#[derive(Clone)]
pub(crate) struct Store {
    sender: mpsc::Sender<Message>,
    tails: broadcast::Sender<Arc<Group>>,
    counts: Arc<Counts>,
}

impl Store {
    /// Stores entries; the answer comes when they are durable. All or none of the new ones are stored.
    pub(crate) async fn append(&self, entries: Vec<Entry>, from: Arc<str>) -> Result<Appended, AppendError> {
        if entries.is_empty() {
            return Ok(Appended::default());
        }
        let (reply, answer) = oneshot::channel();
        let batch = Batch { entries, from, reply };
        self.sender.send(Message::Append(batch)).await.map_err(|_| AppendError::Closed)?;
        answer.await.unwrap_or(Err(AppendError::Closed))
    }

    /// What is stored from now on, in order.
    pub(crate) fn tail(&self) -> broadcast::Receiver<Arc<Group>> {
        self.tails.subscribe()
    }

    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

/// A store with its thread.
pub(crate) struct Running {
    store: Store,
    thread: JoinHandle<()>,
}

impl Running {
    pub(crate) fn store(&self) -> Store {
        self.store.clone()
    }

    /// Ready when the writing thread has ended, whatever the reason.
    pub(crate) async fn ended(&self) {
        self.store.sender.closed().await;
    }

    /// Writes what was handed over before, then ends the thread.
    pub(crate) async fn close(self) -> Result<(), ServiceError> {
        // A failed send means that the thread has ended by itself; joining it tells.
        let _ = self.store.sender.send(Message::Close).await;
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        joined.ok().and_then(Result::ok).ok_or(ServiceError::Store)
    }
}

/// Opens a data directory, repairs its newest files after a crash and starts the writing thread.
pub(crate) fn open(settings: &Settings) -> Result<Running, ServiceError> {
    let failed = |error| ServiceError::Data(settings.data.clone(), error);
    make_directory(&settings.data).map_err(failed)?;
    let lock = lock(&settings.data)?;
    let counts = Arc::new(Counts::default());
    let streams = recover::recover(&settings.data, &counts).map_err(failed)?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let tails = broadcast::Sender::new(TAIL_GROUPS);
    let files = hours::HourFiles::new(settings.clone(), Arc::clone(&counts));
    let committer =
        commit::Committer::new(receiver, files, streams, tails.clone(), Arc::clone(&counts), lock);
    let thread = std::thread::Builder::new().name("log-store".into());
    let thread = thread.spawn(move || committer.run()).map_err(failed)?;
    Ok(Running { store: Store { sender, tails, counts }, thread })
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(path)
}

/// Two services on one directory would tear each other's lines. The lock dies with the process.
fn lock(data: &Path) -> Result<File, ServiceError> {
    let failed = |error| ServiceError::Data(data.to_owned(), error);
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(data.join(".lock"));
    let file = file.map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(ServiceError::InUse(data.to_owned()))
}

/// A service that ends as its successor starts still holds the lock, and so does a process that is just being forked,
/// until it becomes another program: half a second is enough for either.
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
