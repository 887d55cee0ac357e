//! `tollgate whoami`: a tiny HTTP/1.1 server that answers with what it received. The default worker of the shipped
//! configuration and the tool to see what a proxy really sends.
//!
//! `/` what it received, as text or (`?format=json`, `Accept: application/json`) JSON · `/healthz` · `/echo` the
//! body back · `/bytes/N` · `/delay/MS` · `/status/CODE` · `/sse?n=5&every=100ms` an event stream · `/upgrade`
//! changes to whatever protocol is asked for and gives every byte back.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Exit;
use crate::http::{Body, BodyError};
use crate::process::signals::Signals;

const DEFAULT_PORT: u16 = 3000;
/// How long open exchanges may take after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
const LONGEST_DELAY: Duration = Duration::from_secs(600);
const CHUNK: usize = 64 * 1024;
static ZEROS: [u8; CHUNK] = [b'0'; CHUNK];

/// Arguments of `tollgate whoami`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// Port on 127.0.0.1; 3000 unless given here or as PORT
    #[arg(long, env = "PORT", default_value_t = DEFAULT_PORT)]
    pub port: u16,
    /// Number of this worker, shown in the answers
    #[arg(long, env = "TOLLGATE_WORKER")]
    pub worker: Option<String>,
}

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(arguments: &Arguments) -> Exit {
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .and_then(|runtime| runtime.block_on(serve_until_signal(arguments)));
    match served {
        Ok(()) => Exit::Done,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "tollgate whoami: port {}: {error}", arguments.port);
            match error.kind() {
                std::io::ErrorKind::AddrInUse | std::io::ErrorKind::PermissionDenied => Exit::NotPermitted,
                _ => Exit::Failed,
            }
        }
    }
}

async fn serve_until_signal(arguments: &Arguments) -> std::io::Result<()> {
    let mut signals = Signals::listen()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await?;
    let who = Who { worker: arguments.worker.clone(), pid: std::process::id() };
    serve(listener, who, async move {
        signals.next().await;
    })
    .await;
    Ok(())
}

/// Who answers.
#[derive(Debug)]
struct Who {
    worker: Option<String>,
    pid: u32,
}

async fn serve(listener: TcpListener, who: Who, stop: impl Future<Output = ()>) {
    let who = Rc::new(who);
    let (stopping, told) = watch::channel(false);
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    tokio::task::spawn_local(connection(stream, client, Rc::clone(&who), told.clone()));
                }
                // Out of file descriptors: give the others time to end.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
    drop((listener, told));
    stopping.send_replace(true);
    let _ = tokio::time::timeout(GRACE, stopping.closed()).await;
}

