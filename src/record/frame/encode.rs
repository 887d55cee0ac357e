//! Writing a frame: the hot half, on the core.

use std::net::IpAddr;

use super::{CUT_TRIES, HEAD, LONGEST_TRY_TEXT, MAX_TRIES, TEXT_LENGTHS, TEXT_NAMES};
use crate::record::{Record, Tls, Try, VERSION};

/// Appends the frame of `record` to `out`: at most [`MAX_LEN`](super::MAX_LEN) bytes.
pub fn encode(record: &Record<'_>, seq: u64, out: &mut Vec<u8>) {
    let mut head = Head { bytes: [0; HEAD], at: 0, present: 0, bit: 0 };
    head.put([VERSION]);
    head.put(seq.to_le_bytes());
    put_origin(&mut head, record);
    put_sizes(&mut head, record);
    put_timers(&mut head, record);
    put_outcome(&mut head, record);
    head.put(head.present.to_le_bytes());

    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    let mut texts = Texts { out, lengths: [0; TEXT_LENGTHS], index: 0, present: 0, cut: 0 };
    put_request_texts(&mut texts, record);
    put_answer_texts(&mut texts, record);
    if record.try_log.len() > MAX_TRIES {
        texts.cut |= CUT_TRIES;
    }
    head.put(texts.lengths);
    head.put(texts.present.to_le_bytes());
    head.put(texts.cut.to_le_bytes());
    debug_assert_eq!(head.at, HEAD, "the fields fill the head");

    record.try_log.iter().take(MAX_TRIES).for_each(|attempt| put_try(attempt, out));
    out[start..start + HEAD].copy_from_slice(&head.bytes);
}

#[inline(always)]
fn put_origin(head: &mut Head, record: &Record<'_>) {
    head.put([record.kind as u8]);
    head.put(record.ts_us.to_le_bytes());
    head.put(record.id);
    head.optional(record.trace_id);
    head.optional(record.span_id);
    head.optional(record.parent_id);
    head.optional(record.trace_flags.map(u8::to_le_bytes));
    head.put(record.cfg.to_le_bytes());
    head.put(record.conn.to_le_bytes());
    head.put(record.conn_req.to_le_bytes());
    head.optional(record.h2_stream.map(u32::to_le_bytes));
    head.optional(record.client_ip.map(address));
    head.optional(record.client_port.map(u16::to_le_bytes));
    head.optional(record.peer_ip.map(address));
    head.optional(record.proto.map(|proto| [proto as u8]));
}

#[inline(always)]
fn put_sizes(head: &mut Head, record: &Record<'_>) {
    head.put(record.status.to_le_bytes());
    head.optional(record.up_status.map(u16::to_le_bytes));
    head.put(record.rx_head_b.to_le_bytes());
    head.put(record.rx_body_b.to_le_bytes());
    head.put(record.tx_head_b.to_le_bytes());
    head.put(record.tx_body_b.to_le_bytes());
    head.optional(record.up_tx_b.map(u64::to_le_bytes));
    head.optional(record.up_rx_b.map(u64::to_le_bytes));
}

#[inline(always)]
fn put_timers(head: &mut Head, record: &Record<'_>) {
    head.put(record.dur_us.to_le_bytes());
    head.optional(record.t_tls_us.map(u32::to_le_bytes));
    head.optional(record.t_idle_us.map(u64::to_le_bytes));
    head.optional(record.t_head_us.map(u32::to_le_bytes));
    head.optional(record.t_policy_us.map(u32::to_le_bytes));
    head.optional(record.t_queue_us.map(u64::to_le_bytes));
    head.optional(record.t_conn_us.map(u32::to_le_bytes));
    head.optional(record.t_send_us.map(u64::to_le_bytes));
    head.optional(record.t_wait_us.map(u64::to_le_bytes));
    head.optional(record.t_resp_us.map(u64::to_le_bytes));
    head.optional(record.t_self_us.map(u64::to_le_bytes));
}

#[inline(always)]
fn put_outcome(head: &mut Head, record: &Record<'_>) {
    head.optional(record.up_reused.map(|reused| [u8::from(reused)]));
    head.put([record.tries, record.end_by as u8, record.end_at as u8]);
    head.optional(record.rl.map(|verdict| [verdict as u8]));
    head.optional(record.n_conn.map(u32::to_le_bytes));
    head.optional(record.n_req.map(u32::to_le_bytes));
    head.optional(record.up_req.map(u32::to_le_bytes));
    head.optional(record.missing.map(u64::to_le_bytes));
    head.optional(record.tls.as_ref().map(|tls| [u8::from(tls.resumed)]));
    head.put([record.try_log.len().min(MAX_TRIES) as u8]);
}

