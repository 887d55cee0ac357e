//! What a handshake gave ([`Facts`]) or why it failed ([`HandshakeError`]), in the words of the record.

use std::io;
use std::sync::Arc;

use rustls::{CipherSuite, HandshakeKind, InvalidMessage, ProtocolVersion, ServerConnection};

use super::resolver::{Resolver, SetIndex};

/// What was negotiated on one connection, in the names that the record uses.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// IANA name of the suite.
    pub cipher: &'static str,
    pub group: Option<&'static str>,
    /// `h2`, `http/1.1` or `http/1.0`; none when the client did not ask.
    pub alpn: Option<&'static str>,
    /// Server name that the client asked for, in lower case.
    pub sni: Option<Box<str>>,
    pub resumed: bool,
    resolver: Arc<Resolver>,
    served: Option<SetIndex>,
}

impl Facts {
    pub(super) fn read(
        connection: &ServerConnection,
        sni: Option<Box<str>>,
        resolver: &Arc<Resolver>,
    ) -> Self {
        let group = connection.negotiated_key_exchange_group();
        Self {
            version: version_name(connection.protocol_version()),
            cipher: connection
                .negotiated_cipher_suite()
                .map_or("unknown", |suite| cipher_name(suite.suite())),
            group: group.and_then(|group| group.name().as_str()),
            alpn: alpn_name(connection.alpn_protocol()),
            served: resolver.find(sni.as_deref()),
            sni,
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            resolver: Arc::clone(resolver),
        }
    }

    /// Whether a request for `host` (lower case, no port) belongs on this connection: it would be served with the
    /// same certificate. If not, the answer is 421 (RFC 9110 section 15.5.20): a client that speaks to one site
    /// must not reach another one past that one's own TLS settings.
    pub fn covers(&self, host: &str) -> bool {
        self.resolver.covers(self.sni.as_deref(), self.served, host)
    }
}

/// Why a handshake did not end well. The connection is gone.
#[derive(Debug, thiserror::Error)]
#[error("TLS handshake failed: {}", self.detail())]
pub struct HandshakeError {
    pub why: Why,
    /// Server name that the client asked for, when it came that far.
    pub sni: Option<Box<str>>,
    pub source: Option<io::Error>,
}

/// The ways in which a handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The deadline passed.
    Timeout,
    /// The client went away in the middle.
    Closed,
    /// The first bytes are no TLS: plain HTTP to the TLS port, a scanner.
    NotTls,
    /// No certificate serves the server name.
    UnknownName,
    /// No version, suite, group or signature in common; or no protocol in ALPN.
    NothingInCommon,
    /// The client refused, most often our certificate; with the alert's number.
    ClientAlert(u8),
    /// The client broke the protocol.
    Protocol,
    /// The socket failed.
    Io,
}

impl HandshakeError {
    pub(super) fn timeout(sni: Option<Box<str>>) -> Self {
        Self { why: Why::Timeout, sni, source: None }
    }

    pub(super) fn failed(error: io::Error, sni: Option<Box<str>>) -> Self {
        Self { why: classify(&error), sni, source: Some(error) }
    }

    /// The record's `reason`.
    pub fn reason(&self) -> &'static str {
        match self.why {
            Why::Timeout => "client_timeout",
            Why::Closed | Why::Io => "client_abort",
            Why::ClientAlert(_) => "tls_alert_received",
            Why::UnknownName => "tls_certificate_error",
            Why::NotTls | Why::NothingInCommon | Why::Protocol => "tls_protocol_error",
        }
    }

    /// One word more for the record.
    pub fn detail(&self) -> &'static str {
        match self.why {
            Why::Timeout => "handshake_deadline",
            Why::Closed => "closed_in_handshake",
            Why::NotTls => "not_tls",
            Why::UnknownName => "unknown_server_name",
            Why::NothingInCommon => "nothing_in_common",
            Why::ClientAlert(_) => "alert_received",
            Why::Protocol => "bad_handshake",
            Why::Io => "socket_error",
        }
    }
}

fn classify(error: &io::Error) -> Why {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Why::Closed
            }
            _ => Why::Io,
        };
    };
    match tls {
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => Why::NotTls,
        rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => Why::NothingInCommon,
        rustls::Error::AlertReceived(alert) => Why::ClientAlert(u8::from(*alert)),
        // The only general error of the server side before the handshake's end: the resolver found nothing.
        rustls::Error::General(_) => Why::UnknownName,
        _ => Why::Protocol,
    }
}

fn version_name(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        _ => "unknown",
    }
}

fn alpn_name(protocol: Option<&[u8]>) -> Option<&'static str> {
    match protocol {
        Some(b"h2") => Some("h2"),
        Some(b"http/1.1") => Some("http/1.1"),
        Some(b"http/1.0") => Some("http/1.0"),
        _ => None,
    }
}

/// The library's names for TLS 1.3 suites are its own; these are IANA's.
fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}
