//! [`Collector`]: drains the rings into frames and appends them to the spool; the sinks read it on threads of their own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::core_log::Source;
use super::flight::Flights;
use super::framer::Framer;
use super::handle::{Entry, Handle, Reopen, Wake};
use super::intake::Intake;
use super::lost;
use super::metrics::{Metrics, Reason, SinkMetrics};
use super::pressure::Step;
use super::recovery::Past;
use super::render::Lines;
use super::ring::{Directory, Recovered, forget_others};
use super::room::Room;
use super::running::{Running, on_thread};
use super::shed::Shedder;
use super::sink::{Delivery, Sink, Stop};
use super::span::Origin;
use super::spool::{self, Writer};
use super::{Error, Settings};
use crate::process::memory;
use crate::record::frame::Codec;
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
/// Most bytes from one ring in one turn, so that all cores and sinks get their share…
const TURN: usize = 512 << 10;
/// …and no more than this part of a spool in memory.
const PART: usize = 32;
/// How often a spool is looked at that is full, or whose fill holds up requests.
const FULL: Duration = Duration::from_millis(20);
/// How much the sinks give way to the cores (`nice(2)`): they may be behind, a request may not.
const SINK_NICENESS: i32 = 5;
const ENTRIES_PER_TURN: usize = 1024;
/// Time to stop when nobody says how much there is.
const SHORT_GRACE: Duration = Duration::from_secs(2);

/// Everything behind the rings; does nothing until it is spawned.
#[derive(Debug)]
pub struct Collector {
    sources: Vec<Source>,
    entries: mpsc::Receiver<Entry>,
    lines_lost: u64,
    intake: Intake,
    spool: Writer,
    /// A sink is far away: bytes on the way to it cost more than compressing them.
    compresses: bool,
    step: Step,
    fails_closed: bool,
    turn_bytes: usize,
    deliveries: Vec<Delivery>,
    handle: Handle,
    /// What dead processes have left, and the lock on the place of the rings.
    past: Past,
    pub(super) directory: Option<Directory>,
}

impl Collector {
    pub(super) fn open(settings: Settings, boot: u64, cores: usize, wake: Arc<Wake>) -> Result<Self, Error> {
        let origin = Origin { proxy: settings.proxy.into(), boot };
        let named = |sink| Arc::new(SinkMetrics { name: Sink::name(sink), ..SinkMetrics::default() });
        let sinks: Vec<Arc<SinkMetrics>> = settings.sinks.iter().map(named).collect();
        let compresses = settings.sinks.iter().any(Sink::is_remote);
        let (fails_closed, room) = (settings.spool.fails_closed, Room::new(settings.spool.blocks_for));
        let turn_bytes = TURN.min(settings.spool.memory / PART / cores.max(1));
        // A sink that cannot be opened must fail before the spool is touched.
        let reopen = Reopen::default();
        let forms: Vec<_> = settings.sinks.iter().map(Sink::form).collect();
        let opened = settings.sinks.into_iter().zip(&sinks).map(|(sink, of)| Sink::open(sink, &reopen, of));
        let opened = opened.collect::<Result<Vec<_>, Error>>()?;

        let (spool, readers) = spool::open(settings.spool, sinks.clone());
        let control = u16::try_from(cores).unwrap_or(u16::MAX);
        let mut deliveries = Vec::new();
        for (((sink, form), reader), metrics) in opened.into_iter().zip(forms).zip(readers).zip(&sinks) {
            deliveries.push(Delivery {
                sink,
                reader,
                metrics: Arc::clone(metrics),
                lines: Lines::new(form, IdSource::new(u16::MAX)?),
                room: Vec::new(),
                random: Random::from_os(0)?,
                origin: origin.clone(),
                control,
            });
        }
        let metrics = Arc::new(Metrics { sinks, room, ..Metrics::default() });
        let intake = Intake {
            framer: Framer::new(origin, cores, IdSource::new(u16::MAX)?),
            shedder: Shedder::new(settings.sample, Random::from_os(1)?),
            metrics: Arc::clone(&metrics),
            why: Reason::RingFull,
        };
        let (sender, entries) = mpsc::channel(settings.line_queue.max(1));
        let handle = Handle { entries: sender, metrics, wake, reopen, flights: Flights::default() };
        Ok(Self {
            sources: Vec::new(),
            entries,
            lines_lost: 0,
            intake,
            spool,
            compresses,
            step: Step::Whole,
            fails_closed,
            turn_bytes,
            deliveries,
            handle,
            past: Past::default(),
            directory: None,
        })
    }

