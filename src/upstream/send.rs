//! One request to one upstream: wait for a place, choose an endpoint, borrow or open a connection, send, and try
//! again where that is safe.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HOST;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::{Lease, RequestBody, ResponseBody};
use super::budget::Permit;
use super::connection::{Connection, SendError};
use super::eject::{Outcome, observe};
use super::endpoint::Endpoint;
use super::local::{Local, Locals};
use super::queue::{enter, wait_for};
use super::{Retry, Upstream};
use crate::exchange::failure::{Cause, Failure, Kind};
use crate::exchange::{Attempt, Exchange, Progress};
use crate::process::deadline::{Deadline, Deadlines};

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

/// A connection that was idle for longer may have been closed just now: its request is kept for a second try.
const DOUBTFUL_MS: u64 = 250;

/// What a core brings along to send.
pub struct Reach<'a> {
    pub locals: &'a Locals,
    pub deadlines: &'a Rc<Deadlines>,
}

/// Sends `request` to `upstream` and returns its answer.
///
/// # Errors
/// What failed last, when no attempt gave an answer.
pub async fn send(
    reach: &Reach<'_>,
    upstream: &Arc<Upstream>,
    timeouts: &Timeouts,
    request: Request<RequestBody>,
    progress: Option<Rc<Progress>>,
    exchange: &mut Exchange,
) -> Result<Response<ResponseBody>, Failure> {
    let deadline = reach.deadlines.slot();
    exchange.upstream.name = Some(Arc::clone(&upstream.settings.name));
    exchange.upstream.progress.clone_from(&progress);
    let slot = enter(upstream, &timeouts.queue, &deadline).await?;
    let local = reach.locals.of(upstream);
    let mut sending = Sending { upstream, timeouts, progress, deadline, local, exchange };
    let (response, connection, lease) = sending.attempts(request).await?;
    let Sending { deadline, local, .. } = sending;
    deadline.set(timeouts.body.after);
    Ok(response.map(|incoming| ResponseBody {
        incoming,
        connection: Some(connection),
        local,
        deadline,
        idle: timeouts.body.after,
        cause: Arc::clone(&timeouts.body.cause),
        held: Some((lease, slot)),
    }))
}

type Answer = (Response<Incoming>, Box<Connection>, Lease);

/// What an attempt brought; the request again, when its status is one to retry after.
type Attempted = (Response<Incoming>, Box<Connection>, Option<Request<RequestBody>>);

struct Sending<'a> {
    upstream: &'a Arc<Upstream>,
    timeouts: &'a Timeouts,
    progress: Option<Rc<Progress>>,
    deadline: Deadline,
    local: Rc<Local>,
    exchange: &'a mut Exchange,
}

/// A failed attempt; the request, when it may be sent again.
struct Failed {
    failure: Failure,
    request: Option<Request<RequestBody>>,
    /// The connection came from the pool and had been closed meanwhile: not the endpoint's fault.
    was_stale: bool,
}

impl<'a> Sending<'a> {
    async fn attempts(&mut self, mut request: Request<RequestBody>) -> Result<Answer, Failure> {
        let mut tried: Vec<Arc<Endpoint>> = Vec::new();
        let mut permit = None;
        let mut is_fresh_wanted = false;
        loop {
            let lease = self.pick(&tried).await?;
            let failed = match self.attempt(&lease.endpoint, request, is_fresh_wanted).await {
                Ok((response, connection, Some(again))) if self.may_retry(&mut permit) => {
                    self.pass_over(&lease.endpoint, &response, connection);
                    tried.push(Arc::clone(&lease.endpoint));
                    request = again;
                    continue;
                }
                Ok((response, connection, _)) => return Ok((response, connection, lease)),
                Err(failed) => failed,
            };
            self.note(&lease.endpoint, &failed);
            let Some(again) = failed.request else { return Err(failed.failure) };
            if failed.was_stale && !is_fresh_wanted && self.has_tries_left() {
                is_fresh_wanted = true;
            } else if self.may_retry(&mut permit) {
                tried.push(Arc::clone(&lease.endpoint));
            } else {
                return Err(failed.failure);
            }
            self.exchange.marks.again();
            request = again;
        }
    }

    fn retry(&self) -> &Retry {
        &self.upstream.settings.retry
    }

    fn has_tries_left(&self) -> bool {
        self.exchange.upstream.tries < self.retry().tries
    }

    /// Whether there may be one more attempt. The place in the budget is held to the end of the last one.
    fn may_retry(&self, permit: &mut Option<Permit<'a>>) -> bool {
        if !self.has_tries_left() {
            return false;
        }
        let upstream = self.upstream;
        *permit = permit.take().or_else(|| upstream.budget.take(upstream.in_flight.sum() as u32));
        permit.is_some()
    }

