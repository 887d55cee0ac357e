//! The ring between a core and the collector: one producer, one consumer, entries up to the length of a record, in memory
//! that survives the process.
//!
//! Each core has a file of its own, `ring.<core>` in the directory of the log: allocated in advance, so that a full disk
//! never ends the process, and mapped, so that what a core has stored is the kernel's. After a death at any moment
//! [`recover`](recover::recover) finds all entries whose push had returned, and the exchanges that were under way. Without
//! a directory the same memory is anonymous and dies with the process.
//!
//! Inside are two lanes. A lane is written all around, however little stands in it, so a large one is all memory and no
//! cache. While the reader keeps up, only the small one is used. When that is full everything goes into the large one,
//! until the reader has emptied it: every entry of the small lane is older than any of the large one.
//!
//! # Bytes
//!
//! Numbers are little endian (words of eight bytes: in the order of the machine); sizes are bytes.
//!
//! ```text
//!    0  "TGRING1\n" │ version u32 = 1 │ crc32c u32 of bytes 16..1024
//!   16  boot u64 (Unix ms) │ pid u32 │ core u16 │ length of the name u16
//!   32  size of the small lane u64 │ of the large lane u64: powers of two │ slots u32 = 1024 │ size of a slot u32 = 256
//!   64  name of the proxy
//! 1024  of the core:    write position of the small lane u64 │ of the large lane u64
//! 1040                  last number that found no room u64 │ exchanges under way without a slot u64
//! 1152  of the reader:  read position of the small lane u64 │ of the large lane u64
//! 1168                  numbers up to this one are accounted for u64 │ when it was last here i64 (Unix µs)
//! 1184                  the core of the control stream u64 │ its last number in the spool u64, 0 when there is none
//! 1200                  1 when the log was closed in order u64
//! 1208                  numbers behind those accounted for, up to this one, were left out by sampling u64
//! 4096  the in-flight table: see [`super::flight`]
//!       the small lane, then the large lane, then the end of the file
//! ```
//!
//! A position counts the bytes that ever went in or came out of a lane; it stands at `position % size` in it. Between the
//! read and the write position stand entries, each at a multiple of eight, going on at the lane's beginning where its end
//! cuts them:
//!
//! ```text
//! checksum u32 │ length u32 │ position / 8, its low u32 │ the record in its binary form │ up to 7 bytes of anything
//! ```
//!
//! The checksum is of the whole entry, up to its multiple of eight and with zero in its own place, as words of eight bytes:
//! word `n` is added to sum `n % 4` (modulo 2^64); the low and the high half of `s0 + 3·s1 + 5·s2 + 7·s3`, exclusive-ored.
//! It is there for pages that a power cut has torn, so it has to be quick and not strong: a CRC of a record costs more than
//! half of its encoding.
//!
//! The write position is stored last, with release: an entry is there as a whole or not at all. Checksum and position tell
//! what a power cut has left of a page from what belongs there.
//!
//! The reader hands out entries ([`Reader::drain`]) and gives their room back only when they are safe elsewhere
//! ([`Reader::commit`]). Who dies in between finds them again: twice, never not at all.

mod directory;
mod harm;
mod layout;
mod mapped;
mod recover;
#[cfg(test)]
mod tests;
mod tiers;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use self::directory::{Directory, DirectoryError};
pub use self::harm::Harm;
pub(super) use self::harm::forget_others;
pub(super) use self::layout::{FLIGHT_AT, Identity, SLOT_WORDS, SLOTS, Word, number};
pub(super) use self::mapped::{Mapped, SlotWords};
pub use self::recover::{Item, Recovered, has_unfound, recover};

use self::layout::Layout;
use self::mapped::{Head, Tail};
use self::tiers::{ALIGN, Heads, PREFIX, Tails};
use crate::record::binary;

/// Longest entry.
const LONGEST: usize = binary::MAX_LEN;

/// A ring of `bytes`, including up to nineteen per entry, in a file of `directory` or, without one that can be written,
/// in memory.
///
/// # Errors
/// The system has no memory for it.
pub(super) fn ring(
    directory: Option<&Directory>,
    identity: &Identity,
    bytes: usize,
) -> std::io::Result<(Writer, Reader)> {
    let layout = Layout::of(bytes);
    if let Some(directory) = directory {
        match directory.map(identity, &layout) {
            Ok((mapped, path)) => return Ok(ends(mapped, &layout, Some(path))),
            Err(error) => {
                let core = identity.core;
                tracing::warn!(%error, core, "the log has no room on disk: what it holds dies with the process");
            }
        }
    }
    Ok(ends(Mapped::new(None, &layout)?, &layout, None))
}

fn ends(mapped: Mapped, layout: &Layout, file: Option<PathBuf>) -> (Writer, Reader) {
    let (mapped, [small, large]) = mapped.split(layout);
    let tails = Tails { small: small.0, large: large.0, is_small_full: false };
    let heads = Heads { small: small.1, large: large.1, straddling: Vec::new() };
    let writer = Writer { tails, entry: Box::default(), mapped: Arc::clone(&mapped) };
    (writer, Reader { heads, mapped, file })
}

/// The core's end.
#[derive(Debug)]
pub(super) struct Writer {
    tails: Tails<Tail>,
    /// Reused for each entry.
    entry: Box<Entry>,
    mapped: Arc<Mapped>,
}

