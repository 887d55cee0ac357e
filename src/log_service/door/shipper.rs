//! What forward and Lumberjack have in common: how a stream is read and written, and why a connection ends.

use std::io;
use std::time::Duration;

use tokio::io::{BufReader, ReadHalf, WriteHalf};

use super::Desk;
use super::io::Watched;
use super::portion::{NotStored, Portion};
use super::sockets::Stream;
use crate::log_service::store::Counts;
use crate::wire::Broken;
use crate::wire::forward::handshake::Denied;

const BUFFER: usize = 16 << 10;

pub(super) type Incoming = BufReader<Watched<ReadHalf<Stream>>>;

/// What comes, and where to answer. A sender that is silent for so long has gone.
pub(super) fn halves(stream: Stream, quiet: Duration) -> (Incoming, WriteHalf<Stream>) {
    let (reader, writer) = tokio::io::split(stream);
    (BufReader::with_capacity(BUFFER, Watched::new(reader, quiet)), writer)
}

/// Why a connection ended before its sender ended it.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the rest of what it sends cannot be read: {0}")]
    Broken(#[from] Broken),
    #[error("what it sends takes too long")]
    Slow,
    #[error("the sender is not let in: {0}")]
    Denied(#[from] Denied),
    #[error("it is not stored: {0}")]
    NotStored(#[from] NotStored),
    #[error("cannot answer: {0}")]
    Io(#[from] io::Error),
}

impl End {
    /// Counts it, and says so in the service's log.
    pub(super) fn tell(&self, desk: &Desk, input: &str, portion: &Portion) {
        match self {
            Self::Broken(_) | Self::Slow => Counts::add(&desk.counts().bad_messages, 1u64),
            Self::Denied(_) => Counts::add(&desk.counts().denied, 1u64),
            Self::NotStored(_) => {}
            // It has gone; what it was not told, it sends again.
            Self::Io(_) => return tracing::debug!(input, end = %self, "a sender has gone"),
        }
        portion.complain(&self.to_string());
    }
}
