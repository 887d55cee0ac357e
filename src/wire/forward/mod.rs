//! Fluentd's forward protocol (Forward Protocol Specification v1,
//! <https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1>): messages of entries with a tag, in four
//! modes, told apart by their second field:
//!
//! | mode | message |
//! |---|---|
//! | Message | `[tag, time, record, options?]` |
//! | Forward | `[tag, [[time, record], …], options?]` |
//! | PackedForward | `[tag, bytes of entries one after the other, options?]` |
//! | CompressedPackedForward | the same with gzip, or zstd (Fluentd 1.19) |
//!
//! `options` may have `chunk`: the sender then waits for `{"ack": chunk}`. With a shared key, `HELO`, `PING` and `PONG`
//! come first ([`handshake`]).

mod entry;
pub mod handshake;
mod read;
mod write;

pub use read::{Piece, Reader};
pub use write::{Chunk, acked};

/// `{"ack": chunk}`, with the chunk exactly as it came.
pub fn ack(chunk: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(chunk.len() + 8);
    super::msgpack::map(&mut out, 1);
    super::msgpack::string(&mut out, "ack");
    out.extend_from_slice(chunk);
    out
}
