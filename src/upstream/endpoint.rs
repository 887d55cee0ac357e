//! [`Endpoint`]: one address in an upstream, with what all cores share about it: plain atomics, no lock.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use http::HeaderValue;

use super::striped::Striped;

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One address in an upstream. Shared by all cores; survives reloads when address and weight stay.
#[derive(Debug)]
pub struct Endpoint {
    pub address: Address,
    /// `address` as text, for the record.
    pub name: Arc<str>,
    /// The Host that names it: its address, or `localhost` behind a Unix socket.
    pub host: HeaderValue,
    /// Name of the worker process behind it, when tollgate runs it: `app-0`.
    pub worker: Option<Arc<str>>,
    pub weight: u32,
    pub backup: bool,
    /// Requests that this endpoint is answering now.
    pub in_flight: Striped,
    /// Ready to serve: false until a worker's first good `ready` answer, and while it restarts or drains.
    pub up: AtomicBool,
    /// Result of the active health checks; true when there are none.
    pub healthy: AtomicBool,
    /// Passive ejection: not used before this time (milliseconds of the process clock).
    pub ejected_until_ms: AtomicU64,
    pub ejections: AtomicU32,
    /// Consecutive answers with 5xx, or failed connections.
    pub failures: AtomicU32,
    /// Requests sent to it since the start.
    pub requests: Striped,
}

impl Endpoint {
    pub fn new(address: Address, weight: u32, backup: bool, worker: Option<Arc<str>>, up: bool) -> Self {
        let host = match &address {
            Address::Tcp(address) => HeaderValue::try_from(address.to_string()).ok(),
            Address::Unix(_) => None,
        };
        Self {
            host: host.unwrap_or_else(|| HeaderValue::from_static("localhost")),
            name: address.to_string().into(),
            address,
            worker,
            weight,
            backup,
            in_flight: Striped::new(),
            up: AtomicBool::new(up),
            healthy: AtomicBool::new(true),
            ejected_until_ms: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            requests: Striped::new(),
        }
    }

    /// Whether requests may go there at `now_ms`.
    pub fn is_usable(&self, now_ms: u64) -> bool {
        self.up.load(Ordering::Relaxed)
            && self.healthy.load(Ordering::Relaxed)
            && self.ejected_until_ms.load(Ordering::Relaxed) <= now_ms
    }
}

impl Endpoint {
    /// Whether `other` is the same endpoint, so that its state may be carried over.
    pub fn is_same(&self, other: &Self) -> bool {
        self.address == other.address
            && self.weight == other.weight
            && self.backup == other.backup
            && self.worker == other.worker
    }
}
