//! Follows each answer: when its last byte has left, or the connection has died, the exchange becomes a record.
//!
//! Invariant: a [`Live`] exchange writes exactly one record, however it is dropped.

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use super::CoreLog;
use super::compose;
use super::flight::Arriving;
use crate::downstream::wire::{Duplex, Ending, Wire};
use crate::exchange::Exchange;
use crate::exchange::failure::{Failure, Kind};
use crate::exchange::flight::{Board, Flight};
use crate::filter::rate_limit::{Permit, Standing};
use crate::http::{Body, BodyError};
use crate::record::redact::Redactor;
use crate::record::{EndAt, Kind as RecordKind};

/// The log of one core.
pub struct Writer {
    pub log: CoreLog,
    /// Called once for each exchange that has ended.
    pub on_end: Box<dyn Fn()>,
}

impl Writer {
    /// Shows an exchange that begins in the in-flight table of the core, to its end.
    pub fn enter(self: &Rc<Self>, arriving: &Arriving<'_>) -> Flight {
        match self.log.enter(arriving) {
            Some(place) => Flight::new(Rc::<Self>::clone(self), place),
            None => Flight::default(),
        }
    }
}

impl Board for Writer {
    fn reach(&self, place: u32, at: EndAt) {
        self.log.flight().reach(place, at);
    }

    fn client(&self, place: u32, ip: IpAddr) {
        self.log.flight().put_ip(place, ip);
    }

    fn leave(&self, place: u32) {
        self.log.flight().leave(place);
    }
}

/// An exchange under way. Dropped before its answer was complete, it records why: the client went away, or the wire
/// was cut.
pub struct Live {
    pub exchange: Exchange,
    /// Places under concurrency limits, held to the end.
    pub permits: Vec<Permit>,
    /// The tightest allowance of the limits, told to the client.
    pub standing: Option<Standing>,
    /// Methods that other routes of the path take, for `Allow`.
    pub allowed: Vec<Method>,
    /// Takes over after a 101 answer.
    pub tunnel: Option<Tunnel>,
    wire: Rc<Wire>,
    writer: Rc<Writer>,
    redactor: Arc<Redactor>,
    state: State,
}

/// A tunnel as the walk leaves it: it gets the exchange and the downstream's bytes.
pub type Tunnel = Box<dyn FnOnce(Box<Live>, Box<dyn Duplex>) -> Pin<Box<dyn Future<Output = ()>>>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The answer is not complete.
    Open,
    /// The answer is complete, its flush may not be.
    Complete,
    /// A tunnel took over.
    Tunnel,
}

impl Live {
    /// Boxed from its first day: it is large, and goes from hand to hand.
    pub fn new(exchange: Exchange, writer: Rc<Writer>, redactor: Arc<Redactor>, wire: Rc<Wire>) -> Box<Self> {
        Box::new(Self {
            exchange,
            permits: Vec::new(),
            standing: None,
            allowed: Vec::new(),
            tunnel: None,
            wire,
            writer,
            redactor,
            state: State::Open,
        })
    }

    pub fn wire(&self) -> &Rc<Wire> {
        &self.wire
    }

    /// Attaches itself to the answer's body.
    pub fn follow(mut self: Box<Self>, mut response: Response<Body>) -> Response<Followed> {
        if let Some(standing) = &self.standing {
            standing.write(response.headers_mut());
        }
        if let Some(tunnel) = self.tunnel.take() {
            return self.follow_tunnel(tunnel, response);
        }
        let status = response.status();
        self.exchange.status = status.as_u16();
        self.exchange.flight.reach(EndAt::Resp);
        self.exchange.response_type = response.headers().get(CONTENT_TYPE).cloned();
        let has_no_body = self.exchange.method == Method::HEAD
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        response.map(|body| Followed { body, live: Some(self), has_no_body, is_handed: false, broken: None })
    }

