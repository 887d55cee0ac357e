//! From a record on a core to its sinks: the core encodes into its ring, the collector drains the rings, renders each
//! record once and feeds every sink through a queue of its own.
//!
//! ```text
//! core k: CoreLog ─ frame → ring k ─┐                  ┌→ queue → stdout
//!                                   ├─ collector ─ line ┼→ queue → file, rotated
//! events, worker lines ─ Handle ────┘                  └→ queue → log service, acknowledged
//! ```
//!
//! Invariants: a core never waits, locks, allocates or calls the system for its log. Every record has a number,
//! contiguous per core; a number that does not arrive is declared in a `gap` record with its reason. Everything that
//! waits is bounded. A sink that is slow or dead delays no other.
//!
//! A ring outlives its process ([`ring`]), and beside it stands what is under way ([`flight`]): the next start goes on with
//! both ([`recovery`]).
//!
//! Not here: what a record says (`record`), and when an exchange ends (whoever writes it).

mod collector;
mod compose;
mod core_log;
mod flight;
pub mod follow;
mod handle;
mod metrics;
mod output;
mod queue;
pub mod recovery;
mod ring;
mod settings;
mod sink;
mod span;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

pub use self::collector::{Collector, Report, Running};
pub use self::core_log::CoreLog;
pub use self::flight::{Arriving, Flights, OpenExchange};
pub use self::handle::{Handle, Stream};
pub use self::metrics::{Dropped, Metrics, Reason, SinkMetrics};
pub use self::ring::{Directory, DirectoryError, Item, Recovered, recover};
pub use self::settings::{
    FileSettings, Form, ServiceEndpoint, ServiceSettings, Settings, SinkSettings, StdoutSettings,
};

use crate::record::binary;
use crate::record::id::SeedError;

/// Smallest ring: room for a few of the longest records.
const LEAST_RING: usize = 4 * binary::MAX_LEN;

/// Why a log cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the log file {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("cannot use the standard output for the log")]
    Stdout { source: std::io::Error },
    #[error("cannot start a thread for the log")]
    Thread { source: std::io::Error },
    #[error("cannot take memory for the log")]
    Memory { source: std::io::Error },
    #[error(transparent)]
    Seed(#[from] SeedError),
}

/// Opens the sinks and makes one log per core, with the collector that serves them. Nothing runs until
/// [`Collector::spawn`]. What a dead process left in the directory goes through the sinks first.
///
/// # Errors
/// See [`Error`]. A directory that cannot be written, or that another process has, is none: then the rings are memory, and die with the process.
pub fn open(settings: Settings, cores: usize) -> Result<(Vec<CoreLog>, Collector), Error> {
    let is_on = !settings.sinks.is_empty();
    let ring_bytes = if is_on { settings.ring_bytes.max(LEAST_RING) } else { 1 };
    let directory = settings.directory.as_deref().filter(|_| is_on);
    let directory = directory.and_then(recovery::take);
    let wake = Arc::default();
    let collector = Collector::open(settings, Arc::clone(&wake))?;
    let metrics = collector.metrics();
    let recovered = directory.as_ref().map(recovery::recover_all).unwrap_or_default();
    let origin = collector.origin();
    let pair = |core| {
        let identity = ring::Identity {
            proxy: origin.proxy.to_string(),
            boot: origin.boot,
            core,
            pid: std::process::id(),
        };
        let ends = ring::ring(directory.as_ref(), &identity, ring_bytes);
        let ends = ends.map_err(|source| Error::Memory { source })?;
        Ok(core_log::pair(ends, is_on, &metrics, &wake))
    };
    let cores = 0..u16::try_from(cores).unwrap_or(u16::MAX);
    let (logs, sources) = cores.map(pair).collect::<Result<Vec<_>, Error>>()?.into_iter().unzip();
    Ok((logs, collector.with_sources(sources).with_past(directory, recovered)))
}