#[inline(always)]
fn put_request_texts(texts: &mut Texts<'_>, record: &Record<'_>) {
    texts.put(Some(record.listener.as_bytes()));
    texts.put(record.rid);
    texts.put(record.rid_in);
    texts.put(record.method);
    texts.put(record.scheme.map(str::as_bytes));
    texts.put(record.host);
    texts.put(record.path);
    texts.put(record.query);
    texts.put(record.site.map(str::as_bytes));
    texts.put(record.route.map(str::as_bytes));
    texts.put(record.referer);
    texts.put(record.ua);
    texts.put(record.req_type);
}

#[inline(always)]
fn put_answer_texts(texts: &mut Texts<'_>, record: &Record<'_>) {
    texts.put(record.resp_type);
    texts.put(record.enc.map(str::as_bytes));
    texts.put(record.upstream.map(str::as_bytes));
    texts.put(record.up_addr.map(str::as_bytes));
    texts.put(record.worker.map(str::as_bytes));
    texts.put(record.pick.map(str::as_bytes));
    texts.put(record.reason.map(str::as_bytes));
    texts.put(record.cause.map(str::as_bytes));
    texts.put(record.err);
    texts.put(record.rl_rule.map(str::as_bytes));
    let tls: Option<&Tls<'_>> = record.tls.as_ref();
    texts.put(tls.map(|tls| tls.version.as_bytes()));
    texts.put(tls.map(|tls| tls.cipher.as_bytes()));
    texts.put(tls.and_then(|tls| tls.group).map(str::as_bytes));
    texts.put(tls.and_then(|tls| tls.alpn).map(str::as_bytes));
    texts.put(tls.and_then(|tls| tls.sni).map(str::as_bytes));
}

fn put_try(attempt: &Try<'_>, out: &mut Vec<u8>) {
    let (addr, _) = kept(attempt.addr.as_bytes(), LONGEST_TRY_TEXT);
    let (reason, _) = kept(attempt.reason.as_bytes(), LONGEST_TRY_TEXT);
    let present = u8::from(attempt.conn_us.is_some())
        | u8::from(attempt.wait_us.is_some()) << 1
        | u8::from(attempt.status.is_some()) << 2;
    // Both lengths are at most LONGEST_TRY_TEXT.
    out.extend_from_slice(&[present, addr.len() as u8, reason.len() as u8]);
    out.extend_from_slice(&attempt.conn_us.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&attempt.wait_us.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&attempt.status.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(addr);
    out.extend_from_slice(reason);
}

/// The part of constant size. Everything about it is inlined, so that each place is known when compiled.
struct Head {
    bytes: [u8; HEAD],
    at: usize,
    present: u64,
    bit: u32,
}

impl Head {
    #[inline(always)]
    fn put<const N: usize>(&mut self, value: [u8; N]) {
        self.bytes[self.at..self.at + N].copy_from_slice(&value);
        self.at += N;
    }

    #[inline(always)]
    fn optional<const N: usize>(&mut self, value: Option<[u8; N]>) {
        self.present |= u64::from(value.is_some()) << self.bit;
        self.bit += 1;
        self.put(value.unwrap_or([0; N]));
    }
}

struct Texts<'a> {
    out: &'a mut Vec<u8>,
    lengths: [u8; TEXT_LENGTHS],
    index: usize,
    present: u32,
    cut: u32,
}

impl Texts<'_> {
    #[inline(always)]
    fn put(&mut self, text: Option<&[u8]>) {
        if let Some(text) = text {
            let (text, is_cut) = kept(text, TEXT_NAMES[self.index].1);
            self.present |= 1 << self.index;
            self.cut |= u32::from(is_cut) << self.index;
            self.lengths[self.index * 2..][..2].copy_from_slice(&(text.len() as u16).to_le_bytes());
            self.out.extend_from_slice(text);
        }
        self.index += 1;
    }
}

/// At most `limit` bytes of `text`, never ending within a UTF-8 character that was whole, and whether any are lost.
#[inline(always)]
fn kept(text: &[u8], limit: usize) -> (&[u8], bool) {
    if text.len() <= limit { (text, false) } else { (shortened(text, limit), true) }
}

#[cold]
fn shortened(text: &[u8], limit: usize) -> &[u8] {
    let is_inside = |at: usize| text[at] & 0b1100_0000 == 0b1000_0000;
    // A UTF-8 character has at most three bytes behind its first.
    let end = (limit.saturating_sub(3)..=limit).rev().find(|&at| !is_inside(at)).unwrap_or(limit);
    &text[..end]
}

/// 4 or 6, then the address.
#[inline(always)]
fn address(ip: IpAddr) -> [u8; 17] {
    let mut bytes = [0; 17];
    match ip {
        IpAddr::V4(ip) => {
            bytes[0] = 4;
            bytes[1..5].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes[0] = 6;
            bytes[1..].copy_from_slice(&ip.octets());
        }
    }
    bytes
}
