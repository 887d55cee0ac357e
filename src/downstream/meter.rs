//! [`FrameMeter`]: counts HTTP/2 frames by kind as they arrive and says when a client floods.
//!
//! It reads only the nine bytes of each frame header (RFC 9113 section 4.1); the HTTP/2 library does the rest.
//! Bounds are per window of one second, with a burst for the first one, after the defaults of other proxies: what a
//! browser or a load generator sends stays an order of magnitude below.

use std::time::Instant;

const PREFACE: usize = 24;
const HEADER: usize = 9;

/// Frames of one kind allowed per second: PRIORITY, RST_STREAM, SETTINGS, PING, empty DATA,
/// CONTINUATION, WINDOW_UPDATE.
const BOUNDS: [u32; Kind::COUNT] = [200, 400, 50, 100, 200, 50, 100_000];

#[derive(Clone, Copy)]
enum Kind {
    Priority,
    Reset,
    Settings,
    Ping,
    EmptyData,
    Continuation,
    WindowUpdate,
}

impl Kind {
    const COUNT: usize = 7;

    fn of(header: &[u8; HEADER], length: u32) -> Option<Self> {
        const END_STREAM: u8 = 1;
        match header[3] {
            0 if length == 0 && header[4] & END_STREAM == 0 => Some(Self::EmptyData),
            2 => Some(Self::Priority),
            3 => Some(Self::Reset),
            4 => Some(Self::Settings),
            6 => Some(Self::Ping),
            8 => Some(Self::WindowUpdate),
            9 => Some(Self::Continuation),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Priority => "PRIORITY flood",
            Self::Reset => "RST_STREAM flood",
            Self::Settings => "SETTINGS flood",
            Self::Ping => "PING flood",
            Self::EmptyData => "empty DATA flood",
            Self::Continuation => "CONTINUATION flood",
            Self::WindowUpdate => "WINDOW_UPDATE flood",
        }
    }
}

/// Frame counts of one connection in the current second.
#[derive(Debug, Default)]
pub struct FrameMeter {
    preface: usize,
    header: [u8; HEADER],
    have: usize,
    payload_left: u32,
    counts: [u32; Kind::COUNT],
    window: Option<Instant>,
    last_stream: u32,
}

impl FrameMeter {
    /// Bytes came from the client; `Some` names the flood.
    pub fn on_read(&mut self, mut bytes: &[u8], now: Instant) -> Option<&'static str> {
        let skipped = (PREFACE - self.preface).min(bytes.len());
        self.preface += skipped;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let taken = (self.payload_left as usize).min(bytes.len());
                self.payload_left -= taken as u32;
                bytes = &bytes[taken..];
                continue;
            }
            let taken = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER
                && let Some(flood) = self.on_frame(now)
            {
                return Some(flood);
            }
        }
        None
    }

    fn on_frame(&mut self, now: Instant) -> Option<&'static str> {
        self.have = 0;
        let length = u32::from_be_bytes([0, self.header[0], self.header[1], self.header[2]]);
        self.payload_left = length;
        if self.header[3] == 1 {
            let [.., a, b, c, d] = self.header;
            self.last_stream = u32::from_be_bytes([a & 0x7f, b, c, d]);
        }
        let kind = Kind::of(&self.header, length)?;
        if self.window.is_none_or(|since| now.duration_since(since).as_millis() >= 1_000) {
            self.window = Some(now);
            self.counts = [0; Kind::COUNT];
        }
        let count = &mut self.counts[kind as usize];
        *count += 1;
        (*count > BOUNDS[kind as usize]).then(|| kind.name())
    }

    /// A GOAWAY frame with ENHANCE_YOUR_CALM (RFC 9113 sections 6.8 and 7) for the last stream seen.
    pub fn goaway(&self) -> [u8; 17] {
        let [a, b, c, d] = self.last_stream.to_be_bytes();
        [0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0x0b]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0, (length >> 8) as u8, length as u8, kind, 0, 0, 0, 0, 0];
        bytes.extend(std::iter::repeat_n(0, length));
        bytes
    }

    #[test]
    fn names_a_ping_flood_whatever_the_read_sizes() {
        let mut bytes = vec![b'x'; PREFACE];
        for _ in 0..=BOUNDS[Kind::Ping as usize] {
            bytes.extend(frame(6, 8));
        }
        for size in [1, 7, 4096] {
            let mut meter = FrameMeter::default();
            let now = Instant::now();
            let flood = bytes.chunks(size).find_map(|part| meter.on_read(part, now));
            assert_eq!(flood, Some("PING flood"));
        }
    }

    #[test]
    fn lets_the_same_number_pass_over_two_seconds() {
        let mut meter = FrameMeter::default();
        let start = Instant::now();
        meter.on_read(&[0; PREFACE], start);
        for step in 0..2 {
            let now = start + std::time::Duration::from_secs(step);
            for _ in 0..BOUNDS[Kind::Ping as usize] {
                assert_eq!(meter.on_read(&frame(6, 8), now), None);
            }
        }
    }

    #[test]
    fn data_frames_are_free() {
        let mut meter = FrameMeter::default();
        meter.on_read(&[0; PREFACE], Instant::now());
        for _ in 0..10_000 {
            assert_eq!(meter.on_read(&frame(0, 100), Instant::now()), None);
        }
    }
}
