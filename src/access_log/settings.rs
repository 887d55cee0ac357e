//! What the log must know before it starts.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::shipping::ShippingSettings;
use crate::tls::CertPair;
use crate::tls::client::Roots;

/// The log as a whole. Without sinks nothing is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of this instance, written as `proxy`.
    pub proxy: String,
    pub sinks: Vec<SinkSettings>,
    pub spool: SpoolSettings,
    /// Sampling of quick successes; all records are kept without it.
    pub sample: Option<Sample>,
    /// Ring of each core, in bytes: what may wait for the collector before records are dropped.
    pub ring_bytes: usize,
    /// How many process events and worker lines may wait for the collector.
    pub line_queue: usize,
}

impl Settings {
    /// 4 MiB per core, 4096 lines, a spool in memory, no sampling.
    pub fn new(proxy: impl Into<String>, sinks: Vec<SinkSettings>) -> Self {
        let spool = SpoolSettings::default();
        Self { proxy: proxy.into(), sinks, spool, sample: None, ring_bytes: 4 << 20, line_queue: 4096 }
    }
}

/// What waits between the cores and the sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Where segments and rings are kept, so that they outlive the process; without it they are memory.
    pub dir: Option<PathBuf>,
    /// Most bytes on disk.
    pub size: u64,
    /// Bytes from which a new segment is begun.
    pub segment: u64,
    pub sync: Sync,
    /// Most bytes in memory, where nothing can be written.
    pub memory: usize,
    /// Refuse requests while it is full, and record all others whole, instead of recording less and less.
    pub fails_closed: bool,
    /// So long a new request waits at most while records lose something because it fills; no request waits without it.
    pub blocks_for: Option<Duration>,
}

impl Default for SpoolSettings {
    /// In memory, 64 MiB; on disk 4 GiB in segments of 64 MiB, synced every 200 ms.
    fn default() -> Self {
        let sync = Sync::Every(Duration::from_millis(200));
        Self {
            dir: None,
            size: 4 << 30,
            segment: 64 << 20,
            sync,
            memory: 64 << 20,
            fails_closed: false,
            blocks_for: None,
        }
    }
}

/// When what is written is put on the disk, so that it outlives the machine. It outlives the process in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before any sink sees it.
    Always,
    Every(Duration),
    /// When the operating system likes.
    System,
}

/// Sampling by outcome: whatever failed, was slow, retried or limited is kept; of the rest one in so many, which
/// carries the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub one_in: u16,
    /// From this duration on a request is slow.
    pub slow: Duration,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkSettings {
    Stdout(StdoutSettings),
    File(FileSettings),
    Service(ServiceSettings),
    Shipping(Box<ShippingSettings>),
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The record with all fields; also process events, worker lines and gaps.
    #[default]
    Json,
    /// The same in the names of Elastic's Common Schema.
    Ecs,
    /// The same as OpenTelemetry's log data model has it.
    Otel,
    /// HAProxy's HTTP log format; exchanges only. With the heading that a syslog server puts before it, as files have it, or
    /// without, for those who put it there.
    Haproxy { has_heading: bool },
    /// The combined format of Apache and nginx; exchanges only.
    Combined,
    /// One line for people, as `logs tail` prints it; without start and stop. With colours or without.
    Line { colours: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StdoutSettings {
    /// As the configuration calls it, if it is a sink with a name.
    pub name: Option<String>,
    pub form: Form,
}

impl Default for StdoutSettings {
    fn default() -> Self {
        Self { name: None, form: Form::Json }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// As the configuration calls it, if it is a sink with a name.
    pub name: Option<String>,
    pub path: PathBuf,
    pub form: Form,
    /// Size from which a new file is begun; 0 means never.
    pub rotate_bytes: u64,
    /// How many old files stay, as `path.1`, `path.2`, …; the rest is deleted.
    pub keep: u32,
}

impl FileSettings {
    /// 256 MiB per file, 7 old ones.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { name: None, path: path.into(), form: Form::Json, rotate_bytes: 256 << 20, keep: 7 }
    }
}

/// Shipping to a log service: `POST /frames` with frames as they are in the spool, or `POST /logs` with JSON lines to one
/// that does not know frames; each batch until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    pub endpoint: ServiceEndpoint,
    /// Sent with each request (`Authorization: Bearer`, RFC 6750).
    pub token: Option<Token>,
    /// The authorities that vouch for a service over https.
    pub roots: Roots,
    /// Shown to a service over https that asks for a certificate.
    pub identity: Option<Arc<CertPair>>,
    /// How many batches may be under way; each has a connection of its own.
    pub window: usize,
    /// A batch is sent when it has this many bytes…
    pub batch_bytes: usize,
    /// …or when this has passed since the batch before (half of it when that was small): what comes alone goes at once.
    pub linger: Duration,
    /// Time for connecting, sending and the answer, together.
    pub timeout: Duration,
    /// First pause after a failure; doubles up to `backoff_max`.
    pub backoff: Duration,
    pub backoff_max: Duration,
}

impl ServiceSettings {
    /// 1 MiB or 50 ms, 4 batches to another machine, 10 s per batch, pauses from 100 ms to 5 s, public authorities.
    pub fn new(endpoint: ServiceEndpoint) -> Self {
        Self {
            window: if endpoint.is_remote() { 4 } else { 1 },
            endpoint,
            token: None,
            roots: Roots::Public,
            identity: None,
            batch_bytes: 1 << 20,
            linger: Duration::from_millis(50),
            timeout: Duration::from_secs(10),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceEndpoint {
    Unix(PathBuf),
    /// Resolved anew for each connection.
    Http {
        host: String,
        port: u16,
        is_tls: bool,
    },
}

/// A secret, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub Arc<str>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl ServiceEndpoint {
    /// Whether bytes on the way cost more than compressing them.
    pub(super) fn is_remote(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Http { host, .. } => {
                let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
                !ip.map_or_else(|_| host == "localhost", |ip| ip.is_loopback())
            }
        }
    }
}
