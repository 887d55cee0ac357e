//! [`Collector`]: drains the rings and feeds the sinks, on threads of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::core_log::Source;
use super::flight::Flights;
use super::handle::{Entry, Handle, Reopen, Wake, now_us};
use super::metrics::{Metrics, Reason, SinkMetrics};
use super::output::{GapWriter, Origin, Output};
use super::queue::Queue;
use super::ring::{Directory, Recovered};
use super::sink::{Delivery, Sink, Stop};
use super::{Error, Settings};
use crate::process::memory;
use crate::record::binary::{self, Decoded, Tries};
use crate::record::id::{IdSource, Random};

/// How often rings are looked at while records come. Not with a timer of the runtime: setting one that is the next to
/// fire writes to the runtime's own event descriptor, which makes three system calls of one.
const POLL: Duration = Duration::from_millis(10);
/// After this long without any record cores are asked to call.
const IDLE_AFTER: Duration = Duration::from_millis(50);
/// Sleep in which a core may not have heard that yet…
const SETTLE: Duration = Duration::from_millis(20);
/// …and the longest after that.
const IDLE: Duration = Duration::from_secs(1);
/// Most bytes from one ring in one turn, so that all cores and sinks get their share.
const TURN: usize = 512 << 10;
const ENTRIES_PER_TURN: usize = 1024;
/// Time to stop when nobody says how much there is.
const SHORT_GRACE: Duration = Duration::from_secs(2);

/// Everything behind the rings; does nothing until it is spawned.
#[derive(Debug)]
pub struct Collector {
    sources: Vec<Source>,
    entries: mpsc::Receiver<Entry>,
    lines_lost: u64,
    output: Output,
    deliveries: Vec<Delivery>,
    handle: Handle,
    /// What dead processes have left, and the lock on the place of the rings.
    recovered: Vec<Recovered>,
    directory: Option<Directory>,
}

/// A collector at work.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<Option<Instant>>,
    done: oneshot::Receiver<()>,
    handle: Handle,
}

/// What became of the log at its end.
#[derive(Debug)]
pub struct Report {
    /// Sinks that did not get everything in the time there was, with the number of entries each.
    pub undelivered: Vec<(String, u64)>,
}

impl Collector {
    pub(super) fn open(settings: Settings, wake: Arc<Wake>) -> Result<Self, Error> {
        let origin = Origin { proxy: settings.proxy.into(), boot: (now_us() / 1000).unsigned_abs() };
        let mut output = Output::new(origin.clone(), 0, IdSource::new(u16::MAX)?);
        let reopen = Reopen::default();
        let (mut deliveries, mut sinks) = (Vec::new(), Vec::new());
        for settings in settings.sinks {
            let metrics = Arc::new(SinkMetrics { name: Sink::name(&settings), ..SinkMetrics::default() });
            let (form, queue_bytes) = Sink::intake(&settings);
            let queue = Arc::new(Queue::new(queue_bytes, Arc::clone(&metrics)));
            output.add_queue(form, Arc::clone(&queue));
            deliveries.push(Delivery {
                sink: Sink::open(settings, &reopen)?,
                queue,
                metrics: Arc::clone(&metrics),
                gaps: GapWriter::new(origin.clone(), form, IdSource::new(u16::MAX)?),
                random: Random::from_os(0)?,
            });
            sinks.push(metrics);
        }
        let metrics = Arc::new(Metrics { sinks, ..Metrics::default() });
        let (sender, entries) = mpsc::channel(settings.line_queue.max(1));
        let flights = Flights::default();
        let handle = Handle { entries: sender, metrics, wake, reopen, flights };
        let (sources, recovered) = (Vec::new(), Vec::new());
        Ok(Self { sources, entries, lines_lost: 0, output, deliveries, handle, recovered, directory: None })
    }

    pub(super) fn with_sources(mut self, sources: Vec<Source>) -> Self {
        self.output.set_control(u16::try_from(sources.len()).unwrap_or(u16::MAX));
        let mapped = sources.iter().map(|source| Arc::clone(source.reader.mapped()));
        self.handle.flights = Flights(mapped.collect());
        self.sources = sources;
        self
    }

