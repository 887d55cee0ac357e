//! New connections to one endpoint: how many are made at once, who waits for them, and what becomes of one that nobody
//! waits for any more.
//!
//! A request does not make its own connection. It takes a [`Ticket`], and as many tasks make connections as there are
//! tickets, up to the bound of the pool. The oldest ticket gets what comes first: a new connection, or one that another
//! request has given back. So a client that resets its requests as soon as it has sent them (CVE-2023-44487) makes us
//! open as many connections as the bound says, not as many as it has sent; and these are kept for the next requests.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::connection::Connection;
use super::endpoint::Endpoint;
use super::local::Local;
use crate::process::deadline::{Deadline, TICK};

/// A connection for a request that had to wait for it.
pub(super) struct Given {
    pub(super) connection: Box<Connection>,
    /// Nobody has used it before.
    pub(super) is_new: bool,
}

/// What a ticket gets: a connection, or why there is none.
type Made = io::Result<Given>;

/// The tickets for one endpoint on one core, and how many connections are being made for them.
#[derive(Default)]
pub(super) struct Line {
    making: usize,
    last: u64,
    /// By number, so by age.
    waiting: BTreeMap<u64, Waiting>,
}

struct Waiting {
    wants_new: bool,
    made: oneshot::Sender<Made>,
}

/// A place in the line; given back when dropped, and what it has got already goes to the next one.
pub(super) struct Ticket {
    local: Rc<Local>,
    endpoint: Arc<Endpoint>,
    number: u64,
    made: oneshot::Receiver<Made>,
}

/// A task that makes connections, counted until dropped.
struct Maker {
    local: Rc<Local>,
    endpoint: Arc<Endpoint>,
}

