//! [`Rows`]: frames and JSON objects become rows in memory; and [`RowsPart`], what a query sees of them.

use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;

use super::extent;
use super::streams::Streams;
use crate::log_service::columns::{self, Builder, ExtentBuilder, Origin};
use crate::log_service::entry::{Entry, Stream};
use crate::log_service::part::{Each, Extent, Part, Prune};
use crate::log_service::rollup::{Counting, Packed};
use crate::record::binary::{self, Decoded, Tries};
use crate::record::frame::{Form, Frame};

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// Where some rows came from, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt<'a> {
    /// Microseconds since the Unix epoch.
    pub(super) recv: i64,
    pub(super) from: &'a str,
}

/// What became of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) rows: usize,
    pub(super) duplicates: usize,
    /// Numbers that were declared lost.
    pub(super) declared: u64,
}

/// Rows in the making, until they become a file.
pub(super) struct Rows {
    builder: Builder,
    pieces: Vec<Arc<Piece>>,
    rows: usize,
    bytes: usize,
    counting: Counting,
    /// Entries that could not become rows though they had been checked: a defect of ours.
    damaged: u64,
    /// For decompressed payloads.
    room: Vec<u8>,
}

/// One finished batch.
struct Piece {
    batch: RecordBatch,
    extent: Extent,
    bytes: usize,
}

/// What of a frame is new.
struct Fresh<'f> {
    stream: &'f Stream,
    ranges: &'f [RangeInclusive<u64>],
    has_numbers: bool,
}

impl Fresh<'_> {
    fn has(&self, seq: u64) -> bool {
        self.ranges.iter().any(|range| range.contains(&seq))
    }

    /// A frame all of whose numbers are known was stored with what has no number in it.
    fn has_unnumbered(&self) -> bool {
        !self.has_numbers || !self.ranges.is_empty()
    }
}

impl Rows {
    pub(super) fn new() -> Self {
        Self {
            builder: Builder::new(BATCH_ROWS),
            pieces: Vec::new(),
            rows: 0,
            bytes: 0,
            counting: Counting::default(),
            damaged: 0,
            room: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows + self.builder.len()
    }

    /// Bytes in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.builder.bytes()
    }

    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Adds the entries of a checked frame: of the numbered ones those that are `fresh`.
    pub(super) fn frame(
        &mut self,
        bytes: &[u8],
        fresh: &[RangeInclusive<u64>],
        known: &mut Streams,
        receipt: Receipt<'_>,
    ) -> Taken {
        let mut taken = Taken::default();
        let Ok(frame) = Frame::parse(bytes) else {
            self.damaged += 1;
            return taken;
        };
        let stream = Stream::of(&frame.stream);
        let mut room = std::mem::take(&mut self.room);
        match frame.entries(&mut room) {
            Ok(entries) => {
                let fresh = Fresh { stream: &stream, ranges: fresh, has_numbers: frame.numbers.is_some() };
                for entry in entries.flatten() {
                    let added = match entry.form {
                        Form::Record => self.record(entry.bytes, &frame, &fresh, receipt),
                        Form::Json => self.object_of_frame(entry.bytes, &fresh, known, receipt),
                    };
                    taken.add(added);
                }
            }
            Err(_) => self.damaged += 1,
        }
        self.room = room;
        taken
    }

    fn record(&mut self, bytes: &[u8], frame: &Frame<'_>, fresh: &Fresh<'_>, receipt: Receipt<'_>) -> Taken {
        let (mut decoded, mut tries) = (Decoded::default(), Tries::default());
        if let Err(error) = binary::decode_into(&mut decoded, bytes, &mut tries) {
            return self.failed(&error);
        }
        if !fresh.has(decoded.seq) {
            return Taken::DUPLICATE;
        }
        let origin = Origin { proxy: frame.stream.proxy, boot: frame.stream.boot, core: frame.stream.core };
        self.make_room();
        match self.builder.push_record(&decoded, &origin, receipt.recv, receipt.from) {
            Ok(()) => Taken::ROW,
            Err(error) => self.failed(&error),
        }
    }

    fn object_of_frame(
        &mut self,
        bytes: &[u8],
        fresh: &Fresh<'_>,
        known: &mut Streams,
        receipt: Receipt<'_>,
    ) -> Taken {
        let entry = match Entry::parse(bytes::Bytes::copy_from_slice(bytes)) {
            Ok(entry) => entry,
            Err(error) => return self.failed(&error),
        };
        let is_new = match (&entry.gap, entry.seq) {
            // A sink tells on its own stream what is missing of others.
            (Some(gap), _) => known.note_gap(entry.stream.as_ref().unwrap_or(fresh.stream), gap),
            (None, 0) => fresh.has_unnumbered(),
            (None, seq) => fresh.has(seq),
        };
        if is_new { self.object(&entry, receipt) } else { Taken::DUPLICATE }
    }

