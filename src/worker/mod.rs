//! Worker processes that tollgate starts and keeps alive: one per endpoint of an upstream with `workers = {…}`.
//!
//! Life of a worker: starting → serving (from the first good answer on) → draining → stopping → stopped; after a
//! death it waits (exponential backoff) and starts again; after too many quick deaths it is *errored* and tried
//! slowly. Each change is told to [`Hooks::on_change`], from which the owner sets the endpoint up or down.
//!
//! Not here: choosing among workers, retries and health checks while serving (`upstream`), and what becomes of the
//! output lines.
//!
//! Invariants: a worker keeps its port over restarts, unless somebody else has taken it. No process of a worker's
//! group outlives the worker; no worker outlives tollgate (see [`exec`]). Everything runs on the control runtime;
//! nothing here is on a request's way.

mod backoff;
pub mod exec;
mod life;
mod output;
mod port;
mod probe;
mod process;
mod supervisor;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use output::{Line, Stream};
pub use supervisor::{Prepared, Supervisor, WorkerStatus};

/// How to run the workers of one upstream. Equal settings need no new workers on a reload.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Name of the upstream; its workers are called `NAME-0`, `NAME-1`, …
    pub name: Arc<str>,
    pub command: Vec<String>,
    /// Put before `command`: see [`exec::launcher`]. Empty runs the command directly.
    pub launcher: Vec<String>,
    pub count: usize,
    /// Added to our own environment, beside `PORT`, `TOLLGATE_WORKER` and `TOLLGATE_UPSTREAM`.
    pub env: Vec<(String, String)>,
    pub cwd: PathBuf,
    pub ready: Ready,
    /// From the start to the first good answer.
    pub ready_timeout: Duration,
    /// How long a worker that is to be replaced may finish what it is answering.
    pub drain_timeout: Duration,
    /// From SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
    pub restart: Restart,
    /// Resident bytes of the worker's first process above which it is drained and replaced; none: no limit.
    pub memory_limit: Option<u64>,
    pub port: PortChoice,
}

impl Settings {
    /// The defaults: a free port, ready when it takes connections, 30 s to become ready, 10 s to drain, 10 s to
    /// stop, no memory limit.
    pub fn new(name: &str, command: Vec<String>, count: usize) -> Self {
        Self {
            name: name.into(),
            command,
            launcher: Vec::new(),
            count,
            env: Vec::new(),
            cwd: PathBuf::from("."),
            ready: Ready::Connect,
            ready_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(10),
            restart: Restart::default(),
            memory_limit: None,
            port: PortChoice::Free,
        }
    }
}

/// What tells that a worker can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It accepts a connection on its port.
    Connect,
    /// It answers `GET` of this path with 2xx.
    Http { path: String },
    /// It accepts a connection on this Unix socket: for services of our own that use no port.
    Socket { path: PathBuf },
}

/// Which ports workers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortChoice {
    /// Free ones on 127.0.0.1.
    Free,
    /// This one for the first worker, the following ones for the others.
    From(u16),
}

/// When and how often a dead worker is started again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    /// Doubled with each quick death.
    pub first_delay: Duration,
    pub max_delay: Duration,
    /// A worker that has served for this long before it died starts again after `first_delay`; one that has not
    /// died a quick death.
    pub steady_after: Duration,
    /// After so many quick deaths in a row the worker is errored.
    pub max_quick_deaths: u32,
    /// How often an errored worker is tried.
    pub errored_delay: Duration,
}

impl Default for Restart {
    /// 100 ms, doubled up to 15 s; steady after 2 s; errored after 16, then tried each minute.
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(15),
            steady_after: Duration::from_secs(2),
            max_quick_deaths: 16,
            errored_delay: Duration::from_secs(60),
        }
    }
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Started, not yet ready.
    Starting,
    /// The only state in which it gets requests.
    Serving,
    /// Finishes what it has; to be replaced or stopped.
    Draining,
    /// Told to end.
    Stopping,
    /// Ended, for good.
    Stopped,
    /// Dead; will be started again after a delay.
    Waiting,
    /// Dead too often in a row; will be tried again slowly.
    Errored,
}

/// A change in the life of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub index: usize,
    pub state: State,
    /// Differs from the event before only when the old port was taken by somebody else.
    pub address: SocketAddr,
    /// How often this worker has been started again.
    pub restarts: u32,
}

/// What the supervisor tells and asks its owner.
#[derive(Clone)]
pub struct Hooks {
    /// Called for every change, in order per worker, from the control runtime: must not block.
    pub on_change: Arc<dyn Fn(Event) + Send + Sync>,
    /// How many requests this worker is answering now; asked while draining.
    pub in_flight: Arc<dyn Fn(usize) -> u32 + Send + Sync>,
}

/// Why workers cannot be started at all. (A worker that dies is no error: it is started again.)
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("workers of {upstream:?}: the command is empty")]
    NoCommand { upstream: Arc<str> },
    #[error("workers of {upstream:?}: the ready path {path:?} is no path; it begins with \"/\"")]
    BadReadyPath { upstream: Arc<str>, path: String },
    #[error("workers of {upstream:?}: ports from {from} on do not suffice for {count} workers")]
    PortsOutOfRange { upstream: Arc<str>, from: u16, count: usize },
    #[error("workers of {upstream:?}: no free port")]
    NoPort { upstream: Arc<str>, source: std::io::Error },
}
