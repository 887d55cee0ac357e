//! The write-ahead log's blocks: what senders handed over, as it came, with the time and the address it came from.
//!
//! A file `wal/000017.tgw` is a row of blocks; all numbers little endian:
//!
//! ```text
//! offset size
//!  0     4  "TGB1"
//!  4     1  kind: 1 one frame (`record::frame`), 2 JSON objects, one per line
//!  5     1  0
//!  6     2  length of the sender's address
//!  8     8  time of receipt, microseconds since the Unix epoch
//! 16     4  length of the payload
//! 20     4  CRC-32C of bytes 0–19 and of everything behind this field
//! 24        the sender's address (UTF-8), the payload
//! ```
//!
//! A block is written whole before its sender is answered, so what a crash leaves half written was never acknowledged.
//! Reading trusts nothing: after damage it goes on at the next block whose checksum is right.

use crc_fast::{CrcAlgorithm, Digest};

use crate::record::frame;

const MAGIC: [u8; 4] = *b"TGB1";
const HEAD: usize = 24;
const CRC_AT: usize = 20;
/// Longest sender's address.
const MAX_FROM: usize = 255;
/// Longest payload: a frame, or the objects of one body.
pub(super) const MAX_PAYLOAD: usize = if frame::MAX_LEN > 64 << 20 { frame::MAX_LEN } else { 64 << 20 };

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Frame = 1,
    Lines = 2,
}

/// One block whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block<'a> {
    pub(super) kind: Kind,
    pub(super) from: &'a str,
    /// Microseconds since the Unix epoch.
    pub(super) recv: i64,
    pub(super) payload: &'a [u8],
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A block and its whole length.
    Block(Block<'a>, usize),
    /// The bytes end before the block that seems to begin here does; it needs at least so many.
    Short(usize),
    Damaged,
}

/// Appends one block. Addresses are cut at 255 bytes, which none of ours has.
pub(super) fn write(out: &mut Vec<u8>, block: &Block<'_>) {
    let from = &block.from[..block.from.floor_char_boundary(MAX_FROM)];
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[block.kind as u8, 0]);
    out.extend_from_slice(&(from.len() as u16).to_le_bytes());
    out.extend_from_slice(&block.recv.to_le_bytes());
    // Payloads are bounded by the doors, far below 4 GiB.
    out.extend_from_slice(&(block.payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(from.as_bytes());
    out.extend_from_slice(block.payload);
    let crc = crc(&out[start..start + CRC_AT], &out[start + HEAD..]);
    out[start + CRC_AT..start + HEAD].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the block at the beginning of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Found<'_> {
    let seen = bytes.len().min(MAGIC.len());
    if bytes[..seen] != MAGIC[..seen] {
        return Found::Damaged;
    }
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Found::Short(HEAD) };
    let from_len = usize::from(u16::from_le_bytes([head[6], head[7]]));
    let payload_len = u32_at(head, 16) as usize;
    let kind = match head[4] {
        1 => Kind::Frame,
        2 => Kind::Lines,
        _ => return Found::Damaged,
    };
    if from_len > MAX_FROM || payload_len > MAX_PAYLOAD {
        return Found::Damaged;
    }
    let length = HEAD + from_len + payload_len;
    let Some(rest) = rest.get(..length - HEAD) else { return Found::Short(length) };
    if crc(&head[..CRC_AT], rest) != u32_at(head, CRC_AT) {
        return Found::Damaged;
    }
    let (from, payload) = rest.split_at(from_len);
    let Ok(from) = std::str::from_utf8(from) else { return Found::Damaged };
    let recv = i64::from(u32_at(head, 12)) << 32 | i64::from(u32_at(head, 8));
    Found::Block(Block { kind, from, recv, payload }, length)
}

/// Where the next good block begins, after the damaged one at the beginning of `bytes`.
pub(super) fn find_next(bytes: &[u8]) -> Option<usize> {
    let places = memchr::memmem::find_iter(bytes.get(1..)?, &MAGIC).map(|at| at + 1);
    places.into_iter().find(|at| matches!(read(&bytes[*at..]), Found::Block(..)))
}

fn crc(head: &[u8], rest: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(head);
    digest.update(rest);
    // A CRC-32 is 32 bits wide; the crate returns all widths as u64.
    digest.finalize() as u32
}

fn u32_at(head: &[u8; HEAD], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, &Block { kind: Kind::Lines, from: "unix:7", recv: -5, payload });
        out
    }

    proptest! {
        #[test]
        fn a_block_comes_back_and_nothing_cut_or_changed_does(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<proptest::sample::Index>(),
            bit in 0u8..8,
        ) {
            let bytes = block(&payload);
            let expected = Block { kind: Kind::Lines, from: "unix:7", recv: -5, payload: &payload };
            prop_assert_eq!(read(&bytes), Found::Block(expected, bytes.len()));
            let at = at.index(bytes.len());
            prop_assert!(matches!(read(&bytes[..at]), Found::Short(_)));
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            prop_assert!(!matches!(read(&bad), Found::Block(..)));
        }

        #[test]
        fn any_bytes_are_read_without_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if bytes.len() > 5 {
                bytes[..5].copy_from_slice(b"TGB1\x02");
            }
            let _ = (read(&bytes).eq(&Found::Damaged), find_next(&bytes));
        }
    }

    #[test]
    fn reading_goes_on_behind_damage() {
        let mut bytes = [block(b"{}\n"), block(b"{\"a\":1}\n"), block(b"x")].concat();
        bytes[30] ^= 1;
        let second = block(b"{}\n").len();
        assert_eq!(find_next(&bytes), Some(second));
        assert_eq!(find_next(&bytes[second..]), Some(block(b"{\"a\":1}\n").len()));
        assert_eq!(find_next(&block(b"TGB1")), None);
    }
}
