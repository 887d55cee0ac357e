//! One request to one upstream: wait for a place, choose an endpoint, borrow or open a connection, send, and try
//! again where that is safe (see [`super::retry`]).
//!
//! What is rare (waiting, connecting) is boxed, so that the usual exchange is a small future that is not copied about.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use http::header::HOST;
use http::{Request, Response};
use hyper::body::Incoming;

use super::Upstream;
use super::body::{Lease, RequestBody, ResponseBody, Slot};
use super::budget::Permit;
use super::connecting::wait;
use super::connection::{Connection, SendError};
use super::endpoint::Endpoint;
use super::local::{Local, Locals};
use super::queue::{enter, wait_for};
use crate::exchange::failure::{Cause, Failure, Kind};
use crate::exchange::{Exchange, Progress};
use crate::process::deadline::{Deadline, Deadlines};
use crate::record::EndAt;

/// A limit in time, and the configuration key that set it.
#[derive(Clone, Debug)]
pub struct Timeout {
    pub after: Duration,
    pub cause: Cause,
}

/// The deadlines of an upstream exchange, each its own.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// Wait for a slot, and for an endpoint.
    pub queue: Timeout,
    pub connect: Timeout,
    /// From the last byte of the request to the head of the answer.
    pub response: Timeout,
    /// Between two pieces of the answer's body.
    pub body: Timeout,
}

/// What a core brings along to send.
pub struct Reach<'a> {
    pub locals: &'a Locals,
    pub deadlines: &'a Rc<Deadlines>,
}

/// A request under way to its upstream.
pub struct Sending {
    pub(super) upstream: Arc<Upstream>,
    timeouts: Arc<Timeouts>,
    pub(super) progress: Option<Rc<Progress>>,
    pub(super) deadline: Deadline,
    pub(super) local: Rc<Local>,
    /// Here until it is sent; here again when it may be sent again.
    pub(super) request: Option<Request<RequestBody>>,
    /// A copy, for the attempts after which another one is allowed.
    pub(super) spare: Option<Box<Request<RequestBody>>>,
    pub(super) tried: Vec<Arc<Endpoint>>,
    pub(super) is_fresh_wanted: bool,
    /// The place in the retry budget, held to the end of the last attempt.
    pub(super) permit: Option<Permit>,
}

/// The head of an answer, and what holds its connection.
pub struct Answer {
    response: Response<Incoming>,
    connection: Box<Connection>,
    lease: Lease,
    slot: Slot,
}

/// What an attempt brought. `None`: no head of an answer came in time.
pub(super) type Answered = Option<Result<Response<Incoming>, SendError>>;

impl Sending {
    pub fn new(
        reach: &Reach<'_>,
        upstream: &Arc<Upstream>,
        timeouts: &Arc<Timeouts>,
        request: Request<RequestBody>,
        progress: Option<Rc<Progress>>,
    ) -> Self {
        Self {
            upstream: Arc::clone(upstream),
            timeouts: Arc::clone(timeouts),
            progress,
            deadline: reach.deadlines.slot(),
            local: reach.locals.of(upstream),
            request: Some(request),
            spare: None,
            tried: Vec::new(),
            is_fresh_wanted: false,
            permit: None,
        }
    }

    /// Sends the request and waits for the head of its answer.
    ///
    /// # Errors
    /// What failed last, when no attempt gave an answer.
    pub async fn run(&mut self, exchange: &mut Exchange) -> Result<Answer, Failure> {
        exchange.upstream.name = Some(Arc::clone(&self.upstream.settings.name));
        exchange.upstream.progress.clone_from(&self.progress);
        exchange.flight.reach(EndAt::Queue);
        let slot = match Slot::take(&self.upstream) {
            Some(slot) => slot,
            None => Box::pin(enter(&self.upstream, &self.timeouts.queue, &self.deadline)).await?,
        };
        loop {
            let lease = match self.pick(exchange) {
                Some(lease) => lease,
                None => Box::pin(self.wait_for_endpoint(exchange)).await?,
            };
            let mut connection = match self.borrow(&lease.endpoint, exchange) {
                Some(connection) => connection,
                None => match Box::pin(self.open(&lease.endpoint, exchange)).await {
                    Ok(connection) => connection,
                    Err(failure) => {
                        self.not_connected(&lease.endpoint, failure, exchange)?;
                        continue;
                    }
                },
            };
            watch(&connection, exchange);
            let answered = self.answer(&mut connection).await;
            let Some(response) = self.judge(&lease.endpoint, answered, exchange)? else { continue };
            if self.may_pass_over(&response, exchange) {
                self.pass_over(&lease.endpoint, &response, connection, exchange);
                continue;
            }
            return Ok(Answer { response, connection, lease, slot });
        }
    }

