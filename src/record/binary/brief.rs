//! What can be read from the binary form, or changed in it, without decoding it.

use super::{
    END_AT, END_BY, HEAD, KINDS, LimitVerdict, ORIGIN, OUTCOME, SHEDDING_AT, SIZES, TEXT_LENGTHS, TEXTS_AT,
    TIMERS,
};
use crate::record::{EndAt, EndBy, Kind, VERSION};

/// Behind the version and the sequence number.
const ORIGIN_AT: usize = 1 + 8;
const SIZES_AT: usize = ORIGIN_AT + ORIGIN;
const TIMERS_AT: usize = SIZES_AT + SIZES;
const OUTCOME_AT: usize = TIMERS_AT + TIMERS;
const PRESENT_AT: usize = TEXTS_AT + TEXT_LENGTHS;
/// The bit of `reason` among the texts.
const REASON: u32 = 1 << 19;

const _: () = assert!(OUTCOME_AT + OUTCOME + 8 == TEXTS_AT);

/// How an exchange went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub kind: Kind,
    pub status: u16,
    pub dur_us: u64,
    pub tries: u8,
    pub end_by: EndBy,
    pub end_at: EndAt,
    pub is_limited: bool,
    pub has_reason: bool,
}

/// The sequence number and the time of a record; `None` when the bytes cannot be one.
#[inline]
pub fn heading(bytes: &[u8]) -> Option<(u64, i64)> {
    let head = head(bytes)?;
    Some((u64::from_le_bytes(at(head, 1)), i64::from_le_bytes(at(head, ORIGIN_AT + 1))))
}

/// `None` when the bytes cannot be a record.
pub fn outcome(bytes: &[u8]) -> Option<Outcome> {
    let head = head(bytes)?;
    let [_, tries, end_by, end_at, limit] = at(head, OUTCOME_AT);
    Some(Outcome {
        kind: *KINDS.get(usize::from(head[ORIGIN_AT]))?,
        status: u16::from_le_bytes(at(head, SIZES_AT)),
        dur_us: u64::from_le_bytes(at(head, TIMERS_AT)),
        tries,
        end_by: *END_BY.get(usize::from(end_by))?,
        end_at: *END_AT.get(usize::from(end_at))?,
        is_limited: limit == LimitVerdict::Limited as u8,
        has_reason: u32::from_le_bytes(at(head, PRESENT_AT)) & REASON != 0,
    })
}

/// Says that the record stands for `weight` records.
pub fn set_weight(bytes: &mut [u8], weight: u16) {
    if let Some(place) = bytes.get_mut(SHEDDING_AT + 1..HEAD) {
        place.copy_from_slice(&weight.to_le_bytes());
    }
}

#[inline]
fn head(bytes: &[u8]) -> Option<&[u8; HEAD]> {
    bytes.first_chunk().filter(|head| head[0] == VERSION)
}

#[inline]
fn at<const N: usize>(head: &[u8; HEAD], from: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&head[from..from + N]);
    value
}
