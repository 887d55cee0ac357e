//! Reading a record back: trusts nothing, copies nothing.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    Cut, END_AT, END_BY, HEAD, KINDS, MAX_TRIES, PROTOS, SHEDDING_AT, TEXT_LENGTHS, TEXTS, TEXTS_AT, VERDICTS,
};
use crate::record::escape::is_plain;
use crate::record::{Record, Tls, Try, VERSION};

/// Room for the attempts of a decoded record; most have none.
#[derive(Debug, Default)]
pub struct Tries<'a>(Option<[Try<'a>; MAX_TRIES]>);

/// A record as it was read back.
#[derive(Debug, Default)]
pub struct Decoded<'a> {
    /// Position in the contiguous sequence of its core.
    pub seq: u64,
    pub cut: Cut,
    /// Whether all texts of the record stand for themselves in JSON, as [`is_plain`] says: then nobody need look at
    /// them again. Nobody else may say so.
    pub(in crate::record) is_plain: bool,
    pub record: Record<'a>,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    #[error("the record has version {0}, not {VERSION}")]
    Version(u8),
    #[error("the record ends too early")]
    Short,
    #[error("bytes are left behind the record")]
    Rest,
    #[error("a field of the record has a value that does not exist")]
    Value,
    #[error("a text of the record is not UTF-8")]
    Utf8,
}

/// Reads one whole record; it borrows from `bytes` and `tries`.
pub fn decode<'t, 'a: 't>(bytes: &'a [u8], tries: &'t mut Tries<'a>) -> Result<Decoded<'t>, BinaryError> {
    let mut decoded = Decoded::default();
    decode_into(&mut decoded, bytes, tries).map(|()| decoded)
}

/// The same in a place that the caller has: a record is large to move. `decoded` must be fresh; after an error it is
/// of no use.
#[inline(always)]
pub fn decode_into<'t, 'a: 't>(
    decoded: &mut Decoded<'t>,
    bytes: &'a [u8],
    tries: &'t mut Tries<'a>,
) -> Result<(), BinaryError> {
    match bytes.first() {
        Some(&VERSION) => {}
        Some(&other) => return Err(BinaryError::Version(other)),
        None => return Err(BinaryError::Short),
    }
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(BinaryError::Short)?;
    let mut fields = Fields::of(head);
    decoded.seq = fields.u64();
    let record = &mut decoded.record;
    get_origin(&mut fields, record)?;
    get_sizes(&mut fields, record);
    get_timers(&mut fields, record);
    let count = get_outcome(&mut fields, record)?;
    record.detail = head[SHEDDING_AT];
    record.sw = u16::from_le_bytes([head[SHEDDING_AT + 1], head[SHEDDING_AT + 2]]);
    let mut texts = Texts::of(head, rest)?;
    decoded.cut = Cut(texts.cut);
    decoded.is_plain = is_plain(rest);
    get_request_texts(&mut texts, record)?;
    get_answer_texts(&mut texts, record)?;
    let rest = texts.end()?;
    let rest = if count == 0 { rest } else { get_tries(rest, count, tries, record)? };
    if rest.is_empty() { Ok(()) } else { Err(BinaryError::Rest) }
}

#[cold]
fn get_tries<'t, 'a: 't>(
    rest: &'a [u8],
    count: usize,
    tries: &'t mut Tries<'a>,
    record: &mut Record<'t>,
) -> Result<&'a [u8], BinaryError> {
    let tries = tries.0.get_or_insert_default().get_mut(..count).ok_or(BinaryError::Value)?;
    let rest = tries.iter_mut().try_fold(rest, |rest, slot| get_try(rest, slot))?;
    record.try_log = tries;
    Ok(rest)
}

#[inline(always)]
fn get_origin(fields: &mut Fields<'_>, record: &mut Record<'_>) -> Result<(), BinaryError> {
    record.kind = named(&KINDS, fields.u8())?;
    record.ts_us = i64::from_le_bytes(fields.get());
    record.id = fields.get();
    record.trace_id = fields.optional();
    record.span_id = fields.optional();
    record.parent_id = fields.optional();
    record.trace_flags = fields.optional().map(u8::from_le_bytes);
    record.cfg = fields.u64();
    record.conn = fields.u64();
    record.conn_req = u32::from_le_bytes(fields.get());
    record.h2_stream = fields.optional_u32();
    record.client_ip = fields.optional().map(address).transpose()?;
    record.client_port = fields.optional().map(u16::from_le_bytes);
    record.peer_ip = fields.optional().map(address).transpose()?;
    record.proto = fields.optional().map(|[proto]| named(&PROTOS, proto)).transpose()?;
    Ok(())
}

