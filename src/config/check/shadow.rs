//! Routes that take the same requests, and routes that can never match.
//!
//! The order of routes of one site: the more specific path first (exact, then regular expressions in the order of
//! the file, then the longest prefix); for the same path more conditions before fewer; then the order of the file.

use http::HeaderName;

use super::super::read::{Map, Sink};
use super::super::route::{Route, When};
use super::super::words::{Glob, PathPattern, Text};
use super::super::{At, Config, Diagnostic, codes};

pub(super) fn check(config: &Config, sink: &mut Sink) {
    for site in &config.sites {
        for (index, route) in site.body.routes.iter().enumerate() {
            let before = site.body.routes.get(..index).unwrap_or_default();
            if let Some(first) = before.iter().find(|other| is_same(other, route)) {
                sink.push(same(first, route));
            } else if let Some(first) = site.body.routes.iter().find(|other| is_shadow(other, route, before))
            {
                sink.push(shadowed(first, route));
            }
        }
    }
}

fn is_same(one: &Route, other: &Route) -> bool {
    one.path.value == other.path.value && covers(&one.when, &other.when) && covers(&other.when, &one.when)
}

/// Whether `first` takes every request of `route` before it is asked.
fn is_shadow(first: &At<Route>, route: &At<Route>, before: &[At<Route>]) -> bool {
    if first.path.value == route.path.value {
        let is_before = before.iter().any(|other| other.place == first.place);
        return is_before && first.when.count() == route.when.count() && covers(&first.when, &route.when);
    }
    let takes_all = matches!(&first.path.value, PathPattern::Regex(regex) if matches_every_path(regex));
    let asked_later = match route.path.value {
        PathPattern::Prefix(_) => true,
        PathPattern::Regex(_) => before.iter().any(|other| other.place == first.place),
        PathPattern::Exact(_) => false,
    };
    takes_all && asked_later && first.when.count() == 0
}

/// Whether everything that satisfies `narrow` satisfies `wide`.
fn covers(wide: &When, narrow: &When) -> bool {
    let methods = wide.method.is_empty()
        || (!narrow.method.is_empty()
            && narrow.method.iter().all(|one| wide.method.iter().any(|m| m.value == one.value)));
    methods && covers_headers(&wide.header, &narrow.header) && covers_query(&wide.query, &narrow.query)
}

fn covers_headers(wide: &Map<HeaderName, Glob>, narrow: &Map<HeaderName, Glob>) -> bool {
    wide.iter().all(|(name, glob)| {
        narrow.iter().any(|(other, value)| other.value == name.value && covers_glob(glob, value))
    })
}

fn covers_query(wide: &Map<Text, Glob>, narrow: &Map<Text, Glob>) -> bool {
    wide.iter().all(|(name, glob)| {
        narrow.iter().any(|(other, value)| other.value == name.value && covers_glob(glob, value))
    })
}

fn covers_glob(wide: &Glob, narrow: &Glob) -> bool {
    **wide == *"*" || wide == narrow
}

/// The usual ways to write it; whether two expressions cover each other in general is not worth knowing.
fn matches_every_path(regex: &str) -> bool {
    ["/", "^/", ".", ".*", "^.*", "^.*$", "^/.*", "^/.*$", "^.+$", "/.*", ".+"].contains(&regex)
}

fn same(first: &At<Route>, second: &At<Route>) -> Diagnostic {
    Diagnostic::error(
        codes::SAME_ROUTE,
        format!("two routes take the same requests: `{}`", second.path.value),
    )
    .at(&second.path.place, "again here")
    .also(&first.path.place, "first here")
    .help("remove one, or give one a condition: `when = { method = [\"POST\"] }`")
}

fn shadowed(first: &At<Route>, second: &At<Route>) -> Diagnostic {
    Diagnostic::warning(codes::SHADOWED_ROUTE, format!("route `{}` can never match", second.path.value))
        .at(&second.path.place, "every request that this could take")
        .also(&first.path.place, "is taken by this")
}
