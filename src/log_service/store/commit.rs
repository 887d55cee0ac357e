//! The writing thread: gathers what waits, writes it in one go, syncs once, makes rows of it, answers everyone.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc};
use tokio::time;

use super::claim::Claim;
use super::compact::Compactor;
use super::flush::{Flusher, Job};
use super::hot::Hot;
use super::import::Import;
use super::rows::{Receipt, Taken};
use super::streams::Streams;
use super::wal_files::WalFiles;
use super::{AppendError, Appended, Batch, Cargo, Counts, Message, Settings};
use crate::log_service::SyncWhen;
use crate::process::memory;

/// A group is closed at this size, so that one sync never holds senders for long.
const GROUP_BYTES: usize = 4 << 20;
/// How often the age of the newest rows is looked at.
const TICK: Duration = Duration::from_secs(1);
/// A file of the log is closed at this size at the latest, so that reading it again has a bound.
const WAL_BYTES: u64 = 256 << 20;

/// Rows that became durable together, for the live tails.
pub(crate) struct Group {
    /// How many rows were stored before the first of these, since the start of the service.
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) batches: Vec<RecordBatch>,
}

pub(super) struct Committer {
    pub(super) receiver: mpsc::Receiver<Message>,
    pub(super) settings: Settings,
    pub(super) wal: WalFiles,
    pub(super) known: Streams,
    pub(super) hot: Arc<Hot>,
    pub(super) flusher: Flusher,
    pub(super) import: Import,
    pub(super) compactor: Option<Compactor>,
    pub(super) tails: broadcast::Sender<Arc<Group>>,
    pub(super) counts: Arc<Counts>,
    /// Waits for messages and for time to pass.
    pub(super) runtime: Runtime,
    pub(super) work: Work,
    /// Held as long as this thread may write.
    pub(super) _lock: File,
}

/// What the thread remembers from one group to the next.
pub(super) struct Work {
    /// Blocks of the group at hand.
    buffer: Vec<u8>,
    rows_before: u64,
    closing: bool,
    /// Receive time, microseconds since the Unix epoch; never goes back.
    latest: i64,
    /// When the oldest of the newest rows came.
    since: Option<Instant>,
}

impl Work {
    pub(super) fn new(has_rows: bool) -> Self {
        let since = has_rows.then(Instant::now);
        Self { buffer: Vec::new(), rows_before: 0, closing: false, latest: i64::MIN, since }
    }
}

/// A batch whose new entries are claimed.
struct Waiting {
    batch: Batch,
    claims: Vec<Claim>,
    /// Entries of frames and bodies of which nothing was new.
    duplicates: usize,
}

impl Committer {
    /// Runs until it is told to close or all senders are gone.
    pub(super) fn run(mut self) {
        let mut released = Instant::now();
        while !self.work.closing {
            match self.next() {
                Some(Message::Append(first)) => self.commit(first),
                Some(Message::Close) => break,
                None => {}
            }
            self.wal.sync_if_due();
            self.flush_if_due();
            // Rows are made here, and go where they become a file.
            if released.elapsed() >= memory::RELEASE_EVERY {
                memory::release();
                released = Instant::now();
            }
        }
        self.wal.turn();
        if let Some(compactor) = self.compactor.take() {
            compactor.stop();
        }
        self.import.close();
        self.flusher.close();
        tracing::debug!(streams = self.known.len(), "log store closed");
    }

    /// The next message, or nothing when it is time to look at the clock.
    fn next(&mut self) -> Option<Message> {
        if let Ok(message) = self.receiver.try_recv() {
            return Some(message);
        }
        let span = match self.settings.sync {
            SyncWhen::Every(span) => span.min(TICK),
            SyncWhen::Always | SyncWhen::Never => TICK,
        };
        let receiver = &mut self.receiver;
        let waited = self.runtime.block_on(async { time::timeout(span, receiver.recv()).await });
        match waited {
            Ok(None) => Some(Message::Close),
            Ok(message) => message,
            Err(_) => None,
        }
    }

    fn commit(&mut self, first: Batch) {
        if let Err(error) = self.room() {
            Counts::add(&self.counts.turned_away, first.cargo.len());
            let _ = first.reply.send(Err(error));
            return;
        }
        let recv = self.now();
        self.work.buffer.clear();
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(batch) = next {
            let claimed = self.claim(batch);
            let receipt = Receipt { recv, from: &claimed.batch.from };
            claimed.claims.iter().for_each(|claim| claim.write(receipt, &mut self.work.buffer));
            waiting.push(claimed);
            next = if self.work.buffer.len() < GROUP_BYTES { self.next_waiting() } else { None };
        }
        let outcome = if self.work.buffer.is_empty() { Ok(()) } else { self.wal.append(&self.work.buffer) };
        self.counts.disk_full.store(outcome == Err(AppendError::Full), Ordering::Relaxed);
        match outcome {
            Ok(()) => {
                let claims = waiting.iter().flat_map(|waiting| &waiting.claims);
                self.wal.mark(claims);
                self.store(waiting, recv);
            }
            Err(error) => self.give_back(waiting, error),
        }
        self.work.buffer.shrink_to(2 * GROUP_BYTES);
    }

