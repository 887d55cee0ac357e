//! TLS for connections that we open ourselves: the log service, later upstreams. Certificates are always verified.

use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{CertPair, TlsError};

/// Which authorities are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The public ones that browsers trust.
    Public,
    /// Only those in this PEM text.
    Pem { bytes: Vec<u8>, origin: String },
}

impl Roots {
    /// Those of the PEM file `ca`, which `load` hands out; the public ones without it.
    pub fn of(ca: Option<&str>, load: impl FnOnce(&str) -> Vec<u8>) -> Self {
        ca.map_or(Self::Public, |ca| Self::Pem { bytes: load(ca), origin: ca.to_owned() })
    }
}

/// A client configuration that verifies the server against `roots`, shows `identity` to a server that asks for a
/// certificate, and offers `alpn` in this order.
///
/// # Errors
/// The PEM text of own roots or of the identity is broken or has nothing in it; the key does not fit.
pub fn client_config(
    roots: &Roots,
    identity: Option<&CertPair>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(store(roots)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let (chain, key) = parts(pair)?;
            builder.with_client_auth_cert(chain, key).map_err(|source| refused(pair, source))?
        }
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Shakes hands on a stream, as a client of `host`: a name, or an address with brackets or without.
///
/// # Errors
/// `host` is neither, or the handshake fails.
pub async fn shake<S>(host: &str, config: &Arc<ClientConfig>, stream: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

/// What a failed handshake with somebody who speaks something else means; other errors stay as they are.
pub fn plainly(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => {
            io::Error::new(error.kind(), "the other side does not speak TLS on this port")
        }
        _ => error,
    }
}

fn parts(pair: &CertPair) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let bad = |source| TlsError::BadPem { origin: pair.origin.clone(), source };
    let chain = CertificateDer::pem_slice_iter(&pair.chain).collect::<Result<Vec<_>, _>>().map_err(bad)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { origin: pair.origin.clone() });
    }
    let key = PrivateKeyDer::from_pem_slice(&pair.key)
        .map_err(|_| TlsError::NoKey { origin: pair.origin.clone() })?;
    Ok((chain, key))
}

fn refused(pair: &CertPair, source: rustls::Error) -> TlsError {
    let origin = pair.origin.clone();
    match source {
        rustls::Error::InconsistentKeys(_) => TlsError::KeyMismatch { origin },
        source => TlsError::BadKey { origin, source },
    }
}

fn store(roots: &Roots) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Public => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::Pem { bytes, origin } => {
            for certificate in CertificateDer::pem_slice_iter(bytes) {
                let bad = |source| TlsError::BadPem { origin: origin.clone(), source };
                store.add(certificate.map_err(bad)?)?;
            }
            if store.is_empty() {
                return Err(TlsError::NoCertificate { origin: origin.clone() });
            }
        }
    }
    Ok(store)
}
