//! The bodies of an upstream exchange: the request's, watched; the response's, which drives its connection and gives
//! it back to the pool.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::Upstream;
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::local::Local;
use crate::exchange::Progress;
use crate::exchange::failure::{Cause, Failure, Kind};
use crate::http::{Body, BodyError, headers};
use crate::process::deadline::Deadline;

/// A request body on its way to an upstream.
pub struct RequestBody {
    inner: Body,
    progress: Option<Rc<Progress>>,
}

impl RequestBody {
    /// Wraps `inner`; the progress is watched only when there is something to watch.
    pub fn new(inner: Body) -> (Self, Option<Rc<Progress>>) {
        let progress = (!matches!(inner, Body::Empty)).then(Rc::<Progress>::default);
        (Self { inner, progress: progress.clone() }, progress)
    }

    pub fn empty() -> Self {
        Self { inner: Body::Empty, progress: None }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let Some(progress) = &self.progress else { return Poll::Ready(polled) };
        progress.last.set(Some(Instant::now()));
        Poll::Ready(match polled {
            Some(Ok(frame)) => {
                let count = frame.data_ref().map_or(0, Bytes::len) as u64;
                progress.bytes.set(progress.bytes.get() + count);
                progress.is_done.set(self.inner.is_end_stream());
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                let failure = match error.downcast::<Failure>() {
                    Ok(failure) => *failure,
                    Err(error) => Failure::new(Kind::ClientAbort).from_source(error),
                };
                *progress.failure.borrow_mut() = Some(failure);
                Some(Err("the request body broke".into()))
            }
            None => {
                progress.is_done.set(true);
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// One request in flight at an endpoint, counted until dropped.
pub struct Lease {
    pub endpoint: Arc<Endpoint>,
}

impl Lease {
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.add(1);
        endpoint.requests.add(1);
        Self { endpoint }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.in_flight.sub(1);
    }
}

/// A place among the requests in flight of an upstream, counted until dropped.
pub struct Slot(Arc<Upstream>);

impl Slot {
    /// Takes a place, if there is one.
    pub fn take(upstream: &Arc<Upstream>) -> Option<Self> {
        if let Some(limit) = upstream.settings.max_in_flight {
            let add = |now| (now < limit).then_some(now + 1);
            upstream.places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        }
        upstream.in_flight.add(1);
        Some(Self(Arc::clone(upstream)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.in_flight.sub(1);
        if self.0.settings.max_in_flight.is_none() {
            return;
        }
        self.0.places.fetch_sub(1, Ordering::Relaxed);
        if self.0.waiting.load(Ordering::Relaxed) > 0 {
            self.0.changed.notify_waiters();
        }
    }
}

/// The body of an answer.
pub struct ResponseBody {
    pub(super) incoming: Incoming,
    pub(super) connection: Option<Box<Connection>>,
    pub(super) local: Rc<Local>,
    pub(super) deadline: Deadline,
    pub(super) idle: Duration,
    pub(super) cause: Cause,
    /// The counts that this answer holds until it is dropped.
    pub(super) held: Option<(Lease, Slot)>,
}

impl ResponseBody {
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.connection {
            Some(connection) => connection.read(cx, &mut self.incoming),
            None => Pin::new(&mut self.incoming).poll_frame(cx),
        }
    }

    /// The body is complete: the connection may serve again, if it is clean.
    fn release(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.local.give_back(connection, self.deadline.now_ms());
        }
    }

    /// After a 101 answer: the connection itself.
    pub fn into_connection(mut self) -> Option<(Box<Connection>, Lease, Slot)> {
        let (lease, slot) = self.held.take()?;
        Some((self.connection.take()?, lease, slot))
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.poll_incoming(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                self.deadline.set(self.idle);
                if let Some(trailers) = frame.trailers_mut() {
                    headers::clean_trailers(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.connection = None;
                Poll::Ready(Some(Err(Box::new(Failure::new(Kind::ResponseIncomplete).from_source(error)))))
            }
            Poll::Ready(None) => {
                self.release();
                Poll::Ready(None)
            }
            Poll::Pending => {
                std::task::ready!(self.deadline.poll_due(cx));
                self.connection = None;
                Poll::Ready(Some(Err(Box::new(Failure::new(Kind::BodyTimeout).because(&self.cause)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.release();
        }
    }
}
