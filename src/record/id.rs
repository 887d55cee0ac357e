//! [`IdSource`]: request ids, made per core without any shared state, and their text form.

use std::cell::Cell;

use super::Id;
use super::escape::hex_digits;

/// Makes the ids of one core: UUIDv7 (RFC 9562 section 5.7), strictly increasing in byte order.
///
/// ```text
/// 48 bit Unix ms │ 4 bit 7 │ 12 bit fraction of the ms │ 2 bit variant │ 6 bit tie counter │ 56 bit random
/// ```
///
/// The fraction is method 3 of section 6.2; the last seven bytes are random, as W3C Trace Context level 2 asks of a
/// trace id. Ids are names, not secrets: whoever sees many of them may guess the next.
#[derive(Debug)]
pub struct IdSource {
    /// Milliseconds and fraction (60 bits) of the last id.
    last: Cell<u64>,
    tie: Cell<u64>,
    last_us: Cell<i64>,
    clock_back: Cell<u64>,
    random: Random,
}

const TIE_LIMIT: u64 = 1 << 6;
const RANDOM_BITS: u64 = (1 << 56) - 1;

impl IdSource {
    /// A source seeded by the operating system, by way of the random generator of rustls' crypto provider.
    /// `core` is mixed into the seed.
    pub fn new(core: u16) -> Result<Self, SeedError> {
        Ok(Self::with(Random::from_os(u64::from(core))?))
    }

    /// The next id, for a request that began at `now_us` (microseconds since the Unix epoch).
    ///
    /// When the clock stands still the tie counter goes on; when it steps back the last time is kept and
    /// [`clock_back`](Self::clock_back) counts it.
    pub fn next(&self, now_us: i64) -> Id {
        if now_us < self.last_us.replace(now_us) {
            self.clock_back.set(self.clock_back.get() + 1);
        }
        self.step(stamp_of(now_us));
        let (last, tie) = (self.last.get(), self.tie.get());
        let high = (last >> 12) << 16 | 0x7000 | (last & 0xfff);
        let low = 0b10 << 62 | tie << 56 | (self.random.next() & RANDOM_BITS);
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }

    /// How often the clock was behind the one before.
    pub fn clock_back(&self) -> u64 {
        self.clock_back.get()
    }

    fn with(random: Random) -> Self {
        Self {
            last: Cell::new(0),
            tie: Cell::new(0),
            last_us: Cell::new(i64::MIN),
            clock_back: Cell::new(0),
            random,
        }
    }

    fn step(&self, now: u64) {
        let last = self.last.get();
        if now > last {
            self.last.set(now);
            self.tie.set(0);
        } else if self.tie.get() + 1 < TIE_LIMIT {
            self.tie.set(self.tie.get() + 1);
        } else {
            // 64 ids within 244 ns: run ahead of the clock rather than repeat (RFC 9562 section 6.2).
            self.last.set(last + 1);
            self.tie.set(0);
        }
    }
}

/// Milliseconds (48 bits) and the fraction of the millisecond in 1/4096 (12 bits).
fn stamp_of(now_us: i64) -> u64 {
    let now_us = now_us.max(0).unsigned_abs();
    let (ms, us) = (now_us / 1000, now_us % 1000);
    (ms & ((1 << 48) - 1)) << 12 | (us * 4096 / 1000)
}

/// Length of an id as text.
pub const TEXT_LEN: usize = 36;

/// Stands behind the id of the record that begins a tunnel where each record needs a key of its own: the one that ends it has
/// the same id.
pub const OPEN: &[u8] = b"-open";

/// The id as 36 lower-case characters: `01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4`.
pub fn text(id: &Id) -> [u8; TEXT_LEN] {
    let mut text = [0; TEXT_LEN];
    write(id, &mut text);
    text
}

/// The same in a place that the caller has.
#[inline]
pub fn write(id: &Id, text: &mut [u8; TEXT_LEN]) {
    // Where the digits of each byte stand.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    for (place, byte) in PLACES.into_iter().zip(id) {
        text[place..place + 2].copy_from_slice(hex_digits(&[*byte]).as_flattened());
    }
    [8, 13, 18, 23].into_iter().for_each(|place| text[place] = b'-');
}

/// Reads an id: 36 characters with hyphens or 32 without, in either case of letters. Nothing else.
pub fn parse(text: &[u8]) -> Option<Id> {
    if !matches!(text.len(), TEXT_LEN | 32) {
        return None;
    }
    uuid::Uuid::try_parse_ascii(text).ok().map(uuid::Uuid::into_bytes)
}

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes for request ids")]
pub struct SeedError;

/// A small fast generator (xoshiro256++ by Blackman and Vigna) for ids and for the jitter of retries; never for
/// secrets.
#[derive(Debug)]
pub struct Random(Cell<[u64; 4]>);

impl Random {
    /// Seeded by the operating system; `salt` keeps two sources apart even if it should hand out equal bytes.
    pub fn from_os(salt: u64) -> Result<Self, SeedError> {
        let mut seed = [[0u8; 8]; 4];
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.secure_random.fill(seed.as_flattened_mut()).map_err(|_| SeedError)?;
        let [a, b, c, d] = seed.map(u64::from_le_bytes);
        // The state must never be all zero.
        Ok(Self(Cell::new([a ^ salt, b, c, d | 1])))
    }

    /// 64 random bits.
    pub fn next(&self) -> u64 {
        let [mut a, mut b, mut c, mut d] = self.0.get();
        let word = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let carried = b << 17;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= carried;
        d = d.rotate_left(45);
        self.0.set([a, b, c, d]);
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_795_262_400_000_000;

    fn source() -> IdSource {
        IdSource::with(Random(Cell::new([1, 2, 3, 4])))
    }

    #[test]
    fn carries_the_time_version_and_variant() {
        let id = source().next(NOON + 999);
        assert_eq!(u64::from_be_bytes([0, 0, id[0], id[1], id[2], id[3], id[4], id[5]]), 1_795_262_400_000);
        assert_eq!(id[6] >> 4, 7);
        assert_eq!(u16::from_be_bytes([id[6] & 0xf, id[7]]), 4091);
        assert_eq!(id[8] >> 6, 0b10);
    }

    #[test]
    fn rises_while_the_clock_stands_still() {
        let source = source();
        let ids: Vec<Id> = (0..10_000).map(|_| source.next(NOON)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(source.clock_back(), 0);
    }

    #[test]
    fn keeps_rising_and_counts_when_the_clock_steps_back() {
        let source = source();
        let before = source.next(NOON);
        let after = source.next(NOON - 5_000_000);
        assert!(before < after);
        assert_eq!(source.clock_back(), 1);
        source.next(NOON - 4_000_000);
        assert_eq!(source.clock_back(), 1);
    }

    #[test]
    fn survives_times_before_the_epoch() {
        let source = source();
        assert!(source.next(i64::MIN) < source.next(-1));
    }

    #[test]
    fn sources_of_two_cores_differ() {
        let (a, b) = (IdSource::new(0).unwrap(), IdSource::new(1).unwrap());
        assert_ne!(a.next(NOON)[9..], b.next(NOON)[9..]);
    }

    #[test]
    fn reads_back_its_text() {
        let id = source().next(NOON);
        let written = text(&id);
        assert_eq!(parse(&written), Some(id));
        assert_eq!(written[8], b'-');
        let short: Vec<u8> = written.iter().copied().filter(|&c| c != b'-').collect();
        assert_eq!(parse(&short), Some(id));
    }

    #[test]
    fn refuses_other_forms_of_uuids() {
        for bad in
            ["", "01a1fd62", "{01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4}", "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9dz"]
        {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
