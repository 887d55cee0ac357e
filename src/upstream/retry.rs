//! After an attempt: is its answer good, whose fault was it, and may the request be sent again.

use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::Retry;
use super::body::RequestBody;
use super::connection::{Connection, SendError};
use super::eject::{Outcome, observe};
use super::endpoint::Endpoint;
use super::send::{Answered, Sending};
use crate::exchange::failure::{Failure, Kind, Side};
use crate::exchange::{Attempt, Exchange};
use crate::record::EndAt;

/// A connection that was idle for longer may have been closed just now: its request is kept for a second try.
const DOUBTFUL_MS: u64 = 250;

impl Sending {
    fn retry(&self) -> &Retry {
        &self.upstream.settings.retry
    }

    fn has_tries_left(&self, exchange: &Exchange) -> bool {
        exchange.upstream.tries < self.retry().tries
    }

    /// Whether there may be one more attempt.
    fn may_retry(&mut self, exchange: &Exchange) -> bool {
        if !self.has_tries_left(exchange) {
            return false;
        }
        let upstream = &self.upstream;
        self.permit = self.permit.take().or_else(|| upstream.budget.take(upstream.in_flight.sum() as u32));
        self.permit.is_some()
    }

    /// Copies the request where it may be needed twice: a copy costs one of its headers.
    pub(super) fn keep_spare(&mut self, pooled: Option<&Connection>, exchange: &Exchange) {
        let on = &self.retry().on;
        let idle_ms = |c: &Connection| self.deadline.now_ms().saturating_sub(c.idle_since_ms);
        let is_wanted = (on.closed && pooled.is_some_and(|c| idle_ms(c) > DOUBTFUL_MS))
            || (!on.statuses.is_empty() && self.has_tries_left(exchange));
        self.spare = if is_wanted { self.request.as_ref().and_then(copy).map(Box::new) } else { None };
    }

    /// No connection could be made.
    ///
    /// # Errors
    /// `failure`, when there is no further attempt.
    pub(super) fn not_connected(
        &mut self,
        endpoint: &Arc<Endpoint>,
        failure: Failure,
        exchange: &mut Exchange,
    ) -> Result<(), Failure> {
        if !self.retry().on.connect {
            self.request = None;
        }
        self.again(endpoint, failure, false, exchange)
    }

    /// The answer of an attempt, or `None` when the request is to be sent again.
    ///
    /// # Errors
    /// What went wrong, when there is no further attempt.
    pub(super) fn judge(
        &mut self,
        endpoint: &Arc<Endpoint>,
        answered: Answered,
        exchange: &mut Exchange,
    ) -> Result<Option<Response<Incoming>>, Failure> {
        let is_pooled = exchange.upstream.is_reused == Some(true);
        let sent_at = self.progress.as_ref().and_then(|p| p.last.get());
        exchange.marks.sent = sent_at.or(exchange.marks.connected);
        match answered {
            Some(Ok(response)) => {
                exchange.marks.answered = Some(Instant::now());
                exchange.upstream.status = Some(response.status().as_u16());
                let is_bad = response.status().is_server_error();
                self.observe(endpoint, if is_bad { Outcome::Bad } else { Outcome::Good });
                return Ok(Some(response));
            }
            Some(Err(SendError::Unsent(request))) => {
                self.request = self.retry().on.closed.then_some(*request);
                self.again(endpoint, Failure::new(Kind::UpstreamClosed).retryable(), is_pooled, exchange)
            }
            Some(Err(SendError::Broken(error))) => match self.client_failure() {
                Some(failure) => Err(failure),
                None => {
                    self.request =
                        self.spare.take().filter(|_| is_pooled && self.retry().on.closed).map(|r| *r);
                    let was_stale = self.request.is_some();
                    self.again(endpoint, broken(error), was_stale, exchange)
                }
            },
            None => {
                let failure = self.response_timeout();
                self.again(endpoint, failure, false, exchange)
            }
        }
        .map(|()| None)
    }

    /// Whether the answer has a status to retry after, and there may be another attempt.
    pub(super) fn may_pass_over(&mut self, response: &Response<Incoming>, exchange: &Exchange) -> bool {
        self.spare.is_some()
            && self.retry().on.statuses.contains(&response.status())
            && self.may_retry(exchange)
    }

    /// Lets go of an answer that is not good enough.
    pub(super) fn pass_over(
        &mut self,
        endpoint: &Arc<Endpoint>,
        response: &Response<Incoming>,
        connection: Box<Connection>,
        exchange: &mut Exchange,
    ) {
        use http_body::Body;
        note(exchange, endpoint, Some(response.status()), "retried_status");
        exchange.marks.again();
        exchange.upstream.status = None;
        if response.body().is_end_stream() {
            self.local.give_back(connection, self.deadline.now_ms());
        }
        self.tried.push(Arc::clone(endpoint));
        self.request = self.spare.take().map(|request| *request);
    }

    /// Prepares another attempt. `was_stale`: the connection came from the pool and had been closed meanwhile, which is
    /// not the endpoint's fault.
    fn again(
        &mut self,
        endpoint: &Arc<Endpoint>,
        failure: Failure,
        was_stale: bool,
        exchange: &mut Exchange,
    ) -> Result<(), Failure> {
        if !was_stale && failure.kind.side() == Side::Upstream {
            self.observe(endpoint, Outcome::Bad);
        }
        if self.request.is_none() {
            return Err(failure);
        }
        note(exchange, endpoint, None, failure.kind.row().reason);
        if was_stale && !self.is_fresh_wanted && self.has_tries_left(exchange) {
            self.is_fresh_wanted = true;
        } else if self.may_retry(exchange) {
            self.tried.push(Arc::clone(endpoint));
        } else {
            return Err(failure);
        }
        exchange.marks.again();
        exchange.flight.reach(EndAt::Queue);
        Ok(())
    }

    /// The request body broke, not the upstream.
    fn client_failure(&self) -> Option<Failure> {
        self.progress.as_ref().and_then(|p| p.failure.borrow_mut().take())
    }

    fn observe(&self, endpoint: &Endpoint, outcome: Outcome) {
        if let Some(settings) = &self.upstream.settings.eject {
            observe(settings, endpoint, &self.upstream.endpoints(), outcome, self.deadline.now_ms());
        }
    }
}

/// A copy of `request`, when sending it twice is harmless (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).
fn copy(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
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

/// Writes a failed attempt into the notebook.
fn note(exchange: &mut Exchange, endpoint: &Endpoint, status: Option<StatusCode>, reason: &'static str) {
    let micros = |from: Option<Instant>| from.map(|at| at.elapsed().as_micros() as u32);
    let marks = &exchange.marks;
    exchange.upstream.failed.push(Attempt {
        address: Arc::clone(&endpoint.name),
        connect_us: micros(marks.picked),
        wait_us: micros(marks.connected),
        status: status.map(|status| status.as_u16()),
        reason,
    });
}
