//! The JSON rendering of a record: one line, flat snake_case, unit in the name.
//!
//! What is absent is left out. Every line is valid JSON for any bytes: a text that is not UTF-8 shows U+FFFD in its
//! field, and its exact bytes stand beside it in hexadecimal, in a field of the same name with `_hex` behind it.
//! A text that was too long is cut; `cut` lists the names of such fields.

mod digits;
#[cfg(test)]
mod binary_tests;
mod heading;
mod line;
#[cfg(test)]
mod tests;
mod words;

pub use self::words::{end_at, end_by, kind, limit, protocol};

use self::heading::Heading;
use self::line::{Buffer, Line};
use super::binary::{Cut, Decoded};
use super::{Id, Kind, Record, Tls, Try};

macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

/// A key with the first quote of its value.
macro_rules! text_key {
    ($name:literal) => {
        concat!(",\"", $name, "\":\"").as_bytes()
    };
}

use {key, text_key};

/// What the log adds to a record: where it comes from, and its place in the sequence.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// Name of this instance.
    pub proxy: &'a str,
    /// Start of the process, milliseconds since the Unix epoch.
    pub boot: u64,
    pub core: u16,
    /// Contiguous from 1 per (proxy, boot, core).
    pub seq: u64,
    pub cut: Cut,
}

/// The last number of a gap whose end nobody knows: neither it nor a count is written.
pub const OPEN_END: u64 = u64::MAX;

/// Records that are missing from a stream, and why.
#[derive(Clone, Copy, Debug)]
pub struct Gap<'a> {
    pub id: Id,
    pub ts_us: i64,
    pub proxy: &'a str,
    pub boot: u64,
    pub core: u16,
    /// First and last missing sequence number ([`OPEN_END`]: nobody knows the last, nor whether there is any); absent when
    /// what is missing never had one.
    pub range: Option<(u64, u64)>,
    pub missing: u64,
    pub reason: &'a str,
}

/// One line that a worker process wrote.
#[derive(Clone, Copy, Debug)]
pub struct AppLine<'a> {
    pub id: Id,
    pub ts_us: i64,
    pub worker: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    pub line: &'a [u8],
}

/// Something that the log tells about itself.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    pub id: Id,
    pub ts_us: i64,
    /// `info` or `warn`.
    pub level: &'a str,
    /// A word of ours.
    pub reason: &'a str,
    pub text: &'a str,
}

/// Renders records one after the other; keeps what does not change from one to the next.
#[derive(Debug, Default)]
pub struct Renderer {
    buffer: Box<Buffer>,
    heading: Heading,
}

/// Appends one line: see [`Renderer::record`], which is faster for many.
pub fn write(record: &Record<'_>, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
    Renderer::default().record(record, stamp, out);
}

impl Renderer {
    /// Appends `record` as one line of JSON with its line feed.
    pub fn record(&mut self, record: &Record<'_>, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
        self.write(record, stamp, false, out);
    }

    /// The same for a record that was read from its binary form, which knows already whether there is anything to escape.
    pub fn decoded(&mut self, decoded: &Decoded<'_>, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
        self.write(&decoded.record, stamp, decoded.is_plain, out);
    }

    fn write(&mut self, record: &Record<'_>, stamp: &Stamp<'_>, is_plain: bool, out: &mut Vec<u8>) {
        let (mut line, heading) = self.stamped(kind(record.kind), record.ts_us, &record.id, stamp, out);
        if is_plain {
            line.trust_texts();
        }
        trace(&mut line, record);
        heading.configuration(record.cfg, &mut line);
        origin(&mut line, record);
        request(&mut line, record);
        if matches!(record.kind, Kind::Request | Kind::Open | Kind::Close | Kind::Conn) {
            answer(&mut line, record);
        }
        timers(&mut line, record);
        upstream(&mut line, record);
        outcome(&mut line, record);
        record.tls.iter().for_each(|tls| tls_of(&mut line, tls));
        line.cut(stamp.cut);
        line.end();
    }

