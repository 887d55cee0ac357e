//! [`CertPair`]: a certificate chain with its key, as bytes; and what can be told about it before it is used.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::TlsError;

/// A certificate chain (leaf first) and its private key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct CertPair {
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
    /// Where it comes from, for messages: a file name, or `local`.
    pub origin: String,
}

impl CertPair {
    /// That of two PEM files, which `load` hands out; none if either is not named.
    pub fn of(cert: Option<&str>, key: Option<&str>, load: impl Fn(&str) -> Vec<u8>) -> Option<Self> {
        let (cert, key) = cert.zip(key)?;
        Some(Self { chain: load(cert), key: load(key), origin: cert.to_owned() })
    }
}

impl std::fmt::Debug for CertPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertPair").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// The kind of a public key, in the order in which a server should prefer it: cheapest signature first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    EcdsaP256,
    Ed25519,
    EcdsaP384,
    EcdsaP521,
    /// With its size in bits.
    Rsa(usize),
    Other,
}

/// What a certificate says about itself. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFacts {
    /// DNS names (lower case) and addresses of the leaf's subjectAltName.
    pub names: Vec<String>,
    pub issuer: String,
    pub not_before: i64,
    pub not_after: i64,
    pub key_matches: bool,
    pub kind: KeyKind,
    /// Certificates in the chain, the leaf included.
    pub chain_length: usize,
}

/// Something about a usable certificate that its owner should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Expired {
        days_ago: i64,
    },
    NotYetValid {
        in_days: i64,
    },
    ExpiresSoon {
        in_days: i64,
    },
    /// The certificate does not name this host: clients will refuse it.
    DoesNotCover {
        host: String,
    },
    /// An RSA key below 2048 bits, or a key type that clients do not take.
    WeakKey,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Expired { days_ago } => write!(f, "the certificate expired {days_ago} days ago"),
            Self::NotYetValid { in_days } => {
                write!(f, "the certificate is not valid before {in_days} days from now")
            }
            Self::ExpiresSoon { in_days } => write!(f, "the certificate expires in {in_days} days"),
            Self::DoesNotCover { host } => write!(f, "the certificate does not name the host {host:?}"),
            Self::WeakKey => f.write_str("the key is too weak, or of a type that clients do not accept"),
        }
    }
}

/// Days before its end from which a certificate counts as expiring soon, when it was issued for longer than
/// thrice this; shorter ones count from the last third of their life.
const SOON_DAYS: i64 = 14;
const DAY: i64 = 86_400;

impl CertFacts {
    /// What is wrong with it at `now` (Unix seconds) when it serves `hosts`.
    pub fn findings<'a>(&self, now: i64, hosts: impl IntoIterator<Item = &'a str>) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.date_finding(now).into_iter().collect();
        if matches!(self.kind, KeyKind::Rsa(bits) if bits < 2048) || self.kind == KeyKind::Other {
            findings.push(Finding::WeakKey);
        }
        let uncovered = hosts.into_iter().filter(|host| !self.covers(host));
        findings.extend(uncovered.map(|host| Finding::DoesNotCover { host: host.to_owned() }));
        findings
    }

    /// Whether the names of the certificate cover `host`: equal, or by a wildcard for exactly one label
    /// (RFC 6125 section 6.4.3). `host` may itself be a wildcard pattern; it then needs the same wildcard.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.names.iter().any(|name| *name == host || wildcard_covers(name, &host))
    }

    /// Whether less than a third of its life remains at `now`.
    pub fn wants_renewal(&self, now: i64) -> bool {
        self.not_after.saturating_sub(now) < self.not_after.saturating_sub(self.not_before) / 3
    }

    fn date_finding(&self, now: i64) -> Option<Finding> {
        let left = self.not_after.saturating_sub(now);
        let soon = (SOON_DAYS * DAY).min(self.not_after.saturating_sub(self.not_before) / 3);
        if left < 0 {
            Some(Finding::Expired { days_ago: -left / DAY })
        } else if now < self.not_before {
            Some(Finding::NotYetValid { in_days: (self.not_before - now) / DAY })
        } else if left < soon {
            Some(Finding::ExpiresSoon { in_days: left / DAY })
        } else {
            None
        }
    }
}

fn wildcard_covers(name: &str, host: &str) -> bool {
    let Some(parent) = name.strip_prefix("*.") else { return false };
    !host.starts_with('*')
        && host.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest == parent)
}

/// Reads a pair without using it.
///
/// # Errors
/// The chain or the key is missing or cannot be parsed. A key that does not match is no error here: see
/// [`CertFacts::key_matches`].
pub fn inspect(pair: &CertPair) -> Result<CertFacts, TlsError> {
    Ok(load(pair, &rustls::crypto::aws_lc_rs::default_provider())?.facts)
}

/// A pair ready for use.
pub(super) struct Loaded {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) facts: CertFacts,
}

pub(super) fn load(pair: &CertPair, provider: &CryptoProvider) -> Result<Loaded, TlsError> {
    let chain = read_chain(pair)?;
    let signer = provider
        .key_provider
        .load_private_key(read_key(pair)?)
        .map_err(|source| TlsError::BadKey { origin: pair.origin.clone(), source })?;
    let mut facts = read_facts(&chain, &pair.origin)?;
    let certified = CertifiedKey::new(chain, signer);
    facts.key_matches = certified.keys_match().is_ok();
    Ok(Loaded { certified: Arc::new(certified), facts })
}

fn read_chain(pair: &CertPair) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pair.chain)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::BadPem { origin: pair.origin.clone(), source })?;
    if chain.is_empty() { Err(TlsError::NoCertificate { origin: pair.origin.clone() }) } else { Ok(chain) }
}

fn read_key(pair: &CertPair) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&pair.key).map_err(|source| match source {
        rustls_pki_types::pem::Error::NoItemsFound => TlsError::NoKey { origin: pair.origin.clone() },
        source => TlsError::BadPem { origin: pair.origin.clone(), source },
    })
}

fn read_facts(chain: &[CertificateDer<'static>], origin: &str) -> Result<CertFacts, TlsError> {
    let bad = |detail: String| TlsError::BadCertificate { origin: origin.to_owned(), detail };
    let leaf = chain.first().ok_or_else(|| TlsError::NoCertificate { origin: origin.to_owned() })?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| bad(error.to_string()))?;
    let alternatives = leaf.subject_alternative_name().map_err(|error| bad(error.to_string()))?;
    Ok(CertFacts {
        names: alternatives.iter().flat_map(|san| &san.value.general_names).filter_map(readable).collect(),
        issuer: leaf.issuer().to_string(),
        not_before: leaf.validity().not_before.timestamp(),
        not_after: leaf.validity().not_after.timestamp(),
        key_matches: false,
        kind: kind_of(&leaf),
        chain_length: chain.len(),
    })
}

fn readable(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let sixteen = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            four.or_else(|_| sixteen()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn kind_of(leaf: &X509Certificate<'_>) -> KeyKind {
    const ED25519: &str = "1.3.101.112";
    if leaf.public_key().algorithm.algorithm.to_id_string() == ED25519 {
        return KeyKind::Ed25519;
    }
    match leaf.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => KeyKind::Rsa(key.key_size()),
        // The point of P-521 fills 66 whole bytes.
        Ok(PublicKey::EC(point)) => match point.key_size() {
            256 => KeyKind::EcdsaP256,
            384 => KeyKind::EcdsaP384,
            521 | 528 => KeyKind::EcdsaP521,
            _ => KeyKind::Other,
        },
        _ => KeyKind::Other,
    }
}
