//! [`Handle`]: the door for everything that is not a request: process events, lines of workers, reopening of files.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use super::flight::Flights;
use super::metrics::{Metrics, Reason};
use crate::record::Kind;

/// Longest worker line that is kept, in bytes.
pub(super) const LONGEST_LINE: usize = 8 * 1024;

/// Hands entries to the collector from any thread; cheap to clone, never waits.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) entries: mpsc::Sender<Entry>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) wake: Arc<Wake>,
    pub(super) reopen: Reopen,
    pub(super) flights: Flights,
}

/// Where a worker wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) ts_us: i64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Event {
        kind: Kind,
        cfg: u64,
        text: Option<String>,
    },
    Line {
        worker: Arc<str>,
        stream: Stream,
        line: Vec<u8>,
    },
    /// A JSON object.
    Host(Vec<u8>),
}

impl Handle {
    /// Records that the process started or reloaded its configuration (`cfg`: the hash of the active one). The record
    /// of its end is the collector's own.
    pub fn event(&self, kind: Kind, cfg: u64, text: Option<String>) {
        self.send(What::Event { kind, cfg, text });
    }

    /// Records one line (without its line feed) that a worker wrote; cut at 8 KiB. When too many wait it is dropped,
    /// counted and declared.
    pub fn line(&self, worker: &Arc<str>, stream: Stream, line: &[u8]) {
        let line = line[..line.len().min(LONGEST_LINE)].to_vec();
        self.send(What::Line { worker: Arc::clone(worker), stream, line });
    }

    /// Records the facts of machine and process at this moment (`kind` is `host`); none of the names is one that every
    /// entry has.
    pub fn host(&self, facts: &serde_json::Map<String, serde_json::Value>) {
        // Its keys are texts, so nothing can be wrong with it.
        self.send(What::Host(serde_json::to_vec(facts).unwrap_or_default()));
    }

    /// Log files are closed and opened by name before the next write: for log rotation from outside.
    pub fn reopen(&self) {
        self.reopen.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// What is under way.
    pub fn flights(&self) -> Flights {
        self.flights.clone()
    }

    fn send(&self, what: What) {
        if self.entries.try_send(Entry { ts_us: now_us(), what }).is_err() {
            self.metrics.dropped.add(Reason::LinesFull, 1);
        }
        self.wake.if_idle();
    }
}

/// How often files were asked to be reopened.
#[derive(Clone, Debug, Default)]
pub(super) struct Reopen(pub(super) Arc<AtomicU32>);

impl Reopen {
    pub(super) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Wakes a collector that sleeps because nothing has happened for a while. While it polls, nobody pays for waking it.
#[derive(Debug, Default)]
pub(super) struct Wake {
    idle: AtomicBool,
    sleeper: OnceLock<Thread>,
}

impl Wake {
    /// This thread is the one to wake, where it parks.
    pub(super) fn set_sleeper(&self) {
        let _ = self.sleeper.set(thread::current());
    }

    pub(super) fn if_idle(&self) {
        // A sleep that begins just now may be missed: the first ones are short.
        if self.idle.load(Ordering::Relaxed) {
            self.once();
        }
    }

    pub(super) fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::SeqCst);
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::SeqCst)
    }

    pub(super) fn now(&self) {
        self.sleeper.get().into_iter().for_each(Thread::unpark);
    }

    #[cold]
    fn once(&self) {
        if self.idle.swap(false, Ordering::SeqCst) {
            self.now();
        }
    }
}

/// Microseconds since the Unix epoch.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