    /// Whether more rows may be held in memory.
    fn room(&self) -> Result<(), AppendError> {
        if self.hot.lock().bytes() < self.settings.memory_bytes {
            return Ok(());
        }
        // Rows wait here because files cannot be written, or are written more slowly than rows come.
        Err(self.flusher.refused().unwrap_or(AppendError::Behind))
    }

    fn claim(&mut self, mut batch: Batch) -> Waiting {
        let (mut claims, mut duplicates) = (Vec::new(), 0);
        match std::mem::replace(&mut batch.cargo, Cargo::Entries(Vec::new())) {
            Cargo::Entries(entries) => {
                let (claim, known) = Claim::entries(&mut self.known, entries);
                claims.extend(claim);
                duplicates += known;
            }
            Cargo::Frames(frames) => {
                for frame in frames {
                    let count = frame.count as usize;
                    match Claim::frame(&mut self.known, frame) {
                        Some(claim) => claims.push(claim),
                        None => duplicates += count,
                    }
                }
            }
        }
        Waiting { batch, claims, duplicates }
    }

    fn next_waiting(&mut self) -> Option<Batch> {
        match self.receiver.try_recv() {
            Ok(Message::Append(batch)) => Some(batch),
            Ok(Message::Close) => {
                self.work.closing = true;
                None
            }
            Err(_) => None,
        }
    }

    /// What is durable becomes rows; then its senders are answered.
    fn store(&mut self, waiting: Vec<Waiting>, recv: i64) {
        let is_watched = self.tails.receiver_count() > 0;
        let mut answers = Vec::with_capacity(waiting.len());
        let mut all = Taken::default();
        let hot = Arc::clone(&self.hot);
        let mut state = hot.lock();
        let first = if is_watched { state.rows.cut() } else { 0 };
        for Waiting { batch, claims, duplicates } in waiting {
            let mut taken = Taken { duplicates, ..Taken::default() };
            let receipt = Receipt { recv, from: &batch.from };
            claims.iter().for_each(|claim| taken.add(claim.store(&mut state.rows, &mut self.known, receipt)));
            all.add(taken);
            answers.push((batch.reply, Appended { accepted: taken.rows, duplicates: taken.duplicates }));
        }
        // Before the tails hear of them: who begins to listen takes it for the number of the next row.
        Counts::add(&self.counts.accepted, all.rows);
        if is_watched && all.rows > 0 {
            state.rows.cut();
            let batches = state.rows.batches_from(first);
            state.rows.tidy();
            let group = Group { first: self.work.rows_before, count: all.rows as u64, batches };
            // No receiver is no error: the last tail may have gone just now.
            let _ = self.tails.send(Arc::new(group));
        }
        self.counts.damaged.store(state.rows.damaged(), Ordering::Relaxed);
        drop(state);
        self.work.rows_before += all.rows as u64;
        if all.rows > 0 {
            self.work.since.get_or_insert_with(Instant::now);
        }
        Counts::add(&self.counts.duplicates, all.duplicates);
        Counts::add(&self.counts.declared_lost, all.declared);
        for (reply, appended) in answers {
            // A sender that has gone will send again, and be told that these are duplicates.
            let _ = reply.send(Ok(appended));
        }
    }

    fn give_back(&mut self, waiting: Vec<Waiting>, error: AppendError) {
        for Waiting { batch, claims, .. } in waiting {
            claims.iter().for_each(|claim| claim.release(&mut self.known));
            Counts::add(&self.counts.turned_away, batch.count);
            let _ = batch.reply.send(Err(error));
        }
    }

    fn now(&mut self) -> i64 {
        self.work.latest = self.work.latest.max((self.settings.clock)().as_microsecond());
        self.work.latest
    }

    /// The newest rows become a file when there are many, or old ones, and the file before is written.
    fn flush_if_due(&mut self) {
        if !self.flusher.is_idle() || !self.is_flush_due() {
            return;
        }
        let covered = self.wal.turn();
        let (part, counted) = self.hot.lock().leave(covered);
        self.work.since = None;
        self.flusher.begin(Job { part, counted, covered, known: self.known.take_changed() });
    }

    fn is_flush_due(&self) -> bool {
        let Some(since) = self.work.since else { return false };
        let (rows, bytes) = {
            let state = self.hot.lock();
            (state.rows.len(), state.rows.bytes())
        };
        rows >= self.settings.hot_rows
            || bytes >= self.settings.hot_bytes
            || since.elapsed() >= self.settings.hot_age
            || self.wal.size() >= WAL_BYTES
    }
}
