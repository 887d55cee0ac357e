//! What the service needs to know, checked and typed.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::InputKind;

/// Where the packet port listens when the service is started by hand.
pub const DEFAULT_PACKETS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9040));

/// Settings of a log service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of the store; created when missing.
    pub data: PathBuf,
    /// Where HTTP is served.
    pub http: Vec<Listen>,
    /// Where `¶` packets are taken, if at all.
    pub packets: Option<SocketAddr>,
    /// What requests over TCP must carry; any of these. Empty: everybody who reaches the address is let in.
    pub tokens: Vec<Token>,
    /// HTTP over TCP is served with TLS.
    pub tls: Option<Tls>,
    /// Doors for what others send.
    pub inputs: Vec<InputSettings>,
    /// What is watched for, and who is told.
    pub alerts: super::AlertSettings,
    /// Object storage that takes the files of closed hours.
    pub buckets: Vec<super::BucketSettings>,
    pub sync: SyncWhen,
    pub limits: Limits,
}

impl Settings {
    /// A service without any socket yet, with the default limits.
    pub fn new(data: PathBuf) -> Self {
        Self {
            data,
            http: Vec::new(),
            packets: None,
            tokens: Vec::new(),
            tls: None,
            inputs: Vec::new(),
            alerts: super::AlertSettings::default(),
            buckets: Vec::new(),
            sync: SyncWhen::Always,
            limits: Limits::default(),
        }
    }
}

/// A door for what others send.
#[derive(Clone, Debug)]
pub struct InputSettings {
    /// As the configuration calls it.
    pub name: String,
    pub kind: InputKind,
    pub listen: Listen,
    /// What senders must show, in the way of the protocol. `None`: everybody who reaches the address is let in.
    pub secret: Option<Secret>,
    pub tls: Option<Tls>,
    /// Whether senders are believed about whose records they bring: they are tollgates, or pass on what tollgates wrote.
    pub trusted: bool,
}

/// A secret as it was written: the shared key of `forward` is needed in clear. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub std::sync::Arc<str>);

impl Secret {
    pub fn token(&self) -> Token {
        Token::new(&self.0)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// A secret that a sender or reader shows as `Authorization: Bearer …`. Only its digest is kept; it is never shown.
#[derive(Clone)]
pub struct Token(aws_lc_rs::digest::Digest);

impl Token {
    pub fn new(text: &str) -> Self {
        Self(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
    }

    /// The tokens of a file: one per line; empty lines and those that begin with `#` are passed over.
    pub fn of_file(text: &str) -> Vec<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(Self::new).collect()
    }

    /// Takes as long for a wrong secret as for the right one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let (own, other) = (self.0.as_ref(), other.0.as_ref());
        aws_lc_rs::constant_time::verify_slices_are_equal(own, other).is_ok()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// The service's certificate, and whose clients it takes. All PEM.
#[derive(Clone)]
pub struct Tls {
    /// Leaf first.
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
    /// Clients must show a certificate that one of these authorities has issued.
    pub client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("asks_clients", &self.client_ca.is_some()).finish_non_exhaustive()
    }
}

/// When what was written is made durable (`fdatasync`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncWhen {
    /// Before it is acknowledged: a power cut loses nothing acknowledged.
    Always,
    /// So often: a power cut loses what came within this time, the end of the process nothing.
    Every(Duration),
    /// When the system likes: a power cut loses about half a minute, the end of the process nothing.
    Never,
}

/// Text that is no sync setting.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither `always`, a time such as `200ms`, nor `os`")]
pub struct SyncError(String);

impl FromStr for SyncWhen {
    type Err = SyncError;

    fn from_str(text: &str) -> Result<Self, SyncError> {
        let failed = || SyncError(text.to_owned());
        match text {
            "always" => return Ok(Self::Always),
            "os" => return Ok(Self::Never),
            _ => {}
        }
        let number = |unit| text.strip_suffix(unit).and_then(|number| number.parse::<u32>().ok());
        let millis = number("ms").or_else(|| number("s").and_then(|seconds| seconds.checked_mul(1000)));
        let millis = millis.filter(|millis| (1..=60_000).contains(millis)).ok_or_else(failed)?;
        Ok(Self::Every(Duration::from_millis(millis.into())))
    }
}

/// Bounds on what strangers may make the service hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections per listening address.
    pub connections: usize,
    /// Largest body of `POST /logs` and `POST /frames`, bytes.
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
    /// How long open connections may take to end when the service stops; senders who are not told are listened to for most of it.
    pub grace: Duration,
    /// Live tails at the same time.
    pub tails: usize,
    /// Searches at the same time.
    pub searches: usize,
    /// Files of the store beyond this total are deleted, oldest first; bytes. The current hour is never deleted.
    pub keep_bytes: u64,
    /// Files of the store older than this are deleted.
    pub keep_hours: u32,
    /// The same for errors and slow requests.
    pub keep_error_hours: u32,
    /// Rows, bytes in memory and age at which the newest rows become a file.
    pub hot_rows: usize,
    pub hot_bytes: usize,
    pub hot_age: Duration,
    /// Counts by the hour older than this are deleted.
    pub keep_rollup_hours: u32,
    /// Bytes that stay free on the disk: the oldest files go for them. `None`: a gibibyte, on a small disk a twentieth of it.
    pub free_bytes: Option<u64>,
    /// Time between two looks for files to merge or drop.
    pub compact_every: Duration,
    /// What the service may take of the machine's memory, bytes; at least 256 MiB. Rows that are in no file, bodies on their
    /// way, groups of questions, ends of files, files while they are merged, and rollups have a share of it each; beyond it
    /// senders and questions are refused, rows flushed, fewer files merged at a time, and what can be read again is forgotten. Without a share are what has a bound of its own
    /// (buffers of connections and live tails, the streams that are known, minutes while they are counted or added up,
    /// the values of `explain`), the rows of an answer (`n`), percentiles of spans of time that
    /// were begun, the lists of files (manifest, chain), and the rows of a damaged log at a start.
    pub memory_bytes: usize,
}

