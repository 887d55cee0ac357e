//! The way of one request from its head to where it has to wait; [`super::way`] goes on from there.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body as _, Incoming};

use super::core::Core;
use super::decide::{Decision, decide};
use super::forward::{self, Inbound};
use super::upgrade;
use super::way::{FileWalk, Step, Way};
use crate::access_log::follow::Live;
use crate::downstream::body::Upload;
use crate::downstream::head::Raw;
use crate::exchange::connection::Connection;
use crate::exchange::failure::{Failure, Kind};
use crate::filter::rate_limit::{self, KeyInput};
use crate::http::Body;
use crate::http::forwarded;
use crate::http::headers;
use crate::http::target::Canonical;
use crate::plan::{Action, Plan, Proxying, Route};
use crate::upstream::body::RequestBody;
use crate::upstream::send::{Reach, Sending};

/// Why a request got no ordinary answer.
pub enum Refused {
    Failure(Box<Failure>),
    /// Over a limit; its answer says when to come back.
    Limit(Box<rate_limit::Refusal>),
    /// The site is served over https.
    ToHttps {
        location: String,
    },
    /// `OPTIONS *`: about the server, not about a path.
    Asterisk,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl From<headers::Refusal> for Refused {
    fn from(refusal: headers::Refusal) -> Self {
        Failure::from(refusal).into()
    }
}

/// Walks `request` to the point where something must be waited for. Nothing here waits, so what it needs on its way
/// lives on the stack and not in the future of every request.
///
/// # Errors
/// Everything that is answered by ourselves because something was wrong or over a limit.
pub fn walk(
    core: &Core,
    plan: &Plan,
    request: Request<Incoming>,
    raw: Option<&Raw>,
    own_id: &HeaderValue,
    live: &mut Live,
) -> Result<Way, Refused> {
    if let Some(Raw::Refused(refusal)) = raw {
        return Err((*refusal).into());
    }
    if core.log.log.is_closed() {
        return Err(Failure::new(Kind::Unrecorded).into());
    }
    let (mut parts, incoming) = request.into_parts();
    headers::check_request(&parts.headers, parts.version, &plan.head.settings)?;
    if parts.version == Version::HTTP_2 {
        headers::join_cookies(&mut parts.headers);
    }
    let uri = std::mem::take(&mut parts.uri);
    let canonical = Canonical::of(&parts.method, &uri, parts.version, &parts.headers, plan.head.max_target)?;
    let wire = Rc::clone(live.wire());
    let connection = &wire.connection;
    let client = forwarded::resolve(&parts.headers, connection.sender_ip(), &plan.trust)?;
    arrive(&canonical, &client, connection, live)?;
    if canonical.is_asterisk() {
        live.exchange.is_own = true;
        return Err(Refused::Asterisk);
    }
    let (route, rest) = find(plan, &canonical, &parts, live)?;
    canonical.permit(route.encoded_slash)?;
    admit(route, &parts, live)?;
    live.exchange.marks.policy = Some(Instant::now());
    let method = parts.method.clone();
    let wanted = route.wanted(&parts.headers);
    let inbound = Inbound {
        id: live.exchange.id,
        own_id,
        sender: connection.sender_ip(),
        hop: &wire.hop,
        uri: &uri,
        canonical: &canonical,
        client: &client,
        rest: &rest,
        route,
    };
    let step = step(core, plan, parts, incoming, &inbound, live)?;
    Ok(Way { route: Arc::clone(route), wanted, method, step })
}

/// What the route does with the request.
fn step(
    core: &Core,
    plan: &Plan,
    mut parts: http::request::Parts,
    incoming: Incoming,
    inbound: &Inbound<'_>,
    live: &mut Live,
) -> Result<Step, Refused> {
    live.exchange.is_own = !matches!(inbound.route.action, Action::Proxy(_));
    Ok(match &inbound.route.action {
        Action::Proxy(proxying) => {
            let upgrade = headers::upgrade_wanted(&parts.method, &parts.headers, parts.version)?;
            let body = upload(core, inbound.route, incoming, live)?;
            forward::request(plan, &mut parts, inbound, proxying)?.note(&mut live.exchange);
            let expected = upgrade.and_then(|_| upgrade::prepare(&mut parts.headers));
            Step::Send(Box::new(sending(core, proxying, parts, body)), expected)
        }
        Action::Files(_) => Step::Files(Box::new(FileWalk::new(inbound, parts))),
        Action::Redirect { target, carries_rest, status } => {
            Step::Answered(forward::redirect(target, *carries_rest, *status, inbound)?)
        }
        Action::Respond { status, content_type, text } => {
            Step::Answered(respond(*status, Some(content_type), text))
        }
    })
}

/// The request as it goes on.
fn sending(core: &Core, proxying: &Proxying, mut parts: http::request::Parts, body: Body) -> Sending {
    // hyper would send a GET or HEAD whose body has no known length without it, as if there were none.
    if matches!(body, Body::Stream(_)) && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let (body, progress) = RequestBody::new(body);
    let reach = Reach { locals: &core.locals, deadlines: &core.deadlines };
    let request = Request::from_parts(parts, body);
    Sending::new(&reach, &proxying.upstream, &proxying.timeouts, request, progress)
}

/// Writes down who asks for which host, and refuses a host that is not the connection's.
fn arrive(
    canonical: &Canonical<'_>,
    client: &forwarded::Client,
    connection: &Connection,
    live: &mut Live,
) -> Result<(), Failure> {
    live.exchange.host = Some(canonical.host.value().clone());
    live.exchange.client_ip = client.ip;
    if client.ip != connection.sender_ip() {
        live.exchange.client_port = client.port;
        live.exchange.flight.client(client.ip);
    }
    match &connection.tls {
        Some(tls) if !(tls.covers)(canonical.host.name()) => {
            Err(Failure::refuse(Kind::Misdirected, "the certificate of this connection is another site's"))
        }
        _ => Ok(()),
    }
}

/// The route, and what its prefix leaves of the path.
fn find<'p>(
    plan: &'p Plan,
    canonical: &Canonical<'_>,
    parts: &http::request::Parts,
    live: &mut Live,
) -> Result<(&'p Arc<Route>, String), Refused> {
    let is_tls = live.exchange.connection.tls.is_some();
    let (site, outcome) = match decide(plan, canonical, &parts.method, &parts.headers, is_tls) {
        Decision::NoSite => return Err(Failure::refuse(Kind::NoRoute, "no site has this name").into()),
        Decision::ToHttps { site, location } => (site, Err(Refused::ToHttps { location })),
        Decision::NoRoute { site, allowed } => {
            let failure = no_route(&allowed);
            live.allowed = allowed;
            (site, Err(failure.into()))
        }
        Decision::Route { route, rest } => {
            live.exchange.route = Some(Arc::clone(&route.name));
            (&route.site, Ok((route, rest)))
        }
    };
    live.exchange.site = Some(Arc::clone(&site.name));
    outcome
}

