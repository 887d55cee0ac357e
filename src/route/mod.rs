//! Which site and which route serve a request: pure, request head in, decision out, with reasons.
//!
//! Here: the table of sites and routes, its lookup ([`RouteTable::find`]) and the same lookup told aloud
//! ([`RouteTable::explain`]). Not here: what a route does (its value is opaque), the canonical form of host and path
//! (`http::target`), the user's spelling of routes (`config`).
//!
//! **Host**: an exact name, else the longest `*.suffix` (at any depth: `*.b` serves `a.b` and `x.a.b`, not `b`), else
//! `*`. The empty host of HTTP/1.0 belongs to `*`. A site that has no route for a request does not pass it on to
//! another site.
//!
//! **Route**: among the routes whose path and conditions all fit, the path decides first: exact, then regular
//! expressions in file order, then the longest prefix. On equal paths more conditions beat fewer, then file order.
//! So a route whose conditions fail falls back to the next less specific path.
//!
//! Invariant: a lookup changes nothing, allocates nothing, and equals the naive walk over every route.

mod condition;
mod explain;
mod host;
mod path;
mod site;

use http::{HeaderMap, Method};

pub use condition::{Condition, ConditionError, ValuePattern};
pub use explain::{Considered, Lost, Verdict};
pub use host::HostPattern;
pub use path::{PathPattern, PatternError};
pub use site::{Route, Site};

use host::HostIndex;

/// The parts of a request head that conditions look at, host and path aside.
#[derive(Clone, Copy, Debug)]
pub struct Head<'h> {
    pub method: &'h Method,
    pub headers: &'h HeaderMap,
    /// As sent, without `?`.
    pub query: Option<&'h str>,
}

/// All sites with their routes. `S` is the caller's value of a site, `R` that of a route.
#[derive(Debug)]
pub struct RouteTable<S, R> {
    sites: Vec<Site<S, R>>,
    hosts: HostIndex,
}

/// A site to build the table from.
#[derive(Debug)]
pub struct SiteSpec<S, R> {
    /// As the user wrote it; for records and `explain`.
    pub name: String,
    /// Its name and its aliases.
    pub hosts: Vec<HostPattern>,
    pub value: S,
    /// In file order.
    pub routes: Vec<RouteSpec<R>>,
}

/// A route to build the table from.
#[derive(Debug)]
pub struct RouteSpec<R> {
    /// As the user wrote its path; for records and `explain`.
    pub name: String,
    pub path: PathPattern,
    pub conditions: Vec<Condition>,
    pub value: R,
}

/// Why there is no table. Config finds most of these earlier, with line and column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("host `{0}` belongs to two sites")]
    HostTwice(String),
    #[error("site `{site}` has two routes `{route}` with equal conditions")]
    RouteTwice { site: String, route: String },
    #[error("site `{site}` cannot index the route `{route}`")]
    PathConflict { site: String, route: String },
}

/// What [`RouteTable::find`] found.
#[derive(Debug)]
pub enum Outcome<'t, 'p, S, R> {
    Found(Found<'t, 'p, S, R>),
    /// The site is known, but no route of it fits.
    NoRoute(&'t Site<S, R>),
    NoSite,
}

/// The winner.
#[derive(Debug)]
pub struct Found<'t, 'p, S, R> {
    pub site: &'t Site<S, R>,
    pub route: &'t Route<R>,
    path: &'p str,
    rest: usize,
}

impl<'p, S, R> Found<'_, 'p, S, R> {
    /// What the `*` of a prefix stands for, without the slash before it: `a/b` for `/x/*` and `/x/a/b`. Empty for an
    /// exact route; the whole path without its first slash for a regular expression.
    pub fn rest(&self) -> &'p str {
        self.path.get(self.rest..).unwrap_or("")
    }

    /// The path with the route's prefix taken off, beginning with `/`.
    pub fn stripped(&self) -> &'p str {
        self.path.get(self.rest.saturating_sub(1)..).filter(|rest| rest.starts_with('/')).unwrap_or("/")
    }
}

impl<S, R> RouteTable<S, R> {
    /// Builds the indexes. The order of sites and routes is that of the file, and [`Site::index`] counts it.
    pub fn build(specs: Vec<SiteSpec<S, R>>) -> Result<Self, BuildError> {
        let mut hosts = HostIndex::default();
        let mut sites = Vec::with_capacity(specs.len());
        for (index, spec) in specs.into_iter().enumerate() {
            for host in &spec.hosts {
                hosts.insert(host, index).map_err(|()| BuildError::HostTwice(host.to_string()))?;
            }
            sites.push(Site::build(index, spec)?);
        }
        Ok(Self { sites, hosts })
    }

    /// In file order.
    pub fn sites(&self) -> &[Site<S, R>] {
        &self.sites
    }

    /// The site of a canonical host name (lower case, no trailing dot, no port); also for a name out of SNI.
    pub fn site(&self, host: &str) -> Option<&Site<S, R>> {
        self.sites.get(self.hosts.find(host)?)
    }

    /// The route of a request. `host` and `path` are canonical (`http::target`).
    pub fn find<'p>(&self, host: &str, path: &'p str, head: &Head<'_>) -> Outcome<'_, 'p, S, R> {
        let Some(site) = self.site(host) else { return Outcome::NoSite };
        match site.search(path, head, &mut ()) {
            Some(route) => Outcome::Found(Found { site, route, path, rest: route.path.rest_of(path) }),
            None => Outcome::NoRoute(site),
        }
    }

    /// Every route of the site with its fate, in file order; empty when no site serves the host.
    pub fn explain(&self, host: &str, path: &str, head: &Head<'_>) -> Vec<Considered<'_>> {
        self.site(host).map_or_else(Vec::new, |site| explain::explain(site, path, head))
    }
}

#[cfg(test)]
mod tests;
