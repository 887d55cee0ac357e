//! [`Claim`]: what of a delivery is new. Claimed before it is written to the log, so that two deliveries of the same
//! records cannot both pass; released when the write fails.

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::rows::{Receipt, Rows, Taken};
use super::streams::Streams;
use super::wal::{self, Block, Kind};
use crate::log_service::entry::{Entry, Stream};
use crate::log_service::frames::Checked;

/// Something new, not yet stored.
pub(super) enum Claim {
    Frame { bytes: Bytes, stream: Stream, fresh: Vec<RangeInclusive<u64>> },
    Entries(Vec<Entry>),
}

impl Claim {
    /// `None` when nothing of the frame is new.
    pub(super) fn frame(known: &mut Streams, frame: Checked) -> Option<Self> {
        let Checked { bytes, stream, numbers, .. } = frame;
        let fresh = match numbers {
            Some((first, last)) => known.claim(&stream, first..=last),
            None => Vec::new(),
        };
        let is_new = if numbers.is_some() { !fresh.is_empty() } else { known.note_frame(&bytes) };
        is_new.then_some(Self::Frame { bytes, stream, fresh })
    }

    /// The new ones among the entries, and how many were not.
    pub(super) fn entries(known: &mut Streams, mut entries: Vec<Entry>) -> (Option<Self>, usize) {
        let before = entries.len();
        entries.retain(|entry| match (&entry.stream, &entry.gap) {
            (Some(stream), Some(gap)) => known.note_gap(stream, gap),
            (Some(stream), None) => entry.seq == 0 || known.note(stream, entry.seq),
            (None, _) => true,
        });
        let duplicates = before - entries.len();
        ((!entries.is_empty()).then_some(Self::Entries(entries)), duplicates)
    }

    /// Appends the block of the log.
    pub(super) fn write(&self, receipt: Receipt<'_>, out: &mut Vec<u8>) {
        let Receipt { recv, from } = receipt;
        match self {
            Self::Frame { bytes, .. } => {
                wal::write(out, &Block { kind: Kind::Frame, from, recv, payload: bytes })
            }
            Self::Entries(entries) => {
                // Lines are gathered first: a block's length stands in front of it.
                let mut lines = Vec::with_capacity(entries.iter().map(|entry| entry.text.len() + 1).sum());
                for entry in entries {
                    lines.extend_from_slice(&entry.text);
                    lines.push(b'\n');
                }
                wal::write(out, &Block { kind: Kind::Lines, from, recv, payload: &lines });
            }
        }
    }

    /// Calls `each` with the last number that it has of a stream.
    pub(super) fn each_end(&self, mut each: impl FnMut(&Stream, u64)) {
        match self {
            Self::Frame { stream, fresh, .. } => {
                fresh.last().iter().for_each(|range| each(stream, *range.end()))
            }
            Self::Entries(entries) => {
                let numbered = entries.iter().filter(|entry| entry.seq > 0 && entry.gap.is_none());
                let ends = numbered.filter_map(|entry| entry.stream.as_ref().zip(Some(entry.seq)));
                ends.for_each(|(stream, seq)| each(stream, seq));
            }
        }
    }

    /// What is durable becomes rows.
    pub(super) fn store(&self, rows: &mut Rows, known: &mut Streams, receipt: Receipt<'_>) -> Taken {
        match self {
            Self::Frame { bytes, fresh, .. } => rows.frame(bytes, fresh, known, receipt),
            Self::Entries(entries) => {
                let mut taken = Taken::default();
                entries.iter().for_each(|entry| taken.add(rows.object(entry, receipt)));
                taken
            }
        }
    }

    /// The write failed: it may come again.
    pub(super) fn release(&self, known: &mut Streams) {
        match self {
            Self::Frame { bytes, stream, fresh } => {
                fresh.iter().for_each(|range| known.release(stream, range));
                known.forget_frame(bytes);
            }
            Self::Entries(entries) => {
                for entry in entries {
                    match (&entry.stream, &entry.gap) {
                        (Some(stream), Some(gap)) => known.release_gap(stream, gap),
                        (Some(stream), None) => known.release(stream, &(entry.seq..=entry.seq)),
                        (None, _) => {}
                    }
                }
            }
        }
    }
}
