//! [`Server`]: the TLS side of a listener, ready to shake hands.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::server::{Acceptor, NoServerSessionStorage, ProducesTickets};
use rustls::{CipherSuite, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::handshake::{Facts, HandshakeError};
use super::pair::{Loaded, load};
use super::resolver::Resolver;
use super::{Settings, TlsError};

/// The keys that seal session tickets: one per process, handed to every [`Server`] that it builds. They are
/// replaced every six hours; a ticket is good for at most twelve.
#[derive(Clone, Debug)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// # Errors
    /// The system gives no random bytes.
    pub fn new() -> Result<Self, TlsError> {
        Ok(Self(aws_lc_rs::Ticketer::new()?))
    }
}

/// Bytes that a connection encrypts ahead of its socket: as much as is read from an upstream at a time, with the
/// headers of its records, so that all of it leaves in one write.
const AHEAD: usize = 144 << 10;

/// Shakes hands with clients. Cheap to clone; never changes.
#[derive(Clone, Debug)]
pub struct Server {
    /// Takes the first suite of *our* list that the client offers: AES-128-GCM costs the least.
    ours: Arc<ServerConfig>,
    /// Takes the first suite of the client's list, for clients that put ChaCha20 first: they have no AES in
    /// hardware.
    theirs: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    ends: Arc<[End]>,
}

/// When a certificate ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Where the certificate comes from: a file name, or `local`.
    pub origin: String,
    /// Unix seconds.
    pub not_after: i64,
}

impl Server {
    /// # Errors
    /// Everything that is wrong with the settings, not only the first thing.
    pub fn new(settings: &Settings, tickets: &Tickets) -> Result<Self, Vec<TlsError>> {
        let provider = Arc::new(provider());
        let loaded = load_all(settings, &provider)?;
        let resolver = Arc::new(Resolver::new(settings, &loaded)?);
        let pairs = settings.pairs.iter().zip(&loaded);
        let ends = pairs
            .map(|(pair, loaded)| End { origin: pair.origin.clone(), not_after: loaded.facts.not_after });
        let ends = ends.collect();
        let theirs = config(settings, provider, &resolver, tickets).map_err(|error| vec![error])?;
        let mut ours = theirs.clone();
        ours.ignore_client_order = true;
        Ok(Self { ours: Arc::new(ours), theirs: Arc::new(theirs), resolver, ends })
    }

    /// Whether a request for `host` belongs on a connection that asked for `sni`; see [`Facts::covers`].
    pub fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        self.resolver.covers(sni, self.resolver.find(sni), host)
    }

    /// When each of the certificates ends.
    pub fn ends(&self) -> &[End] {
        &self.ends
    }

    /// Shakes hands, unless `deadline` completes first.
    ///
    /// # Errors
    /// See [`super::handshake::Why`]; the alert has been sent where the protocol asks for one.
    pub async fn accept<IO>(
        &self,
        io: IO,
        deadline: impl Future<Output = ()>,
    ) -> Result<(TlsStream<IO>, Facts), HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut sni = None;
        let outcome = tokio::select! {
            biased;
            outcome = self.shake(io, &mut sni) => Some(outcome),
            () = deadline => None,
        };
        match outcome {
            Some(Ok(stream)) => {
                let facts = Facts::read(stream.get_ref().1, sni, &self.resolver);
                Ok((stream, facts))
            }
            Some(Err(error)) => Err(HandshakeError::failed(error, sni)),
            None => Err(HandshakeError::timeout(sni)),
        }
    }

    async fn shake<IO>(&self, io: IO, sni: &mut Option<Box<str>>) -> std::io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let start = {
            let lazy = pin!(LazyConfigAcceptor::new(Acceptor::default(), io));
            lazy.await?
        };
        let config = {
            let hello = start.client_hello();
            *sni = hello.server_name().map(Into::into);
            if prefers_chacha(hello.cipher_suites()) { &self.theirs } else { &self.ours }
        };
        start.into_stream_with(Arc::clone(config), |tls| tls.set_buffer_limit(Some(AHEAD))).await
    }
}

/// Whether the first suite of the client's list that we know is one with ChaCha20.
fn prefers_chacha(suites: &[CipherSuite]) -> bool {
    use CipherSuite as S;
    let is_chacha = |suite: &CipherSuite| match *suite {
        S::TLS13_CHACHA20_POLY1305_SHA256
        | S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(true),
        S::TLS13_AES_128_GCM_SHA256
        | S::TLS13_AES_256_GCM_SHA384
        | S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        | S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(false),
        _ => None,
    };
    suites.iter().find_map(is_chacha) == Some(true)
}

/// The library's choice of suites and groups, with AES-128 moved before AES-256.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

fn load_all(settings: &Settings, provider: &CryptoProvider) -> Result<Vec<Loaded>, Vec<TlsError>> {
    let (mut loaded, mut errors) = (Vec::with_capacity(settings.pairs.len()), Vec::new());
    for pair in &settings.pairs {
        match load(pair, provider) {
            Ok(pair) if pair.facts.key_matches => loaded.push(pair),
            Ok(_) => errors.push(TlsError::KeyMismatch { origin: pair.origin.clone() }),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(loaded) } else { Err(errors) }
}

fn config(
    settings: &Settings,
    provider: Arc<CryptoProvider>,
    resolver: &Arc<Resolver>,
    tickets: &Tickets,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::<Resolver>::clone(resolver));
    config.alpn_protocols = if settings.http2 { vec![b"h2".to_vec()] } else { Vec::new() };
    config.alpn_protocols.push(b"http/1.1".to_vec());
    // Some clients of HTTP/1.0 offer nothing else, and would be sent away by an alert.
    config.alpn_protocols.push(b"http/1.0".to_vec());
    config.ticketer = Arc::clone(&tickets.0);
    // Sealed tickets only: the library's store of sessions is one locked table for all cores.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // One ticket per full handshake: each resumed connection brings the next one, and each costs a key
    // derivation, a seal and 200 bytes.
    config.send_tls13_tickets = 1;
    Ok(config)
}
