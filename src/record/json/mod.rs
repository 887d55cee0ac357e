//! The JSON rendering of a record: one line, flat snake_case, unit in the name.
//!
//! What is absent is left out. Every line is valid JSON for any bytes: a text that is not UTF-8 shows U+FFFD in its
//! field, and its exact bytes stand beside it in hexadecimal, in a field of the same name with `_hex` behind it.
//! A text that was too long is cut; `cut` lists the names of such fields.

mod line;
#[cfg(test)]
mod tests;
mod words;

use std::io::Write as _;

use jiff::Timestamp;

pub use self::words::{end_at, end_by, kind};

use self::line::Line;
use self::words::{limit, protocol};
use super::escape::json_string;
use super::frame::Cut;
use super::{Id, Kind, Record, Tls, Try, VERSION, id};

/// Bytes that most lines need.
const TYPICAL: usize = 1536;

macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

use key;

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

/// Records that are missing from a stream, and why.
#[derive(Clone, Copy, Debug)]
pub struct Gap<'a> {
    pub id: Id,
    pub ts_us: i64,
    pub proxy: &'a str,
    pub boot: u64,
    pub core: u16,
    /// First and last missing sequence number; absent when what is missing never had one.
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

/// Renders records one after the other; keeps the text of the last second.
#[derive(Debug, Default)]
pub struct Renderer {
    second: Option<i64>,
    text: Vec<u8>,
}

/// Appends one line: see [`Renderer::record`], which is faster for many.
pub fn write(record: &Record<'_>, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
    Renderer::default().record(record, stamp, out);
}

impl Renderer {
    /// Appends `record` as one line of JSON with its line feed.
    pub fn record(&mut self, record: &Record<'_>, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
        out.reserve(TYPICAL);
        let mut line = self.begin(kind(record.kind), record.ts_us, &record.id, out);
        line.stamp(stamp);
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
        let mut line = self.begin("gap", gap.ts_us, &gap.id, out);
        line.source(gap.proxy, gap.boot, gap.core);
        line.number(key!("first_seq"), gap.range.map(|(first, _)| first));
        line.number(key!("last_seq"), gap.range.map(|(_, last)| last));
        line.number(key!("missing"), Some(gap.missing));
        line.text(key!("reason"), Some(gap.reason));
        line.end();
    }

    /// Appends an `app` record.
    pub fn app_line(&mut self, app: &AppLine<'_>, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
        let mut line = self.begin("app", app.ts_us, &app.id, out);
        line.stamp(stamp);
        line.text(key!("worker"), Some(app.worker));
        line.word(key!("stream"), app.stream);
        line.bytes(key!("line"), Some(app.line));
        line.end();
    }

    /// Appends the `stop` record, which closes all streams: `last_seq[k]` is the last number that core `k` gave out.
    pub fn stop(&mut self, ts_us: i64, id: &Id, last_seq: &[u64], stamp: &Stamp<'_>, out: &mut Vec<u8>) {
        let mut line = self.begin("stop", ts_us, id, out);
        line.stamp(stamp);
        line.out.extend_from_slice(key!("last_seqs"));
        line.list(last_seq, |line, seq| line.raw_number(*seq));
        line.end();
    }

    fn begin<'o>(&mut self, kind: &str, ts_us: i64, id: &Id, out: &'o mut Vec<u8>) -> Line<'o> {
        let mut line = Line { out };
        line.out.extend_from_slice(b"{\"v\":");
        line.raw_number(u64::from(VERSION));
        line.word(key!("kind"), kind);
        line.out.extend_from_slice(b",\"ts\":\"");
        self.timestamp(ts_us, line.out);
        line.out.extend_from_slice(b"\",\"id\":\"");
        line.out.extend_from_slice(&id::text(id));
        line.out.push(b'"');
        line
    }

    /// RFC 3339 in UTC with six digits behind the second.
    fn timestamp(&mut self, ts_us: i64, out: &mut Vec<u8>) {
        let second = ts_us.div_euclid(1_000_000);
        if self.second != Some(second) {
            let time = Timestamp::from_second(second).unwrap_or_default();
            self.text.clear();
            // Writing to a Vec cannot fail. The `Z` goes behind the fraction.
            let _ = write!(self.text, "{time}");
            self.text.pop();
            self.second = Some(second);
        }
        out.extend_from_slice(&self.text);
        let mut fraction = *b".000000Z";
        let mut rest = ts_us.rem_euclid(1_000_000);
        for digit in fraction[1..7].iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&fraction);
    }
}