/// What a file takes while it is merged, seen with lines of some hundred bytes: 16 of them took 150 MiB.
const MERGED_FILE_BYTES: usize = 8 << 20;

impl Limits {
    fn share(&self, parts: usize) -> usize {
        self.memory_bytes / 64 * parts
    }

    /// Rows in memory; half of them become a file at the latest.
    pub(crate) fn row_bytes(&self) -> usize {
        self.share(16)
    }

    /// Bodies and packets on their way.
    pub(crate) fn body_bytes_held(&self) -> usize {
        self.held_bytes.min(self.share(8))
    }

    /// The groups of a question while `others` are answered: half of what these may have left, so that together they never take
    /// more than their share.
    pub(crate) fn group_bytes(&self, others: usize) -> usize {
        // Tables double as they grow, and the allocator keeps what they leave for a while.
        self.share(10) >> (others + 1).min(31)
    }

    /// Ends of files that were read.
    pub(crate) fn footer_bytes(&self) -> usize {
        self.share(4)
    }

    /// Files that are merged at a time: two at least, for fewer are no merging.
    pub(crate) fn merged_files(&self) -> usize {
        (self.share(6) / MERGED_FILE_BYTES).max(2)
    }

    /// Rollups that stay in memory.
    pub(crate) fn rollup_bytes(&self) -> usize {
        self.share(1)
    }

    /// Rows of an answer from rollups, of some 4 KB while they are added up.
    pub(crate) fn rollup_rows(&self) -> usize {
        self.share(4) / 4096
    }
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
            grace: Duration::from_secs(5),
            tails: 32,
            searches: 4,
            keep_bytes: 16 << 30,
            keep_hours: 24 * 30,
            keep_error_hours: 24 * 90,
            hot_rows: 1_000_000,
            hot_bytes: 128 << 20,
            hot_age: Duration::from_secs(300),
            keep_rollup_hours: 24 * 400,
            free_bytes: None,
            compact_every: Duration::from_secs(30),
            memory_bytes: 512 << 20,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sync_is_a_word_or_a_time() {
        assert_eq!("always".parse::<SyncWhen>().unwrap(), SyncWhen::Always);
        assert_eq!("os".parse::<SyncWhen>().unwrap(), SyncWhen::Never);
        assert_eq!("200ms".parse::<SyncWhen>().unwrap(), SyncWhen::Every(Duration::from_millis(200)));
        assert_eq!("1s".parse::<SyncWhen>().unwrap(), SyncWhen::Every(Duration::from_secs(1)));
        for bad in ["", "0ms", "never", "-1s", "61s", "1m"] {
            assert!(bad.parse::<SyncWhen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_shares_of_the_memory_leave_room_for_buffers() {
        for memory_bytes in [256 << 20, 512 << 20, 8 << 30] {
            let limits = Limits { memory_bytes, ..Limits::default() };
            // Each question takes half of what those before have left.
            let groups: usize = (0..limits.searches).map(|others| limits.group_bytes(others)).sum();
            let sum = limits.row_bytes()
                + limits.body_bytes_held()
                + groups
                + limits.footer_bytes()
                + limits.rollup_bytes()
                + limits.merged_files() * MERGED_FILE_BYTES
                + limits.rollup_rows() * 4096;
            assert!(sum <= memory_bytes / 64 * 49, "{sum} of {memory_bytes}");
        }
    }

    #[test]
    fn a_token_is_never_shown_and_only_itself() {
        let tokens = Token::of_file("# of the proxies\n secret \n\nother\n");
        assert_eq!((tokens.len(), format!("{:?}", tokens[0])), (2, "Token".to_owned()));
        assert!(tokens[0].is(&Token::new("secret")) && !tokens[0].is(&Token::new("secret2")));
    }
}
