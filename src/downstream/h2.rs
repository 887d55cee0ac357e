//! One HTTP/2 connection.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::tap::{Socket, Tap};
use super::wire::{Cut, GOODBYE, Phase, Wire};
use super::{Arrival, Handler, Refusal, Why};
use crate::process::executor::Local;

/// Serves `socket` until it ends. `prefix` was read before.
pub async fn serve<S: Socket, H: Handler>(socket: S, prefix: Bytes, wire: Rc<Wire>, handler: Rc<H>) {
    let tap = Tap::new(socket, Rc::clone(&wire), prefix);
    let service = {
        let (wire, handler) = (Rc::clone(&wire), Rc::clone(&handler));
        // Boxed: the library moves the future several times on its way into a task.
        service_fn(move |request| Box::pin(answer(request, Rc::clone(&wire), Rc::clone(&handler))))
    };
    wire.deadline.set(wire.limits.header);
    let mut http = pin!(builder(&wire).serve_connection(TokioIo::new(tap), service));
    let mut is_leaving = false;
    let outcome = std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(done) = http.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            match poll_deadlines(cx, &wire, is_leaving) {
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
    .await;
    if let Some(Err(error)) = outcome {
        tell_if_hostile(&wire, &*handler, &error);
    }
    wire.flush_endings(false);
}

enum Verdict {
    Stay,
    Leave,
    Cut,
}

fn poll_deadlines(cx: &mut Context<'_>, wire: &Wire, is_leaving: bool) -> Poll<Verdict> {
    if wire.write_deadline.poll_due(cx).is_ready() {
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
    let mut builder = http2::Builder::new(Local);
    builder
        .max_concurrent_streams(wire.limits.max_streams)
        .max_header_list_size(wire.limits.max_header_size as u32)
        .max_send_buf_size(64 * 1024)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100);
    builder
}

async fn answer<H: Handler>(
    request: Request<Incoming>,
    wire: Rc<Wire>,
    handler: Rc<H>,
) -> Result<Response<H::Body>, std::convert::Infallible> {
    wire.begin();
    let arrival = Arrival { wire, first_byte: Instant::now(), head_bytes: 0, raw: None };
    Ok(handler.handle(request, arrival).await)
}

fn tell_if_hostile<H: Handler>(wire: &Rc<Wire>, handler: &H, error: &hyper::Error) {
    use std::error::Error;
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    let is_flood = source.contains("flood") || source.contains("ENHANCE_YOUR_CALM");
    if is_flood || wire.connection.requests.get() == 0 {
        handler.refused(Refusal {
            wire: Rc::clone(wire),
            why: Why::Flood,
            status: None,
            head: Bytes::new(),
            detail: format!("{error}: {source}"),
        });
    }
}
