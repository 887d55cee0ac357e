//! [`Streams`]: which records are stored already, so that what is sent again does not appear twice.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;

use super::manifest::KnownStream;
use crate::log_service::entry::Stream;
use crate::log_service::intervals::Intervals;

/// Streams remembered at the same time; the one unused for longest is forgotten first.
const MAX_STREAMS: usize = 4096;
/// Holes remembered per stream.
const MAX_RANGES: usize = 4096;

/// Frames without any number that are remembered.
const MAX_FRAMES: usize = 1024;
/// Where the checksum of a frame stands.
const CRC: std::ops::Range<usize> = 64..68;

/// The records seen, by stream. Forgetting (it is bounded) can only let a duplicate through, never lose a record.
#[derive(Default)]
pub(crate) struct Streams {
    streams: HashMap<Stream, Seen>,
    clock: u64,
    /// The clock when the manifest was told last.
    told: u64,
    /// Length and checksum of frames without any number, newest last.
    frames: VecDeque<(usize, [u8; 4])>,
}

/// What is known of one stream.
struct Seen {
    records: Intervals,
    gaps: Intervals,
    used: u64,
}

impl Streams {
    /// Notes one record; false when it was noted before.
    pub(crate) fn note(&mut self, stream: &Stream, seq: u64) -> bool {
        self.seen(stream).records.insert(seq)
    }

    /// Notes the records of a range and returns those that are new.
    pub(crate) fn claim(&mut self, stream: &Stream, range: RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
        let records = &mut self.seen(stream).records;
        let fresh = records.missing_in(&range);
        records.insert_range(range);
        fresh
    }

    /// Notes that numbers were declared lost; false when that is known.
    pub(crate) fn note_gap(&mut self, stream: &Stream, gap: &RangeInclusive<u64>) -> bool {
        let gaps = &mut self.seen(stream).gaps;
        let known = gaps.covers(gap);
        gaps.insert_range(gap.clone());
        !known
    }

    /// Notes a frame without any number; false when the same came lately.
    pub(crate) fn note_frame(&mut self, bytes: &[u8]) -> bool {
        let mark = mark_of(bytes);
        if self.frames.contains(&mark) {
            return false;
        }
        if self.frames.len() == MAX_FRAMES {
            self.frames.pop_front();
        }
        self.frames.push_back(mark);
        true
    }

    pub(crate) fn forget_frame(&mut self, bytes: &[u8]) {
        let mark = mark_of(bytes);
        self.frames.retain(|known| *known != mark);
    }

    /// The numbers up to `last` that are neither stored nor declared lost.
    pub(super) fn undeclared(&mut self, stream: &Stream, last: u64) -> Vec<(u64, u64)> {
        let Seen { records, gaps, .. } = self.seen(stream);
        let missing = records.missing_in(&(1..=last));
        missing.iter().flat_map(|range| gaps.missing_in(range)).map(RangeInclusive::into_inner).collect()
    }

    /// Takes back what was noted of records whose write failed.
    pub(crate) fn release(&mut self, stream: &Stream, range: &RangeInclusive<u64>) {
        if let Some(seen) = self.streams.get_mut(stream) {
            seen.records.remove_range(range);
        }
    }

    /// The same for a declared gap. What an earlier one declared of it may then be stored twice, which tells nothing else.
    pub(crate) fn release_gap(&mut self, stream: &Stream, gap: &RangeInclusive<u64>) {
        if let Some(seen) = self.streams.get_mut(stream) {
            seen.gaps.remove_range(gap);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    /// What a manifest says was stored.
    pub(super) fn of(streams: impl IntoIterator<Item = KnownStream>) -> Self {
        let mut known = Self::default();
        for stream in streams {
            let KnownStream { proxy, boot, core, numbers, gaps } = stream;
            let seen = known.seen(&Stream { proxy: proxy.into(), boot, core });
            numbers.into_iter().for_each(|(first, last)| seen.records.insert_range(first..=last));
            gaps.into_iter().for_each(|(first, last)| seen.gaps.insert_range(first..=last));
        }
        known.told = known.clock;
        known
    }

    /// The streams that were looked at since the last call, for the manifest.
    pub(super) fn take_changed(&mut self) -> Vec<KnownStream> {
        let changed = self.changed();
        self.told = self.clock;
        changed
    }

    /// The same, to be asked again.
    pub(super) fn changed(&self) -> Vec<KnownStream> {
        let changed = self.streams.iter().filter(|(_, seen)| seen.used > self.told);
        changed.map(|(stream, seen)| seen.form(stream)).collect()
    }

    fn seen(&mut self, stream: &Stream) -> &mut Seen {
        self.clock += 1;
        let clock = self.clock;
        if !self.streams.contains_key(stream) {
            self.make_room();
        }
        let seen = self.streams.entry(stream.clone()).or_insert_with(Seen::new);
        seen.used = clock;
        seen
    }

    fn make_room(&mut self) {
        if self.streams.len() < MAX_STREAMS {
            return;
        }
        let oldest = self.streams.iter().min_by_key(|(_, seen)| seen.used).map(|(stream, _)| stream.clone());
        oldest.and_then(|stream| self.streams.remove(&stream));
    }
}

impl Seen {
    fn new() -> Self {
        Self { records: Intervals::bounded(MAX_RANGES), gaps: Intervals::bounded(MAX_RANGES), used: 0 }
    }

    fn form(&self, stream: &Stream) -> KnownStream {
        let ranges = |intervals: &Intervals| intervals.ranges().map(RangeInclusive::into_inner).collect();
        KnownStream {
            proxy: stream.proxy.to_string(),
            boot: stream.boot,
            core: stream.core,
            numbers: ranges(&self.records),
            gaps: ranges(&self.gaps),
        }
    }
}

fn mark_of(frame: &[u8]) -> (usize, [u8; 4]) {
    let crc = frame.get(CRC).and_then(|crc| crc.try_into().ok());
    (frame.len(), crc.unwrap_or_default())
}
