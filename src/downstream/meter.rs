//! [`FrameMeter`]: counts HTTP/2 frames by kind and says when a client floods.
//!
//! Bounds are per window of ten seconds: what a browser or a load generator sends stays an order of magnitude below.

use std::time::{Duration, Instant};

use super::wire::H2Limits;

const WINDOW: Duration = Duration::from_secs(10);
/// A body that trickles forgives PINGs no more often.
const FORGIVING_MS: u64 = 10;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Priority,
    Reset,
    Settings,
    Ping,
    EmptyData,
    WindowUpdate,
    /// Frames of types that nobody knows here; browsers send one PRIORITY_UPDATE per request.
    Unknown,
    /// Requests that were malformed.
    Malformed,
}

impl Kind {
    const COUNT: usize = 8;

    /// What a frame counts as, from its header (RFC 9113 section 4.1).
    pub fn of(kind: u8, flags: u8, length: u32) -> Option<Self> {
        const END_STREAM: u8 = 1;
        const ACK: u8 = 1;
        match kind {
            0 if length == 0 && flags & END_STREAM == 0 => Some(Self::EmptyData),
            2 => Some(Self::Priority),
            3 => Some(Self::Reset),
            4 if flags & ACK == 0 => Some(Self::Settings),
            6 => Some(Self::Ping),
            8 => Some(Self::WindowUpdate),
            10.. => Some(Self::Unknown),
            _ => None,
        }
    }

    fn bound(self, limits: &H2Limits) -> u32 {
        match self {
            Self::Reset => limits.max_resets,
            Self::Settings | Self::Ping => limits.max_pings,
            Self::Priority | Self::EmptyData => 500,
            Self::WindowUpdate => 1_000_000,
            Self::Unknown => 1_000,
            Self::Malformed => 100,
        }
    }

    fn flood(self) -> &'static str {
        match self {
            Self::Priority => "PRIORITY flood",
            Self::Reset => "RST_STREAM flood",
            Self::Settings => "SETTINGS flood",
            Self::Ping => "PING flood",
            Self::EmptyData => "empty DATA flood",
            Self::WindowUpdate => "WINDOW_UPDATE flood",
            Self::Unknown => "flood of unknown frames",
            Self::Malformed => "flood of malformed requests",
        }
    }
}

/// Counts of one connection in the current window.
#[derive(Debug, Default)]
pub struct FrameMeter {
    counts: [u32; Kind::COUNT],
    window: Option<Instant>,
    /// When PINGs were last forgiven.
    forgiven_ms: u64,
}

impl FrameMeter {
    /// One more; `Err` names the flood.
    pub fn count(&mut self, kind: Kind, limits: &H2Limits, now: Instant) -> Result<(), &'static str> {
        if self.window.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            self.window = Some(now);
            self.counts = [0; Kind::COUNT];
        }
        let count = &mut self.counts[kind as usize];
        *count += 1;
        if *count > kind.bound(limits) { Err(kind.flood()) } else { Ok(()) }
    }

    /// A body moved: clients that measure the bandwidth send a PING per round trip meanwhile, and are no flooders.
    pub fn on_progress(&mut self, progress_ms: u64) {
        if progress_ms >= self.forgiven_ms + FORGIVING_MS {
            self.forgiven_ms = progress_ms;
            self.counts[Kind::Ping as usize] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pings(meter: &mut FrameMeter, count: u32, now: Instant) -> Result<(), &'static str> {
        (0..count).try_for_each(|_| meter.count(Kind::Ping, &H2Limits::default(), now))
    }

    #[test]
    fn names_a_flood_beyond_its_bound() {
        let bound = H2Limits::default().max_pings;
        let (mut meter, now) = (FrameMeter::default(), Instant::now());
        assert_eq!(pings(&mut meter, bound, now), Ok(()));
        assert_eq!(pings(&mut meter, 1, now), Err("PING flood"));
    }

    #[test]
    fn lets_the_same_number_pass_in_the_next_window() {
        let bound = H2Limits::default().max_pings;
        let (mut meter, now) = (FrameMeter::default(), Instant::now());
        assert_eq!(pings(&mut meter, bound, now), Ok(()));
        assert_eq!(pings(&mut meter, bound, now + WINDOW), Ok(()));
    }

    #[test]
    fn pings_while_a_body_moves_are_no_flood() {
        let bound = H2Limits::default().max_pings;
        let (mut meter, now) = (FrameMeter::default(), Instant::now());
        for round in 1..10 {
            assert_eq!(pings(&mut meter, bound, now), Ok(()));
            meter.on_progress(FORGIVING_MS * round);
        }
    }

    #[test]
    fn a_trickling_body_forgives_few_pings() {
        let bound = H2Limits::default().max_pings;
        let (mut meter, now) = (FrameMeter::default(), Instant::now());
        meter.on_progress(1_000);
        assert_eq!(pings(&mut meter, bound, now), Ok(()));
        meter.on_progress(1_000 + FORGIVING_MS / 2);
        assert_eq!(pings(&mut meter, 1, now), Err("PING flood"));
    }

    #[test]
    fn data_and_acknowledgements_are_free() {
        assert_eq!(Kind::of(0, 0, 100), None);
        assert_eq!(Kind::of(0, 1, 0), None);
        assert_eq!(Kind::of(4, 1, 0), None);
        assert_eq!(Kind::of(0, 0, 0), Some(Kind::EmptyData));
    }
}
