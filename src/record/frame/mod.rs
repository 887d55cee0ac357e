//! [`Frame`]: records of one stream as they stand in the spool, travel to the log service, and wait in its write-ahead log.
//!
//! ```text
//! offset size  (all numbers little endian)
//!  0     4  "TGF1"
//!  4     1  version: 1
//!  5     1  codec of the payload: 0 raw, 1 LZ4 block (lz4 block format, without its length)
//!  6     2  length of the proxy's name
//!  8     8  boot: start of the process, milliseconds since the Unix epoch
//! 16     2  core
//! 18     2  0
//! 20     4  number of entries
//! 24     8  first sequence number, 0 when no entry has one
//! 32     8  last sequence number; all between are here
//! 40     8  earliest time of an entry, microseconds since the Unix epoch
//! 48     8  latest
//! 56     4  length of the payload before compression
//! 60     4  length of the payload as it stands here
//! 64     4  CRC-32C of bytes 0–63 and of everything behind this field
//! 68        the proxy's name (UTF-8), the payload
//! ```
//!
//! The payload is a row of entries: `length u32 │ form u8 │ bytes`; form 1 is a record ([`super::binary`]), form 2 a
//! JSON object (process events, lines of workers, gaps). The length counts the bytes only.
//!
//! One frame holds one stream, `(proxy, boot, core)`, and its numbered entries follow each other without a hole: so
//! `[first, last]` says exactly which numbers it carries. Frames need nothing around them: a reader that lost its place
//! looks for the next magic with a right checksum ([`find`]). Reading trusts nothing.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use self::read::{Entries, Entry, Frame, FrameError, find, length_of};
pub use self::write::Builder;

/// Bytes in front of the proxy's name.
pub const HEAD: usize = 68;
/// Longest payload before compression. A frame is closed long before; one JSON entry may be large.
pub const MAX_PAYLOAD: usize = 4 << 20;
/// Longest name of a proxy.
pub const MAX_PROXY: usize = 255;
/// Longest frame.
pub const MAX_LEN: usize = HEAD + MAX_PROXY + MAX_PAYLOAD + MAX_PAYLOAD / 128 + 64;

const MAGIC: [u8; 4] = *b"TGF1";
const VERSION: u8 = 1;
const CRC_AT: usize = 64;
/// Length and form of an entry.
const PREFIX: usize = 5;

/// Whose records a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream<'a> {
    /// Name of the instance.
    pub proxy: &'a str,
    /// Start of the process, milliseconds since the Unix epoch.
    pub boot: u64,
    pub core: u16,
}

/// How a payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    Raw = 0,
    Lz4 = 1,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    /// [`super::binary`].
    Record = 1,
    /// One JSON object.
    Json = 2,
}

/// CRC-32C (RFC 3720 appendix B.4) of a frame without the field that holds it.
fn crc(head: &[u8], rest: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(head);
    digest.update(rest);
    digest.finalize() as u32
}
