//! HTTP/1.1: `POST /frames` (see [`super::frames`]), `POST /logs`, `GET /logs/tail`, `GET /logs/search`,
//! `GET /logs/show|top|stats|explain|compare`, `GET /rollups`, `/alerts` (see [`super::alerts`]), `GET /status`;
//! Elasticsearch's calls ([`bulk`]) and `POST /v1/logs` ([`otlp`]).
//!
//! `POST /logs` answers `{"accepted":n,"duplicates":n,"rejected":n,"reasons":[{"line":n,"reason":"…"}]}`: 200 when
//! what was accepted is durable (even if other entries of the batch were no JSON objects), 400 when there was nothing
//! but bad entries, 413 when the body is too large, 503 with `Retry-After` when nothing was stored and the sender may
//! send all of it again.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;

use super::answer::{self, Answer};
use super::body::{self, Held, Refused};
use super::io::Watched;
use super::sockets::Stream;
use super::{Desk, Door, alerts, bulk, frames, otlp, questions, rollups, tail};
use crate::log_service::batch::{self, Parsed, Shape};
use crate::log_service::entry::Trust;
use crate::log_service::exec::Question;
use crate::log_service::read;
use crate::log_service::store::{AppendError, Appended};

const MAX_HEAD: usize = 32 << 10;

pub(super) async fn serve(stream: Stream, from: Arc<str>, desk: Arc<Desk>, door: Arc<Door>) {
    let (browsers, needs_token) = (stream.is_loopback_tcp(), stream.needs_token());
    let service = service_fn(|request: Request<Incoming>| {
        let (desk, door, from) = (Arc::clone(&desk), Arc::clone(&door), Arc::clone(&from));
        async move {
            let refused = refuse(request.headers(), browsers, needs_token, &door);
            let answer = match refused {
                Some((status, reason)) => refusal(request.uri().path(), status, reason),
                None if door.is_input() => take_in(request, &from, desk, &door).await,
                None => answer_to(request, &from, desk, &door).await,
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(desk.limits.header_timeout).max_buf_size(MAX_HEAD);
    let io = TokioIo::new(Watched::new(stream, desk.limits.idle_timeout));
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = desk.stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%from, %error, "a connection to the log service ended early");
    }
}

/// What senders may do, at an input and at the service's own door.
async fn take_in(request: Request<Incoming>, from: &Arc<str>, desk: Arc<Desk>, door: &Door) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/frames") if door.trust == Trust::Stranger => answer::refusal(
            StatusCode::FORBIDDEN,
            "frames are of proxies: this door takes them with `trusted = true` only",
        ),
        (&Method::POST, "/frames") => frames::take(request, from, &desk).await,
        (&Method::POST, "/logs") => take(request, from, &desk, door.trust).await,
        (_, otlp::PATH) => otlp::answer(request, from, &desk, door.trust).await,
        (_, path) if bulk::serves(path) => bulk::answer(request, from, desk, door).await,
        (_, "/frames" | "/logs") => answer::refusal(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
        _ => answer::refusal(
            StatusCode::NOT_FOUND,
            "this door takes entries: POST /logs, /frames, /_bulk, /v1/logs; the log is read at the service's own",
        ),
    }
}

/// The service's own door: what senders may do, and every question.
async fn answer_to(request: Request<Incoming>, from: &Arc<str>, desk: Arc<Desk>, door: &Door) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/logs/tail") => tail::tail(request.uri().query(), &desk).await,
        (&Method::GET, "/logs/search") => {
            tail::search(request.uri().query(), questions::wants_progress(request.headers()), &desk).await
        }
        (&Method::GET, "/rollups") => rollups::rollups(request.uri().query(), &desk).await,
        (&Method::GET, "/status") => status(&desk).await,
        (&Method::GET, path) if question_of(path).is_some() => {
            let question = question_of(path).unwrap_or(Question::Show);
            let progress = questions::wants_progress(request.headers());
            questions::ask(question, request.uri().query(), progress, &desk).await
        }
        (method, path) if path == "/alerts" || path.starts_with("/alerts/") => {
            alerts::answer(method, path, request.uri().query(), &desk).await
        }
        (_, path) if is_taken_in(path) => take_in(request, from, desk, door).await,
        (_, "/logs/tail" | "/logs/search" | "/rollups" | "/status") => {
            answer::refusal(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
        }
        _ => answer::refusal(
            StatusCode::NOT_FOUND,
            "there is POST /frames, /logs, GET /logs/tail, /logs/search, /logs/show, /logs/top, /logs/stats, /logs/explain, /logs/compare, /logs/audit, /rollups, /alerts, /status",
        ),
    }
}

