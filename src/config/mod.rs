//! What the user wrote: strings, spans, defaults; load(files) -> Config or diagnostics.
//!
//! Lives here: the language (every key, its type, default and description stand once, in a `table!`), reading all
//! files of a configuration, the checks that need nothing but the configuration, and diagnostics with their
//! rendering. Not here: the rooms' own settings, certificates as such, anything live.
//!
//! Invariants: one run reports every error of every file; a [`Config`] that was given out has no error; every value
//! knows its place ([`At`]).

pub mod alert;
mod check;
pub mod codes;
pub mod compress;
pub mod diagnostic;
mod env;
mod files;
pub mod headers;
pub mod limit;
mod load;
pub mod log;
pub mod log_input;
pub mod log_sink;
pub mod node;
pub mod place;
pub mod read;
pub mod reference;
mod render;
pub mod route;
pub mod schema;
pub mod server;
pub mod shape;
pub mod site;
mod syntax;
pub mod timeouts;
pub mod upstream;
pub mod words;
pub mod workers;

use std::path::Path;

pub use diagnostic::{Diagnostic, Diagnostics, Severity, Sources};
pub use env::{Variables, process_env};
pub use files::{LoadedFile, LoadedFiles, bytes_of, path_of};
pub use load::{Records, admin, from_text, load, records, service};
pub use place::{At, Place};
pub use reference::{KeyDoc, reference};
pub use schema::schema;

use crate::units::Size;
use alert::Alerts;
use compress::CompressTable;
use limit::Limit;
use log::Log;
use route::Route;
use server::Server;
use site::Site;
use timeouts::Timeouts;
use upstream::Upstream;
use words::{Host, Name};

/// A whole configuration: every file read, every name resolved, no error left.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: At<Server>,
    pub log: At<Log>,
    /// In the order of the files.
    pub limits: Vec<Named<Name, Limit>>,
    pub upstreams: Vec<Named<Name, Upstream>>,
    pub sites: Vec<Named<Host, Site>>,
    pub alerts: Alerts,
    /// Every file that the configuration names: certificates, keys, error pages.
    pub files: LoadedFiles,
    /// The texts of the configuration, to show lines of them.
    pub sources: Sources,
    /// What `load` found worth saying.
    pub warnings: Vec<Diagnostic>,
}

/// What a log service needs of a configuration.
#[derive(Clone, Debug)]
pub struct Service {
    pub log: At<Log>,
    pub alerts: Alerts,
    /// Every file that its doors and alarms name.
    pub files: LoadedFiles,
}

/// A table with the name it was given.
#[derive(Clone, Debug)]
pub struct Named<N, T> {
    pub name: At<N>,
    pub body: T,
}

impl Config {
    pub fn upstream(&self, name: &str) -> Option<&Named<Name, Upstream>> {
        self.upstreams.iter().find(|upstream| *upstream.name.value == *name)
    }

    pub fn limit(&self, name: &str) -> Option<&Named<Name, Limit>> {
        self.limits.iter().find(|limit| *limit.name.value == *name)
    }

    /// The bytes of a file that the configuration names.
    pub fn file(&self, path: &str) -> Option<&LoadedFile> {
        self.files.get(Path::new(path))
    }

    /// The timeouts of a request: route before upstream before site before server, key by key.
    pub fn timeouts(&self, site: &Site, route: &Route) -> Timeouts {
        let upstream = route.proxy.as_ref().and_then(|name| self.upstream(name));
        let levels = [
            site.timeouts.as_ref(),
            upstream.and_then(|upstream| upstream.body.timeouts.as_ref()),
            route.timeouts.as_ref(),
        ];
        self.server.timeouts.with(levels.into_iter().flatten().map(|timeouts| &timeouts.value))
    }

    /// The largest request body: route before site before server.
    pub fn max_body<'a>(&'a self, site: &'a Site, route: &'a Route) -> &'a At<Size> {
        route.max_body.as_ref().or(site.max_body.as_ref()).unwrap_or(&self.server.max_body)
    }

    /// Compression of a route: its own, else the site's; None when it is off.
    pub fn compress(&self, site: &Site, route: &Route) -> Option<CompressTable> {
        route.compress.as_ref().or(site.compress.as_ref())?.settings()
    }

    /// An open list of diagnostics, with the warnings so far, for the checks of those who compile this.
    pub fn diagnostics(&self) -> Diagnostics {
        Diagnostics::new(self.sources.clone(), self.warnings.clone())
    }
}
