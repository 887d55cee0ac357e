//! [`HeadTracker`]: keeps the raw bytes of each HTTP/1 head, so that strictness does not depend on the parser.
//!
//! hyper parses; this only knows where heads begin: where the connection begins, after a head without a body, after
//! `Content-Length` bytes, and where [`Chunks`] sees the end of a chunked body. Where hyper finds a head at another
//! place, the two read the same bytes in different ways, and the request is refused.

use bytes::BytesMut;

use crate::http::chunks::Chunks;
use crate::http::headers::{self, Fault, RawFacts, Refusal};

/// Where the next byte from the client belongs.
#[derive(Clone, Debug, Default)]
enum Place {
    #[default]
    Head,
    Body {
        left: u64,
    },
    Chunked(Chunks),
    Tunnel,
}

/// What the raw bytes of a head say.
#[derive(Debug)]
pub enum Raw {
    Checked(RawFacts),
    Refused(Refusal),
}

const IN_DOUBT: Refusal =
    Refusal { fault: Fault::BadRequest, detail: "head behind a body whose end is in doubt" };

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
    /// What is in the buffer came with more than one read.
    is_piecemeal: bool,
    /// A chunked body was announced and not read to its end by its reader.
    is_in_chunked: bool,
}

impl HeadTracker {
    /// Bytes came from the client. Returns whether a new head has begun with them.
    ///
    /// # Errors
    /// They break the framing of the body that they belong to.
    pub fn on_read(&mut self, mut bytes: &[u8]) -> Result<bool, Refusal> {
        match &mut self.place {
            Place::Body { left } => {
                let taken = (*left).min(bytes.len() as u64);
                *left -= taken;
                bytes = &bytes[taken as usize..];
                if *left == 0 {
                    self.place = Place::Head;
                }
            }
            Place::Chunked(chunks) => {
                bytes = &bytes[chunks.on_read(bytes)?..];
                if chunks.is_done() {
                    self.place = Place::Head;
                }
            }
            Place::Head | Place::Tunnel => {}
        }
        if !matches!(self.place, Place::Head) || bytes.is_empty() {
            return Ok(false);
        }
        let begins = self.buffer.is_empty();
        self.is_piecemeal = !begins;
        self.buffer.extend_from_slice(bytes);
        Ok(begins)
    }

    /// Whether the head was whole with its first byte.
    pub fn came_at_once(&self) -> bool {
        !self.is_piecemeal
    }

    /// The parser has found a whole head: checks its raw bytes and what came with them of its body, and moves on.
    pub fn take_head(&mut self, length: Length) -> (Raw, usize) {
        let end = match self.place {
            Place::Head => headers::find_head_end(&self.buffer, 0),
            _ => None,
        };
        let Some(end) = end else {
            self.buffer.clear();
            return (Raw::Refused(IN_DOUBT), 0);
        };
        let raw = headers::check_raw_head(&self.buffer[..end]);
        self.skip(end);
        let followed = self.follow(length);
        match followed.and(raw) {
            Ok(facts) => (Raw::Checked(facts), end),
            Err(refusal) => (Raw::Refused(refusal), end),
        }
    }

    fn skip(&mut self, count: usize) {
        if count >= self.buffer.len() {
            self.buffer.clear();
        } else {
            let rest = self.buffer.split_off(count);
            self.buffer = rest;
        }
    }

    fn follow(&mut self, length: Length) -> Result<(), Refusal> {
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
                self.is_in_chunked = true;
                let mut chunks = Chunks::default();
                let here = chunks.on_read(&self.buffer)?;
                self.skip(here);
                if !chunks.is_done() {
                    self.place = Place::Chunked(chunks);
                }
            }
        }
        Ok(())
    }

    /// The chunked body was read to its end.
    pub fn body_done(&mut self) {
        self.is_in_chunked = false;
    }

    /// Whether a chunked body has not been read to its end yet.
    pub fn is_in_chunked(&self) -> bool {
        self.is_in_chunked
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

    /// Whether the next head begins where the parser takes it to begin: with `unread`, which it has not used yet.
    pub fn agrees_on(&self, unread: &[u8]) -> bool {
        matches!(self.place, Place::Head) && self.buffer == unread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\n\r\n";

    fn read(parts: &[&[u8]]) -> HeadTracker {
        let mut tracker = HeadTracker::default();
        for part in parts {
            tracker.on_read(part).unwrap();
        }
        tracker
    }

    #[test]
    fn agrees_on_the_next_head_when_all_was_used() {
        let mut tracker = read(&[HEAD]);
        tracker.take_head(Length::Exact(4));
        tracker.on_read(b"body").unwrap();
        assert!(tracker.agrees_on(b""));
    }

    #[test]
    fn agrees_on_what_has_come_of_the_next_head() {
        let mut tracker = read(&[HEAD, b"GE"]);
        tracker.take_head(Length::Exact(0));
        assert!(tracker.agrees_on(b"GE"));
        assert!(!tracker.agrees_on(b""), "the parser has used bytes that belong to no request");
    }

    #[test]
    fn does_not_agree_within_a_body() {
        for length in [Length::Exact(4), Length::Chunked] {
            let mut tracker = read(&[HEAD]);
            tracker.take_head(length);
            assert!(!tracker.agrees_on(b""));
        }
    }
}
