//! One HTTP/1 connection until it idles: serve, hand over to a tunnel, close.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::head::Length;
use super::tap::{Socket, Tap};
use super::wire::{Cut, Phase, Tunnel, Wire};
use super::{Arrival, Handler, Refusal, Why, linger};

/// The largest read buffer of a connection: a whole head and what follows it.
const MAX_BUFFER: usize = 64 * 1024;
/// How long the client may take to accept a 408.
const REFUSING: Duration = Duration::from_secs(2);
/// How much of a body that nobody wanted is read after the answer: many clients write it to the end before they read.
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// How one serving period ended.
enum Left<S> {
    Idle(S, Bytes),
    Tunnel(S, Bytes, Tunnel),
    Closing { socket: S, linger: bool },
    Dead,
}

/// Serves `socket` until it ends, or until it has been idle for a while: then gives it back, to be parked. `prefix` was
/// read before.
pub async fn serve<S: Socket, H: Handler>(
    socket: S,
    prefix: Bytes,
    wire: Rc<Wire>,
    handler: Rc<H>,
) -> Option<S> {
    let mut socket = socket;
    let mut prefix = prefix;
    wire.takes_files.set(S::TAKES_FILES);
    wire.deadline.set(wire.limits.header.min(wire.limits.park_after));
    loop {
        // Boxed, and gone before the match, so that a tunnel does not keep the room of a serving connection.
        let left = Box::pin(serve_until_idle(socket, prefix, &wire, &handler)).await;
        match left {
            Left::Idle(back, read) if read.is_empty() => return Some(back),
            Left::Idle(back, read) => (socket, prefix) = (back, reread(&wire, read)),
            Left::Tunnel(socket, read, tunnel) => {
                wire.head.borrow_mut().become_tunnel();
                let tap = Tap::new(socket, Rc::clone(&wire), read);
                break tunnel(Box::new(tap)).await;
            }
            Left::Closing { socket, linger } => {
                let allowance = if linger { LINGER_BYTES } else { 0 };
                break Box::pin(linger::close(socket, allowance, &wire.write_deadline)).await;
            }
            Left::Dead => break,
        }
    }
    wire.flush_endings(false);
    None
}

/// Bytes that hyper had read but not used: the tap will see them a second time.
fn reread(wire: &Wire, read: Bytes) -> Bytes {
    *wire.head.borrow_mut() = super::head::HeadTracker::default();
    wire.connection.rx.set(wire.connection.rx.get().saturating_sub(read.len() as u64));
    read
}

enum Turn {
    Done(Result<(), hyper::Error>),
    HeadTimeout,
    WriteTimeout,
}

async fn serve_until_idle<S: Socket, H: Handler>(
    socket: S,
    prefix: Bytes,
    wire: &Rc<Wire>,
    handler: &Rc<H>,
) -> Left<S> {
    let tap = Tap::new(socket, Rc::clone(wire), prefix);
    let service = service_fn(|request| Box::pin(answer(request, wire, handler)));
    let mut http = builder(wire).serve_connection(TokioIo::new(tap), service);
    let mut is_leaving = false;
    let turn = std::future::poll_fn(|cx| {
        poll_turn(cx, wire, &mut is_leaving, |cx, leave| {
            if leave {
                Pin::new(&mut http).graceful_shutdown();
            }
            http.poll_without_shutdown(cx)
        })
    })
    .await;
    let parts = http.into_parts();
    let socket = parts.io.into_inner().into_socket();
    match turn {
        Turn::WriteTimeout => Left::Dead,
        Turn::HeadTimeout => refuse_slow(socket, wire, &**handler).await,
        Turn::Done(Err(error)) => refuse_broken(socket, wire, &**handler, &error),
        Turn::Done(Ok(())) => {
            if let Some(tunnel) = wire.tunnel.borrow_mut().take() {
                return Left::Tunnel(socket, parts.read_buf, tunnel);
            }
            match is_leaving && can_go_on(wire, &parts.read_buf) {
                true => Left::Idle(socket, parts.read_buf),
                false => leave(socket, wire, &**handler),
            }
        }
    }
}

/// Between two requests, and nobody wants to leave. Where the next head begins must be beyond doubt: what the raw bytes
/// said of it is forgotten.
fn can_go_on(wire: &Wire, unread: &[u8]) -> bool {
    let is_idle = wire.phase.get() == Phase::Idle && wire.head.borrow().agrees_on(unread);
    is_idle && !wire.closed_by_peer.get() && !wire.draining.get()
}

