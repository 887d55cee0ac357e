//! A record in its binary form becomes a row, without a way through JSON. Mirrors `record::json`: what is left out
//! there is null here.

use std::net::IpAddr;

use super::builder::{Builder, Origin, PushError};
use super::cells::{Texts, Words};
use super::is_made;
use super::schema::Columns;
use crate::record::binary::{Cut, Decoded};
use crate::record::escape::{hex, hex_text, json_string};
use crate::record::{Id, Kind, Record, Tls, Try, VERSION, id, json};

/// What a row takes beside its texts, roughly.
const ROW_BYTES: usize = 400;

impl Builder {
    /// Adds a record of a proxy. `recv` is microseconds since the Unix epoch, `from` the sender's address.
    pub(crate) fn push_record(
        &mut self,
        decoded: &Decoded<'_>,
        origin: &Origin<'_>,
        recv: i64,
        from: &str,
    ) -> Result<(), PushError> {
        self.check_room(0)?;
        let record = &decoded.record;
        let mut row = Row {
            row: self.rows,
            columns: &mut self.columns,
            text: &mut self.scratch.text,
            body: &mut self.scratch.body,
            bytes: ROW_BYTES,
        };
        row.place(record, origin, decoded.seq, recv, from);
        row.trace(record);
        row.configuration(record.cfg, &mut self.scratch.cfg);
        row.connection(record);
        row.request(record);
        row.answer(record);
        row.timers(record);
        row.upstream(record);
        row.outcome(record);
        if let Some(tls) = &record.tls {
            row.tls(tls);
        }
        row.cut(decoded.cut);
        let bytes = row.bytes;
        self.end_row(bytes);
        Ok(())
    }
}

struct Row<'b> {
    row: usize,
    columns: &'b mut Columns,
    text: &'b mut Vec<u8>,
    /// Members without a column, each with a comma in front.
    body: &'b mut Vec<u8>,
    bytes: usize,
}

macro_rules! set {
    ($self:ident: $($column:ident = $value:expr;)*) => {
        $($self.columns.$column.set_some($self.row, $value);)*
    };
}

