//! [`Shedder`]: which records are kept, and how much of them: sampling by outcome, and the steps of the pressure ladder.

use std::time::Duration;

use super::pressure::Step;
use super::settings::Sample;
use crate::record::binary::{self, Decoded, MAX_LEN, Outcome, Tries};
use crate::record::id::Random;
use crate::record::{EndAt, EndBy, Kind, Record, Tls};

/// Under pressure one in so many quick successes is kept…
const PRESSED: u16 = 10;
/// …and this is quick, when nobody has said.
const QUICK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Shedder {
    sample: Option<Sample>,
    step: Step,
    random: Random,
    room: Box<[u8; MAX_LEN]>,
}

/// What becomes of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept<'a> {
    As(&'a [u8]),
    /// Sampling leaves it out.
    Out,
}

impl Shedder {
    pub(super) fn new(sample: Option<Sample>, random: Random) -> Self {
        Self { sample, step: Step::Whole, random, room: Box::new([0; MAX_LEN]) }
    }

    pub(super) fn set_step(&mut self, step: Step) {
        self.step = step;
    }

    /// A record in its binary form, or what is left of it. All of it for a record that cannot be read.
    #[inline]
    pub(super) fn keep<'a>(&'a mut self, bytes: &'a [u8], seq: u64) -> Kept<'a> {
        if self.step == Step::Whole && self.sample.is_none() {
            return Kept::As(bytes);
        }
        self.shed(bytes, seq)
    }

    #[inline(never)]
    fn shed<'a>(&'a mut self, bytes: &'a [u8], seq: u64) -> Kept<'a> {
        let weight = self.weight(bytes);
        if weight > 1 && !self.random.next().is_multiple_of(weight.into()) {
            return Kept::Out;
        }
        let weight = if weight > 1 { weight } else { 0 };
        let length = match self.step {
            Step::Whole if weight == 0 => return Kept::As(bytes),
            Step::Whole => copy(bytes, &mut self.room),
            _ => self.shorten(bytes, seq).unwrap_or_else(|| copy(bytes, &mut self.room)),
        };
        let room = self.room.get_mut(..length).unwrap_or_default();
        binary::set_weight(room, weight);
        Kept::As(room)
    }

    /// One in how many of such records is kept; 1 for those that are always kept.
    fn weight(&self, bytes: &[u8]) -> u16 {
        let pressed = if self.step >= Step::Sample { PRESSED } else { 1 };
        let wanted = self.sample.as_ref().map_or(1, |sample| sample.one_in);
        let slow = self.sample.as_ref().map_or(QUICK, |sample| sample.slow);
        match binary::outcome(bytes) {
            Some(outcome) if is_quick_success(&outcome, slow) => pressed.max(wanted),
            _ => 1,
        }
    }

    fn shorten(&mut self, bytes: &[u8], seq: u64) -> Option<usize> {
        let (mut tries, mut decoded) = (Tries::default(), Decoded::default());
        binary::decode_into(&mut decoded, bytes, &mut tries).ok()?;
        let record = &mut decoded.record;
        drop_texts(record);
        if self.step >= Step::Mini {
            drop_details(record);
        }
        Some(binary::encode_into(&mut self.room, record, seq))
    }
}

/// Everything else is worth keeping.
fn is_quick_success(outcome: &Outcome, slow: Duration) -> bool {
    // What the proxy answers itself, a file or a redirect, has a reason that says so.
    let is_own = outcome.end_by == EndBy::Proxy && outcome.end_at == EndAt::Done;
    outcome.kind == Kind::Request
        && (100..400).contains(&outcome.status)
        && (is_own || outcome.end_by == EndBy::None && !outcome.has_reason)
        && !outcome.is_limited
        && outcome.tries <= 1
        && u128::from(outcome.dur_us) < slow.as_micros()
}

fn copy(bytes: &[u8], room: &mut [u8; MAX_LEN]) -> usize {
    let length = bytes.len().min(MAX_LEN);
    room[..length].copy_from_slice(&bytes[..length]);
    length
}

/// `detail = 1`.
fn drop_texts(record: &mut Record<'_>) {
    record.detail = record.detail.max(1);
    (record.ua, record.referer, record.query, record.req_type) = (None, None, None, None);
    if let Some(tls) = &mut record.tls {
        *tls = Tls { version: tls.version, resumed: tls.resumed, ..Tls::default() };
    }
}