/// One poll of the connection together with its deadlines.
fn poll_turn(
    cx: &mut Context<'_>,
    wire: &Wire,
    is_leaving: &mut bool,
    mut poll: impl FnMut(&mut Context<'_>, bool) -> Poll<Result<(), hyper::Error>>,
) -> Poll<Turn> {
    let mut leave = false;
    loop {
        if let Poll::Ready(done) = poll(cx, leave) {
            return Poll::Ready(Turn::Done(done));
        }
        if wire.write_deadline.is_set() && wire.write_deadline.poll_due(cx).is_ready() {
            wire.cut.set(Some(Cut::Stalled));
            return Poll::Ready(Turn::WriteTimeout);
        }
        if wire.deadline.poll_due(cx).is_pending() {
            return Poll::Pending;
        }
        wire.deadline.clear();
        match wire.phase.get() {
            Phase::Head if !wire.draining.get() || *is_leaving => return Poll::Ready(Turn::HeadTimeout),
            Phase::Head => wire.deadline.set(wire.limits.header),
            Phase::Idle | Phase::Exchange => {}
        }
        leave = !*is_leaving;
        *is_leaving = true;
    }
}

fn builder(wire: &Wire) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Bodies must reach the tap as the slices that they are: a placeholder that was copied would be zeros.
    builder.writev(true);
    builder.half_close(false).max_buf_size(MAX_BUFFER.max(wire.limits.max_header_size + 8192));
    if wire.limits.max_headers != 100 {
        // Setting it moves the parsed headers from the stack to the heap.
        builder.max_headers(wire.limits.max_headers);
    }
    builder.max_header_size(wire.limits.max_header_size);
    builder
}

/// What can be done at once is done here; the future holds only what waits.
fn answer<H: Handler>(
    request: Request<Incoming>,
    wire: &Rc<Wire>,
    handler: &Rc<H>,
) -> impl Future<Output = Result<Response<H::Body>, std::convert::Infallible>> + use<H> {
    let length = match request.body().size_hint().exact() {
        Some(bytes) => Length::Exact(bytes),
        None => Length::Chunked,
    };
    let (was_at_once, (raw, head_bytes)) = {
        let mut tracker = wire.head.borrow_mut();
        (tracker.came_at_once(), tracker.take_head(length))
    };
    let first_byte = wire.first_byte.take().unwrap_or_else(Instant::now);
    let head = if was_at_once { first_byte } else { Instant::now() };
    wire.begin();
    wire.unread.set(length != Length::Exact(0));
    let wire = Rc::clone(wire);
    let arrival = Arrival { wire: Rc::clone(&wire), first_byte, head, head_bytes, raw: Some(raw) };
    // `map` and not `async`, which would hold the future twice: as what it captured and as what it waits for.
    Rc::clone(handler).handle(request, arrival).map(move |mut response| {
        let is_tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let is_last = wire.draining.get() || wire.is_in_doubt.get() || wire.head.borrow().is_in_chunked();
        if !is_tunnel && is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    })
}

/// The head did not come in time: 408, then close.
async fn refuse_slow<S: Socket, H: Handler>(mut socket: S, wire: &Rc<Wire>, handler: &H) -> Left<S> {
    const ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let head = Bytes::copy_from_slice(wire.head.borrow().partial());
    let _ = wire.deadline.within(REFUSING, socket.write_all(ANSWER)).await;
    wire.connection.tx.set(wire.connection.tx.get() + ANSWER.len() as u64);
    handler.refused(Refusal {
        wire: Rc::clone(wire),
        why: Why::HeadTimeout,
        status: Some(StatusCode::REQUEST_TIMEOUT),
        head,
        detail: String::new(),
    });
    Left::Closing { socket, linger: false }
}

/// hyper gave up: a malformed head (it has answered), or a connection that broke.
fn refuse_broken<S: Socket, H: Handler>(
    socket: S,
    wire: &Rc<Wire>,
    handler: &H,
    error: &hyper::Error,
) -> Left<S> {
    let is_parse = error.is_parse();
    let head = Bytes::copy_from_slice(wire.head.borrow().partial());
    if !is_parse && (wire.connection.requests.get() > 0 && head.is_empty()) {
        return Left::Dead;
    }
    let status = match () {
        () if error.is_parse_too_large() && !head.contains(&b'\n') => Some(StatusCode::URI_TOO_LONG),
        () if error.is_parse_too_large() => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        () if is_parse => Some(StatusCode::BAD_REQUEST),
        () => None,
    };
    let why = if is_parse { Why::Malformed } else { Why::Gone };
    handler.refused(Refusal { wire: Rc::clone(wire), why, status, head, detail: error.to_string() });
    Left::Closing { socket, linger: is_parse }
}

/// The connection ends in order.
fn leave<S: Socket, H: Handler>(socket: S, wire: &Rc<Wire>, handler: &H) -> Left<S> {
    if wire.connection.requests.get() == 0 && !wire.draining.get() {
        let head = Bytes::copy_from_slice(wire.head.borrow().partial());
        handler.refused(Refusal {
            wire: Rc::clone(wire),
            why: Why::Gone,
            status: None,
            head,
            detail: String::new(),
        });
    }
    Left::Closing { socket, linger: wire.unread.get() }
}
