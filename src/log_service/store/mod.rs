//! Keeping entries: one thread writes what all senders sent meanwhile to the log in one go, makes it durable with one
//! `fdatasync`, makes rows of it, and only then says so to each of them.
//!
//! ```text
//! frames, JSON objects → claim (what is new) → wal/NNNNNN.tgw → rows in memory → a file sorted by id, MANIFEST
//! ```
//!
//! Order, so that the end of the process at any moment loses nothing and doubles nothing: a file of the log is closed, its
//! rows become a Parquet file, the manifest names that file and says at once that this part of the log and the numbers in
//! it are covered; only then the log's file is removed. A start reads the manifest, then the files of the log behind it.

mod chain;
mod claim;
mod commit;
mod compact;
#[cfg(test)]
mod compact_tests;
mod counts;
mod extent;
mod files;
mod flush;
#[cfg(test)]
mod flush_tests;
mod hot;
mod import;
mod laid;
mod lost;
mod manifest;
mod recover;
mod replay;
mod rows;
mod retention;
mod shipped;
#[cfg(test)]
mod scripted;
mod streams;
#[cfg(test)]
mod tests;
mod view;
mod wal;
mod wal_files;
mod wal_mark;
mod wal_read;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc, oneshot};

use self::commit::{Committer, Work};
use self::compact::Compactor;
use self::files::{Disk, Files};
use self::flush::Flusher;
use self::hot::Hot;
use self::import::Import;
use self::recover::{Recovered, recover};
use self::streams::Streams;
use self::wal_files::WalFiles;
use super::entry::Entry;
use super::frames::Checked;
use super::part::Part;
use super::rollup::{Counted, Kept};
use super::{ServiceError, SyncWhen};
pub(crate) use chain::{Chained, Change, digest_of, verify as verify_chain};
pub(crate) use commit::Group;
pub(crate) use counts::Counts;
pub(crate) use laid::Laid;
pub(crate) use shipped::{ClosedFile, Lost, Shipped, closed_files_in};
pub(crate) use view::{Growing, View};

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
    pub(crate) keep_error_hours: u32,
    pub(crate) sync: SyncWhen,
    pub(crate) hot_rows: usize,
    pub(crate) hot_bytes: usize,
    pub(crate) hot_age: Duration,
    pub(crate) memory_bytes: usize,
    /// Rollups that stay in memory.
    pub(crate) rollup_bytes: usize,
    pub(crate) keep_rollup_hours: u32,
    /// Bytes that stay free on the disk; `None`: a gibibyte, on a small disk a twentieth of it.
    pub(crate) free_bytes: Option<u64>,
    /// Footers of files that stay in memory.
    pub(crate) footer_bytes: usize,
    /// Files that are merged at a time.
    pub(crate) merged_files: usize,
    /// Time between two looks for files to merge or drop.
    pub(crate) compact_every: Duration,
    /// Sinks for which files are kept until they have them.
    pub(crate) shipped: Vec<Arc<Shipped>>,
    /// Where the receive time comes from.
    pub(crate) clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    #[cfg(test)]
    pub(crate) faults: wal_files::Faults,
}

impl Settings {
    pub(crate) fn from_service(settings: &super::Settings) -> Self {
        Self {
            data: settings.data.clone(),
            keep_bytes: settings.limits.keep_bytes,
            keep_hours: settings.limits.keep_hours,
            keep_error_hours: settings.limits.keep_error_hours,
            sync: settings.sync,
            hot_rows: settings.limits.hot_rows,
            hot_bytes: settings.limits.hot_bytes.min(settings.limits.row_bytes() / 2),
            hot_age: settings.limits.hot_age,
            memory_bytes: settings.limits.row_bytes(),
            rollup_bytes: settings.limits.rollup_bytes(),
            keep_rollup_hours: settings.limits.keep_rollup_hours,
            free_bytes: settings.limits.free_bytes,
            footer_bytes: settings.limits.footer_bytes(),
            merged_files: settings.limits.merged_files().min(compact::MAX_MERGE),
            compact_every: settings.limits.compact_every,
            shipped: Vec::new(),
            clock: Arc::new(Timestamp::now),
            #[cfg(test)]
            faults: wal_files::Faults::default(),
        }
    }
}

impl Settings {
    fn compaction(&self) -> compact::Settings {
        let keep = retention::Settings {
            keep_hours: self.keep_hours,
            keep_error_hours: self.keep_error_hours,
            keep_bytes: self.keep_bytes,
            free_bytes: self.free_bytes.unwrap_or_else(|| free_floor(&self.data)),
            shipped: self.shipped.clone(),
        };
        let (pause, clock) = (self.compact_every, Arc::clone(&self.clock));
        let most_files = self.merged_files;
        compact::Settings { retention: keep, pause, clock, most_files, ..compact::Settings::default() }
    }
}

/// What stays free on the disk: a gibibyte, on a small disk a twentieth of it.
fn free_floor(data: &Path) -> u64 {
    let size = rustix::fs::statvfs(data).map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    (size / 20).min(1 << 30)
}

/// Why entries were not stored. None of them is half stored: the sender may send all of them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the disk is full")]
    Full,
    #[error("the disk failed")]
    Failed,
    #[error("more comes than can be put into files")]
    Behind,
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

