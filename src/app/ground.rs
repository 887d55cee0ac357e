//! Gathers what a plan stands on: the I/O that compiling does not do.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

use super::names::{self, Names};
use crate::config::Config;
use crate::config::route::{Action, Route};
use crate::config::words::Host;
use crate::exchange::chain;
use crate::files::{self, Files, Try};
use crate::plan::ground::Ground;
use crate::tls::CertPair;
use crate::tls::local::{self, LocalError};

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
    let now = unix_time();
    let mut ground = Ground::bare(now as i64);
    ground.local = local_pair(Path::new(LOCAL_CA), config, purpose, now)?;
    ground.roots = roots(config);
    if purpose == Purpose::Run {
        ground.names = names(config);
    }
    Ok(ground)
}

/// Seconds since the Unix epoch.
pub fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// The certificate of the local authority in `dir` for all sites that want one; a new one when the stored one has
/// little time left. `now` is in Unix seconds.
///
/// # Errors
/// The authority cannot be used.
pub fn local_pair(
    dir: &Path,
    config: &Config,
    purpose: Purpose,
    now: u64,
) -> Result<Option<CertPair>, LocalError> {
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
        try_files: route
            .try_files
            .iter()
            .map(|path| Try::File(path.trim_start_matches('/').into()))
            .collect(),
        precompressed: *route.precompressed,
        cache_control: cache,
        ..files::Settings::new(directory)
    }
}

fn names(config: &Config) -> Names {
    let mut all = Names::new();
    names::learn(&mut all, names::look_up(names::wanted(config)));
    all
}
