//! [`ExtentBuilder`]: what the rows of a part are, in numbers.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, TimestampMicrosecondType, UInt16Type, UInt64Type};
use arrow_array::{Array, DictionaryArray, FixedSizeBinaryArray, PrimitiveArray, RecordBatch, StringArray};

use crate::log_service::entry::declared;
use crate::log_service::intervals::Intervals;
use crate::log_service::part::{Extent, StreamExtent};
use crate::log_service::read::SAMPLED;
use crate::record::json::OPEN_END;

/// Numbers that are gathered before they are made intervals.
const GATHERED: usize = 1 << 16;
/// Most intervals per stream; beyond it the lowest are forgotten.
const MAX_INTERVALS: usize = 1 << 16;

/// Looks at batches with the columns of the schema.
#[derive(Default)]
pub(crate) struct ExtentBuilder {
    extent: Extent,
    places: HashMap<(String, u64, u16), usize>,
    streams: Vec<Stream>,
}

struct Stream {
    proxy: String,
    boot: u64,
    core: u16,
    gathered: Vec<u64>,
    numbers: Intervals,
    gaps: Vec<(u64, u64, String)>,
    numbered: u64,
    sampled: u64,
    declarations: u64,
    last: u64,
}

impl ExtentBuilder {
    /// Counts all rows of `batch` in.
    pub(crate) fn note(&mut self, batch: &RecordBatch) {
        let Some(rows) = Rows::of(batch) else { return };
        self.extent.rows += batch.num_rows() as u64;
        // Most rows are of the same stream as the one before.
        let mut last: Option<((i32, u64, u16), usize)> = None;
        for row in 0..batch.num_rows() {
            self.note_place(&rows, row);
            let Some(key) = rows.stream(row) else {
                self.note_kind(&rows, row, None);
                continue;
            };
            let place = match last {
                Some((known, place)) if known == key => place,
                _ => self.place(rows.proxy_name(row), key.1, key.2),
            };
            last = Some((key, place));
            // A gap has no number of its own: one that it names is not stored because of that.
            if rows.kind(row) != "gap" {
                self.note_number(&rows, row, place);
            }
            self.note_kind(&rows, row, Some(place));
        }
    }

    /// The extent of rows of these objects.
    #[cfg(test)]
    pub(crate) fn of_objects(objects: &[&[u8]]) -> Extent {
        let mut builder = super::Builder::new(objects.len().max(1));
        objects.iter().for_each(|object| builder.push_object(object, 1, "a").unwrap());
        let mut all = Self::default();
        all.note(&builder.finish().unwrap());
        all.finish()
    }

    /// The extent of all rows so far.
    pub(crate) fn finish(mut self) -> Extent {
        self.extent.streams = self.streams.into_iter().map(Stream::finish).collect();
        self.extent.streams.sort();
        self.extent
    }

    fn note_place(&mut self, rows: &Rows<'_>, row: usize) {
        let extent = &mut self.extent;
        let ts = rows.ts.value(row);
        let end = rows
            .dur
            .filter(|dur| dur.is_valid(row))
            .map_or(ts, |dur| ts.saturating_add_unsigned(dur.value(row)));
        (extent.min_ts, extent.max_ts) = (extent.min_ts.min(ts), extent.max_ts.max(ts));
        (extent.min_end, extent.max_end) = (extent.min_end.min(end), extent.max_end.max(end));
        let id = rows.id.value(row).try_into().unwrap_or_default();
        (extent.min_id, extent.max_id) = (extent.min_id.min(id), extent.max_id.max(id));
    }

    fn place(&mut self, proxy: &str, boot: u64, core: u16) -> usize {
        *self.places.entry((proxy.to_owned(), boot, core)).or_insert_with(|| {
            self.streams.push(Stream::new(proxy, boot, core));
            self.streams.len() - 1
        })
    }

    fn note_number(&mut self, rows: &Rows<'_>, row: usize, place: usize) {
        let seq = rows.seq.filter(|seq| seq.is_valid(row)).map_or(0, |seq| seq.value(row));
        if seq != 0 {
            self.streams[place].note(seq);
        }
    }

    fn note_kind(&mut self, rows: &Rows<'_>, row: usize, place: Option<usize>) {
        match rows.kind(row) {
            "gap" => self.note_gap(rows, row, place),
            "stop" => self.note_stop(rows, row),
            _ => {}
        }
    }

    #[cold]
    fn note_gap(&mut self, rows: &Rows<'_>, row: usize, place: Option<usize>) {
        let number = |column: Option<&PrimitiveArray<UInt64Type>>| {
            column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
        };
        let (first, last) = (number(rows.first_seq), number(rows.last_seq));
        let range = first.zip(last).and_then(|(first, last)| declared(first, last));
        match (range.map(RangeInclusive::into_inner), last, place) {
            (Some((first, last)), _, Some(place)) => {
                let stream = &mut self.streams[place];
                stream.declarations += 1;
                match (rows.word(rows.reason, row), number(rows.missing)) {
                    // Many, with what was kept among them: each by itself would be a range.
                    (SAMPLED, Some(count)) => {
                        stream.numbers.insert_range(first..=last);
                        stream.sampled = stream.sampled.saturating_add(count);
                    }
                    (reason, _) => stream.gaps.push((first, last, reason.to_owned())),
                }
            }
            (None, None, Some(place)) if number(rows.missing).is_none() => {
                let reason = rows.word(rows.reason, row).to_owned();
                let stream = &mut self.streams[place];
                stream.declarations += 1;
                stream.gaps.push((first.unwrap_or(1).max(1), OPEN_END, reason));
            }
            _ => {
                let missing = number(rows.missing).unwrap_or(0);
                self.extent.unnumbered = self.extent.unnumbered.saturating_add(missing);
            }
        }
    }

