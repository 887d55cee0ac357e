//! Writing a record: the hot half, on the core.

use std::net::IpAddr;

use super::{
    CUT_TRIES, HEAD, LONGEST_TRY_TEXT, MAX_LEN, MAX_TRIES, SHEDDING_AT, TEXT_LENGTHS, TEXT_NAMES, TEXTS_AT,
};
use crate::record::copy::copy_short;
use crate::record::{Record, Tls, Try, VERSION};

/// Appends the binary form of `record` to `out`: at most [`MAX_LEN`] bytes.
pub fn encode(record: &Record<'_>, seq: u64, out: &mut Vec<u8>) {
    let mut room = [0; MAX_LEN];
    let length = encode_into(&mut room, record, seq);
    out.extend_from_slice(&room[..length]);
}

/// Writes the binary form of `record` to the beginning of `room` and returns its length.
#[inline(never)]
pub fn encode_into(room: &mut [u8; MAX_LEN], record: &Record<'_>, seq: u64) -> usize {
    // Both pieces are there: the sizes are constant.
    let Some((bytes, rest)) = room.split_first_chunk_mut() else { return 0 };
    let Some((fields, lengths)) = split_head(bytes) else { return 0 };
    put_fields(Head { bytes: fields, at: 0, present: 0, bit: 0 }, record, seq);

    let mut utf8 = Texts::<true> { lengths, rest, at: 0, index: 0, present: 0, cut: 0 };
    put_texts(&mut utf8, record);
    let utf8_bytes = utf8.at;
    let mut texts = utf8.others();
    put_texts(&mut texts, record);
    if record.try_log.len() > MAX_TRIES {
        texts.cut |= CUT_TRIES;
    }
    record.try_log.iter().take(MAX_TRIES).for_each(|attempt| put_try(attempt, &mut texts));
    let (at, present, cut) = (texts.at, texts.present, texts.cut);
    // The limits of the texts together are less than 64 KiB.
    put_summary(bytes, present, cut, utf8_bytes as u16);
    bytes[SHEDDING_AT] = record.detail;
    bytes[SHEDDING_AT + 1..].copy_from_slice(&record.sw.to_le_bytes());
    HEAD + at
}

#[inline(always)]
fn split_head(bytes: &mut [u8; HEAD]) -> Option<(&mut [u8; TEXTS_AT], &mut [u8; TEXT_LENGTHS])> {
    let (fields, rest) = bytes.split_first_chunk_mut()?;
    Some((fields, rest.first_chunk_mut()?))
}

#[inline(always)]
fn put_summary(bytes: &mut [u8; HEAD], present: u32, cut: u32, utf8: u16) {
    const AT: usize = TEXTS_AT + TEXT_LENGTHS;
    bytes[AT..AT + 4].copy_from_slice(&present.to_le_bytes());
    bytes[AT + 4..AT + 8].copy_from_slice(&cut.to_le_bytes());
    bytes[AT + 8..SHEDDING_AT].copy_from_slice(&utf8.to_le_bytes());
}

#[inline(always)]
fn put_fields(mut head: Head<'_>, record: &Record<'_>, seq: u64) {
    head.put([VERSION]);
    head.put(seq.to_le_bytes());
    put_origin(&mut head, record);
    put_sizes(&mut head, record);
    put_timers(&mut head, record);
    put_outcome(&mut head, record);
    head.put(head.present.to_le_bytes());
    debug_assert_eq!(head.at, TEXTS_AT, "the fields fill their part");
}