    /// Appends a `gap` record.
    pub fn gap(&mut self, gap: &Gap<'_>, out: &mut Vec<u8>) {
        self.heading.set("gap", gap.ts_us, (gap.proxy, gap.boot, gap.core));
        let mut line = Line::new(&mut self.buffer, out);
        self.heading.write(gap.ts_us, &gap.id, &mut line);
        line.number(key!("first_seq"), gap.range.map(|(first, _)| first));
        let last = gap.range.map(|(_, last)| last);
        line.number(key!("last_seq"), last.filter(|last| *last != OPEN_END));
        line.number(key!("missing"), Some(gap.missing).filter(|_| last != Some(OPEN_END)));
        line.text(text_key!("reason"), Some(gap.reason));
        line.end();
    }

    /// Appends an `app` record.
    pub fn app_line(&mut self, app: &AppLine<'_>, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
        let (mut line, _) = self.stamped("app", app.ts_us, &app.id, stamp, out);
        line.text(text_key!("worker"), Some(app.worker));
        line.word(text_key!("stream"), app.stream);
        line.bytes(text_key!("line"), Some(app.line));
        line.end();
    }

    /// Appends a `log` record: the log tells about itself.
    pub fn notice(&mut self, notice: &Notice<'_>, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
        let (mut line, _) = self.stamped("log", notice.ts_us, &notice.id, stamp, out);
        line.word(text_key!("level"), notice.level);
        line.word(text_key!("reason"), notice.reason);
        line.text(text_key!("msg"), Some(notice.text));
        line.end();
    }

    /// Appends a `host` record. `facts` is a JSON object.
    pub fn host(&mut self, ts_us: i64, id: &Id, facts: &[u8], stamp: &Stamp<'_>, out: &mut Vec<u8>) {
        let (mut line, _) = self.stamped("host", ts_us, id, stamp, out);
        let members = facts.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
        if let Some(members) = members.filter(|members| !members.is_empty()) {
            line.raw(b",");
            line.raw(members);
        }
        line.end();
    }

    /// Appends the `stop` record, which closes all streams: `last_seq[k]` is the last number that core `k` gave out.
    pub fn stop(&mut self, ts_us: i64, id: &Id, last_seq: &[u64], stamp: &Stamp<'_>, out: &mut Vec<u8>) {
        let (mut line, _) = self.stamped("stop", ts_us, id, stamp, out);
        line.raw(key!("last_seqs"));
        line.list(last_seq, |line, seq| line.raw_number(*seq));
        line.end();
    }

    #[inline(always)]
    fn stamped<'o>(
        &'o mut self,
        kind: &'static str,
        ts_us: i64,
        id: &Id,
        stamp: &Stamp<'_>,
        out: &'o mut Vec<u8>,
    ) -> (Line<'o>, &'o mut Heading) {
        let Self { buffer, heading } = self;
        heading.set(kind, ts_us, (stamp.proxy, stamp.boot, stamp.core));
        let mut line = Line::new(buffer, out);
        heading.write(ts_us, id, &mut line);
        line.number(key!("seq"), Some(stamp.seq));
        (line, heading)
    }
}

fn trace(line: &mut Line<'_>, record: &Record<'_>) {
    line.bytes(text_key!("rid"), record.rid);
    line.bytes(text_key!("rid_in"), record.rid_in);
    line.hex(text_key!("trace_id"), record.trace_id.as_ref());
    line.hex(text_key!("span_id"), record.span_id.as_ref());
    line.hex(text_key!("parent_id"), record.parent_id.as_ref());
    line.number(key!("trace_flags"), record.trace_flags);
}

fn origin(line: &mut Line<'_>, record: &Record<'_>) {
    line.number(key!("conn"), Some(record.conn).filter(|conn| *conn != 0));
    line.number(key!("conn_req"), Some(record.conn_req).filter(|count| *count != 0));
    line.number(key!("h2_stream"), record.h2_stream);
    line.text(text_key!("listener"), Some(record.listener).filter(|name| !name.is_empty()));
    line.ip(text_key!("client_ip"), record.client_ip);
    line.number(key!("client_port"), record.client_port);
    line.ip(text_key!("peer_ip"), record.peer_ip);
}

fn request(line: &mut Line<'_>, record: &Record<'_>) {
    line.bytes(text_key!("method"), record.method);
    line.text(text_key!("scheme"), record.scheme);
    line.bytes(text_key!("host"), record.host);
    line.bytes(text_key!("path"), record.path);
    line.bytes(text_key!("query"), record.query);
    line.text(text_key!("site"), record.site);
    line.text(text_key!("route"), record.route);
    if let Some(proto) = record.proto {
        line.word(text_key!("proto"), protocol(proto));
    }
    line.bytes(text_key!("referer"), record.referer);
    line.bytes(text_key!("ua"), record.ua);
    line.bytes(text_key!("req_type"), record.req_type);
}

