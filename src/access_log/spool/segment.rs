//! [`Segment`]: a run of frames in a file or in memory, and reading it: trusts nothing, skips what is damaged.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::record::frame::{self, Frame, FrameError};

const ENDING: &str = "spool";

#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// Bytes that readers may read: whole frames.
    pub(super) len: u64,
    /// Nothing will be appended.
    pub(super) is_sealed: bool,
    pub(super) place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    Disk,
    /// What was appended at once, with its offset.
    Memory(VecDeque<(u64, Bytes)>),
}

/// Where the bytes of a segment come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Disk(Arc<File>),
    Memory(Vec<(u64, Bytes)>),
}

/// What stands in a segment.
pub(super) enum Piece<'p, 'b> {
    /// A good frame, and its place in the bytes that were read.
    Frame(&'p Frame<'b>, Range<usize>),
    /// Something that is no frame, so many bytes.
    Damage(u64),
}

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.{ENDING}"))
}

/// When a segment was written last, microseconds since the Unix epoch.
pub(super) fn written_us(dir: &Path, number: u64) -> Option<i64> {
    let written = fs::metadata(path(dir, number)).and_then(|meta| meta.modified()).ok()?;
    i64::try_from(written.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()
}

/// The segments of a directory, oldest first. The end of the last one is cut off where a crash has torn it.
pub(super) fn recover(dir: &Path) -> VecDeque<Segment> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut numbers: Vec<u64> = entries.filter_map(|entry| number_of(&entry.path())).collect();
    numbers.sort_unstable();
    let last = numbers.last().copied();
    let segments = numbers.into_iter().filter_map(|number| {
        let path = path(dir, number);
        let whole = || fs::metadata(&path).map(|meta| meta.len());
        // What the disk does not give now it may give when a sink comes to it.
        let len = if Some(number) == last { repair(&path).or_else(|_| whole()) } else { whole() };
        match len {
            Ok(0) => {
                let _ = fs::remove_file(&path);
                None
            }
            Ok(len) => Some(Segment { number, len, is_sealed: true, place: Place::Disk }),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a segment of the spool");
                None
            }
        }
    });
    segments.collect()
}

/// There is always a next number.
fn number_of(path: &Path) -> Option<u64> {
    if path.extension()? != ENDING {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok().filter(|number| *number < u64::MAX / 2)
}

/// Cuts off what stands behind the last good frame; returns the length then.
fn repair(path: &Path) -> io::Result<u64> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let source = Source::Disk(Arc::new(file));
    let (mut at, mut good, mut damaged) = (0, 0, 0);
    while at < len {
        let (bytes, end) = source.read_frames(at..len, 1 << 20, |piece| match piece {
            Piece::Frame(_, place) => good = at + place.end as u64,
            Piece::Damage(bytes) => damaged += bytes,
        })?;
        if bytes.is_empty() || end <= at {
            break;
        }
        at = end;
    }
    if good < len {
        let torn = len - good;
        tracing::warn!(path = %path.display(), torn, "the last segment of the spool ended in the middle of a frame");
        if let Source::Disk(file) = &source {
            file.set_len(good)?;
            file.sync_data()?;
        }
    }
    Ok(good)
}

impl Segment {
    /// Opens what stands from `offset` on.
    pub(super) fn source(&self, path: Option<PathBuf>, offset: u64) -> io::Result<Source> {
        match &self.place {
            Place::Disk => Source::open(path),
            Place::Memory(chunks) => {
                let reaches = |(at, bytes): &&(u64, Bytes)| at + bytes.len() as u64 > offset;
                Ok(Source::Memory(chunks.iter().filter(reaches).cloned().collect()))
            }
        }
    }
}

impl Source {
    /// The file of a segment.
    pub(super) fn open(path: Option<PathBuf>) -> io::Result<Self> {
        Ok(Self::Disk(Arc::new(File::open(path.ok_or(io::ErrorKind::NotFound)?)?)))
    }

    /// Hands out the frames that begin in `range`, until about `most` bytes are read; at least one if there is one.
    /// Returns the bytes that were read and where to go on in the segment. `range` ends where the segment does.
    pub(super) fn read_frames(
        &self,
        range: Range<u64>,
        most: usize,
        mut each: impl FnMut(Piece<'_, '_>),
    ) -> io::Result<(Bytes, u64)> {
        let rest = range.end.saturating_sub(range.start);
        let mut window = most.max(frame::HEAD) as u64;
        loop {
            let bytes = self.read(range.start, window.min(rest) as usize)?;
            let is_all = window >= rest;
            if let Some(end) = split(&bytes, is_all, &mut each) {
                return Ok((bytes, range.start + end as u64));
            }
            window = window.saturating_mul(4);
        }
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        match self {
            Self::Disk(file) => {
                let mut bytes = Vec::with_capacity(length);
                while bytes.len() < length {
                    let at = offset + bytes.len() as u64;
                    match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                bytes.truncate(length);
                Ok(bytes.into())
            }
            Self::Memory(chunks) => Ok(gather(chunks, offset, length)),
        }
    }
}

/// `length` bytes from `offset` on; a copy only where they come from several chunks.
fn gather(chunks: &[(u64, Bytes)], offset: u64, length: usize) -> Bytes {
    let end = offset + length as u64;
    let mut parts = chunks.iter().filter_map(|(at, bytes)| {
        let from = offset.clamp(*at, at + bytes.len() as u64) - at;
        let to = end.clamp(*at, at + bytes.len() as u64) - at;
        (from < to).then(|| bytes.slice(from as usize..to as usize))
    });
    let first = parts.next().unwrap_or_default();
    match parts.next() {
        None => first,
        Some(second) => {
            let mut all = Vec::with_capacity(length);
            all.extend_from_slice(&first);
            all.extend_from_slice(&second);
            parts.for_each(|part| all.extend_from_slice(&part));
            all.into()
        }
    }
}

/// Hands out what stands in `bytes`; `is_all` says that nothing follows them. Returns how many are done with, or `None`
/// when more are needed for the first step.
fn split(bytes: &[u8], is_all: bool, each: &mut impl FnMut(Piece<'_, '_>)) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match Frame::parse(&bytes[at..]) {
            Ok(frame) => {
                let end = at + frame.len;
                each(Piece::Frame(&frame, at..end));
                at = end;
            }
            Err(FrameError::Short) if !is_all && at == 0 && bytes.len() <= frame::MAX_LEN => return None,
            Err(FrameError::Short) if !is_all && at > 0 => break,
            Err(_) => match frame::find(bytes, at + 1) {
                Some(next) => {
                    each(Piece::Damage((next - at) as u64));
                    at = next;
                }
                None if is_all => {
                    each(Piece::Damage((bytes.len() - at) as u64));
                    at = bytes.len();
                }
                // The next good frame may go over the end of what was read.
                None if at > 0 => break,
                None => return None,
            },
        }
    }
    Some(at)
}