/// The answer where the site has no route: 405 when other methods have one.
pub fn no_route(allowed: &[Method]) -> Failure {
    match allowed {
        [] => Failure::refuse(Kind::NoRoute, "no route of the site fits"),
        _ => Failure::refuse(Kind::MethodNotAllowed, "no route of the site takes this method"),
    }
}

fn admit(route: &Route, parts: &http::request::Parts, live: &mut Live) -> Result<(), Refused> {
    if route.limits.is_empty() {
        return Ok(());
    }
    let input = KeyInput {
        client_ip: live.exchange.client_ip,
        headers: &parts.headers,
        site: &route.site.name,
        route: &route.name,
    };
    match rate_limit::check(&route.limits, &input) {
        Ok(admission) => {
            live.exchange.limit = Some(admission.verdict());
            live.exchange.limit_rule.clone_from(&admission.dry_run);
            live.standing = admission.standing;
            live.permits = admission.permits;
            Ok(())
        }
        Err(refusal) => Err(Refused::Limit(refusal)),
    }
}

/// The request body under the limits of its route.
fn upload(core: &Core, route: &Route, incoming: Incoming, live: &mut Live) -> Result<Body, Refused> {
    if incoming.is_end_stream() {
        return Ok(Body::Empty);
    }
    let settings = &route.body;
    if incoming.size_hint().lower() > settings.max {
        return Err(Failure::new(Kind::BodyTooLarge).because(&settings.max_cause).into());
    }
    let received = live.exchange.body_in.get_or_insert_default().clone();
    let wire = Rc::clone(live.wire());
    let deadline = core.deadlines.slot();
    Ok(Body::stream(Upload::new(incoming, Arc::clone(settings), wire, deadline, received)))
}

/// The answer of a route with `respond`.
pub fn respond(
    status: StatusCode,
    content_type: Option<&HeaderValue>,
    text: &bytes::Bytes,
) -> Response<Body> {
    let mut response = Response::new(Body::from(text.clone()));
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
    }
    response
}
