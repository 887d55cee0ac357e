//! The spool: frames between the collector, which appends them, and the sinks, each of which reads them at its own pace.
//!
//! ```text
//! DIR/00000007.spool   segments: frames one after the other (record::frame), 64 MiB each
//! DIR/00000008.spool
//! DIR/NAME.cursor      how far a sink has come: (segment, offset), see cursor
//! DIR/ends             what there should be, see ends
//! ```
//!
//! Segments describe themselves: what is read is not looked up anywhere. A start begins a new segment; what a crash left
//! half written at the end of the last one is cut off, and damage in the middle of one is skipped by looking for the
//! next good frame. A segment that all cursors have passed is deleted, the cursors being durable before; a segment that is
//! not there counts as consumed, and what it held is declared lost. A cursor that is missing, damaged or ahead of the data begins at the oldest segment: what
//! comes twice does no harm, as every record has its number.
//!
//! Where nothing can be written (no directory, a full or broken disk) segments are memory, up to a bound of their own, and
//! everything else is the same.
//!
//! A full spool takes nothing out of the rings ([`super::pressure`]). But a sink that is away does not harm one that keeps
//! up: then the oldest segment is given up for the one that lags, and declared to it.

mod age;
mod cursor;
mod ends;
mod give_up;
mod reader;
mod segment;
mod streams;
mod sync;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use tokio::sync::Notify;

pub(super) use self::ends::End;
pub(super) use self::reader::{Blame, Chunk, Reader};
pub(super) use self::writer::Writer;

use self::age::Marks;
use self::cursor::{Cursor, Known};
use self::ends::Ends;
use self::segment::{Place, Segment};
use self::sync::Chores;
use super::handle::now_us;
use super::metrics::{Metrics, Reason, SinkMetrics};
use super::settings::SpoolSettings;
use super::span::Spans;

/// Where a sink stands: everything before is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// What the collector and the sinks share.
#[derive(Debug)]
pub(super) struct Spool {
    settings: SpoolSettings,
    state: Mutex<State>,
    /// One per sink.
    changed: Vec<Notify>,
    sinks: Vec<Arc<SinkMetrics>>,
    /// The file that is being written, for whoever syncs it.
    current: Mutex<Option<Arc<File>>>,
    is_dirty: AtomicBool,
    syncer: OnceLock<Thread>,
    failed_syncs: AtomicU64,
    chores: Chores,
    /// How many of the next reads fail.
    #[cfg(test)]
    read_faults: std::sync::atomic::AtomicU32,
    /// Whether each of the next syncs fails. While a test holds it the disk answers none.
    #[cfg(test)]
    sync_faults: Mutex<VecDeque<bool>>,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first; only the last is appended to.
    segments: VecDeque<Segment>,
    /// Number of the next segment.
    next: u64,
    /// One per sink.
    seats: Vec<Seat>,
    /// The last number of every stream of earlier starts, as far as it is known.
    past: Vec<End>,
    /// The first segment of this start.
    begun: u64,
    is_closed: bool,
    marks: Marks,
}

/// Where one sink stands.
#[derive(Debug)]
struct Seat {
    at: Position,
    /// End of what it was handed, not yet delivered.
    taken: Position,
    /// What was given up for it since it was told last.
    lost: Spans,
    /// What was given up could not be read: the next numbers tell what it was.
    has_unknown: bool,
    /// Why it lags.
    why: Reason,
    /// It takes nothing more.
    is_abandoned: bool,
}