    /// Adds an entry that is known to be new.
    pub(super) fn object(&mut self, entry: &Entry, receipt: Receipt<'_>) -> Taken {
        self.make_room();
        if let Err(error) = self.builder.push_object(&entry.text, receipt.recv, receipt.from) {
            return self.failed(&error);
        }
        let declared = entry.gap.as_ref().map_or(0, |gap| (gap.end() - gap.start()).saturating_add(1));
        Taken { declared, ..Taken::ROW }
    }

    fn make_room(&mut self) {
        if self.builder.is_full() {
            self.cut();
        }
    }

    fn failed(&mut self, error: &dyn std::fmt::Display) -> Taken {
        self.damaged += 1;
        tracing::error!(%error, "a checked entry could not become a row");
        Taken::default()
    }

    /// Finishes the batch at hand and returns how many there are.
    pub(super) fn cut(&mut self) -> usize {
        if !self.builder.is_empty() {
            let rows = self.builder.len();
            match self.builder.finish() {
                Ok(batch) => {
                    self.counting.note(&batch);
                    self.add(batch);
                }
                Err(error) => {
                    self.damaged += rows as u64;
                    tracing::error!(%error, rows, "rows could not become a batch");
                }
            }
        }
        self.pieces.len()
    }

    fn add(&mut self, batch: RecordBatch) {
        let mut extent = ExtentBuilder::default();
        extent.note(&batch);
        let piece = Piece { extent: extent.finish(), bytes: batch.get_array_memory_size(), batch };
        self.rows += piece.batch.num_rows();
        self.bytes += piece.bytes;
        self.pieces.push(Arc::new(piece));
    }

    /// Batches from the given one on.
    pub(super) fn batches_from(&self, first: usize) -> Vec<RecordBatch> {
        self.pieces.iter().skip(first).map(|piece| piece.batch.clone()).collect()
    }

    /// Joins small batches at the end, which queries and live tails leave behind: each row is moved a few times only.
    pub(super) fn tidy(&mut self) {
        while let [.., before, last] = self.pieces.as_slice() {
            let (rows, last_rows) = (before.batch.num_rows(), last.batch.num_rows());
            if rows > 2 * last_rows || rows + last_rows > BATCH_ROWS {
                return;
            }
            let Ok(batch) = concat_batches(&columns::schema(), [&before.batch, &last.batch]) else { return };
            for _ in 0..2 {
                if let Some(piece) = self.pieces.pop() {
                    self.rows -= piece.batch.num_rows();
                    self.bytes -= piece.bytes;
                }
            }
            self.add(batch);
        }
    }

    /// What was counted of the rows as they are now.
    pub(super) fn counted(&mut self) -> Vec<Packed> {
        self.cut();
        self.counting.packed()
    }

    /// All rows as they are now.
    pub(super) fn part(&mut self) -> RowsPart {
        self.cut();
        self.tidy();
        let extent = extent::joined(self.pieces.iter().map(|piece| &piece.extent));
        RowsPart { pieces: self.pieces.clone(), extent, bytes: self.bytes }
    }
}

impl Taken {
    const ROW: Self = Self { rows: 1, duplicates: 0, declared: 0 };
    const DUPLICATE: Self = Self { rows: 0, duplicates: 1, declared: 0 };

    pub(super) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.duplicates += other.duplicates;
        self.declared = self.declared.saturating_add(other.declared);
    }
}

/// Rows in memory that no longer change.
pub(crate) struct RowsPart {
    pieces: Vec<Arc<Piece>>,
    extent: Extent,
    bytes: usize,
}

impl RowsPart {
    pub(super) fn batches(&self) -> Vec<RecordBatch> {
        self.pieces.iter().map(|piece| piece.batch.clone()).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Part for RowsPart {
    fn extent(&self) -> &Extent {
        &self.extent
    }

    fn read(&self, columns: &[&str], prune: &Prune, each: &mut Each<'_>) -> io::Result<()> {
        let wanted: Vec<usize> =
            (0..columns::NAMES.len()).filter(|at| columns.contains(&columns::NAMES[*at])).collect();
        let mut read = |piece: &Arc<Piece>| -> io::Result<ControlFlow<()>> {
            if !prune.admits(&piece.extent) {
                return Ok(ControlFlow::Continue(()));
            }
            each(piece.batch.project(&wanted).map_err(io::Error::other)?)
        };
        let count = self.pieces.len();
        for at in 0..count {
            let at = if prune.newest_first { count - 1 - at } else { at };
            if read(&self.pieces[at])?.is_break() {
                break;
            }
        }
        Ok(())
    }
}
