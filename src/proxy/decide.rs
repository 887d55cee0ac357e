//! Which site and route a request belongs to, and what the site's rule about https says: pure, so that the server and
//! `explain` decide alike.

use std::sync::Arc;

use http::{HeaderMap, Method};

use super::forward;
use crate::http::target::Canonical;
use crate::plan::{PathChange, Plan, Route, Site};
use crate::route::{Head, Outcome};

/// See [`decide`].
pub enum Decision<'p> {
    NoSite,
    /// The site is served over https, and this request came without.
    ToHttps {
        site: &'p Arc<Site>,
        location: String,
    },
    /// No route of the site fits; with other methods perhaps one would.
    NoRoute {
        site: &'p Arc<Site>,
        allowed: Vec<Method>,
    },
    Route {
        route: &'p Arc<Route>,
        /// What the route's prefix leaves of the path; empty where nobody looks at it.
        rest: String,
    },
}

/// Finds the site and the route of a canonical request. `is_tls`: it came over TLS.
pub fn decide<'p>(
    plan: &'p Plan,
    canonical: &Canonical<'_>,
    method: &Method,
    headers: &HeaderMap,
    is_tls: bool,
) -> Decision<'p> {
    let head = Head { method, headers, query: canonical.query };
    let (site, found) = match plan.table.find(canonical.host.name(), &canonical.path, &head) {
        Outcome::NoSite => return Decision::NoSite,
        Outcome::NoRoute(site) => (site, None),
        Outcome::Found(found) => (found.site, Some(found)),
    };
    if !is_tls && let Some(port) = site.value.redirect_to {
        return Decision::ToHttps { site: &site.value, location: forward::https_location(canonical, port) };
    }
    let Some(found) = found else {
        return Decision::NoRoute {
            site: &site.value,
            allowed: site.allowed_methods(&canonical.path, &head),
        };
    };
    let route = &found.route.value;
    // Only rewrites look at the rest: the usual route does not pay for it.
    let rest = match route.path {
        PathChange::Keep if !route.action.needs_rest() => String::new(),
        _ => found.rest().to_owned(),
    };
    Decision::Route { route, rest }
}