/// `detail = 2`: the id, the route, the outcome, the time and the bytes stay.
fn drop_details(record: &mut Record<'_>) {
    *record = Record {
        kind: record.kind,
        ts_us: record.ts_us,
        id: record.id,
        cfg: record.cfg,
        client_ip: record.client_ip,
        method: record.method,
        host: record.host,
        route: record.route,
        status: record.status,
        rx_body_b: record.rx_body_b,
        tx_body_b: record.tx_body_b,
        dur_us: record.dur_us,
        upstream: record.upstream,
        tries: record.tries,
        end_by: record.end_by,
        end_at: record.end_at,
        reason: record.reason,
        detail: 2,
        ..Record::default()
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shedder(sample: Option<Sample>, step: Step) -> Shedder {
        let mut shedder = Shedder::new(sample, Random::from_os(0).unwrap());
        shedder.set_step(step);
        shedder
    }

    fn encoded(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        binary::encode(record, 7, &mut bytes);
        bytes
    }

    fn success() -> Record<'static> {
        let tls = Tls { version: "1.3", cipher: "x", sni: Some("a.example"), ..Tls::default() };
        let (path, ua) = (Some(&b"/a"[..]), Some(&b"curl/8"[..]));
        Record { status: 200, dur_us: 900, path, ua, route: Some("/*"), tls: Some(tls), ..Record::default() }
    }

    fn tenth() -> Option<Sample> {
        Some(Sample { one_in: 10, slow: Duration::from_millis(1) })
    }

    #[test]
    fn whatever_went_wrong_or_took_long_is_always_kept() {
        let mut shedder = shedder(tenth(), Step::Whole);
        let retried = Record { tries: 2, ..success() };
        let limited = Record { rl: Some(crate::record::LimitVerdict::Limited), ..success() };
        let refused = Record { status: 404, ..success() };
        let slow = Record { dur_us: 1000, ..success() };
        let cut = Record { end_by: EndBy::Client, ..success() };
        let told = Record { reason: Some("x"), ..success() };
        let own = Record { end_by: EndBy::Proxy, reason: Some("proxy_internal_response"), ..success() };
        let own_refused = Record { status: 404, ..own };
        let own_cut = Record { end_at: EndAt::Resp, ..own };
        let begun = Record { kind: Kind::Open, ..success() };
        for record in [retried, limited, refused, slow, cut, told, own_refused, own_cut, begun] {
            let bytes = encoded(&record);
            for _ in 0..100 {
                assert_eq!(shedder.keep(&bytes, 7), Kept::As(&bytes[..]));
            }
        }
    }

    #[test]
    fn about_one_in_ten_quick_successes_is_kept_and_stands_for_ten() {
        let mut shedder = shedder(tenth(), Step::Whole);
        let (end_by, reason) = (EndBy::Proxy, Some("proxy_internal_response"));
        let own = Record { end_by, end_at: EndAt::Done, reason, ..success() };
        for bytes in [success(), own].map(|record| encoded(&record)) {
            let mut kept = 0;
            for _ in 0..10_000 {
                if let Kept::As(bytes) = shedder.keep(&bytes, 7) {
                    let mut tries = Tries::default();
                    assert_eq!(binary::decode(bytes, &mut tries).unwrap().record.sw, 10);
                    kept += 1;
                }
            }
            assert!((800..1200).contains(&kept), "{kept}");
        }
    }

    #[test]
    fn each_step_leaves_out_more() {
        let failed = encoded(&Record { status: 502, ..success() });
        let lengths: Vec<usize> = [Step::Whole, Step::Detail, Step::Mini]
            .into_iter()
            .map(|step| match shedder(None, step).keep(&failed, 7) {
                Kept::As(bytes) => {
                    let mut tries = Tries::default();
                    let decoded = binary::decode(bytes, &mut tries).unwrap();
                    assert_eq!(
                        (decoded.seq, decoded.record.status, decoded.record.route),
                        (7, 502, Some("/*"))
                    );
                    bytes.len()
                }
                Kept::Out => panic!("a failure is kept"),
            })
            .collect();
        assert!(lengths[0] > lengths[1] && lengths[1] > lengths[2], "{lengths:?}");
    }
}
