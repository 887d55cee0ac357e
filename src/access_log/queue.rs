//! [`Queue`]: what waits for one sink, bounded in bytes. When it is full the oldest batch is dropped, counted and kept
//! in mind as a gap, which goes out in front of the next batch.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::metrics::{Reason, SinkMetrics};
use super::span::Spans;

/// Whole lines, in order, made once and shared by all sinks of one form.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) lines: Bytes,
    pub(super) spans: Spans,
}

/// What a sink is to deliver next.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Records that were lost since the last time.
    pub(super) gaps: Spans,
    pub(super) batches: Vec<Arc<Batch>>,
}

#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
    limit: usize,
    metrics: Arc<SinkMetrics>,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Arc<Batch>>,
    bytes: usize,
    /// Bytes of the batches that the sink has taken and not yet settled.
    held: usize,
    gaps: Spans,
    /// Why the queue grows.
    why: Reason,
    closed: bool,
}

impl Queue {
    pub(super) fn new(limit: usize, metrics: Arc<SinkMetrics>) -> Self {
        let inner = Inner {
            waiting: VecDeque::new(),
            bytes: 0,
            held: 0,
            gaps: Spans::default(),
            why: Reason::QueueFull,
            closed: false,
        };
        Self { inner: Mutex::new(inner), changed: Notify::new(), limit, metrics }
    }

    /// Adds a batch; drops the oldest ones if there is no room.
    pub(super) fn push(&self, batch: Arc<Batch>) {
        let mut inner = self.lock();
        let room = self.limit.saturating_sub(inner.held);
        while inner.bytes + batch.lines.len() > room {
            let Some(oldest) = inner.waiting.pop_front() else { break };
            inner.bytes -= oldest.lines.len();
            let why = inner.why;
            self.lose_in(&mut inner, &oldest.spans, why);
        }
        if inner.bytes + batch.lines.len() > room {
            let why = inner.why;
            self.lose_in(&mut inner, &batch.spans, why);
        } else {
            inner.bytes += batch.lines.len();
            inner.waiting.push_back(batch);
        }
        self.tell_size(&inner);
        drop(inner);
        self.changed.notify_one();
    }

    /// Waits for something to deliver, then a little longer (`linger`) for more, up to about `most` bytes.
    /// `None` when the queue is closed and empty.
    pub(super) async fn next(&self, most: usize, linger: Duration) -> Option<Taken> {
        loop {
            let changed = self.changed.notified();
            match self.state() {
                State::Closed => return None,
                State::Empty => changed.await,
                State::Some { bytes, closed } => {
                    if bytes < most && !closed && !linger.is_zero() {
                        tokio::time::sleep(linger).await;
                    }
                    return Some(self.take(most));
                }
            }
        }
    }

    /// The sink has delivered what it took, or given it up.
    pub(super) fn settle(&self) {
        let mut inner = self.lock();
        inner.held = 0;
        self.tell_size(&inner);
    }

    /// Counts `spans` as lost and keeps them for the next gap record.
    pub(super) fn lose(&self, spans: &Spans, reason: Reason) {
        self.lose_in(&mut self.lock(), spans, reason);
        self.changed.notify_one();
    }

    /// Why the queue may soon be full.
    pub(super) fn blame(&self, why: Reason) {
        self.lock().why = why;
    }

    /// No more batches will come.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Gives up everything that waits: the time to stop has run out.
    pub(super) fn abandon(&self) {
        let mut inner = self.lock();
        for batch in std::mem::take(&mut inner.waiting) {
            self.lose_in(&mut inner, &batch.spans, Reason::Stopped);
        }
        (inner.bytes, inner.held) = (0, 0);
        self.tell_size(&inner);
    }

    fn take(&self, most: usize) -> Taken {
        let mut inner = self.lock();
        let mut taken = Taken { gaps: std::mem::take(&mut inner.gaps), batches: Vec::new() };
        while let Some(batch) = inner.waiting.front() {
            if inner.held > 0 && inner.held + batch.lines.len() > most {
                break;
            }
            let Some(batch) = inner.waiting.pop_front() else { break };
            inner.bytes -= batch.lines.len();
            inner.held += batch.lines.len();
            taken.batches.push(batch);
        }
        taken
    }

    fn state(&self) -> State {
        let inner = self.lock();
        let nothing = inner.waiting.is_empty() && inner.gaps.is_empty();
        match (nothing, inner.closed) {
            (true, true) => State::Closed,
            (true, false) => State::Empty,
            (false, closed) => State::Some { bytes: inner.bytes, closed },
        }
    }

    fn lose_in(&self, inner: &mut Inner, spans: &Spans, reason: Reason) {
        let newly = inner.gaps.lose(spans, reason);
        self.metrics.dropped.add(reason, newly);
    }

    fn tell_size(&self, inner: &Inner) {
        self.metrics.queue_bytes.store((inner.bytes + inner.held) as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing is left half done where a holder could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum State {
    Empty,
    Closed,
    Some { bytes: usize, closed: bool },
}