impl Row<'_> {
    fn place(&mut self, record: &Record<'_>, origin: &Origin<'_>, seq: u64, recv: i64, from: &str) {
        let row = self.row;
        let columns = &mut *self.columns;
        columns.v.set(row, VERSION);
        columns.kind.set(row, json::kind(record.kind));
        columns.ts.push(record.ts_us);
        columns.id.set(row, record.id);
        columns.recv.push(recv);
        columns.from.set(row, from);
        columns.proxy.set(row, origin.proxy);
        columns.boot.set(row, origin.boot);
        columns.core.set(row, origin.core);
        columns.seq.set(row, seq);
        if record.ts_us == recv {
            self.member_ts(record.ts_us);
        }
        if is_made(&record.id) || record.trace_id == Some(record.id) {
            self.member_id(&record.id);
        }
    }

    #[cold]
    fn member_ts(&mut self, ts_us: i64) {
        self.body.extend_from_slice(b",\"ts\":\"");
        super::render::write_time(ts_us, self.body);
        self.body.push(b'"');
    }

    #[cold]
    fn member_id(&mut self, id: &Id) {
        self.body.extend_from_slice(b",\"id\":\"");
        self.body.extend_from_slice(&id::text(id));
        self.body.push(b'"');
    }

    fn trace(&mut self, record: &Record<'_>) {
        self.text("rid", record.rid, |columns| &mut columns.rid);
        self.text("rid_in", record.rid_in, |columns| &mut columns.rid_in);
        set! { self:
            trace_id = record.trace_id;
            span_id = record.span_id;
            parent_id = record.parent_id;
            trace_flags = record.trace_flags;
        }
    }

    fn configuration(&mut self, hash: u64, (known, digits): &mut (u64, String)) {
        if hash == 0 {
            return;
        }
        if *known != hash {
            *known = hash;
            *digits = hex_text(&hash.to_be_bytes());
        }
        self.columns.cfg.set(self.row, digits);
    }

    fn connection(&mut self, record: &Record<'_>) {
        set! { self:
            conn = Some(record.conn).filter(|conn| *conn != 0);
            conn_req = Some(record.conn_req).filter(|count| *count != 0);
            h2_stream = record.h2_stream;
            listener = Some(record.listener).filter(|name| !name.is_empty());
            client_port = record.client_port;
        }
        self.address(record.client_ip, |columns| &mut columns.client_ip);
        self.address(record.peer_ip, |columns| &mut columns.peer_ip);
    }

    fn request(&mut self, record: &Record<'_>) {
        self.word("method", record.method, |columns| &mut columns.method);
        self.word("host", record.host, |columns| &mut columns.host);
        self.text("path", record.path, |columns| &mut columns.path);
        self.text("query", record.query, |columns| &mut columns.query);
        self.text("referer", record.referer, |columns| &mut columns.referer);
        self.word("ua", record.ua, |columns| &mut columns.ua);
        self.word("req_type", record.req_type, |columns| &mut columns.req_type);
        set! { self:
            scheme = record.scheme;
            site = record.site;
            route = record.route;
            proto = record.proto.map(json::protocol);
        }
    }

    fn answer(&mut self, record: &Record<'_>) {
        if !matches!(record.kind, Kind::Request | Kind::Open | Kind::Close | Kind::Conn) {
            return;
        }
        let row = self.row;
        let columns = &mut *self.columns;
        columns.status.set(row, record.status);
        columns.rx_head_b.set(row, record.rx_head_b);
        columns.rx_body_b.set(row, record.rx_body_b);
        columns.tx_head_b.set(row, record.tx_head_b);
        columns.tx_body_b.set(row, record.tx_body_b);
        columns.dur_us.set(row, record.dur_us);
        set! { self:
            up_status = record.up_status;
            enc = record.enc;
            up_tx_b = record.up_tx_b;
            up_rx_b = record.up_rx_b;
        }
        self.word("resp_type", record.resp_type, |columns| &mut columns.resp_type);
    }

    fn timers(&mut self, record: &Record<'_>) {
        set! { self:
            t_tls_us = record.t_tls_us;
            t_idle_us = record.t_idle_us;
            t_head_us = record.t_head_us;
            t_policy_us = record.t_policy_us;
            t_queue_us = record.t_queue_us;
            t_conn_us = record.t_conn_us;
            t_send_us = record.t_send_us;
            t_wait_us = record.t_wait_us;
            t_resp_us = record.t_resp_us;
            t_self_us = record.t_self_us;
        }
    }

    fn upstream(&mut self, record: &Record<'_>) {
        set! { self:
            upstream = record.upstream;
            up_addr = record.up_addr;
            worker = record.worker;
            up_reused = record.up_reused;
            pick = record.pick;
            tries = Some(record.tries).filter(|tries| *tries != 0 || record.upstream.is_some());
        }
        if !record.try_log.is_empty() {
            self.text.clear();
            write_list(record.try_log, self.text, write_try);
            self.columns.try_log.set(self.row, std::str::from_utf8(self.text).unwrap_or("[]"));
        }
    }

    fn outcome(&mut self, record: &Record<'_>) {
        if matches!(record.kind, Kind::Request | Kind::Close | Kind::Conn) {
            self.columns.end_by.set(self.row, json::end_by(record.end_by));
            self.columns.end_at.set(self.row, json::end_at(record.end_at));
        }
        self.text("err", record.err, |columns| &mut columns.err);
        set! { self:
            reason = record.reason;
            cause = record.cause;
            rl = record.rl.map(json::limit);
            rl_rule = record.rl_rule;
            n_conn = record.n_conn;
            n_req = record.n_req;
            up_req = record.up_req;
            missing = record.missing;
            sw = Some(u32::from(record.sw)).filter(|weight| *weight != 0);
            detail = Some(record.detail).filter(|detail| *detail != 0);
        }
    }

    fn tls(&mut self, tls: &Tls<'_>) {
        set! { self:
            tls_ver = Some(tls.version);
            tls_cipher = Some(tls.cipher);
            tls_group = tls.group;
            tls_alpn = tls.alpn;
            tls_sni = tls.sni;
            tls_resumed = Some(tls.resumed);
        }
    }

    fn cut(&mut self, cut: Cut) {
        if !cut.is_empty() {
            let names: Vec<&str> = cut.names().collect();
            self.text.clear();
            write_list(&names, self.text, |name, out| _ = json_string(name.as_bytes(), out));
            self.columns.cut.set(self.row, std::str::from_utf8(self.text).unwrap_or("[]"));
        }
    }

    #[inline(always)]
    fn text(&mut self, name: &str, bytes: Option<&[u8]>, column: impl Fn(&mut Columns) -> &mut Texts) {
        let Some(bytes) = bytes else { return };
        self.bytes += bytes.len();
        match std::str::from_utf8(bytes) {
            Ok(text) => column(self.columns).set(self.row, text),
            Err(_) => {
                let text = self.lossy(name, bytes);
                column(self.columns).set(self.row, &text);
            }
        }
    }

    #[inline(always)]
    fn word(&mut self, name: &str, bytes: Option<&[u8]>, column: impl Fn(&mut Columns) -> &mut Words) {
        let Some(bytes) = bytes else { return };
        match std::str::from_utf8(bytes) {
            Ok(text) => column(self.columns).set(self.row, text),
            Err(_) => {
                let text = self.lossy(name, bytes);
                column(self.columns).set(self.row, &text);
            }
        }
    }

    /// Keeps the exact bytes in `body`, as the JSON form has them beside the text.
    #[cold]
    fn lossy(&mut self, name: &str, bytes: &[u8]) -> String {
        self.body.extend_from_slice(b",\"");
        self.body.extend_from_slice(name.as_bytes());
        self.body.extend_from_slice(b"_hex\":\"");
        hex(bytes, self.body);
        self.body.push(b'"');
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[inline(always)]
    fn address(&mut self, ip: Option<IpAddr>, column: impl Fn(&mut Columns) -> &mut Words) {
        let Some(ip) = ip else { return };
        self.text.clear();
        write_address(ip, self.text);
        column(self.columns).set(self.row, std::str::from_utf8(self.text).unwrap_or_default());
    }
}

fn write_address(ip: IpAddr, out: &mut Vec<u8>) {
    use std::io::Write as _;
    match ip {
        IpAddr::V4(ip) => {
            for (place, octet) in ip.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                write_number(octet.into(), out);
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_list<T>(items: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

fn write_try(attempt: &Try<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"addr\":");
    json_string(attempt.addr.as_bytes(), out);
    let numbers = [
        ("conn_us", attempt.conn_us.map(u64::from)),
        ("wait_us", attempt.wait_us.map(u64::from)),
        ("status", attempt.status.map(u64::from)),
    ];
    for (name, number) in numbers {
        let Some(number) = number else { continue };
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        write_number(number, out);
    }
    if !attempt.reason.is_empty() {
        out.extend_from_slice(b",\"reason\":");
        json_string(attempt.reason.as_bytes(), out);
    }
    out.push(b'}');
}