/// Opens the spool for these sinks: its end to write, and an end to read for each of them, in order. The directory is
/// there, and ours alone.
pub(super) fn open(settings: SpoolSettings, sinks: Vec<Arc<SinkMetrics>>) -> (Writer, Vec<Reader>) {
    let dir = settings.dir.as_deref().filter(|_| !sinks.is_empty());
    let mut state = State { next: 1, ..State::default() };
    if let Some(dir) = dir {
        state.segments = segment::recover(dir);
        state.next = state.segments.back().map_or(1, |last| last.number + 1);
        for segment in &state.segments {
            // What is older in it waits for longer than this says.
            let at = Position { segment: segment.number, offset: 0 };
            state.marks.add(at, segment::written_us(dir, segment.number).unwrap_or_else(now_us));
        }
    }
    let mut ends = dir.map(Ends::read).unwrap_or_default();
    let cursors: Vec<Option<(Cursor, Option<Known>)>> =
        sinks.iter().map(|sink| Cursor::open(dir?, &sink.name)).collect();
    for (_, known) in cursors.iter().flatten() {
        let segment = known.as_ref().map_or(0, |known| known.at.segment);
        state.next = state.next.max(segment.saturating_add(1)).min(u64::MAX / 2);
    }
    state.begun = state.next;
    state.past.clone_from(&ends.streams);
    let mut histories = Vec::new();
    for cursor in &cursors {
        let known = cursor.as_ref().and_then(|(_, known)| known.as_ref());
        let (at, is_known) = state.start(known.map(|known| known.at), &ends);
        state.seats.push(Seat::new(at));
        let known = known.filter(|_| is_known);
        histories.push(History {
            known: known.map(|known| known.reached.clone()),
            is_over: false,
            has_holes: known.is_some_and(|known| ends.miss(known.at, &state.segments)),
        });
    }
    ends.set_segments(state.segments.iter());
    let spool = Arc::new(Spool {
        settings,
        state: Mutex::new(state),
        changed: sinks.iter().map(|_| Notify::new()).collect(),
        sinks,
        current: Mutex::default(),
        is_dirty: AtomicBool::new(false),
        syncer: OnceLock::new(),
        failed_syncs: AtomicU64::new(0),
        chores: Chores::default(),
        #[cfg(test)]
        read_faults: Default::default(),
        #[cfg(test)]
        sync_faults: Mutex::default(),
    });
    spool.prune();
    sync::start(&spool);
    let cursors = cursors.into_iter().map(|cursor| cursor.map(|(cursor, _)| cursor)).enumerate();
    let readers = cursors.zip(histories);
    let readers =
        readers.map(|((seat, cursor), history)| Reader::new(&spool, seat, cursor, history)).collect();
    (Writer::new(spool, ends), readers)
}

impl Spool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done where a holder could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a test lets the disk answer.
    #[cfg_attr(
        not(test),
        allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "only tests have faults")
    )]
    fn take_fault(&self) -> io::Result<()> {
        #[cfg(test)]
        if self
            .read_faults
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
        {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    /// The same for a sync.
    #[cfg_attr(
        not(test),
        allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "only tests have faults")
    )]
    fn sync_fault(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.sync_faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front() == Some(true) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    /// While a test has this the disk answers no sync.
    #[cfg(test)]
    pub(super) fn hold_syncs(&self) -> MutexGuard<'_, VecDeque<bool>> {
        self.sync_faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, number: u64) -> Option<PathBuf> {
        self.settings.dir.as_ref().map(|dir| segment::path(dir, number))
    }

    /// How far it is filled, in thousandths of the disk or memory that it may take, whichever is fuller.
    fn fill(&self, (disk, memory): (u64, u64)) -> u64 {
        let share = |bytes: u64, limit: u64| bytes.saturating_mul(1000) / limit.max(1);
        share(disk, self.settings.size).max(share(memory, self.settings.memory as u64))
    }

    /// Deletes the segments that every sink has passed.
    fn prune(&self) {
        let passed = self.lock().prune();
        for path in passed.into_iter().filter_map(|number| self.path(number)) {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cannot delete a segment of the spool");
            }
        }
    }

    /// Whether a sink keeps up, so that the others alone need the room.
    fn has_one_near(&self, state: &State) -> bool {
        let SpoolSettings { segment, size, memory, .. } = &self.settings;
        let near = (*segment).min(size / 8).min(*memory as u64 / 8);
        state.seats.iter().any(|seat| state.lag(seat.at) <= near)
    }

    fn publish(&self, metrics: &Metrics) -> u64 {
        let mut state = self.lock();
        let (disk, memory) = state.bytes();
        let fill = self.fill((disk, memory));
        metrics.spool_bytes.store(disk + memory, Ordering::Relaxed);
        metrics.spool_fill.store(fill, Ordering::Relaxed);
        for (seat, sink) in state.seats.iter().zip(&self.sinks) {
            let lag = if seat.is_abandoned { state.lag_on_disk(seat.at) } else { state.lag(seat.at) };
            sink.lag_bytes.store(lag, Ordering::Relaxed);
            sink.waiting_since_us.store(state.waiting_since(seat.at).unwrap_or(0), Ordering::Relaxed);
        }
        state.forget_marks();
        fill
    }

    /// So many bytes were appended just now.
    fn mark(&self, bytes: usize) {
        let mut state = self.lock();
        let last = state.segments.back().map(|last| (last.number, last.len.saturating_sub(bytes as u64)));
        if let Some((segment, offset)) = last {
            state.marks.add(Position { segment, offset }, now_us());
        }
    }
}

