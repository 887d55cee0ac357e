//! The writing thread: gathers what waits, writes it in one go, syncs once, answers everyone.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};

use super::hours::HourFiles;
use super::streams::Streams;
use super::{AppendError, Appended, Batch, Counts, Message};
use crate::log_service::entry::{Entry, Stamp};
use crate::log_service::line;

/// A group is closed at this size, so that one sync never holds senders for long.
const GROUP_BYTES: usize = 4 << 20;

/// Lines that became durable together, for the live tails.
pub(crate) struct Group {
    /// How many lines were stored before the first of these, since the start of the service.
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// Stored lines, each with its line end.
    pub(crate) lines: Bytes,
}

pub(crate) struct Committer {
    receiver: mpsc::Receiver<Message>,
    files: HourFiles,
    streams: Streams,
    tails: broadcast::Sender<Arc<Group>>,
    counts: Arc<Counts>,
    /// Lines of the group at hand.
    buffer: Vec<u8>,
    /// Records noted for the group at hand, to be forgotten if it cannot be written.
    noted: Vec<Stamp>,
    lines_before: u64,
    closing: bool,
    /// Held as long as this thread may write.
    _lock: File,
}

impl Committer {
    pub(crate) fn new(
        receiver: mpsc::Receiver<Message>,
        files: HourFiles,
        streams: Streams,
        tails: broadcast::Sender<Arc<Group>>,
        counts: Arc<Counts>,
        lock: File,
    ) -> Self {
        let (buffer, noted) = (Vec::new(), Vec::new());
        Self {
            receiver,
            files,
            streams,
            tails,
            counts,
            buffer,
            noted,
            lines_before: 0,
            closing: false,
            _lock: lock,
        }
    }

    /// Runs until it is told to close or all senders are gone.
    pub(crate) fn run(mut self) {
        while let Some(Message::Append(first)) = self.receiver.blocking_recv() {
            self.commit(first);
            if self.closing {
                break;
            }
        }
        tracing::debug!(streams = self.streams.len(), "log store closed");
    }

    fn commit(&mut self, first: Batch) {
        let now = self.files.now();
        let recv = format!("{now:.6}");
        self.buffer.clear();
        self.noted.clear();
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(batch) = next {
            waiting.push((self.render(&recv, &batch.from, batch.entries), batch.reply));
            next = if self.buffer.len() < GROUP_BYTES { self.next_waiting() } else { None };
        }
        let outcome = self.files.append(now, &self.buffer);
        self.settle(outcome, waiting.iter().map(|(appended, _)| *appended));
        for (appended, reply) in waiting {
            // A sender that has gone will send again, and be told that these are duplicates.
            let _ = reply.send(outcome.map(|()| appended));
        }
        self.buffer.shrink_to(2 * GROUP_BYTES);
    }

    fn next_waiting(&mut self) -> Option<Batch> {
        match self.receiver.try_recv() {
            Ok(Message::Append(batch)) => Some(batch),
            Ok(Message::Close) => {
                self.closing = true;
                None
            }
            Err(_) => None,
        }
    }

    fn render(&mut self, recv: &str, from: &str, entries: Vec<Entry>) -> Appended {
        let mut appended = Appended::default();
        for entry in entries {
            if !self.streams.note(&entry) {
                appended.duplicates += 1;
                continue;
            }
            line::write(&mut self.buffer, recv, from, &entry.text);
            appended.accepted += 1;
            if let Some(gap) = &entry.gap {
                Counts::add(&self.counts.declared_lost, (gap.end() - gap.start()).saturating_add(1));
            }
            self.noted.extend(entry.stamp.filter(|stamp| entry.gap.is_none() && stamp.seq != 0));
        }
        appended
    }

    fn settle(&mut self, outcome: Result<(), AppendError>, batches: impl Iterator<Item = Appended>) {
        let (mut accepted, mut duplicates) = (0, 0);
        for batch in batches {
            accepted += batch.accepted;
            duplicates += batch.duplicates;
        }
        self.counts.disk_full.store(outcome == Err(AppendError::Full), Ordering::Relaxed);
        if outcome.is_err() {
            self.noted.iter().for_each(|stamp| self.streams.forget(stamp));
            return Counts::add(&self.counts.turned_away, accepted + duplicates);
        }
        Counts::add(&self.counts.accepted, accepted);
        Counts::add(&self.counts.duplicates, duplicates);
        self.publish(accepted as u64);
    }

    fn publish(&mut self, count: u64) {
        if self.tails.receiver_count() > 0 && count > 0 {
            let lines = Bytes::copy_from_slice(&self.buffer);
            // No receiver is no error: the last tail may have gone just now.
            let _ = self.tails.send(Arc::new(Group { first: self.lines_before, count, lines }));
        }
        self.lines_before += count;
    }
}
