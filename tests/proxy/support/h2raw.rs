//! HTTP/2 by frames: enough to send what no library would, with literal header fields only (RFC 9113, RFC 7541).

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::client::{Stream, is_timeout, tcp, tls};
use super::{DEADLINE, certs};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITY_FLAG: u8 = 0x20;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Name and value of a field, as bytes, so that anything can be sent.
pub(crate) type Field<'a> = (&'a [u8], &'a [u8]);

#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Answer(u16, Vec<u8>),
    Reset(u32),
    GoAway(u32),
    Closed,
    Silence,
}

pub(crate) struct H2 {
    stream: Box<dyn Stream>,
    arrived: Vec<u8>,
    next_stream: u32,
}

impl H2 {
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self::start(Box::new(tcp(address)))
    }

    #[track_caller]
    pub(crate) fn tls(address: SocketAddr, name: &str) -> Self {
        let stream = tls(address, name, &certs::client(&["h2"])).expect("a TLS handshake");
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]), "h2 was not negotiated");
        Self::start(Box::new(stream))
    }

    /// Preface and settings. A header table of size 0 keeps the answers' field blocks simple to read.
    fn start(stream: Box<dyn Stream>) -> Self {
        let mut h2 = Self { stream, arrived: Vec::new(), next_stream: 1 };
        let mut bytes = PREFACE.to_vec();
        put_frame(&mut bytes, SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
        h2.write(&bytes);
        h2
    }

    /// Writes bytes; false when the peer no longer takes them.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, kind, flags, stream, payload);
        self.write(&bytes)
    }

    /// The next free stream id.
    pub(crate) fn open(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream - 2
    }

    /// Sends a field block on a new stream; gives its id.
    pub(crate) fn request(&mut self, fields: &[Field<'_>], end: bool) -> u32 {
        let stream = self.open();
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &block(fields));
        stream
    }

    /// A simple GET for `path` on a new stream.
    pub(crate) fn get(&mut self, path: &str) -> u32 {
        self.request(&simple("GET", path), true)
    }

    /// Reads the next frame; `None` when the peer closed. Settings and pings are acknowledged on the way.
    pub(crate) fn next(&mut self, time: Duration) -> io::Result<Option<Frame>> {
        let end = Instant::now() + time;
        loop {
            if let Some(frame) = self.cut_frame() {
                if frame.flags & ACK == 0 {
                    match frame.kind {
                        SETTINGS => self.frame(SETTINGS, ACK, 0, &[]),
                        PING => self.frame(PING, ACK, 0, &frame.payload),
                        _ => true,
                    };
                }
                return Ok(Some(frame));
            }
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.socket().set_read_timeout(Some(left))?;
            let mut piece = [0; 32 * 1024];
            let n = self.stream.read(&mut piece)?;
            if n == 0 {
                return Ok(None);
            }
            self.arrived.extend_from_slice(&piece[..n]);
        }
    }

    fn cut_frame(&mut self) -> Option<Frame> {
        let head = self.arrived.get(..9)?;
        let size = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let payload = self.arrived.get(9..9 + size)?.to_vec();
        self.arrived.drain(..9 + size);
        Some(Frame { kind, flags, stream, payload })
    }

    /// Waits for the end of `stream` (or of the connection).
    pub(crate) fn ending(&mut self, stream: u32) -> Ending {
        self.ending_within(stream, DEADLINE)
    }

    pub(crate) fn ending_within(&mut self, stream: u32, time: Duration) -> Ending {
        let end = Instant::now() + time;
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let frame = match self.next(end.saturating_duration_since(Instant::now())) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ending::Closed,
                Err(error) if is_timeout(&error) => return Ending::Silence,
                Err(_) => return Ending::Closed,
            };
            match frame.kind {
                GOAWAY => return Ending::GoAway(code(&frame.payload[4..])),
                RST_STREAM if frame.stream == stream && status == 0 => {
                    return Ending::Reset(code(&frame.payload));
                }
                RST_STREAM if frame.stream == stream => return Ending::Answer(status, body),
                HEADERS if frame.stream == stream => status = status_of(&frame.payload).unwrap_or(status),
                DATA if frame.stream == stream => body.extend_from_slice(&frame.payload),
                _ => continue,
            }
            let ends = frame.stream == stream
                && matches!(frame.kind, HEADERS | DATA)
                && frame.flags & END_STREAM != 0;
            if ends && status >= 200 {
                return Ending::Answer(status, body);
            }
        }
    }

    /// Whether the peer ends the connection within `time` (GOAWAY, close or reset).
    pub(crate) fn ends_within(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end {
            match self.next(end.saturating_duration_since(Instant::now())) {
                Ok(Some(frame)) if frame.kind == GOAWAY => return true,
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(error) => return !is_timeout(&error),
            }
        }
        false
    }
}

