//! [`Wire`]: what the I/O wrapper, the connection loop and the exchanges of one connection share.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};

use super::head::HeadTracker;
use crate::exchange::connection::Connection;
use crate::exchange::failure::{Cause, Failure, Kind};
use crate::http::forwarded::{Hop, Proto};
use crate::http::sendfile::SendQueue;
use crate::process::deadline::Deadline;

/// Once we want to leave, a connection without an exchange has this long to end in order. Over HTTP/2 the client must
/// take part: it answers the first GOAWAY.
pub const GOODBYE: Duration = Duration::from_secs(5);

/// A byte stream in both directions, as a tunnel gets it.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// What takes over a connection after a 101 answer.
pub type Tunnel = Box<dyn FnOnce(Box<dyn Duplex>) -> Pin<Box<dyn Future<Output = ()>>>>;

/// An exchange whose answer is complete but may not have left yet.
pub trait Ending {
    /// Called once: `flushed` tells whether the last byte was handed to the kernel.
    fn end(self: Box<Self>, flushed: bool);
}

/// What a connection waits for; decides what a passed deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Between exchanges.
    Idle,
    /// The first byte of a head has come, its end has not.
    Head,
    /// At least one exchange is open.
    Exchange,
}

/// Why we cut a connection while its exchanges were open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The client took nothing of an answer for too long.
    Stalled,
    /// A file became shorter while it was sent.
    ShortFile,
    /// The program stops and waits no longer.
    Drained,
}

/// Deadlines and bounds of one downstream connection.
#[derive(Clone, Debug)]
pub struct Limits {
    pub handshake: Duration,
    pub header: Duration,
    pub idle: Duration,
    pub write: Duration,
    pub max_headers: usize,
    pub max_header_size: usize,
    pub h2: H2Limits,
    /// Idle HTTP/1 connections give their buffers back after this.
    pub park_after: Duration,
    pub causes: Causes,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(30),
            max_headers: 100,
            max_header_size: 32 * 1024,
            h2: H2Limits::default(),
            park_after: Duration::from_secs(1),
            causes: Causes::default(),
        }
    }
}

/// Bounds of one HTTP/2 connection.
#[derive(Clone, Copy, Debug)]
pub struct H2Limits {
    pub max_streams: u32,
    /// RST_STREAM frames in ten seconds.
    pub max_resets: u32,
    /// PING frames in ten seconds, and as many SETTINGS frames.
    pub max_pings: u32,
    /// CONTINUATION frames of one header block.
    pub max_continuations: u32,
    /// Flow-control window of a stream, in bytes.
    pub window: u32,
    /// Bytes.
    pub max_frame: u32,
}

impl Default for H2Limits {
    fn default() -> Self {
        Self {
            max_streams: 128,
            max_resets: 200,
            max_pings: 100,
            max_continuations: 20,
            window: 256 * 1024,
            max_frame: 16 * 1024,
        }
    }
}

/// An HTTP/2 request whose stream was ended before anybody handled it.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    pub stream: u32,
    pub why: &'static str,
}

/// The configuration keys behind the limits, for records.
#[derive(Clone, Debug, Default)]
pub struct Causes {
    pub handshake: Cause,
    pub header: Cause,
    pub write: Cause,
    pub max_connections_per_ip: Cause,
}

/// Shared state of one connection while it is served; stays on its core. It is gone while the connection is parked.
pub struct Wire {
    pub connection: Rc<Connection>,
    /// This connection's part of the forwarding fields.
    pub hop: Hop,
    pub limits: Arc<Limits>,
    pub phase: Cell<Phase>,
    /// Idle and header deadline; also the doorbell for [`Wire::drain`].
    pub deadline: Deadline,
    /// Set while a write is blocked.
    pub write_deadline: Deadline,
    pub draining: Cell<bool>,
    pub closed_by_peer: Cell<bool>,
    /// Set before the connection is cut: what its open exchanges end by.
    pub cut: Cell<Option<Cut>>,
    pub first_byte: Cell<Option<Instant>>,
    pub head: RefCell<HeadTracker>,
    /// HTTP/2 requests that were refused and not yet told.
    pub malformed: RefCell<Vec<Malformed>>,
    /// Why the HTTP/2 connection was ended below the library.
    pub broken: Cell<Option<&'static str>>,
    /// HTTP/2 request heads that went to the library, so far.
    pub heads: Cell<u64>,
    /// Answers that are complete but not yet flushed (HTTP/1).
    endings: RefCell<Vec<Box<dyn Ending>>>,
    pub tunnel: RefCell<Option<Tunnel>>,
    /// File segments that stand in for placeholders in the answer.
    pub files: SendQueue,
    /// The socket takes `sendfile(2)`: plain text, HTTP/1.
    pub takes_files: Cell<bool>,
    /// The request body was not read to its end: closing must linger.
    pub unread: Cell<bool>,
    /// HTTP/1: a request had no certain reading; the connection ends with its answer.
    pub is_in_doubt: Cell<bool>,
    /// Response chunks handed to HTTP/2 whose successor was not asked for yet, and when one last was.
    pub unsent: Cell<u32>,
    pub progress_ms: Cell<u64>,
}

