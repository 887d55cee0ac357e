//! [`HeadTracker`]: keeps the raw bytes of each HTTP/1 head, so that strictness does not depend on the parser.
//!
//! hyper parses; this only knows where heads begin. A head begins where the connection begins, after a head
//! without a body, after `Content-Length` bytes, and after a chunked body that was read to its end. What follows
//! a chunked body in the same read is not known ([`Raw::Unknown`]); the caller decides what that is worth.

use bytes::BytesMut;

use crate::http::headers::{self, RawFacts, Refusal};

/// Where the next byte from the client belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Head,
    Body {
        left: u64,
    },
    Chunked,
    Tunnel,
}

/// What the raw bytes of a head say.
#[derive(Debug)]
pub enum Raw {
    Checked(RawFacts),
    Refused(Refusal),
    /// The head began inside a read whose start belongs to a chunked body.
    Unknown,
}

/// How long the body behind a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Exact(u64),
    Chunked,
}

#[derive(Debug, Default)]
pub struct HeadTracker {
    place: Place,
    buffer: BytesMut,
}

impl HeadTracker {
    /// Bytes came from the client. Returns whether a new head has begun with them.
    pub fn on_read(&mut self, mut bytes: &[u8]) -> bool {
        if let Place::Body { left } = &mut self.place {
            let taken = (*left).min(bytes.len() as u64);
            *left -= taken;
            bytes = &bytes[taken as usize..];
            if *left == 0 {
                self.place = Place::Head;
            }
        }
        if self.place != Place::Head || bytes.is_empty() {
            return false;
        }
        let begins = self.buffer.is_empty();
        self.buffer.extend_from_slice(bytes);
        begins
    }

    /// The parser has found a whole head: checks its raw bytes and moves on behind it.
    pub fn take_head(&mut self, length: Length) -> (Raw, usize) {
        let end = match self.place {
            Place::Head => headers::find_head_end(&self.buffer, 0),
            _ => None,
        };
        let Some(end) = end else {
            self.buffer.clear();
            self.place = Place::Head;
            self.follow(length);
            return (Raw::Unknown, 0);
        };
        let raw = match headers::check_raw_head(&self.buffer[..end]) {
            Ok(facts) => Raw::Checked(facts),
            Err(refusal) => Raw::Refused(refusal),
        };
        self.skip(end);
        self.follow(length);
        (raw, end)
    }

    fn skip(&mut self, count: usize) {
        if count >= self.buffer.len() {
            self.buffer.clear();
        } else {
            let rest = self.buffer.split_off(count);
            self.buffer = rest;
        }
    }

    fn follow(&mut self, length: Length) {
        match length {
            Length::Exact(0) => {}
            Length::Exact(bytes) => {
                let here = bytes.min(self.buffer.len() as u64);
                self.skip(here as usize);
                if bytes > here {
                    self.place = Place::Body { left: bytes - here };
                }
            }
            Length::Chunked => {
                self.buffer.clear();
                self.place = Place::Chunked;
            }
        }
    }

    /// The chunked body was read to its end.
    pub fn body_done(&mut self) {
        if self.place == Place::Chunked {
            self.place = Place::Head;
        }
    }

    /// Whether the end of a chunked body has not been seen yet.
    pub fn is_in_chunked(&self) -> bool {
        self.place == Place::Chunked
    }

    /// The bytes of a head that is not whole yet (or that the parser refused).
    pub fn partial(&self) -> &[u8] {
        &self.buffer
    }

    /// The connection became a tunnel: nothing more is kept.
    pub fn become_tunnel(&mut self) {
        self.place = Place::Tunnel;
        self.buffer = BytesMut::new();
    }

    /// Gives the memory back; only between exchanges.
    pub fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

}
