//! The first lines of the notebook: what is known when the head is whole.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::Request;
use http::header::{CONTENT_TYPE, HOST, REFERER, USER_AGENT};
use hyper::body::{Body as _, Incoming};

use super::core::{Core, Counts};
use crate::access_log::Arriving;
use crate::downstream::wire::Causes;
use crate::downstream::{Arrival, Refusal, Why};
use crate::exchange::connection::Connection;
use crate::exchange::failure::Cause;
use crate::exchange::flight::Flight;
use crate::exchange::{End, Exchange, Marks, Upstream};
use crate::http::headers::request_line;
use crate::plan::Plan;
use crate::record::{self, EndAt, EndBy, Id, Record};

/// The exchange of a request that has just arrived.
#[inline]
pub fn exchange(core: &Core, plan: &Plan, request: &Request<Incoming>, arrival: &Arrival) -> Exchange {
    let connection = &arrival.wire.connection;
    let ts_us = core.clock.unix_us(arrival.first_byte);
    let headers = request.headers();
    let has_body = !request.body().is_end_stream();
    let in_flight = core.counts.in_flight.load(std::sync::atomic::Ordering::Relaxed);
    Counts::step32(&core.counts.in_flight, 1);
    Counts::step64(&core.counts.requests);
    let id = core.ids.next(ts_us);
    let flight = flight(core, plan, request, connection, id, ts_us);
    Exchange {
        id,
        connection: Rc::clone(connection),
        number: connection.requests.get(),
        ts_us,
        marks: Marks {
            first_byte: arrival.first_byte,
            head: arrival.head,
            policy: None,
            picked: None,
            connected: None,
            sent: None,
            answered: None,
            failed: None,
        },
        idle_us: idle_us(connection, arrival.first_byte),
        method: request.method().clone(),
        uri: request.uri().clone(),
        version: request.version(),
        host: None,
        client_ip: connection.sender_ip(),
        client_port: Some(connection.sender.port()),
        user_agent: headers.get(USER_AGENT).cloned(),
        referer: headers.get(REFERER).cloned(),
        request_type: has_body.then(|| headers.get(CONTENT_TYPE).cloned()).flatten(),
        response_type: None,
        rid: None,
        rid_in: None,
        trace_id: None,
        span_id: None,
        parent_id: None,
        trace_flags: None,
        configuration: plan.configuration,
        site: None,
        route: None,
        status: 0,
        is_own: false,
        encoding: None,
        head_bytes: arrival.head_bytes as u64,
        body_in: has_body.then(Rc::default),
        tx_before: connection.tx.get(),
        body_out: 0,
        limit: None,
        limit_rule: None,
        upstream: Upstream::default(),
        in_flight_before: in_flight,
        end: End::default(),
        flight,
    }
}

/// Its place among what is under way: what can be said before anything is decided.
#[inline]
fn flight(
    core: &Core,
    plan: &Plan,
    request: &Request<Incoming>,
    connection: &Connection,
    id: Id,
    ts_us: i64,
) -> Flight {
    let uri = request.uri();
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = authority.or_else(|| request.headers().get(HOST).map(|host| host.as_bytes()));
    core.log.enter(&Arriving {
        id,
        ts_us,
        conn: connection.serial,
        conn_req: connection.requests.get(),
        cfg: plan.configuration,
        client_ip: connection.sender_ip(),
        client_port: Some(connection.sender.port()),
        is_tls: connection.tls.is_some(),
        is_h2: connection.is_h2,
        method: request.method().as_str().as_bytes(),
        host: host.unwrap_or_default(),
        path: uri.path().as_bytes(),
    })
}

/// Silence before the first byte; unknown when requests overlap.
fn idle_us(connection: &Connection, first_byte: Instant) -> Option<u64> {
    if connection.in_flight.get() > 1 {
        return None;
    }
    let idle = first_byte.checked_duration_since(connection.idle_since.get()).unwrap_or(Duration::ZERO);
    Some(idle.as_micros() as u64)
}

/// The record of a connection that brought no request that could be walked.
pub fn refused(core: &Core, plan: &Plan, refusal: &Refusal) {
    Counts::step64(&core.counts.refused);
    let connection = &refusal.wire.connection;
    let (end_by, end_at, reason) = words(refusal.why);
    let ts_us = core.clock.unix_us(connection.accepted);
    let line = request_line(&refusal.head);
    let part = |range: std::ops::Range<usize>| refusal.head.get(range);
    let target = line.clone().and_then(|(_, target)| part(target));
    let (path, query) = split_target(target);
    let mut scratch = Vec::new();
    let record = Record {
        kind: record::Kind::Conn,
        ts_us,
        id: core.ids.next(ts_us),
        cfg: plan.configuration,
        conn: connection.serial,
        conn_req: connection.requests.get(),
        listener: &connection.listener,
        client_ip: Some(connection.sender_ip()),
        client_port: Some(connection.sender.port()),
        method: line.and_then(|(method, _)| part(method)),
        scheme: Some(connection.scheme()),
        path,
        query: query.map(|q| plan.redactor.query(q, &mut scratch)),
        status: refusal.status.map_or(0, |s| s.as_u16()),
        rx_head_b: refusal.head.len() as u64,
        tx_head_b: connection.tx.get(),
        dur_us: connection.accepted.elapsed().as_micros() as u64,
        t_tls_us: connection.handshake_us,
        end_by,
        end_at,
        reason: Some(reason),
        cause: cause(refusal.why, &refusal.wire.limits.causes).map(|cause| &**cause),
        err: (!refusal.detail.is_empty()).then_some(refusal.detail.as_bytes()),
        tls: connection.tls.as_ref().map(|tls| tls.record()),
        n_conn: Some(connection.neighbours),
        ..Record::default()
    };
    core.log.log.write(&record);
}

fn split_target(target: Option<&[u8]>) -> (Option<&[u8]>, Option<&[u8]>) {
    let Some(target) = target else { return (None, None) };
    match memchr::memchr(b'?', target) {
        Some(at) => (Some(&target[..at]), Some(&target[at + 1..])),
        None => (Some(target), None),
    }
}

/// The configuration key that decided.
fn cause(why: Why, causes: &Causes) -> Option<&Cause> {
    match why {
        Why::HeadTimeout | Why::Silent => Some(&causes.header),
        Why::HandshakeTimeout => Some(&causes.handshake),
        Why::TooMany => Some(&causes.max_connections_per_ip),
        Why::Malformed | Why::Gone | Why::Flood | Why::Handshake => None,
    }
}

fn words(why: Why) -> (EndBy, EndAt, &'static str) {
    match why {
        Why::Malformed => (EndBy::Proxy, EndAt::Head, "http_request_error"),
        Why::HeadTimeout | Why::Silent => (EndBy::Client, EndAt::Head, "client_timeout"),
        Why::Gone => (EndBy::Client, EndAt::Head, "client_abort"),
        Why::Flood => (EndBy::Proxy, EndAt::Head, "http_request_error"),
        Why::Handshake => (EndBy::Client, EndAt::Tls, "tls_protocol_error"),
        Why::HandshakeTimeout => (EndBy::Client, EndAt::Tls, "client_timeout"),
        Why::TooMany => (EndBy::Proxy, EndAt::Policy, "resource_exhausted"),
    }
}
