//! The one canonical request: host, port, path and query as everything after this point sees them.
//!
//! Here: which of Host, `:authority` and absolute target counts, their syntax, and the canonical path. Not here: the
//! binding of SNI to the site (`tls`), routing (`route`), framing and other fields (`headers`).
//!
//! Invariant: routing, limits, cache key, upstream and log use this form and no other. Whatever has two readings is
//! refused; what has one is rewritten to its shortest form, and a second pass over that form changes nothing.

mod authority;
mod path;

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri, Version};

pub use authority::Host;
pub use path::{CanonicalPath, canonical_path};

use super::headers::{Fault, Refusal};

/// What to do with `%2F` in a path, chosen per route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlash {
    /// 400: the origin may read it as a slash, our routes do not.
    #[default]
    Refuse,
    /// Goes on as `%2F`, and counts as an ordinary character in matching.
    Pass,
}

/// A request as every later room sees it. Borrows only from the URI, so the headers may be changed meanwhile.
#[derive(Debug)]
pub struct Canonical<'u> {
    pub host: Host,
    /// Begins with `/`; or is `*` for `OPTIONS *`.
    pub path: Cow<'u, str>,
    /// As sent, without `?`.
    pub query: Option<&'u str>,
    /// The path is not the one that the client sent.
    pub changed: bool,
    /// The path holds `%2F`: ask [`Canonical::permit`] once the route is known.
    pub has_encoded_slash: bool,
}

impl<'u> Canonical<'u> {
    /// Builds the canonical request from a parsed head, or says why there is none.
    ///
    /// `max_target` limits path and query together, in bytes (414 beyond it). A request of HTTP/1.0 without Host has
    /// the empty host, which belongs to the default site.
    pub fn of(
        method: &Method,
        uri: &'u Uri,
        version: Version,
        headers: &HeaderMap,
        max_target: usize,
    ) -> Result<Self, Refusal> {
        check_method(method)?;
        let host = authority::decide(uri, version, headers)?;
        let sent = uri.path();
        let query = uri.query();
        if sent.len() + query.map_or(0, |query| query.len() + 1) > max_target {
            return Err(Refusal::new(Fault::TargetTooLong, "target too long"));
        }
        if sent == "*" {
            return asterisk(method, uri, host);
        }
        let canonical = canonical_path(sent)?;
        let changed = matches!(canonical.path, Cow::Owned(_));
        let has_encoded_slash = canonical.has_encoded_slash;
        Ok(Self { host, path: canonical.path, query, changed, has_encoded_slash })
    }

    /// `OPTIONS *`: about the server itself, not about a path.
    pub fn is_asterisk(&self) -> bool {
        self.path == "*"
    }

    /// Applies the route's choice about `%2F`.
    pub fn permit(&self, choice: EncodedSlash) -> Result<(), Refusal> {
        if self.has_encoded_slash && choice == EncodedSlash::Refuse {
            return Err(Refusal::bad("encoded slash in the path"));
        }
        Ok(())
    }

    /// Path and query to send on. `uri` is the one this was made from; without a change it costs a reference count.
    pub fn path_and_query(&self, uri: &Uri) -> Result<PathAndQuery, Refusal> {
        match uri.path_and_query() {
            Some(same) if !self.changed => Ok(same.clone()),
            _ => join(&self.path, self.query),
        }
    }
}

/// Joins a path that begins with `/` and a query without `?`; for rewritten paths too.
pub fn join(path: &str, query: Option<&str>) -> Result<PathAndQuery, Refusal> {
    let mut text = String::with_capacity(path.len() + query.map_or(0, |query| query.len() + 1));
    text.push_str(path);
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).map_err(|_| Refusal::bad("invalid target"))
}

fn check_method(method: &Method) -> Result<(), Refusal> {
    match method.as_str() {
        // A front proxy opens no tunnel to where the client says (RFC 9110 section 9.3.6).
        "CONNECT" => Err(Refusal::new(Fault::MethodRefused, "CONNECT is not served")),
        // It would send our own fields and cookies back (RFC 9110 section 9.3.8).
        "TRACE" => Err(Refusal::new(Fault::MethodRefused, "TRACE is not served")),
        // The preface of HTTP/2 in the wrong place.
        "PRI" => Err(Refusal::bad("HTTP/2 preface as a request")),
        _ => Ok(()),
    }
}

fn asterisk<'u>(method: &Method, uri: &'u Uri, host: Host) -> Result<Canonical<'u>, Refusal> {
    if method != Method::OPTIONS || uri.query().is_some() {
        return Err(Refusal::bad("asterisk target outside OPTIONS"));
    }
    Ok(Canonical { host, path: Cow::Borrowed("*"), query: None, changed: false, has_encoded_slash: false })
}

#[cfg(test)]
mod tests;
