//! What the service needs to know, checked and typed.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Where the packet port listens when the service is started by hand.
pub const DEFAULT_PACKETS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9040));

/// Settings of a log service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of the hour files; created when missing.
    pub data: PathBuf,
    /// Where HTTP is served.
    pub http: Vec<Listen>,
    /// Where `¶` packets are taken, if at all.
    pub packets: Option<SocketAddr>,
    pub limits: Limits,
}

impl Settings {
    /// A service without any socket yet, with the default limits.
    pub fn new(data: PathBuf) -> Self {
        Self { data, http: Vec::new(), packets: None, limits: Limits::default() }
    }
}

/// Bounds on what strangers may make the service hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections per listening address.
    pub connections: usize,
    /// Largest body of `POST /logs`, bytes.
    pub body_bytes: usize,
    /// Largest single entry and largest packet, bytes.
    pub entry_bytes: usize,
    /// Bodies and packets held in memory together, bytes; beyond it senders are told to come again.
    pub held_bytes: usize,
    /// Most entries in one body.
    pub batch_entries: usize,
    /// Time for a whole request head.
    pub header_timeout: Duration,
    /// Time for a whole body.
    pub body_timeout: Duration,
    /// A connection on which no byte moves for so long is closed.
    pub idle_timeout: Duration,
    /// Live tails at the same time.
    pub tails: usize,
    /// Searches at the same time.
    pub searches: usize,
    /// Hour files beyond this total are deleted, oldest first; bytes. The current hour is never deleted.
    pub keep_bytes: u64,
    /// Hour files older than this are deleted.
    pub keep_hours: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            body_bytes: 16 << 20,
            entry_bytes: 1 << 20,
            held_bytes: 96 << 20,
            batch_entries: 1 << 17,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            tails: 32,
            searches: 4,
            keep_bytes: 16 << 30,
            keep_hours: 24 * 30,
        }
    }
}

/// An address to listen on: `127.0.0.1:9600` or `unix:run/logs.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Text that is no listen address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither `unix:PATH` nor `IP:PORT`")]
pub struct ListenError(String);

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        text.parse().map(Self::Tcp).map_err(|_| ListenError(text.to_owned()))
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
