//! [`Streams`]: which records are stored already, so that a resent batch does not appear twice.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::log_service::entry::{Entry, Stamp, Stream};
use crate::log_service::intervals::Intervals;

/// Streams remembered at the same time; the one unused for longest is forgotten first.
const MAX_STREAMS: usize = 4096;
/// Holes remembered per stream.
const MAX_RANGES: usize = 4096;

/// The records seen, by stream. Forgetting (it is bounded) can only let a duplicate through, never lose a record.
#[derive(Default)]
pub(crate) struct Streams {
    streams: HashMap<Stream, Seen>,
    clock: u64,
}

struct Seen {
    records: Intervals,
    gaps: Intervals,
    used: u64,
}

impl Streams {
    /// Notes an entry; false when it was noted before. Entries without a place in a stream are always new.
    pub(crate) fn note(&mut self, entry: &Entry) -> bool {
        let Some(stamp) = &entry.stamp else { return true };
        let seen = self.seen(&stamp.stream);
        match &entry.gap {
            Some(gap) => seen.note_gap(gap),
            None => stamp.seq == 0 || seen.records.insert(stamp.seq),
        }
    }

    /// Takes back [`note`](Self::note) for a record whose write failed. A declared gap stays: it claims nothing.
    pub(crate) fn forget(&mut self, stamp: &Stamp) {
        if let Some(seen) = self.streams.get_mut(&stamp.stream) {
            seen.records.remove(stamp.seq);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
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

    fn note_gap(&mut self, gap: &RangeInclusive<u64>) -> bool {
        let known = self.gaps.covers(gap);
        self.gaps.insert_range(gap.clone());
        !known
    }
}