fn origin(line: &mut Line<'_>, record: &Record<'_>) {
    line.bytes(key!("rid"), record.rid);
    line.bytes(key!("rid_in"), record.rid_in);
    line.hex(key!("trace_id"), record.trace_id.as_ref().map(|id| id.as_slice()));
    line.hex(key!("span_id"), record.span_id.as_ref().map(|id| id.as_slice()));
    line.hex(key!("parent_id"), record.parent_id.as_ref().map(|id| id.as_slice()));
    line.number(key!("trace_flags"), record.trace_flags);
    line.hex(
        key!("cfg"),
        Some(&record.cfg.to_be_bytes()).filter(|_| record.cfg != 0).map(|hash| hash.as_slice()),
    );
    line.number(key!("conn"), Some(record.conn).filter(|conn| *conn != 0));
    line.number(key!("conn_req"), Some(record.conn_req).filter(|count| *count != 0));
    line.number(key!("h2_stream"), record.h2_stream);
    line.text(key!("listener"), Some(record.listener).filter(|name| !name.is_empty()));
    line.ip(key!("client_ip"), record.client_ip);
    line.number(key!("client_port"), record.client_port);
    line.ip(key!("peer_ip"), record.peer_ip);
}

fn request(line: &mut Line<'_>, record: &Record<'_>) {
    line.bytes(key!("method"), record.method);
    line.text(key!("scheme"), record.scheme);
    line.bytes(key!("host"), record.host);
    line.bytes(key!("path"), record.path);
    line.bytes(key!("query"), record.query);
    line.text(key!("site"), record.site);
    line.text(key!("route"), record.route);
    if let Some(proto) = record.proto {
        line.word(key!("proto"), protocol(proto));
    }
    line.bytes(key!("referer"), record.referer);
    line.bytes(key!("ua"), record.ua);
    line.bytes(key!("req_type"), record.req_type);
}

fn answer(line: &mut Line<'_>, record: &Record<'_>) {
    line.number(key!("status"), Some(record.status));
    line.number(key!("up_status"), record.up_status);
    line.bytes(key!("resp_type"), record.resp_type);
    line.text(key!("enc"), record.enc);
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
    line.text(key!("upstream"), record.upstream);
    line.text(key!("up_addr"), record.up_addr);
    line.text(key!("worker"), record.worker);
    line.flag(key!("up_reused"), record.up_reused);
    line.text(key!("pick"), record.pick);
    // With an upstream, 0 says that the request was never sent.
    line.number(key!("tries"), Some(record.tries).filter(|tries| *tries != 0 || record.upstream.is_some()));
    if !record.try_log.is_empty() {
        line.out.extend_from_slice(key!("try_log"));
        line.list(record.try_log, try_of);
    }
}

fn try_of(line: &mut Line<'_>, attempt: &Try<'_>) {
    line.out.extend_from_slice(b"{\"addr\":");
    json_string(attempt.addr.as_bytes(), line.out);
    line.number(key!("conn_us"), attempt.conn_us);
    line.number(key!("wait_us"), attempt.wait_us);
    line.number(key!("status"), attempt.status);
    line.text(key!("reason"), Some(attempt.reason).filter(|reason| !reason.is_empty()));
    line.out.push(b'}');
}

fn outcome(line: &mut Line<'_>, record: &Record<'_>) {
    if matches!(record.kind, Kind::Request | Kind::Close | Kind::Conn) {
        line.word(key!("end_by"), end_by(record.end_by));
        line.word(key!("end_at"), end_at(record.end_at));
    }
    line.text(key!("reason"), record.reason);
    line.text(key!("cause"), record.cause);
    line.bytes(key!("err"), record.err);
    if let Some(verdict) = record.rl {
        line.word(key!("rl"), limit(verdict));
    }
    line.text(key!("rl_rule"), record.rl_rule);
    line.number(key!("n_conn"), record.n_conn);
    line.number(key!("n_req"), record.n_req);
    line.number(key!("up_req"), record.up_req);
    line.number(key!("missing"), record.missing);
}

fn tls_of(line: &mut Line<'_>, tls: &Tls<'_>) {
    line.text(key!("tls_ver"), Some(tls.version));
    line.text(key!("tls_cipher"), Some(tls.cipher));
    line.text(key!("tls_group"), tls.group);
    line.text(key!("tls_alpn"), tls.alpn);
    line.text(key!("tls_sni"), tls.sni);
    line.flag(key!("tls_resumed"), Some(tls.resumed));
}