fn code(payload: &[u8]) -> u32 {
    payload.get(..4).map_or(u32::MAX, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

pub(crate) fn put_frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    bytes.extend_from_slice(&size[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// The fields of a plain request to the site `localhost`.
pub(crate) fn simple<'a>(method: &'a str, path: &'a str) -> Vec<Field<'a>> {
    vec![
        (b":method", method.as_bytes()),
        (b":scheme", b"http"),
        (b":authority", b"localhost"),
        (b":path", path.as_bytes()),
    ]
}

/// Literal fields without indexing and without Huffman coding.
pub(crate) fn block(fields: &[Field<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        put_text(&mut bytes, name);
        put_text(&mut bytes, value);
    }
    bytes
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    put_integer(bytes, 7, 0, text.len());
    bytes.extend_from_slice(text);
}

pub(crate) fn put_integer(bytes: &mut Vec<u8>, bits: u8, high: u8, value: usize) {
    let limit = (1 << bits) - 1;
    if value < limit {
        bytes.push(high | u8::try_from(value).unwrap());
        return;
    }
    bytes.push(high | u8::try_from(limit).unwrap());
    let mut rest = value - limit;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// The status of an answer, which is always its first field.
fn status_of(block: &[u8]) -> Option<u16> {
    let mut at = 0;
    while block.get(at)? & 0xe0 == 0x20 {
        at += if block[at] & 0x1f == 0x1f { 2 } else { 1 };
    }
    match block[at] {
        indexed @ 0x88..=0x8e => Some([200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]),
        first => {
            let name = if first & 0x40 != 0 { first & 0x3f } else { first & 0x0f };
            let size = block.get(at + 1)?;
            let text = block.get(at + 2..at + 2 + usize::from(size & 0x7f))?;
            let name_is_status = (8..=14).contains(&name);
            name_is_status.then(|| digits(text, size & 0x80 != 0))?.parse().ok()
        }
    }
}

/// Three digits, plain or in the Huffman code of RFC 7541 appendix B.
fn digits(text: &[u8], huffman: bool) -> String {
    if !huffman {
        return String::from_utf8_lossy(text).into_owned();
    }
    let bits: String = text.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut at, mut out) = (0, String::new());
    while out.len() < 3 && at + 5 <= bits.len() {
        let short = u8::from_str_radix(&bits[at..at + 5], 2).unwrap();
        if short <= 2 {
            out.push(char::from(b'0' + short));
            at += 5;
        } else {
            let Some(long) = bits.get(at..at + 6).and_then(|b| u8::from_str_radix(b, 2).ok()) else { break };
            out.push(char::from(b'0' + long.saturating_sub(22).min(9)));
            at += 6;
        }
    }
    out
}

#[test]
fn reads_statuses_in_every_form() {
    assert_eq!(status_of(&[0x88]), Some(200));
    assert_eq!(status_of(&[0x20, 0x8c]), Some(400));
    assert_eq!(status_of(&[0x08, 0x03, b'4', b'2', b'9']), Some(429));
    // 502 in Huffman code: 5 = 011011, 0 = 00000, 2 = 00010, then padding ones.
    assert_eq!(status_of(&[0x48, 0x82, 0b0110_1100, 0b0000_0010]), Some(502));
    // 413: 4 = 011010, 1 = 00001, 3 = 011001, and seven bits of padding.
    assert_eq!(status_of(&[0x08, 0x83, 0b0110_1000, 0b0010_1100, 0b1111_1111]), Some(413));
}