#[inline(always)]
fn get_sizes(fields: &mut Fields<'_>, record: &mut Record<'_>) {
    record.status = u16::from_le_bytes(fields.get());
    record.up_status = fields.optional().map(u16::from_le_bytes);
    record.rx_head_b = fields.u64();
    record.rx_body_b = fields.u64();
    record.tx_head_b = fields.u64();
    record.tx_body_b = fields.u64();
    record.up_tx_b = fields.optional_u64();
    record.up_rx_b = fields.optional_u64();
}

#[inline(always)]
fn get_timers(fields: &mut Fields<'_>, record: &mut Record<'_>) {
    record.dur_us = fields.u64();
    record.t_tls_us = fields.optional_u32();
    record.t_idle_us = fields.optional_u64();
    record.t_head_us = fields.optional_u32();
    record.t_policy_us = fields.optional_u32();
    record.t_queue_us = fields.optional_u64();
    record.t_conn_us = fields.optional_u32();
    record.t_send_us = fields.optional_u64();
    record.t_wait_us = fields.optional_u64();
    record.t_resp_us = fields.optional_u64();
    record.t_self_us = fields.optional_u64();
}

/// Returns the number of attempts that follow the texts.
#[inline(always)]
fn get_outcome(fields: &mut Fields<'_>, record: &mut Record<'_>) -> Result<usize, BinaryError> {
    record.up_reused = fields.optional().map(|[reused]| reused != 0);
    record.tries = fields.u8();
    record.end_by = named(&END_BY, fields.u8())?;
    record.end_at = named(&END_AT, fields.u8())?;
    record.rl = fields.optional().map(|[verdict]| named(&VERDICTS, verdict)).transpose()?;
    record.n_conn = fields.optional_u32();
    record.n_req = fields.optional_u32();
    record.up_req = fields.optional_u32();
    record.missing = fields.optional_u64();
    record.tls = fields.optional().map(|[resumed]| Tls { resumed: resumed != 0, ..Tls::default() });
    Ok(usize::from(fields.u8()))
}

#[inline(always)]
fn get_request_texts<'t, 'a: 't>(texts: &mut Texts<'a>, record: &mut Record<'t>) -> Result<(), BinaryError> {
    record.listener = texts.text()?.unwrap_or_default();
    record.rid = texts.bytes()?;
    record.rid_in = texts.bytes()?;
    record.method = texts.bytes()?;
    record.scheme = texts.text()?;
    record.host = texts.bytes()?;
    record.path = texts.bytes()?;
    record.query = texts.bytes()?;
    record.site = texts.text()?;
    record.route = texts.text()?;
    record.referer = texts.bytes()?;
    record.ua = texts.bytes()?;
    record.req_type = texts.bytes()?;
    Ok(())
}

#[inline(always)]
fn get_answer_texts<'t, 'a: 't>(texts: &mut Texts<'a>, record: &mut Record<'t>) -> Result<(), BinaryError> {
    record.resp_type = texts.bytes()?;
    record.enc = texts.text()?;
    record.upstream = texts.text()?;
    record.up_addr = texts.text()?;
    record.worker = texts.text()?;
    record.pick = texts.text()?;
    record.reason = texts.text()?;
    record.cause = texts.text()?;
    record.err = texts.bytes()?;
    record.rl_rule = texts.text()?;
    let mut unused = Tls::default();
    let tls = record.tls.as_mut().unwrap_or(&mut unused);
    tls.version = texts.text()?.unwrap_or_default();
    tls.cipher = texts.text()?.unwrap_or_default();
    tls.group = texts.text()?;
    tls.alpn = texts.text()?;
    tls.sni = texts.text()?;
    Ok(())
}

fn get_try<'a>(bytes: &'a [u8], slot: &mut Try<'a>) -> Result<&'a [u8], BinaryError> {
    let ([present, addr, reason], bytes) = bytes.split_first_chunk().ok_or(BinaryError::Short)?;
    let (conn, bytes) = bytes.split_first_chunk().ok_or(BinaryError::Short)?;
    let (wait, bytes) = bytes.split_first_chunk().ok_or(BinaryError::Short)?;
    let (status, bytes) = bytes.split_first_chunk().ok_or(BinaryError::Short)?;
    let (addr, bytes) = bytes.split_at_checked(usize::from(*addr)).ok_or(BinaryError::Short)?;
    let (reason, bytes) = bytes.split_at_checked(usize::from(*reason)).ok_or(BinaryError::Short)?;
    *slot = Try {
        addr: utf8(addr)?,
        conn_us: (present & 1 != 0).then(|| u32::from_le_bytes(*conn)),
        wait_us: (present & 2 != 0).then(|| u32::from_le_bytes(*wait)),
        status: (present & 4 != 0).then(|| u16::from_le_bytes(*status)),
        reason: utf8(reason)?,
    };
    Ok(bytes)
}