fn is_taken_in(path: &str) -> bool {
    matches!(path, "/frames" | "/logs" | otlp::PATH) || bulk::serves(path)
}

/// Searches stream their rows; all other questions have one answer.
fn question_of(path: &str) -> Option<Question> {
    path.strip_prefix("/logs/").and_then(Question::named)
}

/// A refusal at the door, in the words of who asks.
fn refusal(path: &str, status: StatusCode, reason: &str) -> Answer {
    let mut refused =
        if bulk::serves(path) { bulk::refusal(status, reason) } else { answer::refusal(status, reason) };
    if status == StatusCode::UNAUTHORIZED {
        refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    refused
}

fn refuse(
    headers: &HeaderMap,
    is_loopback: bool,
    needs_token: bool,
    door: &Door,
) -> Option<(StatusCode, &'static str)> {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if needs_token && !door.admits(shown) {
        return Some((StatusCode::UNAUTHORIZED, "show a token: Authorization: Bearer …"));
    }
    refuse_browsers(headers, is_loopback)
}

/// A page in the operator's browser can reach loopback addresses. It must not write entries or, by a name that
/// resolves to 127.0.0.1, read them.
fn refuse_browsers(headers: &HeaderMap, is_loopback: bool) -> Option<(StatusCode, &'static str)> {
    if headers.contains_key(ORIGIN) {
        return Some((StatusCode::FORBIDDEN, "requests of web pages are not taken"));
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_own = host.parse::<http::uri::Authority>().is_ok_and(|host| {
        let name = host.host().trim_matches(['[', ']']);
        name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
    });
    let refused = is_loopback && !is_own;
    refused.then_some((StatusCode::MISDIRECTED_REQUEST, "use the address or localhost as the host"))
}

async fn take(request: Request<Incoming>, from: &Arc<str>, desk: &Desk, trust: Trust) -> Answer {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let shape = Shape::of(content_type);
    let body = match body_of(request, desk).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let mut parsed = batch::parse(&body.bytes, shape, desk.bounds(trust));
    let stored = desk.store(&mut parsed, from).await;
    answer_of(stored, &parsed)
}

/// The whole body of a request; what stands against it, as this service tells it.
pub(super) async fn body_of(request: Request<Incoming>, desk: &Desk) -> Result<Held, Box<Answer>> {
    body::of(request, desk).await.map_err(|refused| {
        let refused = match refused {
            Refused::Full => answer::later("slow_down", &refused.to_string(), 1),
            _ => answer::refusal(refused.status(), &refused.to_string()),
        };
        Box::new(refused)
    })
}

fn answer_of(stored: Result<Appended, AppendError>, parsed: &Parsed) -> Answer {
    let stored = match stored {
        Ok(stored) => stored,
        Err(error) => return answer::not_stored(error),
    };
    let nothing_good = parsed.rejected_count > 0 && stored == Appended::default();
    let status = if nothing_good { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let told = json!({
        "accepted": stored.accepted,
        "duplicates": stored.duplicates,
        "rejected": parsed.rejected_count,
        "reasons": parsed.rejected,
    });
    answer::json(status, &told)
}

async fn status(desk: &Desk) -> Answer {
    let data = desk.data.clone();
    let size = tokio::task::spawn_blocking(move || read::size_of(&data)).await;
    let (files, stored_bytes) = size.ok().and_then(Result::ok).unwrap_or_default();
    let mut status = desk.counts().to_json();
    status["files"] = files.into();
    status["stored_bytes"] = stored_bytes.into();
    status["sinks"] = desk.buckets.told(&desk.store).into();
    status["tails"] = (desk.limits.tails - desk.tails.available_permits()).into();
    answer::json(StatusCode::OK, &status)
}
