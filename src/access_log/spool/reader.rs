//! [`Reader`]: a sink's end. It reads whole frames in order, says what is missing, and moves its cursor when they are
//! delivered. Several chunks may be read before the first of them is settled; they are settled in that order.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::Instant;

use super::cursor::{Cursor, MOST, Reached};
use super::ends::End;
use super::segment::{Piece, Place, Source};
use super::{History, Position, Spool};
use crate::access_log::metrics::Reason;
use crate::access_log::span::{Carried, Origin, Origins, Span, Spans};
use crate::record::frame::Frame;

#[derive(Debug)]
pub(in crate::access_log) struct Reader {
    pub(super) spool: Arc<Spool>,
    seat: usize,
    cursor: Option<Cursor>,
    /// The file that was read last.
    opened: Option<(u64, Source)>,
    origins: Origins,
    streams: Streams,
    /// Of earlier starts, until it has read what they have left.
    history: History,
    /// The segment that was read last.
    last: Option<u64>,
}

/// Who knows why a reader lags.
#[derive(Debug)]
pub(in crate::access_log) struct Blame {
    spool: Arc<Spool>,
    seat: usize,
}

/// Frames that were read together.
#[derive(Debug, Default)]
pub(in crate::access_log) struct Chunk {
    pub(in crate::access_log) bytes: Bytes,
    /// What each good frame carries, and where it stands in `bytes`.
    pub(in crate::access_log) frames: Vec<(Carried, Range<usize>)>,
    /// What was lost in front of them.
    pub(in crate::access_log) gaps: Spans,
    /// The disk did not give what comes next: it is to be tried again, after a while.
    pub(in crate::access_log) has_failed: bool,
    end: Position,
    /// The last number of each stream up to its end, for the cursor.
    reached: Vec<Reached>,
}

enum Ahead {
    Closed,
    Nothing,
    Some { bytes: u64, is_closed: bool },
}

impl Reader {
    pub(super) fn new(spool: &Arc<Spool>, seat: usize, cursor: Option<Cursor>, history: History) -> Self {
        let spool = Arc::clone(spool);
        let (origins, streams) = (Origins::default(), Streams::default());
        Self { spool, seat, cursor, opened: None, origins, streams, history, last: None }
    }

    /// Waits for something that was not read yet, then until `due` for more, up to about `most` bytes. `false` when the
    /// spool is closed and read to its end.
    pub(in crate::access_log) async fn wait(&self, most: usize, due: Instant) -> bool {
        loop {
            let changed = self.spool.changed[self.seat].notified();
            match self.ahead() {
                Ahead::Closed => return false,
                Ahead::Nothing => changed.await,
                Ahead::Some { bytes, is_closed } => {
                    if bytes < most as u64 && !is_closed && due > Instant::now() {
                        tokio::time::sleep_until(due).await;
                    }
                    return true;
                }
            }
        }
    }

