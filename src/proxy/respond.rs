//! Answers of our own: a failure or a limit becomes a status and a small, honest page.

use http::header::{ACCEPT, ALLOW, CONNECTION, CONTENT_TYPE, LOCATION, SEC_WEBSOCKET_VERSION, UPGRADE, VARY};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::walk::Refused;
use crate::access_log::follow::Live;
use crate::exchange::Exchange;
use crate::exchange::failure::{Failure, Kind};
use crate::http::Body;
use crate::plan::Plan;
use crate::record::{LimitVerdict, id};

/// Which form of error the client likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    Html,
    /// `application/problem+json` (RFC 9457).
    Problem,
    Text,
}

impl Wants {
    /// Looks at `Accept`: an API client names JSON and not HTML, a browser names HTML.
    pub fn read(headers: &HeaderMap) -> Self {
        let Some(accept) = headers.get(ACCEPT).map(HeaderValue::as_bytes) else { return Self::Text };
        let names = |what: &[u8]| memchr::memmem::find(accept, what).is_some();
        match () {
            () if names(b"text/html") => Self::Html,
            () if names(b"json") => Self::Problem,
            () => Self::Text,
        }
    }
}

/// The answer to a request that was refused, and its note in the exchange.
pub fn to_refused(refused: Refused, wants: Wants, plan: &Plan, live: &mut Live) -> Response<Body> {
    let exchange = &mut live.exchange;
    match refused {
        Refused::Failure(failure) => {
            if failure.kind.is_doubtful() {
                live.wire().doubt();
            }
            let exchange = &mut live.exchange;
            exchange.fail(&failure);
            failed(&failure, wants, plan, exchange, &live.allowed)
        }
        Refused::Limit(refusal) => {
            exchange.fail(&refusal.failure());
            exchange.limit = Some(LimitVerdict::Limited);
            exchange.limit_rule = Some(refusal.limit.clone());
            let mut response = page(refusal.status, wants, plan, exchange);
            refusal.write(response.headers_mut());
            response
        }
        Refused::ToHttps { location } => {
            exchange.is_own = true;
            redirect(&location)
        }
        Refused::Asterisk => {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
    }
}

fn redirect(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn failed(
    failure: &Failure,
    wants: Wants,
    plan: &Plan,
    exchange: &Exchange,
    allowed: &[Method],
) -> Response<Body> {
    let status = failure.kind.row().status;
    let mut response = page(status, wants, plan, exchange);
    let headers = response.headers_mut();
    match failure.kind {
        Kind::MethodRefused => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        Kind::UpgradeVersion => {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        Kind::MethodNotAllowed => {
            let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
            if let Ok(value) = HeaderValue::try_from(names.join(", ")) {
                headers.insert(ALLOW, value);
            }
        }
        Kind::NoEndpoint | Kind::QueueFull | Kind::Draining | Kind::Unrecorded => {
            headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

/// The page of a status: the configured one, or the built-in.
fn page(status: StatusCode, wants: Wants, plan: &Plan, exchange: &Exchange) -> Response<Body> {
    let configured = plan.errors.by_status.iter().find(|(s, ..)| *s == status);
    let (content_type, body) = match configured {
        Some((_, content_type, body)) => (content_type.clone(), Body::from(body.clone())),
        None => built_in(status, wants, exchange),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

fn built_in(status: StatusCode, wants: Wants, exchange: &Exchange) -> (HeaderValue, Body) {
    let code = status.as_u16();
    let reason = status.canonical_reason().unwrap_or("Error");
    let text = id::text(&exchange.id);
    let id = std::str::from_utf8(&text).unwrap_or("-");
    let (content_type, body) = match wants {
        Wants::Problem => (
            "application/problem+json",
            format!(
                "{{\"type\":\"about:blank\",\"title\":\"{reason}\",\"status\":{code},\"request_id\":\"{id}\"}}\n"
            ),
        ),
        Wants::Text => ("text/plain; charset=utf-8", format!("{code} {reason}\nrequest id: {id}\n")),
        Wants::Html => (
            "text/html; charset=utf-8",
            format!(
                "<!doctype html><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
                 <title>{code} {reason}</title><style>body{{font:1rem/1.5 system-ui;max-width:36em;margin:12vh auto;padding:0 1em}}\
                 code{{color:#666}}</style><h1>{code} {reason}</h1><p>Request id: <code>{id}</code></p>\n"
            ),
        ),
    };
    (HeaderValue::from_static(content_type), Body::from(body))
}