    /// Lets go of an answer that is not good enough.
    fn pass_over(
        &mut self,
        endpoint: &Arc<Endpoint>,
        response: &Response<Incoming>,
        connection: Box<Connection>,
    ) {
        use http_body::Body;
        self.note_attempt(endpoint, Some(response.status()), "retried_status");
        self.exchange.marks.again();
        self.exchange.upstream.status = None;
        if response.body().is_end_stream() {
            self.local.give_back(connection, self.deadline.now_ms());
        }
    }

    async fn pick(&mut self, tried: &[Arc<Endpoint>]) -> Result<Lease, Failure> {
        let upstream = self.upstream;
        let choose = || {
            let endpoints = upstream.endpoints();
            self.local.turn.pick(upstream.settings.balance, &endpoints, tried, self.deadline.now_ms())
        };
        let missed = || Failure::refuse(Kind::NoEndpoint, "no endpoint is up");
        let pick = wait_for(upstream, &self.timeouts.queue, &self.deadline, missed, choose).await?;
        let notes = &mut self.exchange.upstream;
        notes.address = Some(Arc::clone(&pick.endpoint.name));
        notes.worker.clone_from(&pick.endpoint.worker);
        notes.pick = Some(pick.why);
        notes.load = Some(pick.endpoint.in_flight.sum() as u32);
        // Only a second attempt or a wait in the queue takes time between the filters and the choice.
        let has_waited = self.deadline.is_set() || self.exchange.upstream.tries > 0;
        self.exchange.marks.picked =
            if has_waited { Some(Instant::now()) } else { self.exchange.marks.policy };
        Ok(Lease::new(upstream, &pick.endpoint))
    }

    async fn attempt(
        &mut self,
        endpoint: &Arc<Endpoint>,
        mut request: Request<RequestBody>,
        is_fresh_wanted: bool,
    ) -> Result<Attempted, Failed> {
        if self.upstream.settings.host_is_endpoint {
            request.headers_mut().insert(HOST, endpoint.host.clone());
        }
        self.exchange.upstream.tries = self.exchange.upstream.tries.saturating_add(1);
        let pooled = match is_fresh_wanted {
            true => None,
            false => self.local.take(endpoint, self.deadline.now_ms()),
        };
        self.exchange.upstream.is_reused = Some(pooled.is_some());
        let spare = match self.wants_spare(pooled.as_deref()) {
            true => spare(&request),
            false => None,
        };
        let mut connection = match pooled {
            Some(connection) => connection,
            None => match self.open(endpoint).await {
                Ok(connection) => connection,
                Err(failure) => {
                    let request = self.retry().on.connect.then_some(request);
                    return Err(Failed { failure, request, was_stale: false });
                }
            },
        };
        // A pooled connection costs no time worth another look at the clock.
        let is_new = self.exchange.upstream.is_reused == Some(false);
        self.exchange.marks.connected =
            if is_new { Some(Instant::now()) } else { self.exchange.marks.picked };
        self.watch_traffic(&connection);
        let answer = self.exchange_on(&mut connection, request).await;
        let (response, again) = self.judge(endpoint, answer, spare)?;
        Ok((response, connection, again))
    }

    /// A copy of a request costs one of its headers: it is made only where it may be needed.
    fn wants_spare(&self, pooled: Option<&Connection>) -> bool {
        let on = &self.retry().on;
        let idle_ms = |c: &Connection| self.deadline.now_ms().saturating_sub(c.idle_since_ms);
        (on.closed && pooled.is_some_and(|connection| idle_ms(connection) > DOUBTFUL_MS))
            || (!on.statuses.is_empty() && self.has_tries_left())
    }

    async fn open(&mut self, endpoint: &Arc<Endpoint>) -> Result<Box<Connection>, Failure> {
        let timeout = &self.timeouts.connect;
        match self.deadline.within(timeout.after, Connection::open(endpoint, self.deadline.now_ms())).await {
            Some(Ok(connection)) => Ok(connection),
            Some(Err(error)) => Err(Failure::new(Kind::ConnectRefused).from_source(error).retryable()),
            None => Err(Failure::new(Kind::ConnectTimeout).because(&timeout.cause).retryable()),
        }
    }

    fn watch_traffic(&mut self, connection: &Connection) {
        let traffic = Rc::clone(&connection.traffic);
        let (rx, tx) = (traffic.rx.get(), traffic.tx.get());
        self.exchange.upstream.traffic = Some((traffic, rx, tx));
    }

