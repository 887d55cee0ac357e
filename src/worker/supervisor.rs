//! [`Supervisor`]: all workers of one upstream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::life::{Life, Order, Snapshot};
use super::output::Line;
use super::port::{Reserved, reserve};
use super::process::resident_bytes;
use super::{Hooks, Ready, Settings, State, WorkerError};

/// Workers that have their ports but are not started: the time to make endpoints of them.
#[derive(Debug)]
pub struct Prepared {
    settings: Arc<Settings>,
    ports: Vec<Reserved>,
}

impl Prepared {
    /// Where the workers will listen, by index.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.ports.iter().map(|port| port.address).collect()
    }

    /// Names of the workers, by index: `app-0`.
    pub fn names(&self) -> Vec<Arc<str>> {
        (0..self.ports.len()).map(|index| name(&self.settings, index)).collect()
    }

    /// Starts the workers. Must be called on the control runtime. `lines` gets what they print.
    pub fn start(self, hooks: &Hooks, lines: &mpsc::Sender<Line>) -> Supervisor {
        let addresses = self.addresses();
        // Free the ports only now, so that no two upstreams get the same one.
        drop(self.ports);
        let settings = self.settings;
        let start_one = |(index, address)| start_one(&settings, index, address, hooks, lines);
        Supervisor { workers: addresses.into_iter().enumerate().map(start_one).collect() }
    }
}

/// Keeps the workers of one upstream alive. Dropping it without [`Supervisor::stop`] stops them too, unwaited.
#[derive(Debug)]
pub struct Supervisor {
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    name: Arc<str>,
    snapshot: watch::Receiver<Snapshot>,
    orders: mpsc::Sender<Order>,
    dropped: Arc<AtomicU64>,
}

/// What `status` shows of a worker.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct WorkerStatus {
    pub name: String,
    pub index: usize,
    pub pid: Option<u32>,
    pub state: State,
    pub address: SocketAddr,
    /// How often it has been started again.
    pub restarts: u32,
    /// Seconds in the present state.
    pub for_s: u64,
    /// Resident bytes of its first process.
    pub rss_bytes: Option<u64>,
    /// Lines of output that were lost because the queue was full.
    pub dropped_lines: u64,
    /// How its last process ended.
    pub last_end: Option<String>,
}

impl Supervisor {
    /// Chooses ports; starts nothing yet.
    ///
    /// # Errors
    /// There is no command, the ready path is none, or there are no ports.
    pub fn prepare(settings: Settings) -> Result<Prepared, WorkerError> {
        if settings.command.is_empty() {
            return Err(WorkerError::NoCommand { upstream: settings.name });
        }
        if let Ready::Http { path } = &settings.ready
            && (!path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err())
        {
            return Err(WorkerError::BadReadyPath { upstream: settings.name.clone(), path: path.clone() });
        }
        let ports = reserve(settings.port, settings.count, &settings.name)?;
        Ok(Prepared { settings: Arc::new(settings), ports })
    }

    pub fn status(&self) -> Vec<WorkerStatus> {
        self.workers.iter().enumerate().map(|(index, worker)| worker.status(index)).collect()
    }

    /// Completes when every worker has served or died at least once: what a start waits for. Says how many serve.
    pub async fn settled(&self) -> usize {
        for worker in &self.workers {
            // Fails only when the task is gone, and then there is nothing to wait for.
            let _ = worker.snapshot.clone().wait_for(|snapshot| snapshot.settled).await;
        }
        self.workers.iter().filter(|worker| worker.snapshot.borrow().state == State::Serving).count()
    }

    /// Drains this worker and starts it again; unknown indexes are ignored.
    pub async fn restart(&self, index: usize) {
        if let Some(worker) = self.workers.get(index) {
            let _ = worker.orders.send(Order::Restart).await;
        }
    }

    /// Ends all workers, at the same time; completes when they are gone. The caller has drained the proxy before.
    pub async fn stop(&self) {
        for worker in &self.workers {
            let _ = worker.orders.send(Order::Stop).await;
        }
        for worker in &self.workers {
            let _ = worker.snapshot.clone().wait_for(|snapshot| snapshot.state == State::Stopped).await;
        }
    }
}

impl Worker {
    fn status(&self, index: usize) -> WorkerStatus {
        let now = self.snapshot.borrow().clone();
        WorkerStatus {
            name: self.name.to_string(),
            index,
            pid: now.process,
            state: now.state,
            address: now.address,
            restarts: now.restarts,
            for_s: now.since.elapsed().as_secs(),
            rss_bytes: now.process.and_then(resident_bytes),
            dropped_lines: self.dropped.load(Ordering::Relaxed),
            last_end: now.last_end,
        }
    }
}

fn name(settings: &Settings, index: usize) -> Arc<str> {
    format!("{}-{index}", settings.name).into()
}

fn start_one(
    settings: &Arc<Settings>,
    index: usize,
    address: SocketAddr,
    hooks: &Hooks,
    lines: &mpsc::Sender<Line>,
) -> Worker {
    let (snapshot, seen) = watch::channel(Snapshot {
        state: State::Starting,
        address,
        process: None,
        since: Instant::now(),
        restarts: 0,
        last_end: None,
        settled: false,
    });
    let (orders, received) = mpsc::channel(4);
    let (name, dropped) = (name(settings, index), Arc::new(AtomicU64::new(0)));
    let life = Life {
        settings: Arc::clone(settings),
        index,
        name: Arc::clone(&name),
        hooks: hooks.clone(),
        lines: lines.clone(),
        dropped: Arc::clone(&dropped),
        snapshot,
        orders: received,
    };
    tokio::spawn(life.run());
    Worker { name, snapshot: seen, orders, dropped }
}
