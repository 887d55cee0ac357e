//! One HTTP/2 connection.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::tap::{Socket, Tap};
use super::wire::{Cut, GOODBYE, Malformed, Phase, Wire};
use super::{Arrival, Handler, Refusal, Why, linger};
use crate::process::executor::Local;

/// Streams of one connection that the library may reset over its whole life, malformed heads among them (which `meter`
/// counts by time too). Each may have cost an upstream connection: a thousand were 10 MB and more.
const LOCAL_RESETS: usize = 120;

/// What is read after our GOAWAY: what a client may have under way fits twice, by the default windows.
const LINGER_BYTES: usize = 2 * 1024 * 1024;

/// Bounds of a connection's window (RFC 9113 section 6.9).
const LEAST_WINDOW: u32 = 65_535;
const MOST_WINDOW: u32 = (1 << 31) - 1;

/// Serves `socket` until it ends. `prefix` was read before.
pub async fn serve<S: Socket, H: Handler>(socket: S, prefix: Bytes, wire: Rc<Wire>, handler: Rc<H>) {
    let mut tap = Tap::new(socket, Rc::clone(&wire), prefix);
    wire.deadline.set(wire.limits.header);
    // Boxed, and gone before the lingering, so that who is cut holds a socket and no streams.
    let outcome = Box::pin(serve_streams(&mut tap, &wire, &handler)).await;
    if let Some(Err(error)) = &outcome {
        tell_if_hostile(&wire, &*handler, error);
    }
    tell_unhandled(&wire, &*handler);
    wire.flush_endings(false);
    if outcome.is_some() && !wire.closed_by_peer.get() {
        linger::close(tap.into_socket(), LINGER_BYTES, &wire.write_deadline).await;
    }
}

/// Serves until the library has ended the connection; `None` when we cut it.
async fn serve_streams<S: Socket, H: Handler>(
    tap: &mut Tap<S>,
    wire: &Rc<Wire>,
    handler: &Rc<H>,
) -> Option<Result<(), hyper::Error>> {
    let service = {
        let (wire, handler) = (Rc::clone(wire), Rc::clone(handler));
        // Boxed: the library moves the future several times on its way into a task.
        service_fn(move |request| Box::pin(answer(request, Rc::clone(&wire), Rc::clone(&handler))))
    };
    let mut http = pin!(builder(wire).serve_connection(TokioIo::new(tap), service));
    let mut is_leaving = false;
    std::future::poll_fn(|cx| {
        loop {
            let polled = http.as_mut().poll(cx);
            tell_malformed(wire, &**handler);
            if let Poll::Ready(done) = polled {
                return Poll::Ready(Some(done));
            }
            match poll_deadlines(cx, wire, is_leaving) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Verdict::Cut) => return Poll::Ready(None),
                Poll::Ready(Verdict::Leave) => {
                    is_leaving = true;
                    Pin::as_mut(&mut http).graceful_shutdown();
                }
                Poll::Ready(Verdict::Stay) => {}
            }
        }
    })
    .await
}

enum Verdict {
    Stay,
    Leave,
    Cut,
}

fn poll_deadlines(cx: &mut Context<'_>, wire: &Wire, is_leaving: bool) -> Poll<Verdict> {
    if wire.write_deadline.is_set() && wire.write_deadline.poll_due(cx).is_ready() {
        wire.cut.set(Some(Cut::Stalled));
        return Poll::Ready(Verdict::Cut);
    }
    std::task::ready!(wire.deadline.poll_due(cx));
    let is_open = wire.phase.get() == Phase::Exchange;
    if is_open && wire.is_stalled() {
        wire.cut.set(Some(Cut::Stalled));
        return Poll::Ready(Verdict::Cut);
    }
    wire.deadline.set(if is_open { wire.limits.write } else { GOODBYE });
    Poll::Ready(match (is_leaving, is_open) {
        (true, false) => Verdict::Cut,
        (false, true) if !wire.draining.get() => Verdict::Stay,
        (false, _) => Verdict::Leave,
        (true, true) => Verdict::Stay,
    })
}

fn builder(wire: &Wire) -> http2::Builder<Local> {
    let limits = &wire.limits.h2;
    let mut builder = http2::Builder::new(Local);
    builder
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(wire.limits.max_header_size as u32)
        .max_frame_size(limits.max_frame)
        .max_send_buf_size(64 * 1024)
        .initial_stream_window_size(limits.window)
        .initial_connection_window_size(limits.window.saturating_mul(4).clamp(LEAST_WINDOW, MOST_WINDOW))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(LOCAL_RESETS);
    builder
}

fn answer<H: Handler>(
    request: Request<Incoming>,
    wire: Rc<Wire>,
    handler: Rc<H>,
) -> impl Future<Output = Result<Response<H::Body>, std::convert::Infallible>> {
    wire.begin();
    let now = Instant::now();
    let arrival = Arrival { wire, first_byte: now, head: now, head_bytes: 0, raw: None };
    handler.handle(request, arrival).map(Ok)
}

/// One record for each request that the inspector refused.
fn tell_malformed<H: Handler>(wire: &Rc<Wire>, handler: &H) {
    if wire.malformed.borrow().is_empty() {
        return;
    }
    for Malformed { stream, why } in wire.malformed.take() {
        handler.refused(Refusal {
            wire: Rc::clone(wire),
            why: Why::Malformed,
            status: None,
            head: Bytes::new(),
            detail: format!("HTTP/2 stream {stream}: {why}"),
        });
    }
}

/// One record for the requests that looked sound and that the library refused: it tells nobody which.
fn tell_unhandled<H: Handler>(wire: &Rc<Wire>, handler: &H) {
    let unhandled = wire.heads.get().saturating_sub(u64::from(wire.connection.requests.get()));
    if unhandled == 0 {
        return;
    }
    handler.refused(Refusal {
        wire: Rc::clone(wire),
        why: Why::Malformed,
        status: None,
        head: Bytes::new(),
        detail: format!("{unhandled} HTTP/2 requests ended before they were handled"),
    });
}

fn tell_if_hostile<H: Handler>(wire: &Rc<Wire>, handler: &H, error: &hyper::Error) {
    use std::error::Error;
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    let is_cut = wire.broken.get().is_some() || source.contains("ENHANCE_YOUR_CALM");
    if is_cut || wire.connection.requests.get() == 0 {
        handler.refused(Refusal {
            wire: Rc::clone(wire),
            why: Why::Flood,
            status: None,
            head: Bytes::new(),
            detail: format!("{error}: {source}"),
        });
    }
}