    /// What goes through the sinks before anything else, and the directory that stays locked.
    pub(super) fn with_past(mut self, directory: Option<Directory>, recovered: Vec<Recovered>) -> Self {
        (self.directory, self.recovered) = (directory, recovered);
        self
    }

    /// Name and start of this process.
    pub(super) fn origin(&self) -> Origin {
        self.output.origin().clone()
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub fn metrics(&self) -> Arc<Metrics> {
        self.handle.metrics()
    }

    /// Starts the collector's thread, and one for each sink.
    pub fn spawn(self) -> Result<Running, Error> {
        let (stop, stopping) = watch::channel(None);
        let (finished, done) = oneshot::channel();
        let handle = self.handle();
        on_thread("log", move || async move {
            self.run(stopping).await;
            let _ = finished.send(());
        })?;
        Ok(Running { stop, done, handle })
    }

    async fn run(mut self, stopping: watch::Receiver<Option<Instant>>) {
        let (tell_sinks, stop) = watch::channel(None);
        let deliveries = std::mem::take(&mut self.deliveries);
        let queues: Vec<Arc<Queue>> = deliveries.iter().map(|one| Arc::clone(&one.queue)).collect();
        let ends: Vec<_> = deliveries.into_iter().map(|one| start(one, Stop::new(stop.clone()))).collect();

        // It may block: there is nothing beside it on this thread.
        self.serve(&stopping);
        // Nobody says when if the other end has just been dropped.
        let deadline = stopping.borrow().unwrap_or_else(|| Instant::now() + SHORT_GRACE);
        self.close();
        queues.iter().for_each(|queue| queue.close());
        tell_sinks.send_replace(Some(deadline));
        for end in ends {
            // A little longer than the sinks have themselves; one that hangs in a system call is left behind.
            let _ = timeout_at(deadline + Duration::from_millis(200), end).await;
        }
    }

    fn serve(&mut self, stopping: &watch::Receiver<Option<Instant>>) {
        self.handle.wake.set_sleeper();
        self.deliver_past();
        let (mut last, mut released) = (Instant::now(), Instant::now());
        // Also ends when the other side is gone.
        while stopping.has_changed().is_ok_and(|changed| !changed) {
            let (found, emptied) = self.turn();
            if found {
                last = Instant::now();
            }
            // The sinks free what was allocated here.
            if released.elapsed() >= memory::RELEASE_EVERY {
                released = Instant::now();
                memory::release();
            }
            if emptied {
                self.rest(last.elapsed());
            }
        }
    }

    /// Waits until it is worth looking again, the longer the longer nothing has come.
    fn rest(&self, quiet: Duration) {
        let is_idle = quiet >= IDLE_AFTER;
        self.handle.wake.set_idle(is_idle);
        match () {
            () if !is_idle => thread::park_timeout(POLL),
            // It came while we said so.
            () if !self.is_empty() => {}
            () if quiet < IDLE_AFTER + SETTLE => thread::park_timeout(SETTLE),
            () => thread::park_timeout(IDLE),
        }
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.sources.iter().all(|source| source.reader.is_empty())
    }

    /// Takes the last records and closes their streams.
    fn close(&mut self) {
        self.drain_all();
        let last_seqs: Vec<u64> = self.sources.iter().map(|source| source.expected - 1).collect();
        self.output.stop(&last_seqs);
        self.output.flush();
        self.sources.iter_mut().for_each(|source| source.reader.finish());
    }

    /// Sends on what dead processes have left.
    fn deliver_past(&mut self) {
        for past in std::mem::take(&mut self.recovered) {
            self.output.of_past(&past);
            // As safe as anything is that has left its ring.
            past.remove();
        }
    }

    fn drain_all(&mut self) {
        while !self.turn().1 {}
    }

    /// Takes what has come, up to a share. Tells whether there was anything, and whether that was all.
    fn turn(&mut self) -> (bool, bool) {
        let (mut found, mut emptied) = (false, true);
        for (core, source) in (0..).zip(&mut self.sources) {
            found |= !source.reader.is_empty();
            emptied &= drain(core, source, &mut self.output, &self.handle.metrics);
        }
        for count in 0.. {
            let Ok(entry) = self.entries.try_recv() else { break };
            self.output.entry(&entry);
            self.handle.metrics.lines.fetch_add(1, Ordering::Relaxed);
            found = true;
            if count == ENTRIES_PER_TURN {
                emptied = false;
                break;
            }
        }
        self.tell_lost_lines();
        self.output.flush();
        self.sources.iter_mut().for_each(Source::commit);
        (found, emptied)
    }

    fn tell_lost_lines(&mut self) {
        let lost = self.handle.metrics.dropped.get(Reason::LinesFull);
        if lost > self.lines_lost {
            self.output.lines_lost(lost - self.lines_lost);
            self.lines_lost = lost;
        }
    }
}

/// Takes a share out of one ring; declares every number that did not come. Tells whether the ring was emptied.
fn drain(core: u16, source: &mut Source, output: &mut Output, metrics: &Metrics) -> bool {
    // Before the ring: then the ring shows everything that came before the refused record.
    let refused = source.reader.refused();
    let expected = &mut source.expected;
    let mut records = 0;
    let emptied = source.reader.drain(TURN, |bytes| {
        records += 1;
        let (mut tries, mut decoded) = (Tries::default(), Decoded::default());
        match binary::decode_into(&mut decoded, bytes, &mut tries) {
            Ok(()) => {
                tell_missing(core, expected, decoded.seq.saturating_sub(1), output);
                output.record(core, &decoded);
                *expected = decoded.seq.saturating_add(1);
            }
            Err(_) => {
                metrics.dropped.add(Reason::BadFrame, 1);
                output.gap(core, Some((*expected, *expected)), 1, Reason::BadFrame);
                *expected += 1;
            }
        }
    });
    metrics.records.fetch_add(records, Ordering::Relaxed);
    if emptied {
        tell_missing(core, expected, refused, output);
    }
    emptied
}

/// Declares the numbers from `expected` to `last`, if there are any.
fn tell_missing(core: u16, expected: &mut u64, last: u64, output: &mut Output) {
    if last >= *expected {
        output.gap(core, Some((*expected, last)), last - *expected + 1, Reason::RingFull);
        *expected = last + 1;
    }
}

/// Starts a sink on a thread of its own: it may block.
fn start(delivery: Delivery, stop: Stop) -> oneshot::Receiver<()> {
    let (finished, end) = oneshot::channel();
    let queue = Arc::clone(&delivery.queue);
    let work = move || async move {
        delivery.run(stop).await;
        let _ = finished.send(());
    };
    if let Err(error) = on_thread("log-sink", work) {
        tracing::error!(%error, "a log sink has no thread; its records are dropped and counted");
        queue.close();
        queue.abandon();
    }
    end
}

/// Runs `work` on a new thread with a small runtime.
fn on_thread<F: Future>(name: &str, work: impl FnOnce() -> F + Send + 'static) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Thread { source })?;
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        runtime.block_on(work());
    });
    thread.map(drop).map_err(|source| Error::Thread { source })
}

impl Running {
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub fn metrics(&self) -> Arc<Metrics> {
        self.handle.metrics()
    }

    /// Delivers what is there, for at most `grace`, and ends. Call it when the cores have ended: what they write later
    /// is lost.
    pub async fn stop(self, grace: Duration) -> Report {
        let deadline = Instant::now() + grace;
        self.stop.send_replace(Some(deadline));
        self.handle.wake.now();
        let _ = timeout_at(deadline + Duration::from_secs(1), self.done).await;
        let sinks = &self.handle.metrics.sinks;
        let undelivered = sinks.iter().filter_map(|sink| {
            let count = sink.dropped.get(Reason::Stopped);
            (count > 0).then(|| (sink.name.clone(), count))
        });
        Report { undelivered: undelivered.collect() }
    }
}
