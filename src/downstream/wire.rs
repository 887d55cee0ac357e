//! [`Wire`]: what the I/O wrapper, the connection loop and the exchanges of one connection share.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};

use super::head::HeadTracker;
use super::meter::FrameMeter;
use crate::exchange::connection::Connection;
use crate::exchange::failure::Cause;
use crate::http::sendfile::SendQueue;
use crate::process::deadline::Deadline;

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

/// Why we ended a connection that had open exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The client did not take what we sent.
    Write,
    /// The time of the drain was over.
    Drain,
    /// A file became shorter while it was sent.
    ShortFile,
}

/// Deadlines and bounds of one downstream connection.
#[derive(Clone, Debug)]
pub struct Limits {
    pub handshake: Duration,
    pub header: Duration,
    pub header_cause: Cause,
    pub idle: Duration,
    pub write: Duration,
    pub write_cause: Cause,
    pub max_headers: usize,
    pub max_header_size: usize,
    pub max_streams: u32,
    /// Idle HTTP/1 connections give their buffers back after this.
    pub park_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            header_cause: "timeouts.header".into(),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(30),
            write_cause: "timeouts.write".into(),
            max_headers: 100,
            max_header_size: 32 * 1024,
            max_streams: 128,
            park_after: Duration::from_secs(1),
        }
    }
}

/// Shared state of one connection; stays on its core.
pub struct Wire {
    pub connection: Rc<Connection>,
    pub limits: Arc<Limits>,
    pub phase: Cell<Phase>,
    /// Idle and header deadline; also the doorbell for [`Wire::drain`].
    pub deadline: Deadline,
    /// Set while a write is blocked.
    pub write_deadline: Deadline,
    pub draining: Cell<bool>,
    pub closed_by_peer: Cell<bool>,
    /// Set where it was our doing, not the client's.
    pub cut: Cell<Option<Cut>>,
    pub first_byte: Cell<Option<Instant>>,
    pub head: RefCell<HeadTracker>,
    pub frames: RefCell<FrameMeter>,
    /// Answers that are complete but not yet flushed (HTTP/1).
    endings: RefCell<Vec<Box<dyn Ending>>>,
    pub tunnel: RefCell<Option<Tunnel>>,
    /// File segments that stand in for placeholders in the answer.
    pub files: SendQueue,
    /// The socket takes `sendfile(2)`: plain text, HTTP/1.
    pub takes_files: Cell<bool>,
    /// The request body was not read to its end: closing must linger.
    pub unread: Cell<bool>,
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
        Rc::new(Self {
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
            frames: RefCell::default(),
            endings: RefCell::default(),
            tunnel: RefCell::default(),
            files: SendQueue::default(),
            takes_files: Cell::new(false),
            unread: Cell::new(false),
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
            true => self.deadline.set(self.limits.write),
            false => self.deadline.clear(),
        }
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
            let after = if connection.is_h2 { Duration::MAX } else { self.limits.park_after };
            self.deadline.set(self.limits.idle.min(after));
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

    /// Keeps an ended answer until its bytes are flushed.
    pub fn end_when_flushed(&self, ending: Box<dyn Ending>) {
        self.endings.borrow_mut().push(ending);
    }

    /// All written bytes are with the kernel (or the connection has died: `flushed` is false).
    pub fn flush_endings(&self, flushed: bool) {
        if self.endings.borrow().is_empty() {
            return;
        }
        let endings = std::mem::take(&mut *self.endings.borrow_mut());
        for ending in endings {
            ending.end(flushed);
        }
    }

    /// Finish what is open, take nothing new.
    pub fn drain(&self) {
        if !self.draining.replace(true) {
            self.deadline.ring();
        }
    }
}
