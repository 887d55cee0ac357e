//! [`Parked`]: an idle HTTP/1 connection that has given back everything but its socket and its facts.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::linger;
use super::tap::Socket;
use super::wire::Limits;
use crate::exchange::connection::Connection;
use crate::process::deadline::Deadline;

/// See the module. There may be very many, so each byte counts.
pub struct Parked<S> {
    pub socket: S,
    pub connection: Rc<Connection>,
    deadline: Deadline,
}

impl<S: Socket> Parked<S> {
    /// Gives the client what is left of its time to send a request: the first one, or the next.
    pub fn new(socket: S, connection: Rc<Connection>, deadline: Deadline, limits: &Limits) -> Self {
        let limit = match connection.requests.get() {
            0 => limits.header,
            _ => limits.idle,
        };
        deadline.set(limit.saturating_sub(connection.idle_since.get().elapsed()));
        Self { socket, connection, deadline }
    }

    /// Ready with true once the client has sent something (or closed), with false when it did not in time.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<bool> {
        if let Poll::Ready(readable) = self.socket.poll_readable(cx) {
            return Poll::Ready(readable.is_ok());
        }
        self.deadline.poll_due(cx).map(|()| false)
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        linger::close(self.socket, 0, &self.deadline).await;
    }
}
