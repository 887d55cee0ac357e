//! [`Reader`]: a sink's end. It reads whole frames in order, says what is missing, and moves its cursor when they are
//! delivered. Several chunks may be read before the first of them is settled; they are settled in that order.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::Instant;

use super::cursor::{Cursor, MOST, Reached};
use super::segment::{Piece, Place, Source};
use super::streams::Streams;
use super::{History, Position, Spool};
use crate::access_log::metrics::Reason;
use crate::access_log::span::{Carried, Origins, Spans};
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
            chunk.reached = self.streams.reached().take(MOST).collect();
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

    /// The time to stop has run out.
    pub(in crate::access_log) fn abandon(&mut self) {
        self.spool.abandon(self.seat);
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
        let in_memory = {
            let state = self.spool.lock();
            let segment = state.segments.iter().find(|segment| segment.number == number);
            let segment = segment.ok_or(io::ErrorKind::NotFound)?;
            let is_memory = matches!(segment.place, Place::Memory(_));
            is_memory.then(|| segment.source(None, offset)).transpose()?
        };
        // A disk that is slow to open it holds up nobody else.
        let source = match in_memory {
            Some(source) => source,
            None => Source::open(self.spool.path(number))?,
        };
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

    /// The next one is delivered with it, as lines: places in its bytes mean nothing any more.
    pub(in crate::access_log) fn join(&mut self, next: Self) {
        let Self { frames, gaps, end, reached, .. } = next;
        self.bytes = Bytes::new();
        self.frames.extend(frames);
        self.gaps.extend(&gaps);
        (self.end, self.reached) = (end, reached);
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
