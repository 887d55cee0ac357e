//! What changes in a message on its way through: fields taken off, fields put on, the path, the Host.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{EXPECT, HOST, LOCATION, SERVER, VIA};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, Version};

use super::traceparent;
use crate::exchange::Exchange;
use crate::exchange::failure::{Failure, Kind};
use crate::http::Body;
use crate::http::forwarded::{self, Client, Hop};
use crate::http::headers;
use crate::http::target::{Canonical, join};
use crate::plan::{PathChange, Plan, Proxying, Route, ServerField, Via};
use crate::record::{Id, id};

/// The request as the rooms before have understood it.
pub struct Inbound<'a> {
    pub id: Id,
    /// `id` as a field value.
    pub own_id: &'a HeaderValue,
    /// Address on the other end of the connection, and the connection's part of the forwarding fields.
    pub sender: IpAddr,
    pub hop: &'a Hop,
    /// As it was sent.
    pub uri: &'a Uri,
    pub canonical: &'a Canonical<'a>,
    pub client: &'a Client,
    /// What the route's prefix leaves of the path.
    pub rest: &'a str,
    pub route: &'a Route,
}

/// The ids that the request came with and goes on with.
#[derive(Debug, Default)]
pub struct Ids {
    /// The inbound request id that was believed, and one that was not.
    pub rid: Option<Bytes>,
    pub rid_in: Option<Bytes>,
    pub trace: traceparent::Ids,
}

impl Ids {
    /// Writes them into the notebook.
    pub fn note(self, exchange: &mut Exchange) {
        exchange.rid = self.rid;
        exchange.rid_in = self.rid_in;
        exchange.trace_id = self.trace.trace;
        exchange.span_id = self.trace.span;
        exchange.parent_id = self.trace.parent;
        exchange.trace_flags = self.trace.flags;
    }
}

/// Turns the client's request head into the upstream's.
///
/// # Errors
/// Nominations of protected fields, loops, targets that do not parse after a rewrite.
pub fn request(
    plan: &Plan,
    parts: &mut http::request::Parts,
    inbound: &Inbound<'_>,
    proxying: &Proxying,
) -> Result<Ids, Failure> {
    let headers = &mut parts.headers;
    let seen = headers::strip_hop_by_hop(headers)?;
    if seen.underscore {
        headers::drop_underscore_names(headers);
    }
    if seen.expect {
        headers.remove(EXPECT);
    }
    if let Some(via) = &plan.via {
        pass_via(via, headers, parts.version, seen.via)?;
    }
    let host = inbound.canonical.host.value();
    forwarded::rewrite(headers, inbound.client, inbound.hop, host, plan.forwarded);
    let mut ids = Ids::default();
    request_id(plan, headers, inbound, &mut ids);
    ids.trace = traceparent::pass(plan.trace, headers, &inbound.id);
    // What stands there already, and it does nearly always, is not worth an insertion.
    let host = host_for(proxying, host);
    if headers.get(HOST) != Some(&host) {
        headers.insert(HOST, host);
    }
    for changes in &inbound.route.request_headers {
        changes.apply(headers);
    }
    parts.uri = uri(inbound)?;
    parts.version = Version::HTTP_11;
    parts.extensions = http::Extensions::new();
    Ok(ids)
}

/// The Host for the upstream. A client of HTTP/1.0 may name none (RFC 9112 section 3.2); HTTP/1.1 must, and origins
/// refuse an empty one: then it is the upstream's name, as with nginx.
fn host_for(proxying: &Proxying, host: &HeaderValue) -> HeaderValue {
    match &proxying.host {
        Some(own) => own.clone(),
        None if host.is_empty() => {
            let name = &proxying.upstream.settings.name;
            HeaderValue::from_str(name).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
        }
        None => host.clone(),
    }
}

/// The origin form for the upstream; without a change it is the client's own.
fn uri(inbound: &Inbound<'_>) -> Result<Uri, Failure> {
    let canonical = inbound.canonical;
    let target = match &inbound.route.path {
        PathChange::Keep if !canonical.changed && inbound.uri.authority().is_none() => {
            return Ok(inbound.uri.clone());
        }
        PathChange::Keep => canonical.path_and_query(inbound.uri)?,
        _ => join(&path(inbound), canonical.query)?,
    };
    Ok(Uri::from(target))
}

/// The path after the route's change.
pub fn path<'a>(inbound: &'a Inbound<'_>) -> Cow<'a, str> {
    let original: &str = &inbound.canonical.path;
    match &inbound.route.path {
        PathChange::Keep => Cow::Borrowed(original),
        PathChange::Strip(prefix) => strip(original, prefix),
        PathChange::Rewrite(new, true) => Cow::Owned(format!("{new}{}", inbound.rest)),
        PathChange::Rewrite(new, false) => Cow::Owned(new.to_string()),
    }
}