impl Line {
    /// Whether somebody waits or something is made.
    pub(super) fn is_busy(&self) -> bool {
        self.making > 0 || !self.waiting.is_empty()
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives `connection` to the first who takes it, or back.
    pub(super) fn give(&mut self, connection: Box<Connection>, is_new: bool) -> Option<Box<Connection>> {
        let mut given = Given { connection, is_new };
        while let Some(waiting) = self.next(is_new) {
            match waiting.made.send(Ok(given)) {
                Ok(()) => return None,
                Err(Ok(back)) => given = back,
                Err(Err(_)) => return None,
            }
        }
        Some(given.connection)
    }

    fn next(&mut self, is_new: bool) -> Option<Waiting> {
        let number = *self.waiting.iter().find(|(_, waiting)| is_new || !waiting.wants_new)?.0;
        self.waiting.remove(&number)
    }

    /// Tells the first why there is no connection.
    fn fail(&mut self, mut error: io::Error) {
        while let Some((_, waiting)) = self.waiting.pop_first() {
            match waiting.made.send(Err(error)) {
                Err(Err(back)) => error = back,
                _ => return,
            }
        }
    }

    fn join(&mut self, wants_new: bool) -> (u64, oneshot::Receiver<Made>) {
        let (made, receiver) = oneshot::channel();
        self.last += 1;
        self.waiting.insert(self.last, Waiting { wants_new, made });
        (self.last, receiver)
    }
}

/// A place in the line of `endpoint`; `wants_new` when a connection that was used before is not good enough. What is
/// made for it may take `after` (a time that is told by the clock of `deadline`), and goes on without it.
pub(super) fn wait(
    local: &Rc<Local>,
    endpoint: &Arc<Endpoint>,
    wants_new: bool,
    deadline: &Deadline,
    after: Duration,
) -> Ticket {
    let most = local.connecting();
    let (number, made, is_short) = local.with_line(endpoint, |line| {
        let (number, made) = line.join(wants_new);
        let is_short = line.making < line.waiting.len().min(most);
        line.making += usize::from(is_short);
        (number, made, is_short)
    });
    if is_short {
        let maker = Maker { local: Rc::clone(local), endpoint: Arc::clone(endpoint) };
        tokio::task::spawn_local(maker.run(deadline.another(), after));
    }
    Ticket { local: Rc::clone(local), endpoint: Arc::clone(endpoint), number, made }
}

impl Ticket {
    /// Waits for the connection.
    ///
    /// # Errors
    /// What `connect(2)` says.
    pub(super) async fn connection(&mut self) -> Made {
        (&mut self.made).await.unwrap_or_else(|_| Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.local.with_line(&self.endpoint, |line| line.waiting.remove(&self.number));
        if let Ok(Ok(Given { connection, is_new })) = self.made.try_recv() {
            self.local.keep(connection, is_new);
        }
    }
}

impl Maker {
    /// Makes connections as long as more are wanted than the others make.
    async fn run(self, deadline: Deadline, after: Duration) {
        // Whoever wanted it has given up by then, so that no other one is begun for him.
        let after = after + TICK * 2;
        loop {
            let opening = Connection::open(&self.endpoint, deadline.now_ms());
            match deadline.within(after, opening).await {
                Some(Ok(connection)) => self.local.keep(connection, true),
                Some(Err(error)) => self.local.with_line(&self.endpoint, |line| line.fail(error)),
                // Those who wait have a time of their own.
                None => {}
            }
            if self.local.with_line(&self.endpoint, |line| line.waiting.len() < line.making) {
                return;
            }
        }
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        self.local.with_line(&self.endpoint, |line| line.making -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{SocketAddr, TcpListener};

    use socket2::{Domain, Socket, Type};

    use super::super::endpoint::Address;
    use super::super::local::Locals;
    use super::super::{Settings, Upstream};
    use super::*;
    use crate::process::deadline::Deadlines;

    const LONG: Duration = Duration::from_secs(10);
    const MOST: usize = 8;

    struct Fixture {
        origin: TcpListener,
        endpoint: Arc<Endpoint>,
        local: Rc<Local>,
        deadline: Deadline,
    }

    impl Fixture {
        fn new() -> Self {
            let origin = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            origin.set_nonblocking(true).unwrap();
            let address = Address::Tcp(origin.local_addr().unwrap());
            let endpoint = Arc::new(Endpoint::new(address, 1, false, None, true));
            let mut settings = Settings::default();
            settings.pool.connecting = MOST;
            let upstream = Upstream::new(settings, vec![Arc::clone(&endpoint)]);
            let deadline = Deadlines::new().slot();
            Self { origin, endpoint, local: Locals::default().of(&upstream), deadline }
        }

        fn ticket(&self, wants_new: bool) -> Ticket {
            wait(&self.local, &self.endpoint, wants_new, &self.deadline, LONG)
        }

        fn tickets(&self, count: usize) -> Vec<Ticket> {
            (0..count).map(|_| self.ticket(false)).collect()
        }

        /// Connections that the origin got since it was last asked.
        fn opened(&self) -> usize {
            std::iter::from_fn(|| self.origin.accept().ok()).count()
        }

        /// Waits until no connection is being made.
        async fn settled(&self) {
            while self.local.with_line(&self.endpoint, |line| line.making) > 0 {
                tokio::task::yield_now().await;
            }
        }

        fn idle(&self) -> usize {
            std::iter::from_fn(|| self.local.take(&self.endpoint, 0)).count()
        }
    }

    fn run(test: impl AsyncFnOnce(Fixture)) {
        let options = tokio::runtime::LocalOptions::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(options);
        runtime.unwrap().block_on(async { tokio::time::timeout(LONG, test(Fixture::new())).await.unwrap() });
    }

    #[test]
    fn requests_that_are_reset_at_once_open_no_more_than_the_bound_and_leave_it_to_the_next() {
        run(async |fixture| {
            for _ in 0..20 {
                drop(fixture.tickets(10));
            }
            fixture.settled().await;
            assert_eq!((fixture.opened(), fixture.idle()), (MOST, MOST));
        });
    }

    #[test]
    fn all_who_wait_are_served_in_turn() {
        run(async |fixture| {
            let tickets = fixture.tickets(5 * MOST);
            assert_eq!(fixture.local.with_line(&fixture.endpoint, |line| line.making), MOST);
            let mut held = Vec::new();
            for mut ticket in tickets {
                held.push(ticket.connection().await.unwrap());
            }
            fixture.settled().await;
            assert_eq!((held.len(), fixture.opened(), fixture.idle()), (5 * MOST, 5 * MOST, 0));
        });
    }

    #[test]
    fn a_connection_that_is_given_back_goes_to_the_first_that_takes_it() {
        run(async |fixture| {
            let used = fixture.ticket(false).connection().await.unwrap().connection;
            fixture.settled().await;
            let (mut strict, mut first, mut second) =
                (fixture.ticket(true), fixture.ticket(false), fixture.ticket(false));
            fixture.local.give_back(used, 0);
            let given = first.connection().await.unwrap();
            assert!(!given.is_new);
            assert!(strict.connection().await.unwrap().is_new);
            assert!(second.connection().await.unwrap().is_new);
        });
    }

    #[test]
    fn what_came_for_a_request_that_is_gone_goes_to_the_next() {
        run(async |fixture| {
            let gone = fixture.ticket(false);
            fixture.settled().await;
            drop(gone);
            assert_eq!((fixture.opened(), fixture.idle()), (1, 1));
        });
    }

    #[test]
    fn each_who_waits_is_told_why_there_is_no_connection() {
        run(async |mut fixture| {
            // Bound, so that nobody else gets the port, and not listening.
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            let address = Address::Tcp(socket.local_addr().unwrap().as_socket().unwrap());
            fixture.endpoint = Arc::new(Endpoint::new(address, 1, false, None, true));
            let tickets = fixture.tickets(3 * MOST);
            for mut ticket in tickets {
                let error = ticket.connection().await.err().map(|error| error.kind());
                assert_eq!(error, Some(ErrorKind::ConnectionRefused));
            }
            fixture.settled().await;
        });
    }
}