fn answer(line: &mut Line<'_>, record: &Record<'_>) {
    line.number(key!("status"), Some(record.status));
    line.number(key!("up_status"), record.up_status);
    line.bytes(text_key!("resp_type"), record.resp_type);
    line.text(text_key!("enc"), record.enc);
    line.number(key!("rx_head_b"), Some(record.rx_head_b));
    line.number(key!("rx_body_b"), Some(record.rx_body_b));
    line.number(key!("tx_head_b"), Some(record.tx_head_b));
    line.number(key!("tx_body_b"), Some(record.tx_body_b));
    line.number(key!("up_tx_b"), record.up_tx_b);
    line.number(key!("up_rx_b"), record.up_rx_b);
    line.number(key!("dur_us"), Some(record.dur_us));
}

fn timers(line: &mut Line<'_>, record: &Record<'_>) {
    line.number(key!("t_tls_us"), record.t_tls_us);
    line.number(key!("t_idle_us"), record.t_idle_us);
    line.number(key!("t_head_us"), record.t_head_us);
    line.number(key!("t_policy_us"), record.t_policy_us);
    line.number(key!("t_queue_us"), record.t_queue_us);
    line.number(key!("t_conn_us"), record.t_conn_us);
    line.number(key!("t_send_us"), record.t_send_us);
    line.number(key!("t_wait_us"), record.t_wait_us);
    line.number(key!("t_resp_us"), record.t_resp_us);
    line.number(key!("t_self_us"), record.t_self_us);
}

fn upstream(line: &mut Line<'_>, record: &Record<'_>) {
    line.text(text_key!("upstream"), record.upstream);
    line.text(text_key!("up_addr"), record.up_addr);
    line.text(text_key!("worker"), record.worker);
    line.flag(key!("up_reused"), record.up_reused);
    line.text(text_key!("pick"), record.pick);
    // With an upstream, 0 says that the request was never sent.
    line.number(key!("tries"), Some(record.tries).filter(|tries| *tries != 0 || record.upstream.is_some()));
    if !record.try_log.is_empty() {
        line.raw(key!("try_log"));
        line.list(record.try_log, try_of);
    }
}

fn try_of(line: &mut Line<'_>, attempt: &Try<'_>) {
    line.text(b"{\"addr\":\"", Some(attempt.addr));
    line.number(key!("conn_us"), attempt.conn_us);
    line.number(key!("wait_us"), attempt.wait_us);
    line.number(key!("status"), attempt.status);
    line.text(text_key!("reason"), Some(attempt.reason).filter(|reason| !reason.is_empty()));
    line.raw(b"}");
}

fn outcome(line: &mut Line<'_>, record: &Record<'_>) {
    if matches!(record.kind, Kind::Request | Kind::Close | Kind::Conn) {
        line.word(text_key!("end_by"), end_by(record.end_by));
        line.word(text_key!("end_at"), end_at(record.end_at));
    }
    line.text(text_key!("reason"), record.reason);
    line.text(text_key!("cause"), record.cause);
    line.bytes(text_key!("err"), record.err);
    if let Some(verdict) = record.rl {
        line.word(text_key!("rl"), limit(verdict));
    }
    line.text(text_key!("rl_rule"), record.rl_rule);
    line.number(key!("n_conn"), record.n_conn);
    line.number(key!("n_req"), record.n_req);
    line.number(key!("up_req"), record.up_req);
    line.number(key!("missing"), record.missing);
    line.number(key!("sw"), Some(record.sw).filter(|weight| *weight != 0));
    line.number(key!("detail"), Some(record.detail).filter(|detail| *detail != 0));
}

fn tls_of(line: &mut Line<'_>, tls: &Tls<'_>) {
    line.text(text_key!("tls_ver"), Some(tls.version));
    line.text(text_key!("tls_cipher"), Some(tls.cipher));
    line.text(text_key!("tls_group"), tls.group);
    line.text(text_key!("tls_alpn"), tls.alpn);
    line.text(text_key!("tls_sni"), tls.sni);
    line.flag(key!("tls_resumed"), Some(tls.resumed));
}
