//! The words of closed sets.

use crate::record::{EndAt, EndBy, Kind, LimitVerdict, Proto};

/// The word of a kind of record, as written in `kind`.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => "request",
        Kind::Open => "open",
        Kind::Close => "close",
        Kind::Conn => "conn",
        Kind::Gap => "gap",
        Kind::Start => "start",
        Kind::Stop => "stop",
        Kind::Reload => "reload",
    }
}

/// The word of `end_by`.
pub fn end_by(end: EndBy) -> &'static str {
    match end {
        EndBy::None => "none",
        EndBy::Client => "client",
        EndBy::Upstream => "upstream",
        EndBy::Proxy => "proxy",
        EndBy::Rule => "rule",
        EndBy::Admin => "admin",
    }
}

/// The word of `end_at`.
pub fn end_at(end: EndAt) -> &'static str {
    match end {
        EndAt::Tls => "tls",
        EndAt::Head => "head",
        EndAt::Body => "body",
        EndAt::Policy => "policy",
        EndAt::Queue => "queue",
        EndAt::Dns => "dns",
        EndAt::Connect => "connect",
        EndAt::Uptls => "uptls",
        EndAt::Send => "send",
        EndAt::Wait => "wait",
        EndAt::Resp => "resp",
        EndAt::Tunnel => "tunnel",
        EndAt::Done => "done",
    }
}

/// The word of `proto`.
pub fn protocol(proto: Proto) -> &'static str {
    match proto {
        Proto::Http10 => "1.0",
        Proto::Http11 => "1.1",
        Proto::Http2 => "2",
    }
}

/// The word of `rl`.
pub fn limit(verdict: LimitVerdict) -> &'static str {
    match verdict {
        LimitVerdict::Ok => "ok",
        LimitVerdict::Limited => "limited",
        LimitVerdict::DryRun => "dry_run",
    }
}
