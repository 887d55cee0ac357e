//! The way of one request from its head to its answer's head.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body as _, Incoming};

use super::core::Core;
use super::decide::{Decision, decide};
use super::forward::{self, Inbound};
use super::upgrade;
use crate::access_log::follow::Live;
use crate::downstream::body::Upload;
use crate::downstream::head::Raw;
use crate::exchange::connection::Connection;
use crate::exchange::failure::{Failure, Kind};
use crate::files::{Ask, Files};
use crate::filter::compress::{Codec, Wanted};
use crate::filter::rate_limit::{self, KeyInput};
use crate::http::Body;
use crate::http::forwarded;
use crate::http::headers;
use crate::http::sendfile::SendQueue;
use crate::http::target::Canonical;
use crate::plan::{Action, Plan, Proxying, Route};
use crate::upstream::body::RequestBody;
use crate::upstream::send::{Reach, send};

/// Why a request got no ordinary answer.
pub enum Refused {
    Failure(Box<Failure>),
    /// Over a limit; its answer says when to come back.
    Limit(Box<rate_limit::Refusal>),
    /// The site is served over https.
    ToHttps {
        location: String,
    },
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

/// Walks `request`.
///
/// # Errors
/// Everything that is answered by ourselves because something was wrong or over a limit.
pub async fn walk(
    core: &Core,
    plan: &Plan,
    request: Request<Incoming>,
    raw: Option<Raw>,
    live: &mut Live,
) -> Result<Response<Body>, Refused> {
    if let Some(Raw::Refused(refusal)) = raw {
        return Err(refusal.into());
    }
    let (mut parts, incoming) = request.into_parts();
    headers::check_request(&parts.headers, parts.version, &plan.head.settings)?;
    if parts.version == Version::HTTP_2 {
        headers::join_cookies(&mut parts.headers);
    }
    let uri = parts.uri.clone();
    let canonical = Canonical::of(&parts.method, &uri, parts.version, &parts.headers, plan.head.max_target)?;
    let wire = std::rc::Rc::clone(live.wire());
    let connection = &wire.connection;
    let client = forwarded::resolve(&parts.headers, connection.sender_ip(), &plan.trust)?;
    arrive(&canonical, &client, connection, live)?;
    if canonical.is_asterisk() {
        live.exchange.is_own = true;
        return Ok(respond(StatusCode::NO_CONTENT, None, &bytes::Bytes::new()));
    }
    let wanted = Wanted::parse(&parts.headers);
    let (route, rest) = find(plan, &canonical, &parts, live)?;
    let route = Arc::clone(route);
    canonical.permit(route.encoded_slash)?;
    admit(&route, &parts, live)?;
    live.exchange.marks.policy = Some(Instant::now());

    let method = parts.method.clone();
    let inbound = Inbound {
        id: live.exchange.id,
        sender: connection.sender_ip(),
        hop: &wire.hop,
        canonical: &canonical,
        client: &client,
        rest: &rest,
        route: &route,
    };
    live.exchange.is_own = !matches!(route.action, Action::Proxy(_));
    let response = match &route.action {
        Action::Proxy(proxying) => {
            let upgrade = headers::upgrade_wanted(&parts.method, &parts.headers, parts.version)?;
            let body = upload(core, &route, incoming, live)?;
            forward::request(plan, &mut parts, &inbound, proxying)?.note(&mut live.exchange);
            let expected = upgrade.and_then(|_| upgrade::prepare(&mut parts.headers));
            proxy(core, proxying, parts, body, expected, live).await?
        }
        Action::Files(files) => serve_files(core, files, &inbound, &parts, wanted, wire.send_queue()).await?,
        Action::Redirect { target, carries_rest, status } => {
            forward::redirect(target, *carries_rest, *status, &inbound)?
        }
        Action::Respond { status, content_type, text } => respond(*status, Some(content_type), text),
    };
    let (response, codec) = after(&route, wanted, &method, response);
    live.exchange.encoding = codec.map(|c| c.token());
    Ok(response)
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
    }
    match &connection.tls {
        Some(tls) if !(tls.covers)(canonical.host.name()) => {
            Err(Failure::refuse(Kind::Misdirected, "the certificate of this connection is another site's"))
        }
        _ => Ok(()),
    }
}

async fn serve_files(
    core: &Core,
    files: &Files,
    inbound: &Inbound<'_>,
    parts: &http::request::Parts,
    wanted: Wanted,
    queue: Option<&SendQueue>,
) -> Result<Response<Body>, Failure> {
    let path = forward::file_path(inbound);
    let ask = Ask {
        method: &parts.method,
        path: &path,
        public_path: &inbound.canonical.path,
        query: inbound.canonical.query,
        headers: &parts.headers,
        wanted,
        compress: inbound.route.compress.as_deref(),
        open: &core.files,
        queue,
    };
    files.serve(ask).await
}

/// Filters of the way back; they also see our own answers. Says with which codec the answer was compressed.
pub fn after(
    route: &Route,
    wanted: Wanted,
    method: &Method,
    mut response: Response<Body>,
) -> (Response<Body>, Option<Codec>) {
    for changes in &route.response_headers {
        changes.apply(response.headers_mut());
    }
    match &route.compress {
        Some(compress) => compress.apply(wanted, method, response),
        None => (response, None),
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
    let wire = std::rc::Rc::clone(live.wire());
    let deadline = core.deadlines.slot();
    Ok(Body::stream(Upload::new(incoming, Arc::clone(settings), wire, deadline, received)))
}

async fn proxy(
    core: &Core,
    proxying: &Proxying,
    mut parts: http::request::Parts,
    body: Body,
    expected: Option<upgrade::Expected>,
    live: &mut Live,
) -> Result<Response<Body>, Refused> {
    // hyper would send a GET or HEAD whose body has no known length without it, as if there were none.
    if matches!(body, Body::Stream(_)) && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let (body, progress) = RequestBody::new(body);
    let request = Request::from_parts(parts, body);
    let reach = Reach { locals: &core.locals, deadlines: &core.deadlines };
    let response =
        send(&reach, &proxying.upstream, &proxying.timeouts, request, progress, &mut live.exchange).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(expected) = expected else {
            return Err(Failure::refuse(Kind::UpgradeFailed, "101 without being asked").into());
        };
        return Ok(upgrade::accept(core, response, proxying, &expected, live)?);
    }
    let (mut parts, body) = response.into_parts();
    headers::strip_response_hop_by_hop(&mut parts.headers);
    parts.version = Version::HTTP_11;
    Ok(Response::from_parts(parts, Body::stream(body)))
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