    /// Reads about `most` bytes of frames, handing out each; maybe none when there was nothing but damage.
    pub(in crate::access_log) fn read(&mut self, most: usize, mut each: impl FnMut(&Frame<'_>)) -> Chunk {
        let (mut gaps, next) = self.next();
        gaps.iter().for_each(|span| self.streams.skip(span));
        self.compare(next.as_ref().map(|(number, _)| *number), &mut gaps);
        let mut chunk = Chunk { gaps, end: self.spool.lock().seats[self.seat].next(), ..Chunk::default() };
        let Some((number, range)) = next else { return chunk };
        chunk.end = Position { segment: number, offset: range.end };
        let read = self.source(number, range.start).and_then(|source| {
            self.spool.take_fault()?;
            let Self { origins, streams, .. } = self;
            let (frames, gaps) = (&mut chunk.frames, &mut chunk.gaps);
            source.read_frames(range, most, |piece| match piece {
                Piece::Frame(frame, place) => {
                    let carried = Carried::of(frame, origins);
                    streams.follow(&carried, gaps);
                    frames.push((carried, place));
                    each(frame);
                }
                Piece::Damage(bytes) => {
                    tracing::warn!(segment = number, bytes, "a segment of the log's spool is damaged");
                    streams.damages += 1;
                }
            })
        });
        match read {
            Ok((bytes, end)) => (chunk.bytes, chunk.end.offset) = (bytes, end),
            Err(error) => {
                chunk.frames.clear();
                chunk.has_failed = !self.is_lost(number, &error);
                if chunk.has_failed {
                    chunk.end = self.spool.lock().seats[self.seat].next();
                }
            }
        }
        for span in chunk.gaps.iter().filter(|span| span.reason == Reason::SpoolDamaged) {
            self.spool.sinks[self.seat].dropped.add(span.reason, span.count);
        }
        self.spool.lock().seats[self.seat].taken = chunk.end;
        if self.cursor.is_some() {
            chunk.reached = self.streams.reached().collect();
        }
        chunk
    }

    /// What was read last is delivered, or given up.
    pub(in crate::access_log) fn settle(&mut self, chunk: &Chunk) {
        let (place, has_passed) = {
            let state = self.spool.lock();
            let segment = state.segments.iter().find(|segment| segment.number == chunk.end.segment);
            let has_passed =
                segment.is_none_or(|segment| segment.is_sealed && chunk.end.offset >= segment.len);
            (segment.map(|segment| matches!(segment.place, Place::Disk)), has_passed)
        };
        // Memory is of no use to the next process.
        if place == Some(true)
            && let Some(cursor) = &mut self.cursor
        {
            let stored = cursor
                .store(chunk.end, chunk.reached.iter().copied())
                .and_then(|()| if has_passed { cursor.sync() } else { Ok(()) });
            if let Err(error) = stored {
                tracing::debug!(%error, "cannot write down how far a log sink has come");
            }
        }
        let mut state = self.spool.lock();
        let seat = &mut state.seats[self.seat];
        seat.at = seat.at.max(chunk.end);
        let lag = state.lag(state.seats[self.seat].at);
        drop(state);
        self.spool.sinks[self.seat].lag_bytes.store(lag, Ordering::Relaxed);
        if has_passed {
            self.spool.prune();
        }
    }

    /// Keeps in mind what is missing, for the next chunk.
    pub(in crate::access_log) fn lose(&self, carried: &Carried, reason: Reason) {
        let count = self.spool.lock().seats[self.seat].lost.lose(carried, reason);
        self.spool.sinks[self.seat].dropped.add(reason, count);
        self.spool.changed[self.seat].notify_one();
    }

    /// The gaps of a chunk that was not delivered are told again.
    pub(in crate::access_log) fn return_gaps(&self, gaps: &Spans) {
        self.spool.lock().seats[self.seat].lost.extend(gaps);
    }

    /// Says why it may soon lag too far.
    pub(in crate::access_log) fn blame(&self) -> Blame {
        Blame { spool: Arc::clone(&self.spool), seat: self.seat }
    }

    /// The time to stop has run out: what is in memory is lost, what is on disk waits for the next start.
    pub(in crate::access_log) fn abandon(&mut self) {
        let (mut state, mut lost) = (self.spool.lock(), 0);
        let at = state.seats[self.seat].at;
        let rest = state
            .segments
            .iter()
            .filter(|one| one.number >= at.segment && matches!(one.place, Place::Memory(_)));
        for segment in rest {
            let offset = if segment.number == at.segment { at.offset } else { 0 };
            let (carried, _) = segment.frames_from(None, offset, &mut self.origins);
            lost += carried.iter().map(Carried::records).sum::<u64>();
        }
        self.spool.sinks[self.seat].dropped.add(Reason::Stopped, lost);
        // The lag that is left is what waits on disk.
        let last =
            state.segments.iter().rev().find(|one| matches!(one.place, Place::Disk)).map(|one| one.number);
        if last.is_none_or(|last| last < at.segment) {
            state.seats[self.seat].at = Position { segment: state.next, offset: 0 };
        }
        let lag = state.lag(state.seats[self.seat].at);
        self.spool.sinks[self.seat].lag_bytes.store(lag, Ordering::Relaxed);
        drop(state);
        if let Some(cursor) = &self.cursor {
            let _ = cursor.sync();
        }
    }

    #[cfg(test)]
    pub(super) fn has_more(&self) -> bool {
        matches!(self.ahead(), Ahead::Some { .. })
    }

    fn ahead(&self) -> Ahead {
        let state = self.spool.lock();
        let seat = &state.seats[self.seat];
        match (state.lag(seat.next()), seat.lost.is_empty(), state.is_closed) {
            (0, true, true) => Ahead::Closed,
            (0, true, false) => Ahead::Nothing,
            (bytes, _, is_closed) => Ahead::Some { bytes, is_closed },
        }
    }

    /// What was given up meanwhile, and the segment and range to read.
    fn next(&mut self) -> (Spans, Option<(u64, Range<u64>)>) {
        let mut state = self.spool.lock();
        let seat = &mut state.seats[self.seat];
        self.streams.damages += u64::from(std::mem::take(&mut seat.has_unknown));
        let (gaps, at) = (std::mem::take(&mut seat.lost), seat.next());
        // A segment that is not there counts as consumed.
        let next = state.segments.iter().find_map(|segment| {
            let from = if segment.number == at.segment { at.offset } else { 0 };
            (segment.number >= at.segment && from < segment.len)
                .then_some((segment.number, from..segment.len))
        });
        (gaps, next)
    }

    /// On the way to the segment `next`: what was in the spool and is neither there nor with the sink is lost.
    fn compare(&mut self, next: Option<u64>, gaps: &mut Spans) {
        if self.history.is_over {
            return;
        }
        let (begun, past) = {
            let state = self.spool.lock();
            (state.begun, state.past.clone())
        };
        if self.last.is_none() {
            self.streams.remember(self.history.known.as_deref(), &past);
            self.begin();
        }
        if self.history.has_holes && self.last != next {
            self.streams.damages += 1;
        }
        // Segments without a frame of theirs are no sign: the next good one tells.
        self.last = next.or(self.last).or(Some(begun));
        if next.is_none_or(|next| next >= begun) {
            past.iter().for_each(|end| self.streams.end(end, gaps));
            self.history.is_over = true;
        }
    }

    /// From now on a sink without a cursor is owed what comes, also if it never gets any of it from us.
    fn begin(&mut self) {
        let at = self.spool.lock().seats[self.seat].at;
        if let Some(cursor) = self.cursor.as_mut().filter(|_| self.history.known.is_none())
            && let Err(error) = cursor.store(at, self.streams.reached())
        {
            tracing::debug!(%error, "cannot write down where a log sink begins");
        }
    }

    fn source(&mut self, number: u64, offset: u64) -> io::Result<Source> {
        if let Some((opened, source)) = &self.opened
            && *opened == number
        {
            return Ok(source.clone());
        }
        let state = self.spool.lock();
        let segment = state.segments.iter().find(|segment| segment.number == number);
        let source = segment.ok_or(io::ErrorKind::NotFound)?.source(self.spool.path(number), offset)?;
        // What is appended to memory later is not in it.
        self.opened = matches!(source, Source::Disk(_)).then(|| (number, source.clone()));
        Ok(source)
    }

    /// Whether a segment that could not be read is not there (any more); else the disk may give it later.
    fn is_lost(&mut self, number: u64, error: &io::Error) -> bool {
        self.opened = None;
        let is_lost = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof);
        // What was given up meanwhile is declared already.
        if self.spool.lock().segments.iter().any(|segment| segment.number == number) {
            tracing::warn!(segment = number, %error, is_lost, "a segment of the log's spool cannot be read");
            self.streams.damages += u64::from(is_lost);
        }
        is_lost
    }
}