    /// An `open` record now, a `close` record when the tunnel is over.
    fn follow_tunnel(mut self: Box<Self>, tunnel: Tunnel, response: Response<Body>) -> Response<Followed> {
        self.state = State::Tunnel;
        self.exchange.status = response.status().as_u16();
        self.exchange.flight.reach(EndAt::Tunnel);
        self.write(RecordKind::Open, Instant::now());
        let wire = Rc::clone(&self.wire);
        *wire.tunnel.borrow_mut() = Some(Box::new(move |downstream| tunnel(self, downstream)));
        response.map(|body| Followed { body, live: None, has_no_body: true, is_handed: false, broken: None })
    }

    fn write(&self, kind: RecordKind, now: Instant) {
        compose::write(kind, now, &self.exchange, &self.redactor, &self.wire, &self.writer.log);
    }

    /// The answer did not leave whole: why, unless something else was noted before.
    fn fail_unsent(&mut self, at: EndAt) {
        if self.exchange.end.reason.is_none() {
            self.exchange.fail(&self.wire.failure());
            self.exchange.end.at = at;
        }
    }

    fn complete(mut self: Box<Self>) {
        self.state = State::Complete;
        match self.exchange.connection.is_h2 {
            true => drop(self),
            false => Rc::clone(&self.wire).end_when_flushed(self),
        }
    }
}

impl Ending for Live {
    fn end(mut self: Box<Self>, flushed: bool) {
        if !flushed {
            self.fail_unsent(EndAt::Resp);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let kind = match self.state {
            State::Open => {
                let at = self.exchange.phase();
                self.fail_unsent(at);
                RecordKind::Request
            }
            State::Complete => RecordKind::Request,
            State::Tunnel => {
                // A tunnel that ended by itself has said how; one that is dropped was cut with its wire.
                if self.wire.cut.get().is_some() {
                    self.fail_unsent(EndAt::Tunnel);
                }
                RecordKind::Close
            }
        };
        let now = Instant::now();
        self.write(kind, now);
        self.wire.finish(now);
        (self.writer.on_end)();
    }
}

/// An answer's body with its exchange.
pub struct Followed {
    body: Body,
    live: Option<Box<Live>>,
    has_no_body: bool,
    /// HTTP/2: the last chunk was handed over and the next one not asked for.
    is_handed: bool,
    /// What broke the body, held back for one poll.
    broken: Option<BodyError>,
}

impl Followed {
    /// hyper throws away what it has not written yet when a body breaks, the head of the answer too. Asked a second
    /// time, it has handed all that to the socket.
    fn hold_back(&mut self, error: BodyError, cx: &Context<'_>) {
        self.broken = Some(self.fail(error));
        cx.waker().wake_by_ref();
    }

    fn taken(&mut self) {
        if !std::mem::take(&mut self.is_handed) {
            return;
        }
        if let Some(live) = &self.live {
            let wire = &live.wire;
            wire.unsent.set(wire.unsent.get().saturating_sub(1));
            wire.moved();
        }
    }

    fn handed(&mut self, bytes: usize) {
        let Some(live) = &mut self.live else { return };
        live.exchange.body_out += bytes as u64;
        if live.exchange.connection.is_h2 {
            live.wire.unsent.set(live.wire.unsent.get() + 1);
            live.wire.moved();
            self.is_handed = true;
        }
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        let failure = match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(error) => Failure::new(Kind::Internal).from_source(error),
        };
        let text = failure.to_string();
        if let Some(live) = &mut self.live {
            live.exchange.fail(&failure);
        }
        text.into()
    }
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.taken();
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match polled {
            Some(Ok(frame)) => {
                self.handed(frame.data_ref().map_or(0, Bytes::len));
                // Nothing follows trailers, and whoever sends them on may not ask again.
                self.has_no_body |= frame.is_trailers();
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                self.hold_back(error, cx);
                return Poll::Pending;
            }
            None => {
                self.has_no_body = true;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.taken();
        let is_complete = self.has_no_body || self.body.is_end_stream();
        if let Some(live) = self.live.take()
            && is_complete
        {
            live.complete();
        }
    }
}
