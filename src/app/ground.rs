//! Gathers what a plan stands on: the I/O that compiling does not do.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

use crate::config::route::{Action, Route};
use crate::config::upstream::ServerAddress;
use crate::config::words::Host;
use crate::config::Config;
use crate::files::{self, Files, Try};
use crate::plan::ground::Ground;
use crate::tls::local::{self, LocalError};
use crate::tls::CertPair;

/// Where the local certificate authority lives.
pub const LOCAL_CA: &str = "certs/local";

/// Whether files may be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Certificates of the local authority are made when they are missing.
    Run,
    /// Nothing is written, and no name is looked up.
    Check,
}

/// Gathers the ground of `config`, without workers and without an old plan.
///
/// # Errors
/// The local certificate authority cannot be used.
pub fn gather(config: &Config, purpose: Purpose) -> Result<Ground, LocalError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let mut ground = Ground::bare(now as i64);
    ground.local = local_pair(config, purpose, now)?;
    ground.roots = roots(config);
    if purpose == Purpose::Run {
        ground.names = names(config);
    }
    Ok(ground)
}

fn local_pair(config: &Config, purpose: Purpose, now: u64) -> Result<Option<CertPair>, LocalError> {
    let mut names = Vec::new();
    for site in &config.sites {
        if site.body.tls.as_ref().is_some_and(|tls| tls.is_local()) {
            let aliases = site.body.aliases.iter().map(|alias| &alias.value);
            names.extend(std::iter::once(&site.name.value).chain(aliases).map(local_name));
        }
    }
    if names.is_empty() {
        return Ok(None);
    }
    names.sort();
    names.dedup();
    let dir = Path::new(LOCAL_CA);
    match purpose {
        Purpose::Run => local::ensure(dir, &names, now).map(Some),
        Purpose::Check => local::describe(dir, &names, now).map(Some),
    }
}

/// A certificate for "any name" does not exist; `localhost` is what a local one is for.
fn local_name(host: &Host) -> String {
    match host {
        Host::Any => "localhost".to_owned(),
        host => host.to_string(),
    }
}

fn roots(config: &Config) -> HashMap<(usize, usize), Result<Arc<Files>, String>> {
    let mut roots = HashMap::new();
    for (s, site) in config.sites.iter().enumerate() {
        for (r, route) in site.body.routes.iter().enumerate() {
            if let Some(Action::Files { directory }) = route.action() {
                let opened = Files::open(settings(directory, route)).map(Arc::new);
                roots.insert((s, r), opened.map_err(|error| chain(&error)));
            }
        }
    }
    roots
}

fn settings(directory: &str, route: &Route) -> files::Settings {
    let cache = route.cache.as_ref().map(|cache| {
        let text = format!("public, max-age={}", cache.as_millis() / 1000);
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("no-cache"))
    });
    files::Settings {
        index: route.index.iter().map(|name| name.to_string().into()).collect(),
        try_files: route.try_files.iter().map(|path| Try::File(path.trim_start_matches('/').into())).collect(),
        precompressed: *route.precompressed,
        cache_control: cache,
        ..files::Settings::new(directory)
    }
}

fn names(config: &Config) -> HashMap<(String, u16), Vec<SocketAddr>> {
    let servers = config.upstreams.iter().flat_map(|upstream| upstream.body.servers.iter());
    let mut names = HashMap::new();
    for server in servers {
        if let ServerAddress::Dns { host, port } = server.address() {
            let found = (host.as_str(), *port).to_socket_addrs();
            let found = found.map(Iterator::collect).unwrap_or_else(|error| {
                tracing::error!(%host, %error, "cannot resolve the name of a server");
                Vec::new()
            });
            names.insert((host.clone(), *port), found);
        }
    }
    names
}

/// An error with its sources, one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
