//! [`Life`]: one connection from its acceptance to its end, served and parked by turns.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tokio_rustls::server::TlsStream;

use super::station::Station;
use crate::downstream::parked::Parked;
use crate::downstream::tap::Socket;
use crate::downstream::wire::Limits;
use crate::downstream::{Why, h1, h2, sniff};
use crate::exchange::connection::{Connection, TlsFacts};
use crate::listener::spread::Open;
use crate::plan::Plan;
use crate::tls::handshake::Why as HandshakeWhy;

/// See the module. Written by hand, because an idle connection keeps it and each byte counts: an `async fn` would keep
/// room for its arguments and for every place between which the connection moves.
pub(super) struct Life<S> {
    station: Rc<Station>,
    _open: Open,
    stage: Stage<S>,
}

/// One time of service: ends with the connection, or with a connection to be parked.
type Service<S> = Pin<Box<dyn Future<Output = Option<Parked<S>>>>>;

enum Stage<S> {
    Served(Service<S>),
    /// `None` only inside of a poll.
    Parked(Option<Parked<S>>),
}

impl<S: Socket> Life<S> {
    /// Starts the task of a connection whose first service is `first`.
    pub(super) fn spawn(
        station: &Rc<Station>,
        open: Open,
        first: impl Future<Output = Option<Parked<S>>> + 'static,
    ) {
        let stage = Stage::Served(Box::pin(first));
        tokio::task::spawn_local(Self { station: Rc::clone(station), _open: open, stage });
    }
}

impl<S: Socket> Future for Life<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { station, stage, .. } = &mut *self;
        loop {
            *stage = match stage {
                Stage::Served(service) => match ready!(service.as_mut().poll(cx)) {
                    Some(parked) => Stage::Parked(Some(parked)),
                    None => return Poll::Ready(()),
                },
                Stage::Parked(parked) => {
                    let has_sent = match parked {
                        Some(parked) if !station.is_draining.get() => ready!(parked.poll_readable(cx)),
                        _ => false,
                    };
                    let Some(parked) = parked.take() else { return Poll::Ready(()) };
                    let station = Rc::clone(station);
                    Stage::Served(match has_sent {
                        true => Box::pin(station.serve_again(parked)),
                        false => Box::pin(station.close(parked)),
                    })
                }
            };
        }
    }
}

impl Station {
    pub(super) async fn serve_plain<S: Socket>(
        self: Rc<Self>,
        mut socket: S,
        mut connection: Connection,
        plan: Arc<Plan>,
    ) -> Option<Parked<S>> {
        let mut prefix = Bytes::new();
        if plan.h2c {
            let deadline = self.proxy.core.deadlines.slot();
            deadline.set(plan.downstream.header);
            let Some(sniffed) = sniff(&mut socket, &deadline, || self.is_draining.get()).await else {
                if !self.is_draining.get() {
                    self.refuse(Rc::new(connection), &plan, Why::Gone, "");
                }
                return None;
            };
            (connection.is_h2, prefix) = sniffed;
        }
        let limits = limits_of(plan);
        self.serve(socket, prefix, Rc::new(connection), limits).await
    }

    pub(super) async fn serve_tls<S: Socket>(
        self: Rc<Self>,
        socket: S,
        connection: Connection,
        plan: Arc<Plan>,
    ) -> Option<Parked<Box<TlsStream<S>>>> {
        // Boxed: a connection keeps its future for as long as it is busy, and the handshake needs much.
        let (stream, connection) = Box::pin(self.shake(socket, connection, &plan)).await?;
        let limits = limits_of(plan);
        self.serve(stream, Bytes::new(), connection, limits).await
    }

    /// After a rest the limits are those of the plan that runs now.
    async fn serve_again<S: Socket>(self: Rc<Self>, parked: Parked<S>) -> Option<Parked<S>> {
        let limits = limits_of(self.proxy.plan());
        self.serve(parked.socket, Bytes::new(), parked.connection, limits).await
    }

    async fn close<S: Socket>(self: Rc<Self>, parked: Parked<S>) -> Option<Parked<S>> {
        if parked.connection.requests.get() == 0 && !self.is_draining.get() {
            self.refuse(Rc::clone(&parked.connection), &self.proxy.plan(), Why::Silent, "");
        }
        parked.close().await;
        None
    }

    async fn shake<S: Socket>(
        &self,
        socket: S,
        mut connection: Connection,
        plan: &Plan,
    ) -> Option<(Box<TlsStream<S>>, Rc<Connection>)> {
        let server = plan.tls.as_ref()?;
        let deadline = self.proxy.core.deadlines.slot();
        deadline.set(plan.downstream.handshake);
        // A client that has not even shaken hands has asked for nothing: it may come again elsewhere.
        let (stream, facts) = match self.unless_draining(server.accept(socket, deadline.due())).await? {
            Ok(shaken) => shaken,
            Err(error) => {
                let is_timeout = error.why == HandshakeWhy::Timeout;
                let why = if is_timeout { Why::HandshakeTimeout } else { Why::Handshake };
                self.refuse(Rc::new(connection), plan, why, error.detail());
                return None;
            }
        };
        connection.handshake_us = Some(connection.accepted.elapsed().as_micros() as u32);
        connection.idle_since.set(Instant::now());
        connection.is_h2 = facts.alpn == Some("h2");
        connection.tls = Some(Box::new(tls_facts(facts)));
        Some((Box::new(stream), Rc::new(connection)))
    }

    /// Ends with `None` as soon as the core drains. `work` waits on a deadline of the core too: those wake it then.
    async fn unless_draining<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Pending if self.is_draining.get() => Poll::Ready(None),
            polled => polled.map(Some),
        })
        .await
    }

    async fn serve<S: Socket>(
        &self,
        socket: S,
        prefix: Bytes,
        connection: Rc<Connection>,
        limits: Arc<Limits>,
    ) -> Option<Parked<S>> {
        let wire = self.wire(Rc::clone(&connection), Arc::clone(&limits));
        self.wires.borrow_mut().insert(connection.serial, Rc::downgrade(&wire));
        let handler = Rc::clone(&self.proxy);
        let idle = match connection.is_h2 {
            true => {
                Box::pin(h2::serve(socket, prefix, wire, handler)).await;
                None
            }
            false => h1::serve(socket, prefix, wire, handler).await,
        };
        self.wires.borrow_mut().remove(&connection.serial);
        let deadline = || self.proxy.core.deadlines.slot();
        idle.map(|socket| Parked::new(socket, connection, deadline(), &limits))
    }
}

/// By value: whoever serves a connection for long must not keep a plan that was replaced.
#[expect(clippy::needless_pass_by_value, reason = "see above")]
fn limits_of(plan: Arc<Plan>) -> Arc<Limits> {
    Arc::clone(&plan.downstream)
}

/// The facts of a handshake as the notebook keeps them.
fn tls_facts(facts: crate::tls::Facts) -> TlsFacts {
    TlsFacts {
        version: facts.version,
        cipher: facts.cipher,
        group: facts.group,
        alpn: facts.alpn,
        sni: facts.sni.clone(),
        resumed: facts.resumed,
        covers: Box::new(move |host| facts.covers(host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runtime adds up to 104 bytes and rounds up to a multiple of 128.
    #[test]
    fn the_task_of_a_connection_takes_256_bytes() {
        assert!(size_of::<Life<tokio::net::TcpStream>>() <= 256 - 104);
    }

    /// With the two counts in front of it; the allocator has blocks of 160.
    #[test]
    fn the_facts_of_a_plain_connection_take_160_bytes() {
        assert!(size_of::<Connection>() + 16 <= 160);
    }
}
