//! [`Failure`]: the only error that crosses rooms. One table maps its kind to a status and to the record's words.

use std::sync::Arc;

use http::StatusCode;

use crate::http::headers::{Fault, Refusal};
use crate::record::{EndAt, EndBy};

/// The configuration key and place that decided: `timeouts.upstream=60s @tollgate.toml:12`.
pub type Cause = Arc<str>;

/// Whose doing it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Downstream,
    Upstream,
    Internal,
}

/// What went wrong (or was decided). Words follow RFC 9209 section 2.3, with a few extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    BadRequest,
    TargetTooLong,
    HeadersTooLarge,
    BodyTooLarge,
    MethodRefused,
    ExpectationUnknown,
    /// A WebSocket version that is not spoken here.
    UpgradeVersion,
    CodingUnknown,
    Misdirected,
    NoRoute,
    NotFound,
    MethodNotAllowed,
    Denied,
    RateLimited,
    Loop,
    ClientAbort,
    ClientTimeout,
    ConnectRefused,
    ConnectTimeout,
    NoEndpoint,
    QueueFull,
    UpstreamClosed,
    ResponseTimeout,
    BodyTimeout,
    ResponseIncomplete,
    ResponseInvalid,
    UpgradeFailed,
    Draining,
    /// The access log has no room for its record, and the configuration says that then nothing is served.
    Unrecorded,
    Internal,
}

/// A row of the one table: status, record words.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub status: StatusCode,
    pub reason: &'static str,
    pub end_by: EndBy,
    pub end_at: EndAt,
}

impl Kind {
    #[cfg(test)]
    pub(crate) const ALL: [Self; Self::Internal as usize + 1] = [
        Self::BadRequest,
        Self::TargetTooLong,
        Self::HeadersTooLarge,
        Self::BodyTooLarge,
        Self::MethodRefused,
        Self::ExpectationUnknown,
        Self::UpgradeVersion,
        Self::CodingUnknown,
        Self::Misdirected,
        Self::NoRoute,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Denied,
        Self::RateLimited,
        Self::Loop,
        Self::ClientAbort,
        Self::ClientTimeout,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::NoEndpoint,
        Self::QueueFull,
        Self::UpstreamClosed,
        Self::ResponseTimeout,
        Self::BodyTimeout,
        Self::ResponseIncomplete,
        Self::ResponseInvalid,
        Self::UpgradeFailed,
        Self::Draining,
        Self::Unrecorded,
        Self::Internal,
    ];

    /// What the client sent has no certain reading, so neither has what comes after it on an HTTP/1 connection: behind
    /// a CONNECT, for one, come the bytes of a tunnel.
    pub fn is_doubtful(self) -> bool {
        matches!(
            self,
            Self::BadRequest
                | Self::TargetTooLong
                | Self::HeadersTooLarge
                | Self::CodingUnknown
                | Self::MethodRefused
        )
    }

    /// The one table: which status the client gets and what the record says.
    pub fn row(self) -> Row {
        use EndAt as At;
        use EndBy as By;
        let (status, reason, end_by, end_at) = match self {
            Self::BadRequest => (400, "http_request_error", By::Proxy, At::Head),
            Self::TargetTooLong => (414, "http_request_error", By::Proxy, At::Head),
            Self::HeadersTooLarge => (431, "http_request_error", By::Proxy, At::Head),
            Self::BodyTooLarge => (413, "http_request_error", By::Proxy, At::Body),
            Self::MethodRefused => (405, "http_request_denied", By::Proxy, At::Policy),
            Self::ExpectationUnknown => (417, "http_request_error", By::Proxy, At::Head),
            Self::UpgradeVersion => (426, "http_request_error", By::Proxy, At::Head),
            Self::CodingUnknown => (501, "http_request_error", By::Proxy, At::Head),
            Self::Misdirected => (421, "http_request_error", By::Proxy, At::Policy),
            Self::NoRoute | Self::NotFound => (404, "proxy_internal_response", By::Proxy, At::Done),
            Self::MethodNotAllowed => (405, "proxy_internal_response", By::Proxy, At::Done),
            Self::Denied => (403, "http_request_denied", By::Rule, At::Policy),
            Self::RateLimited => (429, "rate_limited", By::Rule, At::Policy),
            Self::Loop => (508, "proxy_loop_detected", By::Proxy, At::Policy),
            Self::ClientAbort => (499, "client_abort", By::Client, At::Body),
            Self::ClientTimeout => (408, "client_timeout", By::Client, At::Body),
            Self::ConnectRefused => (502, "connection_refused", By::Upstream, At::Connect),
            Self::ConnectTimeout => (504, "connection_timeout", By::Upstream, At::Connect),
            Self::NoEndpoint => (503, "destination_unavailable", By::Upstream, At::Queue),
            Self::QueueFull => (503, "resource_exhausted", By::Proxy, At::Queue),
            Self::UpstreamClosed => (502, "connection_terminated", By::Upstream, At::Wait),
            Self::ResponseTimeout => (504, "http_response_timeout", By::Upstream, At::Wait),
            Self::BodyTimeout => (504, "connection_read_timeout", By::Upstream, At::Resp),
            Self::ResponseIncomplete => (502, "http_response_incomplete", By::Upstream, At::Resp),
            Self::ResponseInvalid => (502, "http_protocol_error", By::Upstream, At::Wait),
            Self::UpgradeFailed => (502, "http_upgrade_failed", By::Upstream, At::Wait),
            Self::Draining => (503, "drained", By::Admin, At::Policy),
            Self::Unrecorded => (503, "log_full", By::Proxy, At::Policy),
            Self::Internal => (500, "proxy_internal_error", By::Proxy, At::Wait),
        };
        // Every code above is between 100 and 999.
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Row { status, reason, end_by, end_at }
    }

    /// Whose doing it is.
    pub fn side(self) -> Side {
        match self.row().end_by {
            EndBy::Client => Side::Downstream,
            EndBy::Upstream => Side::Upstream,
            _ if self.row().status.is_client_error() => Side::Downstream,
            _ => Side::Internal,
        }
    }
}

/// The only error that crosses rooms: what went wrong, whose doing it was, and whether another try is safe.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    /// The request never reached an upstream, so sending it again cannot do a thing twice.
    pub retryable: bool,
    /// A short detail for the record; never sent to the client.
    pub detail: Option<&'static str>,
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
    pub cause: Option<Cause>,
}

impl Failure {
    pub fn new(kind: Kind) -> Self {
        Self { kind, retryable: false, detail: None, source: None, cause: None }
    }

    /// A refusal with the detail that the record shows.
    pub fn refuse(kind: Kind, detail: &'static str) -> Self {
        Self { detail: Some(detail), ..Self::new(kind) }
    }

    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    #[must_use]
    pub fn from_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    #[must_use]
    pub fn because(mut self, cause: &Cause) -> Self {
        self.cause = Some(Arc::clone(cause));
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind.row().reason)?;
        if let Some(detail) = self.detail {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.fault {
            Fault::BadRequest => Kind::BadRequest,
            Fault::MethodRefused => Kind::MethodRefused,
            Fault::TargetTooLong => Kind::TargetTooLong,
            Fault::ExpectationUnknown => Kind::ExpectationUnknown,
            Fault::UpgradeVersion => Kind::UpgradeVersion,
            Fault::HeadersTooLarge => Kind::HeadersTooLarge,
            Fault::CodingUnknown => Kind::CodingUnknown,
        };
        Self::refuse(kind, refusal.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_among_all() {
        assert!(Kind::ALL.iter().enumerate().all(|(place, kind)| *kind as usize == place));
    }
}
