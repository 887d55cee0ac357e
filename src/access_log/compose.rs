//! Turns an exchange into its record: the only place where notes become fields.

use std::time::Instant;

use crate::access_log::CoreLog;
use crate::downstream::wire::Wire;
use crate::exchange::Exchange;
use crate::record::redact::Redactor;
use crate::record::{EndAt, EndBy, Kind, Proto, Record, Try};

/// Writes the record of `exchange` as it stands at `now`.
pub(super) fn write(
    kind: Kind,
    now: Instant,
    exchange: &Exchange,
    redactor: &Redactor,
    wire: &Wire,
    log: &CoreLog,
) {
    let mut scratch = Vec::new();
    let query = exchange.uri.query().map(|q| redactor.query(q.as_bytes(), &mut scratch));
    let mut referer_scratch = Vec::new();
    let referer = exchange.referer.as_ref().map(|r| redactor.url(r.as_bytes(), &mut referer_scratch));
    let tries: Vec<Try<'_>> = exchange.upstream.failed.iter().map(try_of).collect();
    // Filled in place: a record is large to move.
    let mut record = Record { kind, query, referer, try_log: &tries, ..Record::default() };
    origin(&mut record, exchange);
    request(&mut record, exchange);
    answer(&mut record, exchange, wire);
    upstream(&mut record, exchange);
    times(&mut record, exchange, now);
    match kind {
        Kind::Open => log.write(&record),
        _ => log.write_last(&record, exchange.flight.place()),
    }
}

fn origin<'a>(record: &mut Record<'a>, exchange: &'a Exchange) {
    let connection = &exchange.connection;
    let sender = connection.sender_ip();
    record.ts_us = exchange.ts_us;
    record.id = exchange.id;
    record.rid = exchange.rid.as_deref();
    record.rid_in = exchange.rid_in.as_deref();
    record.trace_id = exchange.trace_id;
    record.span_id = exchange.span_id;
    record.parent_id = exchange.parent_id;
    record.trace_flags = exchange.trace_flags;
    record.cfg = exchange.configuration;
    record.conn = connection.serial;
    record.conn_req = exchange.number;
    record.listener = &connection.listener;
    record.client_ip = Some(exchange.client_ip);
    record.client_port = exchange.client_port;
    record.peer_ip = (sender != exchange.client_ip).then_some(sender);
    record.tls = connection.tls.as_ref().map(|tls| tls.record());
    record.n_conn = Some(connection.neighbours);
}

fn request<'a>(record: &mut Record<'a>, exchange: &'a Exchange) {
    record.method = Some(exchange.method.as_str().as_bytes());
    record.scheme = Some(exchange.connection.scheme());
    record.host = exchange.host.as_ref().map(|h| h.as_bytes());
    record.path = Some(exchange.uri.path().as_bytes());
    record.site = exchange.site.as_deref();
    record.route = exchange.route.as_deref();
    record.proto = Some(proto(exchange.version));
    record.ua = exchange.user_agent.as_ref().map(|v| v.as_bytes());
    record.req_type = exchange.request_type.as_ref().map(|v| v.as_bytes());
    record.n_req = Some(exchange.in_flight_before);
}

fn answer<'a>(record: &mut Record<'a>, exchange: &'a Exchange, wire: &Wire) {
    let end = &exchange.end;
    record.status = exchange.status;
    record.resp_type = exchange.response_type.as_ref().map(|v| v.as_bytes());
    record.enc = exchange.encoding;
    record.rx_head_b = exchange.head_bytes;
    record.rx_body_b = exchange.body_in.as_ref().map_or(0, |bytes| bytes.get());
    record.tx_body_b = exchange.body_out;
    if !exchange.connection.is_h2 {
        let sent = wire.connection.tx.get().saturating_sub(exchange.tx_before);
        record.tx_head_b = sent.saturating_sub(exchange.body_out);
    }
    record.end_by = end.by;
    record.end_at = end.at;
    record.reason = end.reason;
    if exchange.is_own && end.reason.is_none() {
        (record.end_by, record.reason) = (EndBy::Proxy, Some("proxy_internal_response"));
    }
    record.cause = end.cause.as_deref();
    record.err = end.detail.as_deref().map(str::as_bytes);
    record.rl = exchange.limit;
    record.rl_rule = exchange.limit_rule.as_deref();
}

fn upstream<'a>(record: &mut Record<'a>, exchange: &'a Exchange) {
    let upstream = &exchange.upstream;
    record.upstream = upstream.name.as_deref();
    record.up_addr = upstream.address.as_deref();
    record.worker = upstream.worker.as_deref();
    record.up_status = upstream.status;
    record.up_reused = upstream.is_reused;
    record.pick = upstream.pick;
    record.tries = upstream.tries;
    record.up_req = upstream.load;
    if let Some((traffic, rx, tx)) = &upstream.traffic {
        record.up_rx_b = Some(traffic.rx.get().saturating_sub(*rx));
        record.up_tx_b = Some(traffic.tx.get().saturating_sub(*tx));
    }
}

/// Phases are differences of marks; a phase that was not reached stays away.
fn times(record: &mut Record<'_>, exchange: &Exchange, now: Instant) {
    let marks = &exchange.marks;
    let span = |from: Option<Instant>, to: Option<Instant>| match (from?, to?) {
        // A phase that took no time has the mark of the one before.
        (from, to) if from == to => Some(0),
        (from, to) => Some(to.checked_duration_since(from)?.as_micros() as u64),
    };
    let short = |from, to| span(from, to).map(|us| u32::try_from(us).unwrap_or(u32::MAX));
    // Where it failed, the phase of then ended with the failure.
    let until = |at, mark: Option<Instant>| mark.or(marks.failed.filter(|_| exchange.end.at == at));
    let first = Some(marks.first_byte);
    let sent = exchange.sent();
    record.dur_us = span(first, Some(now)).unwrap_or(0);
    record.t_tls_us = exchange.connection.handshake_us.filter(|_| exchange.number == 1);
    record.t_idle_us = exchange.idle_us;
    record.t_head_us = short(first, Some(marks.head));
    record.t_policy_us = short(Some(marks.head), until(EndAt::Policy, marks.policy));
    record.t_queue_us = span(marks.policy, until(EndAt::Queue, marks.picked));
    record.t_conn_us = short(marks.picked, until(EndAt::Connect, marks.connected));
    record.t_send_us = span(marks.connected, until(EndAt::Body, sent));
    record.t_wait_us = span(sent, until(EndAt::Wait, marks.answered));
    record.t_resp_us = span(marks.answered, Some(now));
    let waits = [record.t_head_us, record.t_conn_us].into_iter().flatten().map(u64::from).sum::<u64>()
        + [record.t_queue_us, record.t_send_us, record.t_wait_us, record.t_resp_us]
            .into_iter()
            .flatten()
            .sum::<u64>();
    record.t_self_us = Some(record.dur_us.saturating_sub(waits));
}

fn try_of(attempt: &crate::exchange::Attempt) -> Try<'_> {
    Try {
        addr: &attempt.address,
        conn_us: attempt.connect_us,
        wait_us: attempt.wait_us,
        status: attempt.status,
        reason: attempt.reason,
    }
}

fn proto(version: http::Version) -> Proto {
    match version {
        http::Version::HTTP_2 => Proto::Http2,
        http::Version::HTTP_10 => Proto::Http10,
        _ => Proto::Http11,
    }
}