/// The part of constant size, read in the order in which it was written.
struct Fields<'a> {
    head: &'a [u8; HEAD],
    at: usize,
    present: u64,
}

const PRESENT_AT: usize = TEXTS_AT - 8;

impl<'a> Fields<'a> {
    #[inline(always)]
    fn of(head: &'a [u8; HEAD]) -> Self {
        let mut fields = Self { head, at: PRESENT_AT, present: 0 };
        fields.present = fields.u64();
        // Behind the version.
        fields.at = 1;
        fields
    }

    #[inline(always)]
    fn get<const N: usize>(&mut self) -> [u8; N] {
        let mut value = [0; N];
        value.copy_from_slice(&self.head[self.at..self.at + N]);
        self.at += N;
        value
    }

    #[inline(always)]
    fn optional<const N: usize>(&mut self) -> Option<[u8; N]> {
        let is_present = self.present & 1 != 0;
        self.present >>= 1;
        let value = self.get();
        is_present.then_some(value)
    }

    #[inline(always)]
    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.get())
    }

    #[inline(always)]
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.get())
    }

    #[inline(always)]
    fn optional_u32(&mut self) -> Option<u32> {
        self.optional().map(u32::from_le_bytes)
    }

    #[inline(always)]
    fn optional_u64(&mut self) -> Option<u64> {
        self.optional().map(u64::from_le_bytes)
    }
}

/// The texts, each kind in the order in which it was written.
struct Texts<'a> {
    lengths: &'a [u8; TEXT_LENGTHS],
    present: u32,
    cut: u32,
    index: usize,
    utf8: &'a str,
    others: &'a [u8],
}

impl<'a> Texts<'a> {
    #[inline(always)]
    fn of(head: &'a [u8; HEAD], rest: &'a [u8]) -> Result<Self, BinaryError> {
        let lengths = head[TEXTS_AT..].first_chunk().ok_or(BinaryError::Short)?;
        let mut fields = Fields { head, at: TEXTS_AT + TEXT_LENGTHS, present: 0 };
        let present = u32::from_le_bytes(fields.get());
        let cut = u32::from_le_bytes(fields.get()) & ((2 << TEXTS) - 1);
        let length = usize::from(u16::from_le_bytes(fields.get()));
        let (texts, others) = rest.split_at_checked(length).ok_or(BinaryError::Short)?;
        Ok(Self { lengths, present, cut, index: 0, utf8: utf8(texts)?, others })
    }

    #[inline(always)]
    fn bytes(&mut self) -> Result<Option<&'a [u8]>, BinaryError> {
        let Some(length) = self.next() else { return Ok(None) };
        let (text, rest) = self.others.split_at_checked(length).ok_or(BinaryError::Short)?;
        self.others = rest;
        Ok(Some(text))
    }

    #[inline(always)]
    fn text(&mut self) -> Result<Option<&'a str>, BinaryError> {
        let Some(length) = self.next() else { return Ok(None) };
        let (text, rest) = self.utf8.split_at_checked(length).ok_or(BinaryError::Utf8)?;
        self.utf8 = rest;
        Ok(Some(text))
    }

    /// The length of the next text, if it is present.
    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let index = self.index;
        self.index += 1;
        let length = [self.lengths[index * 2], self.lengths[index * 2 + 1]];
        (self.present >> index & 1 != 0).then(|| usize::from(u16::from_le_bytes(length)))
    }

    /// What follows the texts.
    fn end(&self) -> Result<&'a [u8], BinaryError> {
        if self.utf8.is_empty() { Ok(self.others) } else { Err(BinaryError::Rest) }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, BinaryError> {
    std::str::from_utf8(bytes).map_err(|_| BinaryError::Utf8)
}

fn named<T: Copy>(names: &[T], value: u8) -> Result<T, BinaryError> {
    names.get(usize::from(value)).copied().ok_or(BinaryError::Value)
}

fn address([family, bytes @ ..]: [u8; 17]) -> Result<IpAddr, BinaryError> {
    match (family, bytes) {
        (4, [a, b, c, d, ..]) => Ok(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
        (6, bytes) => Ok(IpAddr::from(bytes)),
        _ => Err(BinaryError::Value),
    }
}