impl Wire {
    pub fn new(
        connection: Rc<Connection>,
        limits: Arc<Limits>,
        deadline: Deadline,
        write_deadline: Deadline,
    ) -> Rc<Self> {
        let now_ms = deadline.now_ms();
        let proto = if connection.tls.is_some() { Proto::Https } else { Proto::Http };
        Rc::new(Self {
            hop: Hop::new(connection.sender.ip(), proto),
            connection,
            limits,
            phase: Cell::new(Phase::Idle),
            deadline,
            write_deadline,
            draining: Cell::new(false),
            closed_by_peer: Cell::new(false),
            cut: Cell::new(None),
            first_byte: Cell::new(None),
            head: RefCell::default(),
            malformed: RefCell::default(),
            broken: Cell::new(None),
            heads: Cell::new(0),
            endings: RefCell::default(),
            tunnel: RefCell::default(),
            files: SendQueue::default(),
            takes_files: Cell::new(false),
            unread: Cell::new(false),
            is_in_doubt: Cell::new(false),
            unsent: Cell::new(0),
            progress_ms: Cell::new(now_ms),
        })
    }

    /// An exchange begins.
    pub fn begin(&self) {
        let connection = &self.connection;
        connection.in_flight.set(connection.in_flight.get() + 1);
        connection.requests.set(connection.requests.get() + 1);
        self.phase.set(Phase::Exchange);
        match connection.is_h2 {
            _ if self.is_ringing() => {}
            true => self.deadline.set(self.limits.write),
            false => self.deadline.clear(),
        }
    }

    /// The doorbell of [`Wire::drain`] was not heard yet: a busy connection must not talk over it.
    fn is_ringing(&self) -> bool {
        self.draining.get() && self.deadline.is_due()
    }

    /// Nothing after the request at hand may be read as one, whatever it looks like (RFC 9112 section 11.2).
    pub fn doubt(&self) {
        self.is_in_doubt.set(true);
        self.unread.set(true);
    }

    /// A body has moved.
    pub fn moved(&self) {
        self.progress_ms.set(self.deadline.now_ms());
    }

    /// An exchange has ended; the last one leaves the connection idle.
    pub fn finish(&self, now: Instant) {
        let connection = &self.connection;
        connection.in_flight.set(connection.in_flight.get().saturating_sub(1));
        if connection.in_flight.get() == 0 {
            connection.idle_since.set(now);
            self.phase.set(Phase::Idle);
            match () {
                () if self.is_ringing() => {}
                () if self.draining.get() => self.deadline.set(GOODBYE),
                () if connection.is_h2 => self.deadline.set(self.limits.idle),
                () => self.deadline.set(self.limits.idle.min(self.limits.park_after)),
            }
        }
    }

    /// A reader of HTTP/2 bodies has opened no window for too long.
    pub fn is_stalled(&self) -> bool {
        let still = self.deadline.now_ms().saturating_sub(self.progress_ms.get());
        self.unsent.get() > 0 && u128::from(still) >= self.limits.write.as_millis()
    }

    /// Where file bodies queue their segments, if the socket can send files by itself.
    pub fn send_queue(&self) -> Option<&SendQueue> {
        self.takes_files.get().then_some(&self.files)
    }

    /// Why an exchange that was not complete has ended: we cut the connection, or else the client left.
    pub fn failure(&self) -> Failure {
        match self.cut.get() {
            Some(Cut::Stalled) => Failure::new(Kind::ClientTimeout).because(&self.limits.causes.write),
            Some(Cut::ShortFile) => {
                Failure::refuse(Kind::Internal, "the file became shorter while it was sent")
            }
            Some(Cut::Drained) => Failure::new(Kind::Draining),
            None => Failure::new(Kind::ClientAbort),
        }
    }

    /// Keeps an ended answer until its bytes are flushed.
    pub fn end_when_flushed(&self, ending: Box<dyn Ending>) {
        self.endings.borrow_mut().push(ending);
    }

    /// All written bytes are with the kernel (or the connection has died: `flushed` is false).
    pub fn flush_endings(&self, flushed: bool) {
        if self.endings.borrow().is_empty() {
            return;
        }
        // Not borrowed while they end; and the next request finds the room of this one.
        let mut endings = self.endings.take();
        for ending in endings.drain(..) {
            ending.end(flushed);
        }
        let mut kept = self.endings.borrow_mut();
        if kept.is_empty() {
            *kept = endings;
        }
    }

    /// Finish what is open, take nothing new.
    pub fn drain(&self) {
        if !self.draining.replace(true) {
            self.deadline.ring();
        }
    }
}