/// The path below a root of files: what the `*` of the route stands for, else the whole path.
pub fn file_path<'a>(inbound: &'a Inbound<'_>) -> Cow<'a, str> {
    match (inbound.route.is_prefix, &inbound.route.path) {
        (true, PathChange::Keep) => Cow::Owned(format!("/{}", inbound.rest)),
        _ => path(inbound),
    }
}

/// Takes `prefix` off whole segments only: `/api` does not strip from `/apis`.
fn strip<'a>(path: &'a str, prefix: &str) -> Cow<'a, str> {
    let prefix = prefix.trim_end_matches('/');
    match path.strip_prefix(prefix) {
        Some("") => Cow::Borrowed("/"),
        Some(rest) if rest.starts_with('/') => Cow::Borrowed(rest),
        _ => Cow::Borrowed(path),
    }
}

/// Appends our hop (RFC 9110 section 7.6.3); our own pseudonym in it means that the request came back.
fn pass_via(via: &Via, headers: &mut HeaderMap, version: Version, is_there: bool) -> Result<(), Failure> {
    let ours = match version {
        Version::HTTP_2 => &via.http2,
        Version::HTTP_10 => &via.http10,
        _ => &via.http11,
    };
    if !is_there {
        headers.insert(VIA, ours.clone());
        return Ok(());
    }
    let is_ours = |value: &HeaderValue| {
        let text = value.as_bytes();
        memchr::memmem::find(text, via.pseudonym.as_bytes()).is_some()
    };
    if headers.get_all(VIA).iter().any(is_ours) {
        return Err(Failure::refuse(Kind::Loop, "our own name is in Via"));
    }
    headers.append(VIA, ours.clone());
    Ok(())
}

/// The longest inbound request id.
const MAX_ID: usize = 128;

/// Sets the request id field: ours, or the inbound one when its sender is trusted.
fn request_id(plan: &Plan, headers: &mut HeaderMap, inbound: &Inbound<'_>, ids: &mut Ids) {
    let name = &plan.request_id.name;
    if let Some(sent) = headers.get(name) {
        let is_good = is_request_id(sent.as_bytes());
        let bytes = Bytes::copy_from_slice(&sent.as_bytes()[..sent.len().min(MAX_ID)]);
        if is_good && plan.request_id.trust.contains(inbound.sender) {
            ids.rid = Some(bytes);
            return;
        }
        ids.rid_in = Some(bytes);
    }
    headers.insert(name.clone(), inbound.own_id.clone());
}

fn is_request_id(text: &[u8]) -> bool {
    let is_allowed = |b: &u8| b.is_ascii_alphanumeric() || b"._~:/+=@-".contains(b);
    (1..=MAX_ID).contains(&text.len()) && text.iter().all(is_allowed)
}

/// The request id as a field value.
pub fn own_id(id: &Id) -> HeaderValue {
    // Shared from the beginning: it goes to the upstream and to the client.
    let text = Bytes::from_owner(id::text(id));
    // Hexadecimal digits and hyphens are always a valid field value.
    let mut value = HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static("-"));
    // Never the same again: HTTP/2 shall not fill its compression table with ids, nor compare each with all of them.
    value.set_sensitive(true);
    value
}

/// Last touch on every answer: the request id, the policy about `Server`.
pub fn finish(plan: &Plan, own_id: HeaderValue, rid: Option<&Bytes>, headers: &mut HeaderMap) {
    let value = match rid {
        Some(rid) => HeaderValue::from_maybe_shared(rid.clone()).unwrap_or(own_id),
        None => own_id,
    };
    headers.insert(plan.request_id.name.clone(), value);
    match &plan.server {
        ServerField::Pass => {}
        ServerField::Remove => {
            headers.remove(SERVER);
        }
        ServerField::Replace(value) => {
            headers.insert(SERVER, value.clone());
        }
    }
}

/// A redirect of a route.
///
/// # Errors
/// A location that is no field value.
pub fn redirect(
    target: &str,
    carries_rest: bool,
    status: StatusCode,
    inbound: &Inbound<'_>,
) -> Result<Response<Body>, Failure> {
    let mut location = target.to_owned();
    if carries_rest {
        location.push_str(inbound.rest);
        if let Some(query) = inbound.canonical.query {
            location.push('?');
            location.push_str(query);
        }
    }
    let value = HeaderValue::try_from(location).map_err(|error| {
        Failure::refuse(Kind::Internal, "the location is no field value").from_source(error)
    })?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, value);
    Ok(response)
}

/// The same request over https.
pub fn https_location(canonical: &Canonical<'_>, port: u16) -> String {
    let mut location = format!("https://{}", canonical.host.name());
    if port != 443 {
        location.push_str(&format!(":{port}"));
    }
    location.push_str(if canonical.is_asterisk() { "/" } else { &canonical.path });
    if let Some(query) = canonical.query {
        location.push('?');
        location.push_str(query);
    }
    location
}