    /// The answer with a body that drives the connection on and gives it back.
    pub fn follow(self: Box<Self>, answer: Answer) -> Response<ResponseBody> {
        let Self { deadline, local, timeouts, .. } = *self;
        let Answer { response, connection, lease, slot } = answer;
        deadline.set(timeouts.body.after);
        response.map(|incoming| ResponseBody {
            incoming,
            connection: Some(connection),
            local,
            deadline,
            idle: timeouts.body.after,
            cause: Arc::clone(&timeouts.body.cause),
            held: Some((lease, slot)),
        })
    }

    fn pick(&self, exchange: &mut Exchange) -> Option<Lease> {
        let upstream = &self.upstream;
        let now_ms = self.deadline.now_ms();
        let endpoints = upstream.endpoints();
        let pick = self.local.turn.pick(upstream.settings.balance, &endpoints, &self.tried, now_ms)?;
        let notes = &mut exchange.upstream;
        notes.address = Some(Arc::clone(&pick.endpoint.name));
        notes.worker.clone_from(&pick.endpoint.worker);
        notes.pick = Some(pick.why);
        notes.load = Some(pick.endpoint.in_flight.sum() as u32);
        // Only a second attempt or a wait in the queue takes time between the filters and the choice.
        let has_waited = self.deadline.is_set() || exchange.upstream.tries > 0;
        exchange.marks.picked = if has_waited { Some(Instant::now()) } else { exchange.marks.policy };
        Some(Lease::new(pick.endpoint))
    }

    async fn wait_for_endpoint(&self, exchange: &mut Exchange) -> Result<Lease, Failure> {
        let missed = || Failure::refuse(Kind::NoEndpoint, "no endpoint is up");
        wait_for(&self.upstream, &self.timeouts.queue, &self.deadline, missed, || self.pick(exchange)).await
    }

    /// An idle connection, if there is one that is good.
    fn borrow(&mut self, endpoint: &Arc<Endpoint>, exchange: &mut Exchange) -> Option<Box<Connection>> {
        let notes = &mut exchange.upstream;
        notes.tries = notes.tries.saturating_add(1);
        if let Some(request) = &mut self.request
            && self.upstream.settings.host_is_endpoint
        {
            request.headers_mut().insert(HOST, endpoint.host.clone());
        }
        let pooled = match self.is_fresh_wanted {
            true => None,
            false => self.local.take(endpoint, self.deadline.now_ms()),
        };
        exchange.upstream.is_reused = Some(pooled.is_some());
        // A pooled connection costs no time worth another look at the clock.
        exchange.marks.connected = pooled.as_ref().and(exchange.marks.picked);
        self.keep_spare(pooled.as_deref(), exchange);
        pooled
    }

    /// A connection that is new, or that somebody else has given back meanwhile.
    async fn open(
        &self,
        endpoint: &Arc<Endpoint>,
        exchange: &mut Exchange,
    ) -> Result<Box<Connection>, Failure> {
        exchange.flight.reach(EndAt::Connect);
        let timeout = &self.timeouts.connect;
        let mut ticket = wait(&self.local, endpoint, self.is_fresh_wanted, &self.deadline, timeout.after);
        match self.deadline.within(timeout.after, ticket.connection()).await {
            Some(Ok(given)) => {
                exchange.upstream.is_reused = Some(!given.is_new);
                exchange.marks.connected = Some(Instant::now());
                Ok(given.connection)
            }
            Some(Err(error)) => Err(Failure::new(Kind::ConnectRefused).from_source(error).retryable()),
            None => Err(Failure::new(Kind::ConnectTimeout).because(&timeout.cause).retryable()),
        }
    }

    /// Sends and waits for the head of the answer.
    async fn answer(&mut self, connection: &mut Connection) -> Answered {
        let after = self.timeouts.response.after;
        self.deadline.set(after);
        let request = self.request.take()?;
        let mut sent = std::pin::pin!(connection.begin(request));
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(answer) = connection.poll_answer(cx, sent.as_mut()) {
                    self.deadline.clear();
                    return Poll::Ready(Some(answer));
                }
                ready!(self.deadline.poll_due(cx));
                // The time counts from the end of the request: an upload that moves is not a slow answer.
                match self.upload_rest(after) {
                    Some(rest) => self.deadline.set(rest),
                    None => return Poll::Ready(None),
                }
            }
        })
        .await
    }

    /// How long to go on waiting because the request body still moves, or moved lately.
    fn upload_rest(&self, after: Duration) -> Option<Duration> {
        let last = self.progress.as_ref()?.last.get()?;
        after.checked_sub(last.elapsed()).filter(|rest| !rest.is_zero())
    }

    pub(super) fn response_timeout(&self) -> Failure {
        Failure::new(Kind::ResponseTimeout).because(&self.timeouts.response.cause)
    }
}

/// Notes what is known when there is a connection.
fn watch(connection: &Connection, exchange: &mut Exchange) {
    let traffic = Rc::clone(&connection.traffic);
    let (rx, tx) = (traffic.rx.get(), traffic.tx.get());
    exchange.upstream.traffic = Some((traffic, rx, tx));
    exchange.flight.reach(exchange.phase());
}
