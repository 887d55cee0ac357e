//! The frames themselves: their headers, sizes and parts (RFC 9113 sections 4 and 6).

use bytes::{BufMut, BytesMut};

pub(super) const HEADER: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITY: u8 = 0x20;

/// Every receiver takes frames of this size (RFC 9113 section 4.2).
pub(super) const SMALLEST_MAX_FRAME: usize = 16_384;

/// Why a connection is ended, with the code for GOAWAY (RFC 9113 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fatal {
    pub code: Code,
    pub why: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Protocol = 1,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    Compression = 9,
    EnhanceYourCalm = 0xb,
}

/// RFC 9113 section 5.1, half-closed (remote) and closed.
pub(super) const ENDED: Fatal =
    Fatal { code: Code::StreamClosed, why: "frame on a stream that its sender had ended" };

/// RFC 9113 section 8.4. The library would wait for the rest of the field block before it says so.
pub(super) const PUSHED: Fatal = Fatal { code: Code::Protocol, why: "a client cannot push" };

impl Fatal {
    pub(super) fn flood(why: &'static str) -> Self {
        Self { code: Code::EnhanceYourCalm, why }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes.first_chunk::<HEADER>()?;
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        Some(Self { length, kind, flags, stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]) })
    }

    pub(super) fn is_last(self) -> bool {
        self.flags & END_HEADERS != 0
    }

    pub(super) fn put(self, out: &mut BytesMut) {
        out.put_slice(&(self.length as u32).to_be_bytes()[1..]);
        out.put_slice(&[self.kind, self.flags]);
        out.put_u32(self.stream);
    }
}

/// The sizes that frames of a kind always have (RFC 9113 section 6).
pub(super) fn check_size(head: Head) -> Result<(), Fatal> {
    const ACK: u8 = 1;
    let is_right = match head.kind {
        2 => head.length == 5,
        RST_STREAM | 8 => head.length == 4,
        SETTINGS if head.flags & ACK != 0 => head.length == 0,
        SETTINGS => head.length.is_multiple_of(6),
        6 => head.length == 8,
        7 => head.length >= 8,
        _ => true,
    };
    let wrong = Fatal { code: Code::FrameSize, why: "frame of a wrong size" };
    if is_right { Ok(()) } else { Err(wrong) }
}

/// SETTINGS_INITIAL_WINDOW_SIZE has a code of its own for what is too large (RFC 9113 section 6.5.2).
pub(super) fn check_settings(payload: &[u8]) -> Result<(), Fatal> {
    let is_window_too_large = |setting: &[u8]| setting.starts_with(&[0, 4]) && setting[2] & 0x80 != 0;
    let wrong = Fatal { code: Code::FlowControl, why: "initial window too large" };
    if payload.chunks_exact(6).any(is_window_too_large) { Err(wrong) } else { Ok(()) }
}

/// Writes a header block as frames of the size that everybody takes, without padding and priority.
pub(super) fn put_block(first: Head, block: &[u8], out: &mut BytesMut) {
    let count = block.len().div_ceil(SMALLEST_MAX_FRAME).max(1);
    for index in 0..count {
        let from = index * SMALLEST_MAX_FRAME;
        let part = &block[from..block.len().min(from + SMALLEST_MAX_FRAME)];
        let kind = if index == 0 { HEADERS } else { CONTINUATION };
        let kept = if index == 0 { first.flags & END_STREAM } else { 0 };
        let last = if index + 1 == count { END_HEADERS } else { 0 };
        Head { length: part.len(), kind, flags: kept | last, stream: first.stream }.put(out);
        out.put_slice(part);
    }
}

/// Whole frames in a row.
pub(super) struct Frames<'b>(pub(super) &'b [u8]);

impl<'b> Iterator for Frames<'b> {
    type Item = (Head, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = Head::of(self.0)?;
        let payload = self.0.get(HEADER..HEADER + head.length)?;
        self.0 = &self.0[HEADER + head.length..];
        Some((head, payload))
    }
}

/// The payload of a HEADERS frame without padding and priority (RFC 9113 section 6.2).
pub(super) struct Opening<'b> {
    pub(super) fragment: &'b [u8],
    pub(super) is_own_parent: bool,
}

impl<'b> Opening<'b> {
    pub(super) fn of(mut payload: &'b [u8], head: Head) -> Option<Self> {
        let mut padding = 0;
        if head.flags & PADDED != 0 {
            padding = usize::from(*payload.split_off_first()?);
        }
        let mut is_own_parent = false;
        if head.flags & PRIORITY != 0 {
            let [a, b, c, d, _] = *payload.split_off(..5)?.first_chunk()?;
            is_own_parent = u32::from_be_bytes([a & 0x7f, b, c, d]) == head.stream;
        }
        let fragment = payload.get(..payload.len().checked_sub(padding)?)?;
        Some(Self { fragment, is_own_parent })
    }
}