    pub(super) fn with_sources(mut self, sources: Vec<Source>) -> Self {
        let mapped = sources.iter().map(|source| Arc::clone(source.reader.mapped()));
        self.handle.flights = Flights(mapped.collect());
        self.sources = sources;
        self
    }

    /// What goes through the sinks before anything else, and the directory that stays locked. Call it before there are new
    /// rings in it: if there is too much it waits until the disk has it.
    pub(super) fn with_past(mut self, directory: Option<Directory>, past: Past) -> Self {
        self.spool.expect(&past.ends);
        let is_too_much = past.is_too_much();
        (self.directory, self.past) = (directory, past);
        if is_too_much {
            self.deliver_past();
            self.spool.wait_until_safe();
        }
        self
    }

    /// Name and start of this process.
    pub(super) fn origin(&self) -> Origin {
        self.intake.framer.origin().clone()
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub fn metrics(&self) -> Arc<Metrics> {
        self.handle.metrics()
    }

    #[cfg(test)]
    pub(super) fn spool(&self) -> Arc<spool::Spool> {
        self.spool.shared()
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
        let ends: Vec<_> = deliveries.into_iter().map(|one| start(one, Stop::new(stop.clone()))).collect();

        // It may block: there is nothing beside it on this thread.
        self.serve(&stopping);
        // Nobody says when if the other end has just been dropped.
        let deadline = stopping.borrow().unwrap_or_else(|| Instant::now() + SHORT_GRACE);
        self.close();
        tell_sinks.send_replace(Some(deadline));
        let spool = self.spool.shared();
        let boot = self.origin().boot;
        let settled = settle(self.spool);
        // A little longer than the sinks have themselves, also when we are late; one that hangs in a system call is left
        // behind.
        let patience = deadline.max(Instant::now()) + Duration::from_millis(200);
        for (seat, end) in ends.into_iter().enumerate() {
            if !matches!(timeout_at(patience, end).await, Ok(Ok(()))) {
                spool.abandon(seat);
            }
        }
        // What is not on the disk the rings still tell.
        if settled.await.is_ok() {
            // No ring is missed that is removed after.
            self.directory.iter().for_each(|directory| directory.forget(boot));
            self.sources.iter_mut().for_each(|source| source.reader.finish());
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
        let is_pressed =
            self.step == Step::Full || self.step != Step::Whole && self.handle.metrics.room.blocks();
        self.handle.wake.set_idle(is_idle && !is_pressed);
        match () {
            // The cores know no better than we when there is room again.
            () if is_pressed => thread::park_timeout(FULL),
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

    /// Takes the last records and closes their streams. Waits for no disk.
    fn close(&mut self) {
        // Whether there is room or not: what would be left in the rings is not much more.
        while !self.take() {}
        let last_seqs: Vec<u64> = self.sources.iter().map(|source| source.expected - 1).collect();
        self.intake.framer.stop(&last_seqs);
        self.write(None);
        self.sources.iter().for_each(|source| source.reader.close());
        // What the last turn has brought counts as waiting, also for a sink that does not end in time.
        self.spool.publish(&self.handle.metrics);
        self.spool.close();
    }

    /// Sends on what dead processes have left.
    fn deliver_past(&mut self) {
        let past = std::mem::take(&mut self.past);
        if past.rings.is_empty() && past.harms.is_empty() {
            return;
        }
        let lost = lost::frames(&past, self.spool.ends(), &self.origin());
        let Past { rings, harms, .. } = past;
        self.handle.metrics.rings_lost.store(harms.len() as u64, Ordering::Relaxed);
        self.spool.begin_careful();
        harms.iter().for_each(|harm| self.intake.framer.notice("warn", harm.reason, &harm.text));
        self.store();
        for past in &rings {
            self.intake.framer.past(past);
            self.store();
        }
        self.spool.append(&lost);
        // Otherwise the next start has them again: what comes twice does no harm.
        let place = self.directory.as_ref().map(|directory| directory.path().to_owned());
        let boot = self.origin().boot;
        self.spool.once_safe(move || {
            place.iter().for_each(|place| forget_others(place, boot));
            rings.iter().for_each(Recovered::remove);
        });
    }

    /// Takes what has come, up to a share, if the spool has room. Tells whether there was anything, and whether that was
    /// all.
    fn turn(&mut self) -> (bool, bool) {
        let fill = self.spool.fill(&self.handle.metrics);
        self.climb(self.step.next(fill));
        if self.step == Step::Full {
            self.intake.why = self.spool.failing().unwrap_or(Reason::SpoolFull);
            self.store();
            return (false, true);
        }
        let found = !self.is_empty();
        (found, self.take())
    }

    /// Takes a share of everything, and stores it; tells whether that was all.
    fn take(&mut self) -> bool {
        let mut emptied = true;
        for (core, source) in (0..).zip(&mut self.sources) {
            emptied &= self.intake.drain(core, source, self.turn_bytes);
        }
        if emptied {
            self.intake.why = Reason::RingFull;
        }
        emptied &= self.take_entries();
        self.tell_lost_lines();
        self.store();
        emptied
    }

    fn take_entries(&mut self) -> bool {
        for _ in 0..ENTRIES_PER_TURN {
            let Ok(entry) = self.entries.try_recv() else { return true };
            self.intake.framer.entry(&entry);
            self.handle.metrics.lines.fetch_add(1, Ordering::Relaxed);
        }
        false
    }

    /// One write for all that a turn has found.
    fn store(&mut self) {
        self.write(Some(std::time::Instant::now()));
    }

    /// Writes all frames but those that may wait `now`; after it the rings may give up what they have handed out.
    fn write(&mut self, now: Option<std::time::Instant>) {
        let far = self.compresses || self.spool.has_laggard();
        self.intake.framer.set_codec(if far { Codec::Lz4 } else { Codec::Raw });
        self.spool.append(self.intake.framer.finish(now));
        self.intake.framer.clear();
        let (control, last) = self.intake.framer.control();
        self.sources.iter().for_each(|source| source.reader.note_control(control, last));
        // Not before: now they are as safe as they can be.
        for (core, source) in (0..).zip(&mut self.sources) {
            source.commit(self.intake.framer.left_undeclared(core));
        }
    }

    /// Takes a step of the pressure ladder, and says so.
    fn climb(&mut self, next: Step) {
        let next = if self.fails_closed && next != Step::Full { Step::Whole } else { next };
        if next == self.step {
            return;
        }
        let (level, says) = (if next > self.step { "warn" } else { "info" }, next.says());
        tracing::warn!(step = next.word(), "{says}");
        self.intake.framer.notice(level, next.word(), says);
        self.intake.shedder.set_step(next);
        self.handle.metrics.step.store(next as u8, Ordering::Relaxed);
        self.step = next;
        if next == Step::Whole {
            self.handle.metrics.room.open();
        }
    }

    fn tell_lost_lines(&mut self) {
        let lost = self.handle.metrics.dropped.get(Reason::LinesFull);
        if lost > self.lines_lost {
            self.intake.framer.lines_lost(lost - self.lines_lost);
            self.lines_lost = lost;
        }
    }
}

/// Starts a sink on a thread of its own: it may block.
fn start(delivery: Delivery, stop: Stop) -> oneshot::Receiver<()> {
    let (finished, end) = oneshot::channel();
    let work = move || async move {
        // Of this thread alone, on Linux.
        let _ = rustix::process::nice(SINK_NICENESS);
        delivery.run(stop).await;
        let _ = finished.send(());
    };
    if let Err(error) = on_thread("log-sink", work) {
        tracing::error!(%error, "a log sink has no thread; its records wait until the next start");
    }
    end
}

/// Puts on the disk what is not there yet, on a thread of its own: a slow disk takes no time from the sinks.
fn settle(mut spool: Writer) -> oneshot::Receiver<()> {
    let (finished, end) = oneshot::channel();
    let work = move || {
        spool.settle();
        let _ = finished.send(());
    };
    if let Err(error) = thread::Builder::new().name("log-end".into()).spawn(work) {
        tracing::error!(%error, "nothing waits until the disk has the last of the log");
    }
    end
}
