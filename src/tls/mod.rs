//! TLS towards clients: certificates, the choice among them, the handshake, and what was negotiated. Beside it
//! the local certificate authority ([`local`]) and the client side for our own outgoing connections ([`client`]).
//!
//! Not here: sockets and deadlines (`listener`, `downstream`), which site a host name belongs to (`route`), reading
//! certificate files from disk (the caller hands bytes in; only [`local`] owns a directory).
//!
//! Invariants: a [`Server`] never changes after it is built: a reload builds a new one and connections keep
//! theirs. All `Server`s of a process share one [`Tickets`], so resumption works on every core and over reloads;
//! a ticket is good only for the server name it was issued for. Early data is never accepted.

pub mod client;
pub mod handshake;
pub mod local;
pub mod pair;
mod resolver;
mod server;
#[cfg(test)]
mod tests;

pub use handshake::{Facts, HandshakeError};
pub use pair::{CertFacts, CertPair, Finding, KeyKind, inspect};
pub use server::{End, Server, Tickets};

/// What the TLS room needs to serve: certificates, and which host names get which of them.
#[derive(Clone, Debug)]
pub struct Settings {
    pub pairs: Vec<CertPair>,
    /// Host name (`a.example`) or one-label wildcard (`*.a.example`), and the indexes into `pairs` that serve it.
    /// Several indexes are certificates of different key types; the client's abilities choose.
    pub by_host: Vec<(String, Vec<usize>)>,
    /// Indexes into `pairs` for clients that send no server name, or one that nobody serves. Empty: such
    /// handshakes are refused.
    pub default: Vec<usize>,
    /// Offer `h2` in ALPN, before `http/1.1`.
    pub http2: bool,
}

/// Why TLS settings cannot be used. Each names the certificate (its `origin`) or the host that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{origin}: no certificate found; expected PEM with BEGIN CERTIFICATE")]
    NoCertificate { origin: String },
    #[error("{origin}: no private key found; expected PEM with BEGIN PRIVATE KEY, unencrypted")]
    NoKey { origin: String },
    #[error("{origin}: the PEM text is broken")]
    BadPem { origin: String, source: rustls_pki_types::pem::Error },
    #[error("{origin}: the certificate cannot be read: {detail}")]
    BadCertificate { origin: String, detail: String },
    #[error("{origin}: the private key cannot be used")]
    BadKey { origin: String, source: rustls::Error },
    #[error("{origin}: the private key does not belong to the certificate")]
    KeyMismatch { origin: String },
    #[error("host {host:?} has no certificate")]
    HostWithoutCertificate { host: String },
    #[error("host {host:?} names certificate {index}, but there are only {count}")]
    NoSuchPair { host: String, index: usize, count: usize },
    #[error("the TLS library refused the settings")]
    Library(#[from] rustls::Error),
}
