//! [`Ends`]: what the spool should hold, to notice what is gone from it: nobody misses a file that is not there.
//!
//! `ends` is one line, 8 hex digits of the CRC-32C of the rest and a JSON object: the segments that there are, with their
//! lengths as far as they are complete, and the last number of every stream that was appended. It is written anew with
//! each segment. After a death the rings know better ([`super::Spool::expect`]), and how far a sink has come is
//! known by its cursor. No record is read by it: segments describe themselves.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::segment::{Place, Segment};
use crate::process::replace::replace;
use crate::record::frame::{Frame, Stream};

const NAME: &str = "ends";
/// Most streams that are remembered: the newest.
const LIMIT: usize = 256;
const DIGITS: usize = 8;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ends {
    /// Number and length of each segment on disk; 0 for the one that was being written.
    segments: Vec<(u64, u64)>,
    pub(super) streams: Vec<End>,
}

/// The last number of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::access_log) struct End {
    pub(in crate::access_log) proxy: String,
    pub(in crate::access_log) boot: u64,
    pub(in crate::access_log) core: u16,
    pub(in crate::access_log) last: u64,
}

impl Ends {
    /// As it was left; empty when there is none or it is damaged.
    pub(super) fn read(dir: &Path) -> Self {
        let read = || {
            let text = fs::read(dir.join(NAME)).ok()?;
            let (digits, json) = text.split_at_checked(DIGITS)?;
            let crc = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            (crc == crc_fast::crc32_iscsi(json)).then(|| serde_json::from_slice(json).ok())?
        };
        read().unwrap_or_default()
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let line = [format!("{:08x}", crc_fast::crc32_iscsi(&json)).into_bytes(), json].concat();
        replace(&dir.join(NAME), line)
    }

    pub(super) fn set_segments<'s>(&mut self, segments: impl Iterator<Item = &'s Segment>) {
        let on_disk = segments.filter(|one| matches!(one.place, Place::Disk));
        self.segments = on_disk.map(|one| (one.number, if one.is_sealed { one.len } else { 0 })).collect();
    }

    /// These whole frames, which this process has made, were appended.
    pub(super) fn note(&mut self, mut frames: &[u8]) {
        while let Ok(frame) = Frame::peek(frames) {
            if let Some((_, last)) = frame.numbers {
                self.reach(&frame.stream, last);
            }
            frames = &frames[frame.len..];
        }
    }

    pub(super) fn reach(&mut self, stream: &Stream<'_>, last: u64) {
        let same =
            |end: &&mut End| end.boot == stream.boot && end.core == stream.core && end.proxy == stream.proxy;
        if let Some(end) = self.streams.iter_mut().find(same) {
            end.last = end.last.max(last);
            return;
        }
        if self.streams.len() >= LIMIT {
            let oldest = (0..self.streams.len()).min_by_key(|at| self.streams[*at].boot);
            oldest.map(|at| self.streams.swap_remove(at));
        }
        let Stream { proxy, boot, core } = *stream;
        self.streams.push(End { proxy: proxy.to_owned(), boot, core, last });
    }

    pub(super) fn lists(&self, segment: u64) -> bool {
        self.segments.iter().any(|(number, _)| *number == segment)
    }

    /// Whether a segment that `at` had not passed is gone or shorter than it was; `found` are those that there are.
    pub(super) fn miss(&self, at: super::Position, found: &VecDeque<Segment>) -> bool {
        self.segments.iter().filter(|(number, _)| *number >= at.segment).any(|&(number, len)| {
            let known = if number == at.segment { len.max(at.offset) } else { len };
            match found.iter().find(|segment| segment.number == number) {
                Some(segment) => segment.len < known,
                None => number > at.segment || len == 0 || at.offset < len,
            }
        })
    }
}