    /// The last numbers of all cores.
    #[cold]
    fn note_stop(&mut self, rows: &Rows<'_>, row: usize) {
        let (Some(lists), Some((_, boot, _))) = (rows.last_seqs, rows.stream(row)) else { return };
        if !lists.is_valid(row) {
            return;
        }
        let lasts: Vec<u64> = serde_json::from_str(lists.value(row)).unwrap_or_default();
        for (core, last) in (0..=u16::MAX).zip(lasts) {
            let place = self.place(rows.proxy_name(row), boot, core);
            self.streams[place].last = last;
        }
    }
}

impl Stream {
    fn new(proxy: &str, boot: u64, core: u16) -> Self {
        let numbers = Intervals::bounded(MAX_INTERVALS);
        Self {
            proxy: proxy.to_owned(),
            boot,
            core,
            gathered: Vec::new(),
            numbers,
            gaps: Vec::new(),
            numbered: 0,
            sampled: 0,
            declarations: 0,
            last: 0,
        }
    }

    fn note(&mut self, seq: u64) {
        self.numbered += 1;
        self.gathered.push(seq);
        if self.gathered.len() >= GATHERED {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.gathered.sort_unstable();
        for run in self.gathered.chunk_by(|a, b| b - a <= 1) {
            if let [first, ..] = run
                && let [.., last] = run
            {
                self.numbers.insert_range(*first..=*last);
            }
        }
        self.gathered.clear();
    }

    fn finish(mut self) -> StreamExtent {
        self.settle();
        self.gaps.sort_unstable();
        self.gaps.dedup();
        let Self { proxy, boot, core, numbers, gaps, numbered, sampled, declarations, last, .. } = self;
        let numbers = numbers.ranges().map(RangeInclusive::into_inner).collect();
        StreamExtent { proxy, boot, core, numbers, gaps, numbered, sampled, declarations, last }
    }
}

/// What several parts together say of streams, and of what was lost without a number.
pub(crate) fn union_of_streams<'e>(extents: impl Iterator<Item = &'e Extent>) -> (Vec<StreamExtent>, u64) {
    let mut all = ExtentBuilder::default();
    for extent in extents {
        all.extent.unnumbered = all.extent.unnumbered.saturating_add(extent.unnumbered);
        for stream in &extent.streams {
            let place = all.place(&stream.proxy, stream.boot, stream.core);
            let own = &mut all.streams[place];
            stream.numbers.iter().for_each(|&(first, last)| own.numbers.insert_range(first..=last));
            own.gaps.extend(stream.gaps.iter().cloned());
            own.numbered = own.numbered.saturating_add(stream.numbered_rows());
            own.sampled = own.sampled.saturating_add(stream.sampled);
            own.declarations = own.declarations.saturating_add(stream.declaring_rows());
            own.last = own.last.max(stream.last);
        }
    }
    let all = all.finish();
    (all.streams, all.unnumbered)
}

type Numbers = PrimitiveArray<UInt64Type>;
type Words = DictionaryArray<Int32Type>;

/// The columns that an extent is made of.
struct Rows<'b> {
    ts: &'b PrimitiveArray<TimestampMicrosecondType>,
    id: &'b FixedSizeBinaryArray,
    dur: Option<&'b Numbers>,
    kind: Option<&'b Words>,
    proxy: Option<&'b Words>,
    boot: Option<&'b Numbers>,
    core: Option<&'b PrimitiveArray<UInt16Type>>,
    seq: Option<&'b Numbers>,
    first_seq: Option<&'b Numbers>,
    last_seq: Option<&'b Numbers>,
    missing: Option<&'b Numbers>,
    reason: Option<&'b Words>,
    last_seqs: Option<&'b StringArray>,
}

impl<'b> Rows<'b> {
    fn of(batch: &'b RecordBatch) -> Option<Self> {
        let numbers = |name: &str| batch.column_by_name(name)?.as_primitive_opt();
        let words = |name: &str| batch.column_by_name(name)?.as_dictionary_opt();
        Some(Self {
            ts: batch.column_by_name("ts")?.as_primitive_opt()?,
            id: batch.column_by_name("id")?.as_fixed_size_binary_opt()?,
            dur: numbers("dur_us"),
            kind: words("kind"),
            proxy: words("proxy"),
            boot: numbers("boot"),
            core: batch.column_by_name("core").and_then(|column| column.as_primitive_opt()),
            seq: numbers("seq"),
            first_seq: numbers("first_seq"),
            last_seq: numbers("last_seq"),
            missing: numbers("missing"),
            reason: words("reason"),
            last_seqs: batch.column_by_name("last_seqs").and_then(|column| column.as_string_opt()),
        })
    }

    /// The stream of a row: key of the proxy's name, boot, core.
    fn stream(&self, row: usize) -> Option<(i32, u64, u16)> {
        let (proxy, boot, core) = (self.proxy?, self.boot?, self.core?);
        let is_whole = proxy.is_valid(row) && boot.is_valid(row) && core.is_valid(row);
        is_whole.then(|| (proxy.keys().value(row), boot.value(row), core.value(row)))
    }

    fn proxy_name(&self, row: usize) -> &'b str {
        self.word(self.proxy, row)
    }

    fn kind(&self, row: usize) -> &'b str {
        self.word(self.kind, row)
    }

    fn word(&self, column: Option<&'b Words>, row: usize) -> &'b str {
        let find = || {
            let column = column?;
            let words = column.values().as_string_opt::<i32>()?;
            column.key(row).filter(|&key| key < words.len()).map(|key| words.value(key))
        };
        find().unwrap_or_default()
    }
}