/// An entry in the making. Memory of constant size, so that what writes it knows its place when it is compiled.
#[derive(Debug)]
struct Entry([u8; PREFIX + LONGEST]);

impl Default for Entry {
    fn default() -> Self {
        Self([0; PREFIX + LONGEST])
    }
}

/// The ring has no room for the entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Writer {
    /// Adds the entry that `write` puts into the memory it is given; it returns the entry's length.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut [u8; LONGEST]) -> usize) -> Result<(), Full> {
        let room = self.entry.0[PREFIX..].first_chunk_mut().ok_or(Full)?;
        let length = write(room);
        // What stands behind the entry up to the next one does not matter.
        let entry = self.entry.0.get_mut(..(PREFIX + length).next_multiple_of(ALIGN)).ok_or(Full)?;
        match self.tails.push(entry, |entry, position| seal(entry, length, position)) {
            true => Ok(()),
            false => Err(Full),
        }
    }

    /// Bytes ever put in: less after no push than before it, more after each.
    pub(super) fn position(&self) -> u64 {
        self.tails.position()
    }

    /// The record with this number found no room.
    pub(super) fn refuse(&self, seq: u64) {
        // Release: whoever sees this number also sees all entries before it.
        self.mapped.word(Word::Refused).store(seq, Ordering::Release);
    }

    pub(super) fn mapped(&self) -> &Arc<Mapped> {
        &self.mapped
    }
}

/// Writes what stands in front of the `length` bytes of an entry.
#[inline]
fn seal(entry: &mut [u8], length: usize, position: u64) {
    let Some(prefix) = entry.first_chunk_mut::<PREFIX>() else { return };
    // An entry is never longer than LONGEST.
    prefix[..8].copy_from_slice(&((length as u64) << 32).to_le_bytes());
    prefix[8..].copy_from_slice(&tag(position).to_le_bytes());
    let checksum = checksum(entry);
    entry[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// See the module. `entry` is of whole words, its own checksum is zero.
#[inline]
fn checksum(entry: &[u8]) -> u32 {
    let (fours, rest) = entry.as_chunks::<32>();
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let mut sums = [0_u64; 4];
    for four in fours {
        // Four sums side by side, for vectors.
        for (sum, bytes) in sums.iter_mut().zip(four.as_chunks().0) {
            *sum = sum.wrapping_add(word(bytes));
        }
    }
    for (sum, bytes) in sums.iter_mut().zip(rest.as_chunks().0) {
        *sum = sum.wrapping_add(word(bytes));
    }
    let sum = (1..).step_by(2).zip(sums).fold(0_u64, |all, (by, sum)| all.wrapping_add(sum.wrapping_mul(by)));
    sum as u32 ^ (sum >> 32) as u32
}

/// What an entry says of its place.
fn tag(position: u64) -> u32 {
    (position / ALIGN as u64) as u32
}

/// The collector's end.
#[derive(Debug)]
pub(super) struct Reader {
    heads: Heads<Head>,
    mapped: Arc<Mapped>,
    file: Option<PathBuf>,
}

impl Reader {
    /// Hands out entries in order, until about `limit` bytes are read. Tells whether everything that stood in the ring
    /// was read. Their room stays taken until [`commit`](Self::commit).
    pub(super) fn drain(&mut self, limit: usize, each: impl FnMut(&[u8])) -> bool {
        self.heads.drain(limit, each)
    }

    /// Everything that was drained is safe elsewhere, but for numbers from behind `accounted` up to `left_out` (0: there are
    /// none): sampling left these out, and whoever finds the ring has to say so. `now_us`: microseconds since the Unix epoch.
    pub(super) fn commit(&mut self, (accounted, left_out): (u64, u64), now_us: i64) {
        self.mapped.word(Word::Accounted).store(accounted, Ordering::Relaxed);
        self.mapped.word(Word::LeftOut).store(left_out, Ordering::Relaxed);
        self.mapped.word(Word::Seen).store(now_us.unsigned_abs(), Ordering::Relaxed);
        self.heads.commit();
    }

    /// The stream that no core writes has got so far into the spool. No ring holds it, so each of them knows its end.
    pub(super) fn note_control(&self, core: u16, last: u64) {
        self.mapped.word(Word::ControlCore).store(core.into(), Ordering::Relaxed);
        self.mapped.word(Word::ControlLast).store(last, Ordering::Release);
    }

    /// The log ends in order: its last record is in the spool. The ring stays until the disk has that.
    pub(super) fn close(&self) {
        self.mapped.word(Word::Closed).store(1, Ordering::Release);
    }

    /// Whether nothing waits to be drained.
    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The last number that found no room; all that came before it can be drained.
    pub(super) fn refused(&self) -> u64 {
        self.mapped.word(Word::Refused).load(Ordering::Acquire)
    }

    pub(super) fn mapped(&self) -> &Arc<Mapped> {
        &self.mapped
    }

    /// Whether it outlives the process.
    pub(super) fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// The orderly end: nobody writes any more. Leaves no file behind when nothing is left in it.
    pub(super) fn finish(&mut self) {
        let has_open = super::flight::open(&self.mapped).next().is_some();
        if let Some(path) = self.file.take()
            && self.is_empty()
            && !has_open
        {
            let _ = std::fs::remove_file(path);
        }
    }
}
