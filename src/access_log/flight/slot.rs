//! One slot: written by its core, looked at by anybody, read back after a death.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::{Arriving, OpenExchange};
use crate::access_log::ring::{FLIGHT_AT, SLOT_WORDS, SLOTS, SlotWords, number};
use crate::record::EndAt;

const VERSION: usize = 0;
const PHASE: usize = 1;
const CLOSING: usize = 2;
const ID: usize = 3;
const TS: usize = 5;
const CONN: usize = 6;
const CFG: usize = 7;
const IP: usize = 8;
const PACKED: usize = 10;
const CONN_REQ: usize = 11;
const METHOD: usize = 12;
const HOST: usize = 14;
const PATH: usize = 22;

const IS_TLS: u8 = 1;
const IS_H2: u8 = 2;
const HAS_PORT: u8 = 4;
const IS_CUT: u8 = 8;

/// All phases, by their numbers.
const PHASES: [EndAt; 12] = [
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
];

/// Takes the slot for an exchange, in the phase after its head. Only its core may call this.
#[inline]
pub(super) fn fill(slot: &SlotWords, arriving: &Arriving<'_>) {
    let version = slot[VERSION].load(Ordering::Relaxed) | 1;
    slot[VERSION].store(version, Ordering::Relaxed);
    // Whoever sees a word of what follows sees the odd version too.
    fence(Ordering::Release);
    let put = |at: usize, value: u64| slot[at].store(value, Ordering::Relaxed);
    put(CLOSING, 0);
    put_bytes(slot, ID, &arriving.id);
    put(TS, arriving.ts_us.cast_unsigned());
    put(CONN, arriving.conn);
    put(CFG, arriving.cfg);
    put_ip(slot, arriving.client_ip);
    put(CONN_REQ, arriving.conn_req.into());
    let method = put_text(&slot[METHOD..HOST], arriving.method);
    let host = put_text(&slot[HOST..PATH], arriving.host);
    let path = put_text(&slot[PATH..], arriving.path);
    let flags = flag(arriving.is_tls, IS_TLS)
        | flag(arriving.is_h2, IS_H2)
        | flag(arriving.client_port.is_some(), HAS_PORT)
        | flag(arriving.path.len() > usize::from(path), IS_CUT);
    let [low, high] = arriving.client_port.unwrap_or(0).to_le_bytes();
    put(PACKED, u64::from_le_bytes([low, high, method, host, path, flags, 0, 0]));
    put(PHASE, phase(EndAt::Policy));
    slot[VERSION].store(version + 1, Ordering::Release);
}

/// The exchange has come to another phase.
#[inline]
pub(super) fn reach(slot: &SlotWords, at: EndAt) {
    slot[PHASE].store(phase(at), Ordering::Relaxed);
}

/// Behind a trusted proxy the client is another than who connects.
pub(super) fn put_ip(slot: &SlotWords, ip: IpAddr) {
    let ip = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    put_bytes(slot, IP, &ip.octets());
}

/// Its record goes into the ring next; `position`: bytes that ever went into it.
#[inline]
pub(super) fn close(slot: &SlotWords, position: u64) {
    slot[CLOSING].store(position + 1, Ordering::Relaxed);
}

/// Gives the slot back.
#[inline]
pub(super) fn free(slot: &SlotWords) {
    // Release: after its record.
    slot[PHASE].store(0, Ordering::Release);
}

/// What stands in the slot of a living process, unless it changes just now.
pub(super) fn look(slot: &SlotWords) -> Option<OpenExchange> {
    let version = slot[VERSION].load(Ordering::Acquire);
    let words = std::array::from_fn(|at| slot[at].load(Ordering::Relaxed));
    // The words before the version.
    fence(Ordering::Acquire);
    (slot[VERSION].load(Ordering::Relaxed) == version).then(|| read(&words)).flatten()
}

/// What was under way in the `image` of a dead process's ring, into whose lanes `pushed` bytes went in all.
pub(in crate::access_log) fn left(image: &[u8], pushed: u64) -> Vec<OpenExchange> {
    let slots = (0..SLOTS).map(|slot| {
        std::array::from_fn(|word| number::<8>(image, FLIGHT_AT + (slot * SLOT_WORDS + word) * 8))
    });
    let is_recorded = |words: &[u64; SLOT_WORDS]| words[CLOSING] != 0 && pushed >= words[CLOSING];
    let mut left: Vec<_> =
        slots.filter(|words| !is_recorded(words)).filter_map(|words| read(&words)).collect();
    left.sort_by_key(|open| open.ts_us);
    left
}

fn read(words: &[u64; SLOT_WORDS]) -> Option<OpenExchange> {
    if words[VERSION] & 1 != 0 {
        return None;
    }
    let at = usize::try_from(words[PHASE].checked_sub(1)?).ok()?;
    let [low, high, method, host, path, flags, ..] = words[PACKED].to_le_bytes();
    Some(OpenExchange {
        id: bytes_of(&words[ID..]),
        ts_us: words[TS].cast_signed(),
        conn: words[CONN],
        conn_req: words[CONN_REQ] as u32,
        cfg: words[CFG],
        client_ip: IpAddr::V6(Ipv6Addr::from(bytes_of(&words[IP..]))).to_canonical(),
        client_port: (flags & HAS_PORT != 0).then_some(u16::from_le_bytes([low, high])),
        is_tls: flags & IS_TLS != 0,
        is_h2: flags & IS_H2 != 0,
        method: text_of(&words[METHOD..HOST], method),
        host: text_of(&words[HOST..PATH], host),
        path: text_of(&words[PATH..], path),
        is_cut: flags & IS_CUT != 0,
        at: *PHASES.get(at)?,
    })
}

fn phase(at: EndAt) -> u64 {
    at as u64 + 1
}

fn flag(is_set: bool, flag: u8) -> u8 {
    if is_set { flag } else { 0 }
}

/// The next two words.
#[inline]
fn put_bytes(slot: &SlotWords, at: usize, bytes: &[u8; 16]) {
    let (words, _) = bytes.as_chunks::<8>();
    for (word, bytes) in slot[at..].iter().zip(words) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
}

/// As much of `text` as fits; its length.
#[inline]
fn put_text(words: &[AtomicU64], text: &[u8]) -> u8 {
    let text = &text[..text.len().min(words.len() * 8)];
    let (whole, rest) = text.as_chunks::<8>();
    for (word, bytes) in words.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    if let (Some(word), false) = (words.get(whole.len()), rest.is_empty()) {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        word.store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
    // No place has more than 80 bytes.
    text.len() as u8
}

fn bytes_of(words: &[u64]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.to_ne_bytes();
    }
    bytes
}

fn text_of(words: &[u64], length: u8) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).take(usize::from(length)).collect()
}
