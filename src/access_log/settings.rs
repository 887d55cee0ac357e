//! What the log must know before it starts.

use std::path::PathBuf;
use std::time::Duration;

/// The log as a whole. Without sinks nothing is recorded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of this instance, written as `proxy`.
    pub proxy: String,
    pub sinks: Vec<SinkSettings>,
    /// Ring of each core, in bytes: what may wait for the collector before records are dropped.
    pub ring_bytes: usize,
    /// Where the rings are kept so that they outlive the process; without it they are memory.
    pub directory: Option<PathBuf>,
    /// How many process events and worker lines may wait for the collector.
    pub line_queue: usize,
}

impl Settings {
    /// 4 MiB per core, in memory, 4096 lines.
    pub fn new(proxy: impl Into<String>, sinks: Vec<SinkSettings>) -> Self {
        Self { proxy: proxy.into(), sinks, ring_bytes: 4 << 20, directory: None, line_queue: 4096 }
    }
}

/// Where records go.
#[derive(Clone, Debug)]
pub enum SinkSettings {
    Stdout(StdoutSettings),
    File(FileSettings),
    Service(ServiceSettings),
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The record with all fields; also process events, worker lines and gaps.
    #[default]
    Json,
    /// The combined format of Apache and nginx; exchanges only.
    Combined,
    /// One line for people, as `logs tail` prints it; without start and stop. With colours or without.
    Line { colours: bool },
}

#[derive(Clone, Debug)]
pub struct StdoutSettings {
    pub form: Form,
    /// Memory for records that wait for the reader of our output.
    pub queue_bytes: usize,
}

impl Default for StdoutSettings {
    fn default() -> Self {
        Self { form: Form::Json, queue_bytes: 8 << 20 }
    }
}

#[derive(Clone, Debug)]
pub struct FileSettings {
    pub path: PathBuf,
    pub form: Form,
    /// Size from which a new file is begun; 0 means never.
    pub rotate_bytes: u64,
    /// How many old files stay, as `path.1`, `path.2`, …; the rest is deleted.
    pub keep: u32,
    /// Memory for records that wait for the disk.
    pub queue_bytes: usize,
}

impl FileSettings {
    /// 256 MiB per file, 7 old ones, 64 MiB of memory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), form: Form::Json, rotate_bytes: 256 << 20, keep: 7, queue_bytes: 64 << 20 }
    }
}

/// Shipping to a log service: `POST /logs` with JSON lines, one batch at a time, each until it is acknowledged.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    pub endpoint: ServiceEndpoint,
    /// A batch is sent when it has this many bytes…
    pub batch_bytes: usize,
    /// …or when its oldest record has waited this long.
    pub linger: Duration,
    /// Memory for records that wait for the service; when it is full the oldest are dropped and declared.
    pub queue_bytes: usize,
    /// Time for connecting, sending and the answer, together.
    pub timeout: Duration,
    /// First pause after a failure; doubles up to `backoff_max`.
    pub backoff: Duration,
    pub backoff_max: Duration,
}

impl ServiceSettings {
    /// 1 MiB or 50 ms, 64 MiB of memory, 10 s per batch, pauses from 100 ms to 5 s.
    pub fn new(endpoint: ServiceEndpoint) -> Self {
        Self {
            endpoint,
            batch_bytes: 1 << 20,
            linger: Duration::from_millis(50),
            queue_bytes: 64 << 20,
            timeout: Duration::from_secs(10),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceEndpoint {
    Unix(PathBuf),
    /// Plain HTTP; resolved anew for each connection.
    Http {
        host: String,
        port: u16,
    },
}
