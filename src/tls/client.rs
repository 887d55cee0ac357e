//! TLS for connections that we open ourselves: the log service, later upstreams. Certificates are always verified.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::TlsError;

/// Which authorities are trusted.
#[derive(Clone, Debug)]
pub enum Roots {
    /// The public ones that browsers trust.
    Public,
    /// Only those in this PEM text.
    Pem { bytes: Vec<u8>, origin: String },
}

/// A client configuration that verifies the server against `roots` and offers `alpn` in this order.
///
/// # Errors
/// The PEM text of own roots is broken or has no certificate in it.
pub fn client_config(roots: &Roots, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(store(roots)?)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
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