#[inline(always)]
fn put_origin(head: &mut Head<'_>, record: &Record<'_>) {
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
fn put_sizes(head: &mut Head<'_>, record: &Record<'_>) {
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
fn put_timers(head: &mut Head<'_>, record: &Record<'_>) {
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
fn put_outcome(head: &mut Head<'_>, record: &Record<'_>) {
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
fn put_texts<const UTF8: bool>(texts: &mut Texts<'_, UTF8>, record: &Record<'_>) {
    put_request_texts(texts, record);
    put_answer_texts(texts, record);
}

#[inline(always)]
fn put_request_texts<const UTF8: bool>(texts: &mut Texts<'_, UTF8>, record: &Record<'_>) {
    texts.text(Some(record.listener));
    texts.bytes(record.rid);
    texts.bytes(record.rid_in);
    texts.bytes(record.method);
    texts.text(record.scheme);
    texts.bytes(record.host);
    texts.bytes(record.path);
    texts.bytes(record.query);
    texts.text(record.site);
    texts.text(record.route);
    texts.bytes(record.referer);
    texts.bytes(record.ua);
    texts.bytes(record.req_type);
}

#[inline(always)]
fn put_answer_texts<const UTF8: bool>(texts: &mut Texts<'_, UTF8>, record: &Record<'_>) {
    texts.bytes(record.resp_type);
    texts.text(record.enc);
    texts.text(record.upstream);
    texts.text(record.up_addr);
    texts.text(record.worker);
    texts.text(record.pick);
    texts.text(record.reason);
    texts.text(record.cause);
    texts.bytes(record.err);
    texts.text(record.rl_rule);
    let tls: Option<&Tls<'_>> = record.tls.as_ref();
    texts.text(tls.map(|tls| tls.version));
    texts.text(tls.map(|tls| tls.cipher));
    texts.text(tls.and_then(|tls| tls.group));
    texts.text(tls.and_then(|tls| tls.alpn));
    texts.text(tls.and_then(|tls| tls.sni));
}

#[cold]
fn put_try(attempt: &Try<'_>, texts: &mut Texts<'_, false>) {
    let addr = kept(attempt.addr.as_bytes(), LONGEST_TRY_TEXT);
    let reason = kept(attempt.reason.as_bytes(), LONGEST_TRY_TEXT);
    let present = u8::from(attempt.conn_us.is_some())
        | u8::from(attempt.wait_us.is_some()) << 1
        | u8::from(attempt.status.is_some()) << 2;
    // Both lengths are at most LONGEST_TRY_TEXT.
    texts.append(&[present, addr.len() as u8, reason.len() as u8]);
    texts.append(&attempt.conn_us.unwrap_or(0).to_le_bytes());
    texts.append(&attempt.wait_us.unwrap_or(0).to_le_bytes());
    texts.append(&attempt.status.unwrap_or(0).to_le_bytes());
    texts.append(addr);
    texts.append(reason);
}

/// The fields of constant size. Everything about it is inlined, so that each place is known when compiled.
struct Head<'f> {
    bytes: &'f mut [u8; TEXTS_AT],
    at: usize,
    present: u64,
    bit: u32,
}

impl Head<'_> {
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

/// Takes all texts of a record in their order, and keeps those that are UTF-8 by their type, or the others.
struct Texts<'f, const UTF8: bool> {
    lengths: &'f mut [u8; TEXT_LENGTHS],
    rest: &'f mut [u8],
    at: usize,
    index: usize,
    present: u32,
    cut: u32,
}

impl<'f> Texts<'f, true> {
    /// Goes on behind the UTF-8 texts.
    #[inline(always)]
    fn others(self) -> Texts<'f, false> {
        let Self { lengths, rest, at, present, cut, .. } = self;
        Texts { lengths, rest, at, index: 0, present, cut }
    }
}

impl<const UTF8: bool> Texts<'_, UTF8> {
    #[inline(always)]
    fn text(&mut self, text: Option<&str>) {
        if UTF8 {
            self.put(text.map(str::as_bytes));
        }
        self.index += 1;
    }

    #[inline(always)]
    fn bytes(&mut self, text: Option<&[u8]>) {
        if !UTF8 {
            self.put(text);
        }
        self.index += 1;
    }

    #[inline(always)]
    fn put(&mut self, text: Option<&[u8]>) {
        let mut length = 0;
        if let Some(mut text) = text {
            let limit = TEXT_NAMES[self.index].1;
            if text.len() > limit {
                self.cut |= 1 << self.index;
                text = kept(text, limit);
            }
            self.present |= 1 << self.index;
            length = text.len() as u16;
            self.append(text);
        }
        self.lengths[self.index * 2..][..2].copy_from_slice(&length.to_le_bytes());
    }

    #[inline(always)]
    fn append(&mut self, text: &[u8]) {
        self.at = append(self.rest, self.at, text);
    }
}

/// Copies `text` to `at` and returns where it ends. There is always room: the limits add up to less than [`MAX_LEN`].
#[inline(never)]
fn append(rest: &mut [u8], at: usize, text: &[u8]) -> usize {
    if let Some(room) = rest.get_mut(at..at + text.len())
        && !copy_short(text, room)
    {
        room.copy_from_slice(text);
    }
    at + text.len()
}

/// At most `limit` bytes of `text`, never ending within a UTF-8 character that was whole.
#[cold]
fn kept(text: &[u8], limit: usize) -> &[u8] {
    if text.len() <= limit {
        return text;
    }
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