    /// Sends and waits for the head of the answer. `None`: it did not come in time.
    async fn exchange_on(
        &mut self,
        connection: &mut Connection,
        request: Request<RequestBody>,
    ) -> Option<Result<Response<Incoming>, SendError>> {
        let after = self.timeouts.response.after;
        self.deadline.set(after);
        let mut answer = std::pin::pin!(connection.send(request));
        loop {
            match self.deadline.race(answer.as_mut()).await {
                Some(answer) => {
                    self.deadline.clear();
                    return Some(answer);
                }
                // The time counts from the end of the request: an upload that moves is not a slow answer.
                None => match self.upload_rest(after) {
                    Some(rest) => self.deadline.set(rest),
                    None => return None,
                },
            }
        }
    }

    /// How long to go on waiting because the request body still moves, or moved lately.
    fn upload_rest(&self, after: Duration) -> Option<Duration> {
        let last = self.progress.as_ref()?.last.get()?;
        after.checked_sub(last.elapsed()).filter(|rest| !rest.is_zero())
    }

    #[expect(clippy::result_large_err, reason = "the good answer is as large")]
    fn judge(
        &mut self,
        endpoint: &Arc<Endpoint>,
        answer: Option<Result<Response<Incoming>, SendError>>,
        spare: Option<Request<RequestBody>>,
    ) -> Result<(Response<Incoming>, Option<Request<RequestBody>>), Failed> {
        let is_pooled = self.exchange.upstream.is_reused == Some(true);
        let sent_at = self.progress.as_ref().and_then(|p| p.last.get());
        self.exchange.marks.sent = sent_at.or(self.exchange.marks.connected);
        match answer {
            Some(Ok(response)) => {
                self.exchange.marks.answered = Some(Instant::now());
                self.exchange.upstream.status = Some(response.status().as_u16());
                let is_bad = response.status().is_server_error();
                self.observe(endpoint, if is_bad { Outcome::Bad } else { Outcome::Good });
                let again = spare.filter(|_| self.retry().on.statuses.contains(&response.status()));
                Ok((response, again))
            }
            Some(Err(SendError::Unsent(request))) => Err(Failed {
                failure: Failure::new(Kind::UpstreamClosed).retryable(),
                request: self.retry().on.closed.then_some(*request),
                was_stale: is_pooled,
            }),
            Some(Err(SendError::Broken(error))) => match self.client_failure() {
                Some(failure) => Err(Failed { failure, request: None, was_stale: false }),
                None => {
                    let request = spare.filter(|_| is_pooled && self.retry().on.closed);
                    Err(Failed { failure: broken(error), was_stale: request.is_some(), request })
                }
            },
            None => {
                let failure = Failure::new(Kind::ResponseTimeout).because(&self.timeouts.response.cause);
                Err(Failed { failure, request: None, was_stale: false })
            }
        }
    }

    /// The request body broke, not the upstream.
    fn client_failure(&self) -> Option<Failure> {
        self.progress.as_ref().and_then(|p| p.failure.borrow_mut().take())
    }

    fn note(&mut self, endpoint: &Arc<Endpoint>, failed: &Failed) {
        use crate::exchange::failure::Side;
        if !failed.was_stale && failed.failure.kind.side() == Side::Upstream {
            self.observe(endpoint, Outcome::Bad);
        }
        if failed.request.is_some() {
            self.note_attempt(endpoint, None, failed.failure.kind.row().reason);
        }
    }

    fn note_attempt(&mut self, endpoint: &Endpoint, status: Option<StatusCode>, reason: &'static str) {
        let micros = |from: Option<Instant>| from.map(|at| at.elapsed().as_micros() as u32);
        let marks = &self.exchange.marks;
        self.exchange.upstream.failed.push(Attempt {
            address: Arc::clone(&endpoint.name),
            connect_us: micros(marks.picked),
            wait_us: micros(marks.connected),
            status: status.map(|status| status.as_u16()),
            reason,
        });
    }

    fn observe(&self, endpoint: &Endpoint, outcome: Outcome) {
        if let Some(settings) = &self.upstream.settings.eject {
            observe(settings, endpoint, &self.upstream.endpoints(), outcome, self.deadline.now_ms());
        }
    }
}

/// A copy of `request`, when sending it twice is harmless (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).
fn spare(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    use http_body::Body;
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

fn broken(error: hyper::Error) -> Failure {
    let kind = match error.is_parse() || error.is_parse_too_large() {
        true => Kind::ResponseInvalid,
        false => Kind::UpstreamClosed,
    };
    Failure::new(kind).from_source(error)
}
