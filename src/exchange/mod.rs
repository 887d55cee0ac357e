//! The notebook that follows a request from its first byte; at its end it *is* the record.
//!
//! Rooms on the path write into [`Exchange`] what they decided and when; nothing is read back to control the
//! walk. Invariant: every exchange that began is ended exactly once, by `access_log::follow`.

pub mod connection;
pub mod failure;
pub mod flight;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Uri, Version};

use crate::record::{EndAt, EndBy, Id, LimitVerdict};
use connection::Connection;
use failure::{Cause, Failure};
use flight::Flight;

/// How the exchange ended, as far as it was not an ordinary answer.
#[derive(Clone, Debug, Default)]
pub struct End {
    pub by: EndBy,
    pub at: EndAt,
    pub reason: Option<&'static str>,
    pub cause: Option<Cause>,
    pub detail: Option<String>,
}

/// When each phase was over. `None`: not reached.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// First byte of the head.
    pub first_byte: Instant,
    /// The head was whole.
    pub head: Instant,
    /// Route and filters were done.
    pub policy: Option<Instant>,
    /// An endpoint was chosen: waiting in the queue is over.
    pub picked: Option<Instant>,
    /// A connection to it was there.
    pub connected: Option<Instant>,
    /// The last byte of the request was handed to the upstream connection.
    pub sent: Option<Instant>,
    /// The head of the answer had come.
    pub answered: Option<Instant>,
    /// Something went wrong: the phase of then ended here.
    pub failed: Option<Instant>,
}

impl Marks {
    /// Another attempt begins: what the last one reached does not count.
    pub fn again(&mut self) {
        (self.connected, self.sent, self.answered) = (None, None, None);
    }
}

/// A failed attempt at an upstream.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub address: Arc<str>,
    pub connect_us: Option<u32>,
    pub wait_us: Option<u32>,
    pub status: Option<u16>,
    pub reason: &'static str,
}

/// What happened at the upstream.
#[derive(Default)]
pub struct Upstream {
    pub name: Option<Arc<str>>,
    pub address: Option<Arc<str>>,
    pub worker: Option<Arc<str>>,
    pub status: Option<u16>,
    pub is_reused: Option<bool>,
    pub pick: Option<&'static str>,
    pub tries: u8,
    pub failed: Vec<Attempt>,
    /// Requests in flight at the endpoint when this one was sent.
    pub load: Option<u32>,
    /// The counts of its connection, and what they were before this exchange.
    pub traffic: Option<(Rc<Traffic>, u64, u64)>,
    /// The request body on its way there, if there is one.
    pub progress: Option<Rc<Progress>>,
}

/// How far a request body has come.
#[derive(Debug, Default)]
pub struct Progress {
    pub bytes: Cell<u64>,
    pub last: Cell<Option<Instant>>,
    pub is_done: Cell<bool>,
    /// What broke the body, when the client (or a limit) did.
    pub failure: RefCell<Option<Failure>>,
}

/// Bytes that went over an upstream connection so far.
#[derive(Debug, Default)]
pub struct Traffic {
    pub rx: Cell<u64>,
    pub tx: Cell<u64>,
}

/// See the module.
pub struct Exchange {
    pub id: Id,
    pub connection: Rc<Connection>,
    /// n-th request on its connection.
    pub number: u32,
    pub ts_us: i64,
    pub marks: Marks,
    pub idle_us: Option<u64>,
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    /// Host of the canonical request, with its port.
    pub host: Option<HeaderValue>,
    pub client_ip: IpAddr,
    pub client_port: Option<u16>,
    pub user_agent: Option<HeaderValue>,
    pub referer: Option<HeaderValue>,
    pub request_type: Option<HeaderValue>,
    pub response_type: Option<HeaderValue>,
    /// The id sent upstream, when it is not `id`; and an inbound one that was not trusted.
    pub rid: Option<Bytes>,
    pub rid_in: Option<Bytes>,
    pub trace_id: Option<[u8; 16]>,
    pub span_id: Option<[u8; 8]>,
    pub parent_id: Option<[u8; 8]>,
    pub trace_flags: Option<u8>,
    pub configuration: u64,
    pub site: Option<Arc<str>>,
    pub route: Option<Arc<str>>,
    pub status: u16,
    /// The answer is our own: nobody upstream was asked.
    pub is_own: bool,
    pub encoding: Option<&'static str>,
    pub head_bytes: u64,
    /// Bytes of the request body so far; absent when there is none.
    pub body_in: Option<Rc<Cell<u64>>>,
    pub tx_before: u64,
    pub body_out: u64,
    pub limit: Option<LimitVerdict>,
    pub limit_rule: Option<Arc<str>>,
    pub upstream: Upstream,
    pub in_flight_before: u32,
    pub end: End,
    /// Where others see it while it is open.
    pub flight: Flight,
}

impl Exchange {
    /// The phase that it is in.
    pub fn phase(&self) -> EndAt {
        let marks = &self.marks;
        match () {
            () if marks.answered.is_some() || self.status != 0 => EndAt::Resp,
            () if self.sent().is_some() => EndAt::Wait,
            () if marks.connected.is_some() => EndAt::Body,
            () if marks.picked.is_some() => EndAt::Connect,
            () if self.upstream.name.is_some() => EndAt::Queue,
            () => EndAt::Policy,
        }
    }

    /// When the whole request had been handed to the upstream connection. Without a body that takes no time.
    pub fn sent(&self) -> Option<Instant> {
        let marks = &self.marks;
        marks.sent.or_else(|| match &self.upstream.progress {
            Some(progress) => progress.last.get().filter(|_| progress.is_done.get()),
            None => marks.connected,
        })
    }

    /// Writes down a failure; the first one stays.
    pub fn fail(&mut self, failure: &Failure) {
        let row = failure.kind.row();
        if self.end.reason.is_some() {
            return;
        }
        self.marks.failed = Some(Instant::now());
        self.end = End {
            by: row.end_by,
            at: row.end_at,
            reason: Some(row.reason),
            cause: failure.cause.clone(),
            detail: failure
                .detail
                .map(str::to_owned)
                .or_else(|| failure.source.as_deref().map(|error| chain(error))),
        };
    }
}

/// The error and its sources, one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
