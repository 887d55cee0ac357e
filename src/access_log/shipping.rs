//! What a sink of `[log.sink.NAME]` must know that sends to somebody else's log service.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::settings::{Form, Token};
use crate::tls::CertPair;
use crate::tls::client::Roots;

/// A sink that ships records to a foreign service, each with its own verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShippingSettings {
    /// As the configuration calls it; also the name of its cursor.
    pub name: String,
    pub target: Target,
    /// In this order; the first that answers is used.
    pub to: Vec<Remote>,
    pub form: Form,
    pub credentials: Credentials,
    /// Further header fields, over HTTP.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The authorities that vouch for the other side over TLS.
    pub roots: Roots,
    /// Shown to another side that asks for a certificate.
    pub identity: Option<Arc<CertPair>>,
    pub compress: bool,
    /// Most bytes and records at once; the bytes before compression.
    pub batch_bytes: usize,
    pub batch_records: usize,
    /// How long records wait for company.
    pub linger: Duration,
    /// Time for connecting, sending and the answer, together.
    pub timeout: Duration,
    /// First pause after a failure; doubles up to `backoff_max`.
    pub backoff: Duration,
    pub backoff_max: Duration,
    /// Where refused records are kept, as JSON lines; `None` when nothing is kept on disk: then they are only counted.
    pub dead_letter: Option<DeadLetter>,
}

/// The file of what was refused for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub path: PathBuf,
    /// Size from which a new file is begun; 0 means never.
    pub rotate_bytes: u64,
    /// How many old files stay.
    pub keep: u32,
}

/// An address of the other side, resolved anew for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub host: String,
    pub port: u16,
    pub is_tls: bool,
    /// In front of the path that the form has.
    pub path: String,
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    None,
    Token(Token),
    User { name: String, password: Token },
}

/// What is spoken, with what only that form needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Elasticsearch {
        index: String,
    },
    Loki {
        labels: Vec<(String, String)>,
    },
    Otlp,
    ClickHouse {
        table: String,
    },
    Kafka {
        topic: String,
    },
    Forward {
        tag: String,
        /// Both sides show that they know it.
        key: Option<Token>,
    },
    Lumberjack,
    Syslog {
        facility: u8,
        app_name: String,
    },
    Packets {
        is_distributor: bool,
    },
    /// Lines by `POST`.
    Http,
}

impl Target {
    /// Bytes at once and time to wait for company that suit the other side.
    pub fn pace(&self) -> (usize, Duration) {
        let ms = Duration::from_millis;
        match self {
            Self::Elasticsearch { .. } => (5 << 20, ms(1000)),
            Self::ClickHouse { .. } => (16 << 20, ms(2000)),
            Self::Kafka { .. } => (1 << 20, ms(100)),
            Self::Forward { .. } | Self::Lumberjack => (1 << 20, ms(200)),
            Self::Syslog { .. } | Self::Packets { .. } => (256 << 10, ms(50)),
            Self::Loki { .. } | Self::Otlp | Self::Http => (1 << 20, ms(1000)),
        }
    }
}
