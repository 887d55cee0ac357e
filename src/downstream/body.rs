//! [`Upload`]: a request body as it comes from the client, under its limits.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::wire::Wire;
use crate::exchange::failure::{Cause, Failure, Kind};
use crate::http::{BodyError, headers};
use crate::process::deadline::Deadline;

/// Limits of a request body.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes, trailers not counted.
    pub max: u64,
    pub max_cause: Cause,
    /// Longest silence between two pieces.
    pub idle: Duration,
    pub idle_cause: Cause,
    /// Bytes per second over the whole body, once `GRACE` has passed; 0: no limit.
    pub min_rate: u64,
    pub rate_cause: Cause,
}

/// A slow start is not a slow body.
const GRACE: Duration = Duration::from_secs(10);

/// See the module.
pub struct Upload {
    incoming: Incoming,
    settings: Arc<Settings>,
    wire: Rc<Wire>,
    deadline: Deadline,
    received: Rc<Cell<u64>>,
    /// Time spent waiting for the client, the only time that counts against its rate.
    waited: Duration,
    waiting_since: Option<Instant>,
    is_over: bool,
}

impl Upload {
    pub fn new(
        incoming: Incoming,
        settings: Arc<Settings>,
        wire: Rc<Wire>,
        deadline: Deadline,
        received: Rc<Cell<u64>>,
    ) -> Self {
        Self {
            incoming,
            settings,
            wire,
            deadline,
            received,
            waited: Duration::ZERO,
            waiting_since: None,
            is_over: false,
        }
    }

    fn on_frame(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        if let Some(from) = self.waiting_since.take() {
            self.waited += from.elapsed();
        }
        self.wire.moved();
        let count = frame.data_ref().map_or(0, Bytes::len) as u64;
        let received = self.received.get() + count;
        self.received.set(received);
        let settings = &self.settings;
        if received > settings.max {
            return Err(Box::new(Failure::new(Kind::BodyTooLarge).because(&settings.max_cause)));
        }
        if self.waited > GRACE && received < settings.min_rate * self.waited.as_secs() {
            return Err(Box::new(Failure::new(Kind::ClientTimeout).because(&settings.rate_cause)));
        }
        if let Some(trailers) = frame.trailers_mut() {
            headers::clean_trailers(trailers);
            // Nothing follows trailers, and whoever sends them on may not ask again.
            self.end();
        }
        Ok(frame)
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.deadline.clear();
                Poll::Ready(Some(self.on_frame(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Box::new(broken(error))))),
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                if self.waiting_since.is_none() {
                    self.waiting_since = Some(Instant::now());
                    self.deadline.set(self.settings.idle);
                }
                std::task::ready!(self.deadline.poll_due(cx));
                let failure = Failure::new(Kind::ClientTimeout).because(&self.settings.idle_cause);
                Poll::Ready(Some(Err(Box::new(failure))))
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

impl Upload {
    fn end(&mut self) {
        self.is_over = true;
        self.wire.unread.set(false);
        self.wire.head.borrow_mut().body_done();
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if self.incoming.is_end_stream() {
            self.end();
        }
    }
}

/// The client broke its own body: bad chunks are its mistake (400), anything else its leaving.
fn broken(error: hyper::Error) -> Failure {
    use std::error::Error;
    let is_malformed = error.is_parse()
        || error.source().and_then(|s| s.downcast_ref::<std::io::Error>()).is_some_and(|e| {
            matches!(e.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData)
        });
    let kind = if is_malformed { Kind::BadRequest } else { Kind::ClientAbort };
    Failure::new(kind).from_source(error)
}