impl Blame {
    pub(in crate::access_log) fn on(&self, why: Reason) {
        self.spool.lock().seats[self.seat].why = why;
    }
}

impl Chunk {
    pub(in crate::access_log) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.gaps.is_empty()
    }

    pub(in crate::access_log) fn entries(&self) -> u64 {
        self.frames.iter().map(|(carried, _)| carried.count).sum()
    }

    /// The good frames, without what stands between them.
    pub(in crate::access_log) fn runs(&self) -> Vec<Bytes> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for (_, place) in &self.frames {
            match runs.last_mut() {
                Some(last) if last.end == place.start => last.end = place.end,
                _ => runs.push(place.clone()),
            }
        }
        runs.into_iter().map(|run| self.bytes.slice(run)).collect()
    }
}

/// Which number each stream should go on with, to tell what damage has taken.
#[derive(Debug, Default)]
struct Streams {
    seen: Vec<Seen>,
    /// How often something was damaged.
    damages: u64,
}

#[derive(Debug)]
struct Seen {
    origin: Origin,
    /// CRC-32C of its name.
    proxy: u32,
    core: u16,
    last: u64,
    damages: u64,
}

impl Streams {
    /// Most streams that are followed: those of some starts.
    const LIMIT: usize = 4096;

    /// What a cursor says was delivered. `past` are the streams that there were: of one that it does not know the sink
    /// has nothing; a sink without a cursor is owed nothing.
    fn remember(&mut self, reached: Option<&[Reached]>, past: &[End]) {
        for end in past {
            let proxy = crc_fast::crc32_iscsi(end.proxy.as_bytes());
            let same = |one: &&Reached| (one.proxy, one.boot, one.core) == (proxy, end.boot, end.core);
            let known = reached.and_then(|reached| reached.iter().find(same)).map(|one| one.last);
            // One that is full may have had no room for it.
            let is_owed = reached.is_some_and(|reached| reached.len() < MOST);
            let last = known.unwrap_or(if is_owed { 0 } else { end.last });
            let origin = Origin { proxy: end.proxy.as_str().into(), boot: end.boot };
            self.seen.push(Seen { origin, proxy, core: end.core, last, damages: self.damages });
        }
    }