impl State {
    /// Bytes on disk and in memory.
    fn bytes(&self) -> (u64, u64) {
        self.segments.iter().fold((0, 0), |(disk, memory), segment| match segment.place {
            Place::Disk => (disk + segment.len, memory),
            Place::Memory(_) => (disk, memory + segment.len),
        })
    }

    /// Where a sink begins whose cursor says `known`, and whether it is believed.
    fn start(&self, known: Option<Position>, ends: &Ends) -> (Position, bool) {
        let oldest = Position { segment: self.segments.front().map_or(self.next, |s| s.number), offset: 0 };
        let Some(known) = known else { return (oldest, false) };
        // Everything that it was at is gone: all that is there was written since.
        let Some(last) = self.segments.back() else { return (oldest, true) };
        let end = Position { segment: last.number, offset: last.len };
        match known {
            _ if known <= end => (known, true),
            // It was there, and is gone or was cut.
            _ if known.segment == last.number => (end, true),
            _ if ends.lists(known.segment) => (known, true),
            _ => (oldest, false),
        }
    }

    /// Bytes behind `at`.
    fn lag(&self, at: Position) -> u64 {
        self.segments.iter().map(|segment| segment.behind(at)).sum()
    }

    /// When the first of them was appended, microseconds since the Unix epoch; `None` when there are none.
    fn waiting_since(&self, at: Position) -> Option<i64> {
        let first = self.segments.iter().find(|segment| segment.behind(at) > 0)?;
        self.marks.time_of(at.max(Position { segment: first.number, offset: 0 }))
    }

    fn forget_marks(&mut self) {
        let waiting = self.seats.iter().filter(|seat| !seat.is_abandoned).map(|seat| seat.at).min();
        waiting.into_iter().for_each(|at| self.marks.forget_before(at));
    }

    /// Of these, those that another start finds.
    fn lag_on_disk(&self, at: Position) -> u64 {
        let on_disk = self.segments.iter().filter(|segment| matches!(segment.place, Place::Disk));
        on_disk.map(|segment| segment.behind(at)).sum()
    }

    /// Takes away the segments in front that every sink has passed; their numbers, of those on disk.
    fn prune(&mut self) -> Vec<u64> {
        let mut passed = Vec::new();
        while let Some(front) = self.segments.front().filter(|front| front.is_sealed) {
            let end = Position { segment: front.number, offset: front.len };
            if self.seats.iter().any(|seat| seat.at < end) {
                break;
            }
            if let Some(front) = self.segments.pop_front()
                && matches!(front.place, Place::Disk)
            {
                passed.push(front.number);
            }
        }
        passed
    }
}

/// What a sink has behind it.
#[derive(Debug, Default)]
struct History {
    /// Which numbers it has, if its cursor is believed.
    known: Option<Vec<cursor::Reached>>,
    /// Something that it had before it is gone.
    has_holes: bool,
    /// All that earlier starts have left was read.
    is_over: bool,
}

impl Seat {
    fn new(at: Position) -> Self {
        let (lost, why) = (Spans::default(), Reason::QueueFull);
        Self { at, taken: at, lost, has_unknown: false, why, is_abandoned: false }
    }

    /// Where to read on.
    fn next(&self) -> Position {
        self.at.max(self.taken)
    }
}

impl Segment {
    /// Its bytes behind `at`.
    fn behind(&self, at: Position) -> u64 {
        match self.number {
            number if number < at.segment => 0,
            number if number == at.segment => self.len.saturating_sub(at.offset),
            _ => self.len,
        }
    }
}