async fn connection(stream: TcpStream, client: SocketAddr, who: Rc<Who>, mut told: watch::Receiver<bool>) {
    // Answers are small and whole: waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let who = Rc::clone(&who);
        async move { Ok::<_, Infallible>(answer(request, client, &who).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    // A client that has sent everything and closed its half still wants its answer.
    builder.half_close(true);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    tokio::select! {
        _ = &mut connection => return,
        _ = told.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, client: SocketAddr, who: &Who) -> Response<Body> {
    let path = request.uri().path();
    let (first, rest) =
        path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let mut response = match (first, rest) {
        ("healthz", "") => plain(StatusCode::OK, "ok\n"),
        ("echo", "") => echo(request),
        ("sse", "") => events(&request),
        ("upgrade", "") => upgrade(request),
        ("bytes", count) => bytes(count),
        ("delay", delay) => delayed(delay).await,
        ("status", code) => status(code),
        _ => received(request, client, who).await,
    };
    if let Some(worker) = who.worker.as_deref().and_then(|worker| HeaderValue::from_str(worker).ok()) {
        response.headers_mut().insert("x-worker", worker);
    }
    response
}

fn plain(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn bad(what: &str) -> Response<Body> {
    plain(StatusCode::BAD_REQUEST, format!("{what}\n"))
}

fn echo(request: Request<Incoming>) -> Response<Body> {
    let kind = request.headers().get(header::CONTENT_TYPE).cloned();
    let mut response = Response::new(Body::stream(request.into_body().map_err(BodyError::from)));
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// RFC 9110 section 7.8: the answer names the protocol that was asked for.
fn upgrade(request: Request<Incoming>) -> Response<Body> {
    let Some(protocol) = request.headers().get(header::UPGRADE).cloned() else {
        return plain(StatusCode::UPGRADE_REQUIRED, "ask with Connection: upgrade and Upgrade: NAME\n");
    };
    tokio::task::spawn_local(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        // It is the stream that went in.
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
        let (mut read, mut write) = parts.io.into_inner().into_split();
        if write.write_all(&parts.read_buf).await.is_ok() {
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::UPGRADE, protocol);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

fn bytes(count: &str) -> Response<Body> {
    let Ok(count) = count.parse::<u64>() else { return bad("/bytes/N: N is a number") };
    let chunks = stream::unfold(count, |left| async move {
        let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let frame = || Ok::<_, BodyError>(Frame::data(Bytes::from_static(&ZEROS[..size])));
        (left > 0).then(|| (frame(), left - size as u64))
    });
    let mut response = Response::new(Body::stream(StreamBody::new(chunks)));
    response.headers_mut().insert(header::CONTENT_LENGTH, count.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

async fn delayed(milliseconds: &str) -> Response<Body> {
    let Ok(milliseconds) = milliseconds.parse() else { return bad("/delay/MS: MS is a number") };
    let delay = Duration::from_millis(milliseconds).min(LONGEST_DELAY);
    tokio::time::sleep(delay).await;
    plain(StatusCode::OK, format!("waited {delay:?}\n"))
}

fn status(code: &str) -> Response<Body> {
    let code = code.parse().ok().filter(|code| (200..=599).contains(code));
    let Some(status) = code.and_then(|code| StatusCode::from_u16(code).ok()) else {
        return bad("/status/CODE: CODE is between 200 and 599");
    };
    let is_bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    plain(status, if is_bodiless { Body::Empty } else { format!("{status}\n").into() })
}

fn events(request: &Request<Incoming>) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    let count: u64 = parameter(query, "n").and_then(|n| n.parse().ok()).unwrap_or(5);
    let every = parameter(query, "every").and_then(duration).unwrap_or(Duration::from_millis(100));
    let events = stream::unfold(0, move |sent| async move {
        if sent == count {
            return None;
        }
        if sent > 0 {
            tokio::time::sleep(every).await;
        }
        let event = format!("id: {sent}\ndata: {{\"n\":{sent}}}\n\n");
        Some((Ok::<_, BodyError>(Frame::data(Bytes::from(event))), sent + 1))
    });
    let mut response = Response::new(Body::stream(StreamBody::new(events)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// `100ms`, `2s`, or a number of milliseconds.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().ok()?;
    let duration = match unit {
        "" | "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => return None,
    };
    Some(duration.min(LONGEST_DELAY))
}

/// Answers when the body has ended too: an early answer would tell of a request that may yet turn out malformed.
async fn received(mut request: Request<Incoming>, client: SocketAddr, who: &Who) -> Response<Body> {
    while let Some(Ok(_)) = request.frame().await {}
    let accepts_json =
        request.headers().get(header::ACCEPT).is_some_and(|accept| accept == "application/json");
    if accepts_json || parameter(request.uri().query().unwrap_or_default(), "format") == Some("json") {
        return as_json(&request, client, who);
    }
    let mut text = String::with_capacity(512);
    let mut line = |name: &str, value: &str| {
        text.push_str(name);
        text.push_str(value);
        text.push('\n');
    };
    line("Worker: ", who.worker.as_deref().unwrap_or("-"));
    line("Pid: ", &who.pid.to_string());
    line("From: ", &client.to_string());
    line("", &format!("{} {} {:?}", request.method(), request.uri(), request.version()));
    for (name, value) in request.headers() {
        line(name.as_str(), &format!(": {}", String::from_utf8_lossy(value.as_bytes())));
    }
    plain(StatusCode::OK, text)
}

fn as_json(request: &Request<Incoming>, client: SocketAddr, who: &Who) -> Response<Body> {
    let mut headers = BTreeMap::<&str, Vec<String>>::new();
    for (name, value) in request.headers() {
        headers
            .entry(name.as_str())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let value = serde_json::json!({
        "worker": who.worker,
        "pid": who.pid,
        "from": client.to_string(),
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "version": format!("{:?}", request.version()),
        "headers": headers,
    });
    let mut response = plain(StatusCode::OK, format!("{value}\n"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