    /// The last number that a stream had, all of which was left having been read.
    fn end(&mut self, end: &End, gaps: &mut Spans) {
        let same = |seen: &&mut Seen| {
            (seen.core, seen.origin.boot, &*seen.origin.proxy) == (end.core, end.boot, end.proxy.as_str())
        };
        let Some(seen) = self.seen.iter_mut().find(same).filter(|seen| seen.last < end.last) else { return };
        let (first, count, reason) = (seen.last + 1, end.last - seen.last, Reason::SpoolDamaged);
        let (origin, core, range) = (seen.origin.clone(), seen.core, Some((first, end.last)));
        gaps.add(Span { origin, core, range, count, reason });
        seen.last = end.last;
    }

    /// These are declared.
    fn skip(&mut self, span: &Span) {
        let same = |seen: &&mut Seen| seen.core == span.core && seen.origin == span.origin;
        if let Some((seen, (_, last))) = self.seen.iter_mut().find(same).zip(span.range) {
            seen.last = seen.last.max(last);
        }
    }

    /// Newest first, as the newest streams were met last.
    fn reached(&self) -> impl ExactSizeIterator<Item = Reached> + '_ {
        let of = |seen: &Seen| Reached {
            proxy: seen.proxy,
            boot: seen.origin.boot,
            core: seen.core,
            last: seen.last,
        };
        self.seen.iter().rev().map(of)
    }

    fn follow(&mut self, carried: &Carried, gaps: &mut Spans) {
        let Some((first, last)) = carried.numbers else { return };
        let damages = self.damages;
        let same = |seen: &&mut Seen| seen.core == carried.core && seen.origin == carried.origin;
        let Some(seen) = self.seen.iter_mut().find(same) else {
            if self.seen.len() < Self::LIMIT {
                let (origin, core) = (carried.origin.clone(), carried.core);
                let proxy = crc_fast::crc32_iscsi(origin.proxy.as_bytes());
                self.seen.push(Seen { origin, proxy, core, last, damages });
            }
            return;
        };
        // Without damage a hole is declared already, where it came to be.
        if seen.damages != damages && first > seen.last.saturating_add(1) {
            let (origin, core, range) = (carried.origin.clone(), carried.core, (seen.last + 1, first - 1));
            let (count, reason) = (range.1 - range.0 + 1, Reason::SpoolDamaged);
            gaps.add(Span { origin, core, range: Some(range), count, reason });
        }
        (seen.last, seen.damages) = (last.max(seen.last), damages);
    }
}
