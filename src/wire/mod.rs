//! The forms in which others send and take log entries: syslog, Fluentd's forward, Lumberjack, OTLP, Elasticsearch's bulk.
//!
//! Bytes in, bytes out, both directions of a form in one file: `access_log` writes them to its sinks, `log_service` reads
//! them at its doors. Not here: sockets, retries, what becomes of an entry.

pub mod bulk;
pub mod forward;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod lumberjack;
mod msgpack;
pub mod otlp;
pub mod packet;
pub mod short;
mod source;
pub mod syslog;

use std::io;

/// Why what comes on a connection cannot be read any further: where the next message begins is not known.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The connection failed, or ended in the middle of a message.
    #[error("it broke off: {0}")]
    Io(#[from] io::Error),
    /// Bytes that the protocol does not have.
    #[error("{0}")]
    Syntax(&'static str),
    /// What a few bytes unpack to has no reasonable end.
    #[error("a compressed part becomes too large")]
    Bomb,
}

/// Why one entry of a message was not taken. The others may be good.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("larger than {0} bytes")]
    Large(usize),
    #[error("nested deeper than {0} levels")]
    Deep(usize),
    #[error("{0}")]
    Form(&'static str),
}
