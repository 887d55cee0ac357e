//! Serves one downstream connection: HTTP/1.0, 1.1 and 2, its limits, its parking, its drain.
//!
//! Lives here: everything that guards a connection. Not here: what a request means (`proxy`). Invariant: a
//! connection is always under some deadline, and whatever ends it, each of its exchanges was told.

pub mod body;
pub mod frames;
pub mod h1;
pub mod h2;
pub mod head;
pub mod hpack;
mod linger;
pub mod meter;
pub mod parked;
pub mod tap;
pub mod wire;

use std::future::Future;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::http::BodyError;
use crate::process::deadline::Deadline;
use head::Raw;
use tap::Socket;
use wire::Wire;

/// What is known about a request when its head is whole.
pub struct Arrival {
    pub wire: Rc<Wire>,
    /// First byte of the head (for HTTP/2: when the head was handed over).
    pub first_byte: Instant,
    /// When the head was whole.
    pub head: Instant,
    pub head_bytes: usize,
    /// Raw check of an HTTP/1 head; `None` for HTTP/2.
    pub raw: Option<Raw>,
}

/// A connection that ended without a request that could be walked.
pub struct Refusal {
    pub wire: Rc<Wire>,
    pub why: Why,
    /// Status sent, if any.
    pub status: Option<StatusCode>,
    /// The bytes of the head, as far as they came.
    pub head: Bytes,
    pub detail: String,
}

/// Why a connection ended without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The head was malformed or too large.
    Malformed,
    /// The head did not come in time.
    HeadTimeout,
    /// Nothing was sent in time.
    Silent,
    /// The client went away without a request.
    Gone,
    /// HTTP/2 frames of some kind came too often, or broke the protocol.
    Flood,
    /// The TLS handshake failed.
    Handshake,
    /// The TLS handshake took too long.
    HandshakeTimeout,
    /// The connection limit was reached.
    TooMany,
}

/// Answers requests; the proxy on this core.
pub trait Handler: 'static {
    type Body: http_body::Body<Data = Bytes, Error = BodyError> + 'static;

    fn handle(
        self: Rc<Self>,
        request: Request<Incoming>,
        arrival: Arrival,
    ) -> impl Future<Output = Response<Self::Body>>;

    fn refused(&self, refusal: Refusal);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a plain connection opens with the HTTP/2 preface; also returns the bytes read to know.
///
/// # Errors
/// `None` when the client closed, failed, or sent nothing before the deadline or before `is_draining`, which is looked at
/// when the deadline wakes the task.
pub async fn sniff<S: Socket>(
    socket: &mut S,
    deadline: &Deadline,
    is_draining: impl Fn() -> bool,
) -> Option<(bool, Bytes)> {
    use tokio::io::AsyncReadExt;
    let mut bytes = Vec::with_capacity(PREFACE.len());
    loop {
        let mut part = [0; PREFACE.len()];
        let room = PREFACE.len() - bytes.len();
        let is_silent = bytes.is_empty();
        let mut read = std::pin::pin!(socket.read(&mut part[..room]));
        let read = std::future::poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Pending if is_silent && is_draining() => Poll::Ready(None),
            polled => polled.map(Some),
        });
        let count = deadline.race(read).await??.ok()?;
        if count == 0 {
            return None;
        }
        bytes.extend_from_slice(&part[..count]);
        if !PREFACE.starts_with(&bytes) {
            return Some((false, bytes.into()));
        }
        if bytes.len() == PREFACE.len() {
            return Some((true, bytes.into()));
        }
    }
}
