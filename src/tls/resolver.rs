//! Which certificate for which server name.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::{KeyKind, Loaded};
use super::{Settings, TlsError};

/// The certificates that serve one host: one per key type, cheapest first.
type Set = Vec<(KeyKind, Arc<CertifiedKey>)>;
/// Index into [`Resolver::sets`].
pub(super) type SetIndex = usize;
type Table = HashMap<Box<str>, SetIndex, foldhash::fast::RandomState>;

/// Chooses the certificate of a handshake and remembers which hosts share one.
#[derive(Debug)]
pub(super) struct Resolver {
    sets: Vec<Set>,
    exact: Table,
    /// Keyed by what follows `*.`.
    wildcard: Table,
    default: Option<SetIndex>,
}

impl Resolver {
    pub(super) fn new(settings: &Settings, loaded: &[Loaded]) -> Result<Self, Vec<TlsError>> {
        let mut building = Building { loaded, sets: Vec::new(), keys: Vec::new() };
        let (mut exact, mut wildcard, mut errors) = (Table::default(), Table::default(), Vec::new());
        for (host, indexes) in &settings.by_host {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            match building.set(&host, indexes) {
                Ok(set) => match host.strip_prefix("*.") {
                    Some(parent) => wildcard.insert(parent.into(), set),
                    None => exact.insert(host.into(), set),
                },
                Err(error) => {
                    errors.push(error);
                    None
                }
            };
        }
        let default = match building.set("(default)", &settings.default) {
            Ok(set) => Some(set),
            Err(TlsError::HostWithoutCertificate { .. }) => None,
            Err(error) => {
                errors.push(error);
                None
            }
        };
        if errors.is_empty() {
            Ok(Self { sets: building.sets, exact, wildcard, default })
        } else {
            Err(errors)
        }
    }

    /// Whether `host` is served on a connection that asked for `sni` and got the certificates `served`.
    pub(super) fn covers(&self, sni: Option<&str>, served: Option<SetIndex>, host: &str) -> bool {
        sni == Some(host) || (served.is_some() && self.find(Some(host)) == served)
    }

    /// The set that serves `name`, which must be in lower case: exact name, then wildcard, then the default.
    pub(super) fn find(&self, name: Option<&str>) -> Option<SetIndex> {
        let Some(name) = name else { return self.default };
        let name = name.strip_suffix('.').unwrap_or(name);
        let parent = || name.split_once('.').filter(|(first, _)| !first.is_empty()).map(|(_, parent)| parent);
        let by_wildcard = || parent().and_then(|parent| self.wildcard.get(parent));
        self.exact.get(name).or_else(by_wildcard).copied().or(self.default)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = self.sets.get(self.find(hello.server_name())?)?;
        let schemes = hello.signature_schemes();
        let fits = |certified: &Arc<CertifiedKey>| certified.key.choose_scheme(schemes).is_some();
        // When none fits, the first one: the library then refuses with the right alert.
        let chosen = set.iter().find(|(_, certified)| fits(certified)).or_else(|| set.first());
        chosen.map(|(_, certified)| Arc::clone(certified))
    }
}

struct Building<'a> {
    loaded: &'a [Loaded],
    sets: Vec<Set>,
    /// Which leaf certificates each set holds: hosts with the same ones share a set, however often the
    /// certificate was given.
    keys: Vec<Vec<&'a [u8]>>,
}

impl Building<'_> {
    fn set(&mut self, host: &str, indexes: &[usize]) -> Result<SetIndex, TlsError> {
        let mut chosen = Vec::with_capacity(indexes.len());
        for &index in indexes {
            let count = self.loaded.len();
            let missing = || TlsError::NoSuchPair { host: host.to_owned(), index, count };
            chosen.push(self.loaded.get(index).ok_or_else(missing)?);
        }
        if chosen.is_empty() {
            return Err(TlsError::HostWithoutCertificate { host: host.to_owned() });
        }
        chosen.sort_by_key(|loaded| loaded.facts.kind);
        let key: Vec<&[u8]> = chosen.iter().filter_map(|l| l.certified.cert.first()).map(|c| &**c).collect();
        if let Some(known) = self.keys.iter().position(|other| *other == key) {
            return Ok(known);
        }
        self.keys.push(key);
        self.sets.push(chosen.iter().map(|l| (l.facts.kind, Arc::clone(&l.certified))).collect());
        Ok(self.sets.len() - 1)
    }
}
