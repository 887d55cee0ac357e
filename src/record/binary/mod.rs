//! The compact binary form of a record: what a core writes into its ring.
//!
//! ```text
//! version u8 │ fixed-size fields, little endian, absent ones zero │ a bit per optional field u64
//! │ length u16 of each text │ a bit per present text u32 │ a bit per cut text u32 │ length u16 of all UTF-8 texts
//! │ detail u8 │ weight u16 │ the UTF-8 texts │ the other texts │ the failed attempts
//! ```
//!
//! Everything before the texts has a constant place, so that encoding is a row of plain stores. The texts that are
//! UTF-8 by their type stand together, so that they are checked at once. Texts longer than their limit are cut and
//! marked in [`Cut`]: a record never exceeds [`MAX_LEN`]. Decoding trusts nothing.

mod brief;
mod decode;
mod encode;
#[cfg(test)]
pub(crate) mod tests;

pub use self::brief::{Outcome, heading, outcome, set_weight};
pub use self::decode::{BinaryError, Decoded, Tries, decode, decode_into};
pub use self::encode::{encode, encode_into};

use super::{EndAt, EndBy, Kind, LimitVerdict, Proto};

/// Longest record in bytes.
pub const MAX_LEN: usize = 16 * 1024;

/// Most failed attempts that are kept per record.
pub const MAX_TRIES: usize = 8;

const LONGEST_TRY_TEXT: usize = 128;
/// Bytes of the fixed-size fields: the sequence number, and what `put_origin` to `put_outcome` write.
const FIXED: usize = 8 + ORIGIN + SIZES + TIMERS + OUTCOME;
const ORIGIN: usize = 119;
const SIZES: usize = 52;
const TIMERS: usize = 72;
const OUTCOME: usize = 27;
const TEXTS: usize = TEXT_NAMES.len();
const TEXT_LENGTHS: usize = TEXTS * 2;
/// Where the lengths of the texts stand.
const TEXTS_AT: usize = 1 + FIXED + 8;
/// Behind the twelve bytes that a ring puts in front of an entry, the texts stand aligned: checking them for UTF-8 takes
/// whole words from the beginning.
const HEAD: usize = SHEDDING_AT + 3;
/// Where stands what the collector left out: the detail and the weight, both 0 in a record as its core wrote it.
const SHEDDING_AT: usize = TEXTS_AT + TEXT_LENGTHS + 4 + 4 + 2;

/// The texts in the order of the binary form, with the most bytes that are kept of each.
const TEXT_NAMES: [(&str, usize); 28] = [
    ("listener", 255),
    ("rid", 128),
    ("rid_in", 128),
    ("method", 32),
    ("scheme", 16),
    ("host", 255),
    ("path", 4096),
    ("query", 2048),
    ("site", 255),
    ("route", 512),
    ("referer", 1024),
    ("ua", 512),
    ("req_type", 128),
    ("resp_type", 128),
    ("enc", 32),
    ("upstream", 128),
    ("up_addr", 128),
    ("worker", 64),
    ("pick", 32),
    ("reason", 64),
    ("cause", 512),
    ("err", 200),
    ("rl_rule", 128),
    ("tls_ver", 16),
    ("tls_cipher", 64),
    ("tls_group", 64),
    ("tls_alpn", 32),
    ("tls_sni", 255),
];
const CUT_TRIES: u32 = 1 << TEXTS;

const KINDS: [Kind; 8] =
    [Kind::Request, Kind::Open, Kind::Close, Kind::Conn, Kind::Gap, Kind::Start, Kind::Stop, Kind::Reload];
const PROTOS: [Proto; 3] = [Proto::Http10, Proto::Http11, Proto::Http2];
const VERDICTS: [LimitVerdict; 3] = [LimitVerdict::Ok, LimitVerdict::Limited, LimitVerdict::DryRun];
const END_BY: [EndBy; 6] =
    [EndBy::None, EndBy::Client, EndBy::Upstream, EndBy::Proxy, EndBy::Rule, EndBy::Admin];
const END_AT: [EndAt; 13] = [
    EndAt::Tls,
    EndAt::Head,
    EndAt::Body,
    EndAt::Policy,
    EndAt::Queue,
    EndAt::Dns,
    EndAt::Connect,
    EndAt::Uptls,
    EndAt::Send,
    EndAt::Wait,
    EndAt::Resp,
    EndAt::Tunnel,
    EndAt::Done,
];

/// Which texts of a record were longer than their limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut(pub(super) u32);

impl Cut {
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Names of the fields, as in the JSON form.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let texts = TEXT_NAMES.iter().enumerate().filter(move |(bit, _)| self.0 & 1 << bit != 0);
        texts.map(|(_, (name, _))| *name).chain((self.0 & CUT_TRIES != 0).then_some("try_log"))
    }
}
