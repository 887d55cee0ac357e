//! WebSocket tunnels (RFC 6455): asked for, checked, and pumped.
//!
//! Not a byte from the client goes to the upstream before its 101 has been checked, so an origin that ignores the
//! upgrade never sees them as a second request.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use bytes::{Buf, Bytes};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, HeaderValue, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::core::Core;
use crate::access_log::follow::Live;
use crate::downstream::wire::Duplex;
use crate::exchange::End;
use crate::exchange::failure::{Cause, Failure, Kind};
use crate::http::{Body, headers};
use crate::plan::Proxying;
use crate::process::deadline::Deadline;
use crate::record::{EndAt, EndBy};
use crate::upstream::body::ResponseBody;
use crate::upstream::connection::Stream;

/// The `Sec-WebSocket-Accept` that answers the client's key.
pub struct Expected(String);

/// When one side has ended: how long the other may be silent before it is ended too. WebSockets end in both directions
/// at once, and a client that forgets its half would hold a connection of the origin's.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// Bytes buffered in each direction of a tunnel.
const BUFFER: usize = 16 * 1024;

/// Puts the upgrade fields back, which were stripped as hop-by-hop. `None` without a key.
pub fn prepare(headers: &mut HeaderMap) -> Option<Expected> {
    let expected = expected(headers.get(SEC_WEBSOCKET_KEY)?.as_bytes());
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    Some(expected)
}

/// RFC 6455 section 4.2.2: the key and the protocol's constant, hashed.
fn expected(key: &[u8]) -> Expected {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    Expected(base64::engine::general_purpose::STANDARD.encode(context.finish()))
}

/// Checks the upstream's 101 and arranges for the tunnel to begin when ours has been sent.
///
/// # Errors
/// A 101 that is not an answer to this request.
pub fn accept(
    core: &Core,
    response: Response<ResponseBody>,
    proxying: &Proxying,
    expected: &Expected,
    live: &mut Live,
) -> Result<Response<Body>, Failure> {
    let (mut parts, body) = response.into_parts();
    let is_websocket = |v: &HeaderValue| v.as_bytes().eq_ignore_ascii_case(b"websocket");
    if !parts.headers.get(UPGRADE).is_some_and(is_websocket) {
        return Err(Failure::refuse(Kind::UpgradeFailed, "101 for another protocol"));
    }
    if parts.headers.get(SEC_WEBSOCKET_ACCEPT).map(|v| v.as_bytes()) != Some(expected.0.as_bytes()) {
        return Err(Failure::refuse(Kind::UpgradeFailed, "101 with a wrong Sec-WebSocket-Accept"));
    }
    let Some((connection, lease, slot)) = body.into_connection() else {
        return Err(Failure::refuse(Kind::Internal, "101 without a connection"));
    };
    headers::strip_response_hop_by_hop(&mut parts.headers);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let (stream, read) = connection.into_tunnel();
    let idle = Idle {
        deadline: Rc::new(core.deadlines.slot()),
        after: proxying.tunnel.0,
        cause: proxying.tunnel.1.clone(),
    };
    live.tunnel = Some(Box::new(move |mut live, downstream| {
        Box::pin(async move {
            let _held = (lease, slot);
            let moved = Moved::default();
            live.exchange.body_in = Some(Rc::clone(&moved.from_client));
            let mut counted = Counted { live, from_origin: Rc::clone(&moved.from_origin) };
            counted.live.exchange.end =
                pump(downstream, Upstream { stream, read, is_deaf: false }, &idle, &moved).await;
        })
    }));
    parts.extensions = http::Extensions::new();
    Ok(Response::from_parts(parts, Body::Empty))
}

/// How long a tunnel may be silent.
struct Idle {
    deadline: Rc<Deadline>,
    after: Duration,
    cause: Cause,
}

/// Writes down what went to the client, also where the tunnel is cut off in the middle.
struct Counted {
    live: Box<Live>,
    from_origin: Rc<Cell<u64>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.live.exchange.body_out = self.from_origin.get();
    }
}

