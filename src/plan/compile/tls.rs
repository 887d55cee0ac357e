//! Certificates of the sites.

use std::collections::HashMap;

use crate::config::diagnostic::Diagnostic;
use crate::config::place::Place;
use crate::config::site::{CertPair as Words, Site, Tls};
use crate::config::words::Host;
use crate::config::{Config, Diagnostics, Named, codes};
use crate::plan::ground::Ground;
use crate::tls::{self, CertPair, Settings, Tickets, inspect};

/// The TLS side of the https listeners; none when no site has `tls`.
pub(super) fn compile(config: &Config, ground: &Ground, found: &mut Diagnostics) -> Option<tls::Server> {
    let mut chest = Chest { config, ground, pairs: Vec::new(), by_file: HashMap::new(), local: None };
    let mut by_host = Vec::new();
    let mut default = Vec::new();
    for site in &config.sites {
        let Some(words) = &site.body.tls else { continue };
        let indexes = chest.indexes(site, words, found);
        for host in hosts(site) {
            match host {
                Host::Any => default.clone_from(&indexes),
                host => by_host.push((host.to_string(), indexes.clone())),
            }
        }
    }
    if chest.pairs.is_empty() || found.errors() > 0 {
        return None;
    }
    if default.is_empty() {
        // Clients without a server name (by address, old probes) get the first site's certificate.
        default = by_host.first().map(|(_, indexes)| indexes.clone()).unwrap_or_default();
    }
    let settings = Settings { pairs: chest.pairs, by_host, default, http2: true };
    let server = Tickets::new().map_err(|error| vec![error]).and_then(|fresh| {
        let tickets = ground.tickets.clone().unwrap_or(fresh);
        tls::Server::new(&settings, &tickets)
    });
    server.map_err(|errors| tell(&errors, found)).ok()
}

fn tell(errors: &[tls::TlsError], found: &mut Diagnostics) {
    for error in errors {
        found.push(Diagnostic::error(codes::BAD_CERTIFICATE, error.to_string()));
    }
}

fn hosts(site: &Named<Host, Site>) -> impl Iterator<Item = &Host> {
    std::iter::once(&site.name.value).chain(site.body.aliases.iter().map(|alias| &alias.value))
}

/// All certificates so far; the same file is one.
struct Chest<'a> {
    config: &'a Config,
    ground: &'a Ground,
    pairs: Vec<CertPair>,
    by_file: HashMap<(String, String), usize>,
    local: Option<usize>,
}

impl Chest<'_> {
    fn indexes(&mut self, site: &Named<Host, Site>, tls: &Tls, found: &mut Diagnostics) -> Vec<usize> {
        if tls.is_local() {
            return self.local().into_iter().collect();
        }
        let pairs = tls.pairs();
        pairs.into_iter().filter_map(|pair| self.pair(site, pair, found)).collect()
    }

    fn local(&mut self) -> Option<usize> {
        if self.local.is_none() {
            self.pairs.push(self.ground.local.clone()?);
            self.local = Some(self.pairs.len() - 1);
        }
        self.local
    }

    fn pair(&mut self, site: &Named<Host, Site>, words: &Words, found: &mut Diagnostics) -> Option<usize> {
        let key = (words.cert.to_string(), words.key.to_string());
        if let Some(index) = self.by_file.get(&key) {
            return Some(*index);
        }
        let bytes = |path: &str| self.config.file(path).map(|file| file.bytes.to_vec());
        let pair =
            CertPair { chain: bytes(&words.cert)?, key: bytes(&words.key)?, origin: words.cert.to_string() };
        judge(site, &pair, &words.cert.place, self.ground.now, found);
        self.pairs.push(pair);
        self.by_file.insert(key, self.pairs.len() - 1);
        Some(self.pairs.len() - 1)
    }
}

/// Errors and findings of a certificate, at the line that names it.
fn judge(site: &Named<Host, Site>, pair: &CertPair, place: &Place, now: i64, found: &mut Diagnostics) {
    let facts = match inspect(pair) {
        Ok(facts) => facts,
        Err(error) => {
            found.push(
                Diagnostic::error(codes::BAD_CERTIFICATE, error.to_string()).at(place, "this certificate"),
            );
            return;
        }
    };
    if !facts.key_matches {
        let message = "the private key does not belong to the certificate";
        found.push(Diagnostic::error(codes::BAD_CERTIFICATE, message).at(place, "this certificate"));
    }
    let names: Vec<String> =
        hosts(site).filter(|host| !matches!(host, Host::Any)).map(ToString::to_string).collect();
    for finding in facts.findings(now, names.iter().map(String::as_str)) {
        let warning = Diagnostic::warning(codes::CERTIFICATE_FINDING, finding.to_string());
        found.push(warning.at(place, "this certificate"));
    }
}
