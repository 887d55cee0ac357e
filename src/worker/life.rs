//! The life of one worker, over all its processes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::backoff::{Backoff, jitter};
use super::output::Line;
use super::process::{Process, Start, resident_bytes};
use super::{Event, Hooks, PortChoice, Settings, State, port, probe};

const MEMORY_CHECK: Duration = Duration::from_secs(2);
const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// What the owner may ask of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Stop,
    Restart,
}

/// What is known of a worker now.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) state: State,
    pub(super) address: SocketAddr,
    pub(super) process: Option<u32>,
    /// Since when it is in `state`.
    pub(super) since: Instant,
    pub(super) restarts: u32,
    /// How the last process ended.
    pub(super) last_end: Option<String>,
    /// It has served, or died, at least once.
    pub(super) settled: bool,
}

/// The task of one worker.
pub(super) struct Life {
    pub(super) settings: Arc<Settings>,
    pub(super) index: usize,
    pub(super) name: Arc<str>,
    pub(super) hooks: Hooks,
    pub(super) lines: mpsc::Sender<Line>,
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) snapshot: watch::Sender<Snapshot>,
    pub(super) orders: mpsc::Receiver<Order>,
}

/// Why a process ended.
enum End {
    Ordered(Order),
    /// After so long of serving; zero when it never became ready.
    Died(Duration),
}

impl Life {
    /// Runs until it is ordered to stop.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.settings.restart);
        loop {
            let order = match self.one_process().await {
                End::Ordered(order) => Some(order),
                End::Died(served) => self.wait(backoff.after_death(served, jitter())).await,
            };
            match order {
                Some(Order::Stop) => break,
                Some(Order::Restart) => backoff.reset(),
                None => {}
            }
            self.snapshot.send_modify(|snapshot| snapshot.restarts = snapshot.restarts.saturating_add(1));
        }
        self.enter(State::Stopped);
    }

    async fn one_process(&mut self) -> End {
        let settled = self.settle_port();
        self.enter(State::Starting);
        let mut process = match settled.and_then(|()| self.start()) {
            Ok(process) => process,
            Err(error) => return self.died(format!("cannot start: {error}"), Duration::ZERO),
        };
        self.snapshot.send_modify(|snapshot| snapshot.process = process.id());
        let end = self.accompany(&mut process).await;
        process.clean_up().await;
        self.snapshot.send_modify(|snapshot| snapshot.process = None);
        end
    }

    /// From the start of a process to its end.
    async fn accompany(&mut self, process: &mut Process) -> End {
        let address = self.snapshot.borrow().address;
        let order = tokio::select! {
            biased;
            order = self.orders.recv() => Some(order.unwrap_or(Order::Stop)),
            how = process.ended() => return self.died(how, Duration::ZERO),
            () = probe::until_ready(address, &self.settings.ready) => None,
            () = tokio::time::sleep(self.settings.ready_timeout) => {
                let how = process.stop(self.settings.stop_timeout).await;
                let patience = self.settings.ready_timeout;
                return self.died(format!("not ready on {address} within {patience:?}; {how}"), Duration::ZERO);
            }
        };
        match order {
            Some(order) => self.stop(process, order).await,
            None => self.serve(process).await,
        }
    }

    async fn serve(&mut self, process: &mut Process) -> End {
        self.enter(State::Serving);
        let began = Instant::now();
        let id = process.id();
        let mut order = tokio::select! {
            biased;
            how = process.ended() => return self.died(how, began.elapsed()),
            order = self.orders.recv() => order.unwrap_or(Order::Stop),
            () = over_limit(id, self.settings.memory_limit) => {
                tracing::warn!(worker = %self.name, limit = self.settings.memory_limit, "worker is over its memory limit");
                Order::Restart
            }
        };
        if order == Order::Restart {
            order = self.drain(process).await;
        }
        self.stop(process, order).await
    }

    /// Until it has answered everything, dies, gets another order, or the time is over. Says what to do then.
    async fn drain(&mut self, process: &mut Process) -> Order {
        self.enter(State::Draining);
        let in_flight = Arc::clone(&self.hooks.in_flight);
        let index = self.index;
        let idle = async {
            while in_flight(index) > 0 {
                tokio::time::sleep(DRAIN_CHECK).await;
            }
        };
        tokio::select! {
            () = idle => Order::Restart,
            _ = process.ended() => Order::Restart,
            order = self.orders.recv() => order.unwrap_or(Order::Stop),
            () = tokio::time::sleep(self.settings.drain_timeout) => Order::Restart,
        }
    }

    async fn stop(&mut self, process: &mut Process, order: Order) -> End {
        self.enter(State::Stopping);
        let how = process.stop(self.settings.stop_timeout).await;
        self.snapshot.send_modify(|snapshot| snapshot.last_end = Some(how));
        End::Ordered(order)
    }

    /// Tells of the death at once, so that the next request goes elsewhere.
    fn died(&mut self, how: String, served: Duration) -> End {
        tracing::warn!(worker = %self.name, how, served_s = served.as_secs(), "worker died");
        self.snapshot.send_modify(|snapshot| {
            snapshot.last_end = Some(how);
            snapshot.settled = true;
        });
        self.enter(State::Waiting);
        End::Died(served)
    }

    async fn wait(&mut self, wait: super::backoff::Wait) -> Option<Order> {
        if wait.errored {
            tracing::error!(worker = %self.name, "worker died too often; tried again every {:?}", wait.delay);
            self.enter(State::Errored);
        }
        tokio::select! {
            () = tokio::time::sleep(wait.delay) => None,
            order = self.orders.recv() => Some(order.unwrap_or(Order::Stop)),
        }
    }

    fn start(&self) -> std::io::Result<Process> {
        Process::start(&Start {
            settings: &self.settings,
            index: self.index,
            name: &self.name,
            address: self.snapshot.borrow().address,
            lines: &self.lines,
            dropped: &self.dropped,
        })
    }

    /// When somebody else has taken the port while the worker was down: a worker with a free port gets another
    /// one; one with a fixed port must not start, or the stranger would answer the probe, and then requests.
    fn settle_port(&mut self) -> std::io::Result<()> {
        let address = self.snapshot.borrow().address;
        if port::is_free(address) {
            return Ok(());
        }
        if self.settings.port != PortChoice::Free {
            return Err(std::io::Error::other(format!("somebody else listens on {address}")));
        }
        let other = port::free()?.address;
        tracing::warn!(worker = %self.name, %address, %other, "port was taken; worker gets another one");
        self.snapshot.send_modify(|snapshot| snapshot.address = other);
        Ok(())
    }

    fn enter(&mut self, state: State) {
        self.snapshot.send_modify(|snapshot| {
            snapshot.state = state;
            snapshot.since = Instant::now();
            snapshot.settled |= state == State::Serving;
        });
        let Snapshot { address, restarts, .. } = *self.snapshot.borrow();
        tracing::debug!(worker = %self.name, ?state, %address, restarts, "worker");
        (self.hooks.on_change)(Event { index: self.index, state, address, restarts });
    }
}

/// Completes when the process has more than `limit` resident bytes.
async fn over_limit(process: Option<u32>, limit: Option<u64>) {
    let (Some(process), Some(limit)) = (process, limit) else { return std::future::pending().await };
    loop {
        tokio::time::sleep(MEMORY_CHECK).await;
        if resident_bytes(process).is_some_and(|bytes| bytes > limit) {
            return;
        }
    }
}