/// Bytes that went through a tunnel.
#[derive(Default)]
struct Moved {
    from_client: Rc<Cell<u64>>,
    from_origin: Rc<Cell<u64>>,
}

/// Copies in both directions until both have ended, one breaks, or nothing moves for too long.
async fn pump(downstream: Box<dyn Duplex>, upstream: Upstream, idle: &Idle, moved: &Moved) -> End {
    let after = Rc::new(Cell::new(idle.after));
    let is_half = || after.get() < idle.after;
    let is_over = Rc::default();
    let touch = |io, is_origin, read: &Rc<Cell<u64>>| Touch {
        io,
        is_origin,
        is_over: Rc::clone(&is_over),
        deadline: Rc::clone(&idle.deadline),
        after: Rc::clone(&after),
        read: Rc::clone(read),
    };
    let mut client = touch(downstream, false, &moved.from_client);
    let mut origin = touch(Box::new(upstream), true, &moved.from_origin);
    idle.deadline.set(idle.after);
    let copy = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut origin, BUFFER, BUFFER);
    match idle.deadline.race(copy).await {
        Some(Ok(_)) => in_order(),
        Some(Err(error)) => {
            let detail = Some(error.to_string());
            End { by: EndBy::Client, at: EndAt::Tunnel, reason: Some("client_abort"), cause: None, detail }
        }
        None if is_half() => in_order(),
        None => End {
            by: EndBy::Proxy,
            at: EndAt::Tunnel,
            reason: Some("connection_read_timeout"),
            cause: Some(Cause::clone(&idle.cause)),
            detail: None,
        },
    }
}

fn in_order() -> End {
    End { at: EndAt::Tunnel, ..End::default() }
}

/// The upstream's side: what was read behind its 101 comes first.
///
/// An origin that has closed no longer takes what the client may still send. That ends only this direction: what the
/// origin said before, often why it closed, has to reach the client.
struct Upstream {
    stream: Stream,
    read: Bytes,
    /// It closed while we wrote; from now on bytes for it go nowhere.
    is_deaf: bool,
}

impl Upstream {
    /// Takes a write that failed because the origin has closed for one that was taken.
    fn forgive<T>(&mut self, done: Poll<io::Result<T>>, taken: T) -> Poll<io::Result<T>> {
        match done {
            Poll::Ready(Err(error)) if is_closed(&error) => {
                self.is_deaf = true;
                Poll::Ready(Ok(taken))
            }
            done => done,
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
}

impl AsyncRead for Upstream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return match std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf)) {
                // As an end, so that what came before is written out first.
                Err(error) if is_closed(&error) => Poll::Ready(Ok(())),
                read => Poll::Ready(read),
            };
        }
        let count = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..count]);
        self.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.forgive(written, bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.forgive(flushed, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.forgive(shut, ())
    }
}

/// Puts the deadline off whenever bytes move, and draws it near when this side has ended; for good when it is the
/// origin, which then has nothing more to say.
struct Touch {
    io: Box<dyn Duplex>,
    is_origin: bool,
    is_over: Rc<Cell<bool>>,
    deadline: Rc<Deadline>,
    after: Rc<Cell<Duration>>,
    /// Bytes that came from this side.
    read: Rc<Cell<u64>>,
}

impl AsyncRead for Touch {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() {
            let count = buf.filled().len() - before;
            self.read.set(self.read.get() + count as u64);
            let was_over = self.is_over.get();
            if count == 0 && buf.remaining() > 0 {
                self.after.set(self.after.get().min(HALF_CLOSED));
                self.is_over.set(was_over || self.is_origin);
            }
            if !was_over {
                self.deadline.set(self.after.get());
            }
        }
        polled
    }
}

impl AsyncWrite for Touch {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_the_key_of_the_rfc() {
        assert_eq!(expected(b"dGhlIHNhbXBsZSBub25jZQ==").0, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
