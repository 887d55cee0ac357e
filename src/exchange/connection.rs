//! [`Connection`]: what is known about one downstream connection, shared by its exchanges.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::record;

/// The TLS facts of a connection, in the record's words.
pub struct TlsFacts {
    pub version: &'static str,
    pub cipher: &'static str,
    pub group: Option<&'static str>,
    pub alpn: Option<&'static str>,
    pub sni: Option<Box<str>>,
    pub resumed: bool,
    /// Whether a request for this host belongs on the connection; if not, it is misdirected (421).
    pub covers: Box<dyn Fn(&str) -> bool>,
}

impl TlsFacts {
    /// The part of the record that is about TLS.
    pub fn record(&self) -> record::Tls<'_> {
        record::Tls {
            version: self.version,
            cipher: self.cipher,
            group: self.group,
            alpn: self.alpn,
            sni: self.sni.as_deref(),
            resumed: self.resumed,
        }
    }
}

/// One downstream connection: what outlives its idle times, so each byte counts. Counters are cells: a connection
/// never leaves its core.
pub struct Connection {
    pub serial: u64,
    pub listener: Arc<str>,
    pub sender: SocketAddr,
    /// The request came over TLS.
    pub tls: Option<Box<TlsFacts>>,
    pub is_h2: bool,
    pub accepted: Instant,
    pub handshake_us: Option<u32>,
    /// Connections of this core when it was accepted.
    pub neighbours: u32,
    /// Bytes read from and written to the transport (inside TLS).
    pub rx: Cell<u64>,
    pub tx: Cell<u64>,
    /// Exchanges begun on it, and those not yet ended.
    pub requests: Cell<u32>,
    pub in_flight: Cell<u32>,
    /// When the last exchange ended (or the connection began).
    pub idle_since: Cell<Instant>,
}

impl Connection {
    /// Address of the sender, IPv4-mapped IPv6 undone.
    pub fn sender_ip(&self) -> IpAddr {
        self.sender.ip().to_canonical()
    }

    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}