/// What a sender hands over at once.
pub(crate) enum Cargo {
    Entries(Vec<Entry>),
    Frames(Vec<Checked>),
}

impl Cargo {
    fn len(&self) -> usize {
        match self {
            Self::Entries(entries) => entries.len(),
            Self::Frames(frames) => frames.iter().map(|frame| frame.count as usize).sum(),
        }
    }
}

pub(crate) struct Batch {
    cargo: Cargo,
    count: usize,
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
    hot: Arc<Hot>,
    tails: broadcast::Sender<Arc<Group>>,
    counts: Arc<Counts>,
}

impl Store {
    /// Stores entries; the answer comes when they are durable. All or none of the new ones are stored.
    pub(crate) async fn append(&self, entries: Vec<Entry>, from: Arc<str>) -> Result<Appended, AppendError> {
        self.send(Cargo::Entries(entries), from).await
    }

    /// The same for frames.
    pub(crate) async fn append_frames(
        &self,
        frames: Vec<Checked>,
        from: Arc<str>,
    ) -> Result<Appended, AppendError> {
        self.send(Cargo::Frames(frames), from).await
    }

    async fn send(&self, cargo: Cargo, from: Arc<str>) -> Result<Appended, AppendError> {
        let count = cargo.len();
        if count == 0 {
            return Ok(Appended::default());
        }
        let (reply, answer) = oneshot::channel();
        let batch = Batch { cargo, count, from, reply };
        self.sender.send(Message::Append(batch)).await.map_err(|_| AppendError::Closed)?;
        answer.await.unwrap_or(Err(AppendError::Closed))
    }

    /// All rows as they are now, oldest first.
    pub(crate) fn parts(&self) -> Vec<Arc<dyn Part>> {
        self.hot.parts()
    }

    /// The files of closed hours, which nothing changes any more, oldest first.
    pub(crate) fn closed_files(&self) -> Vec<ClosedFile> {
        shipped::closed_files(self.hot.files())
    }

    /// What is counted, up to now.
    pub(crate) fn rollups(&self) -> Counted {
        self.hot.rollups()
    }

    /// Changes of files that the chain does not say yet.
    pub(crate) fn unchained(&self) -> Vec<Change> {
        self.hot.unchained()
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

/// Opens a data directory, reads again what is only in the log, and starts the writing thread.
pub(crate) fn open(settings: &Settings) -> Result<Running, ServiceError> {
    let failed = |error| ServiceError::Data(settings.data.clone(), error);
    make_directory(&settings.data).map_err(failed)?;
    let lock = lock(&settings.data)?;
    let counts = Arc::new(Counts::default());
    let files = Files::open_with(&settings.data, Disk::default(), settings.footer_bytes).map_err(failed)?;
    let files = Arc::new(files);
    let mut known = Streams::of(files.streams());
    import::learn(&settings.data, &mut known).map_err(failed)?;
    let recovered = recover(settings, &files, &mut known, &counts).map_err(failed)?;
    let Recovered { rows, covered, last, lost } = recovered;
    let (sender, receiver) = mpsc::channel(QUEUE);
    declare(&sender, lost);
    let tails = broadcast::Sender::new(TAIL_GROUPS);
    let work = Work::new(rows.len() > 0);
    let hot = Arc::new(Hot::new(rows, Arc::clone(&files), Kept::new(covered, settings.rollup_bytes)));
    let committer = Committer {
        receiver,
        settings: settings.clone(),
        wal: WalFiles::new(settings.clone(), Arc::clone(&counts), last),
        known,
        hot: Arc::clone(&hot),
        import: Import::start(Arc::clone(&files)).map_err(failed)?,
        compactor: Some(Compactor::spawn(Arc::clone(&files), settings.compaction()).map_err(failed)?),
        flusher: Flusher::start(files, Arc::clone(&hot), Arc::clone(&counts), settings).map_err(failed)?,
        tails: tails.clone(),
        counts: Arc::clone(&counts),
        runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?,
        work,
        _lock: lock,
    };
    let thread = std::thread::Builder::new().name("log-store".into());
    let thread = thread.spawn(move || committer.run()).map_err(failed)?;
    Ok(Running { store: Store { sender, hot, tails, counts }, thread })
}

/// What a start finds lost becomes durable as whatever else comes, before it.
fn declare(sender: &mpsc::Sender<Message>, lost: Vec<Entry>) {
    if lost.is_empty() {
        return;
    }
    tracing::error!(
        gaps = lost.len(),
        "what an earlier run has stored is damaged or gone: its records are declared lost"
    );
    let (reply, _) = oneshot::channel();
    let batch = Batch { count: lost.len(), cargo: Cargo::Entries(lost), from: "log_service".into(), reply };
    // The channel is new: it has room.
    let _ = sender.try_send(Message::Append(batch));
}

/// How many files of a store, its log included, a directory holds and their size in bytes.
pub(crate) fn size_of(data: &Path) -> io::Result<(usize, u64)> {
    let log = wal_files::list(data)?;
    let state = manifest::read_state(data)?;
    let bytes = log.iter().map(|file| file.size).chain(state.files.values().map(|file| file.bytes)).sum();
    Ok((log.len() + state.files.len(), bytes))
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
const LOCK_PAUSE: Duration = Duration::from_millis(20);
