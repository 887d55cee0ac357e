//! From a record on a core to its sinks: the core encodes into its ring, the collector drains the rings into frames and
//! appends them to the spool, and every sink reads the spool at its own pace.
//!
//! ```text
//! core k: CoreLog ─ record → ring k ─┐                              ┌→ cursor → lines → stdout
//!                                    ├─ collector ─ frames → spool ─┼→ cursor → lines → file, rotated
//! events, worker lines ─ Handle ─────┘                              └→ cursor → frames → log service, acknowledged
//!                                                                   └→ cursor → items → services of others, each with its verdict
//! ```
//!
//! Invariants: a core never waits, locks, allocates or calls the system for its log. Every record has a number,
//! contiguous per core; a number that does not arrive is declared in a `gap` record with its reason. A ring gives its
//! records up only when the spool has them, the spool only when every sink has. Everything that waits is bounded. A sink
//! that is slow or dead delays no other.
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
mod framer;
mod handle;
mod intake;
mod lost;
mod metrics;
mod pressure;
pub mod recovery;
mod render;
mod ring;
mod room;
mod running;
mod settings;
mod shipping;
mod shed;
mod sink;
mod span;
mod spool;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

pub use self::collector::Collector;
pub use self::core_log::{CoreLog, UNRECORDED};
pub use self::flight::{Arriving, Flights, OpenExchange};
pub use self::handle::{Handle, Stream};
pub use self::metrics::{Dropped, Metrics, Reason, SinkMetrics};
pub use self::pressure::Step;
pub use self::ring::{Directory, DirectoryError, Harm, Item, Recovered, has_unfound, recover};
pub use self::room::Room;
pub use self::running::{Report, Running};
pub use self::settings::{
    FileSettings, Form, Sample, ServiceEndpoint, ServiceSettings, Settings, SinkSettings, SpoolSettings,
    StdoutSettings, Sync, Token,
};
pub use self::shipping::{Credentials, DeadLetter, Remote, ShippingSettings, Target};

use crate::record::binary;
use crate::record::id::SeedError;
use crate::tls::TlsError;

/// Smallest ring: room for a few of the longest records.
const LEAST_RING: usize = 4 * binary::MAX_LEN;

/// Why a log cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open {} {}", file(name.as_deref()), path.display())]
    File { name: Option<String>, path: PathBuf, source: std::io::Error },
    #[error("cannot use the standard output for the log")]
    Stdout { source: std::io::Error },
    #[error("cannot ship the log over https")]
    Tls(#[from] TlsError),
    #[error("the token for the log service has bytes that no header field may have")]
    Token,
    #[error("this program was built without that kind of sink")]
    NoSuchSink,
    #[error("cannot start a thread for the log")]
    Thread { source: std::io::Error },
    #[error("cannot take memory for the log")]
    Memory { source: std::io::Error },
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Seed(#[from] SeedError),
}

/// What a file is to whom: a sink's, or `[log] file`.
fn file(sink: Option<&str>) -> String {
    sink.map_or_else(|| "the log file".to_owned(), |sink| format!("the file of the sink `{sink}`,"))
}

/// Whether the sinks could be opened as far as the settings tell: authorities, certificates, tokens. Opens nothing.
///
/// # Errors
/// As [`open`].
pub fn verify(settings: &Settings) -> Result<(), Error> {
    settings.sinks.iter().try_for_each(sink::Sink::verify)
}

/// Opens the sinks and makes one log per core, with the collector that serves them. Nothing runs until
/// [`Collector::spawn`]. What a dead process left in the directory goes through the sinks first.
///
/// # Errors
/// See [`Error`]. A directory that a full disk does not take, or that another process has, is none: then the rings are memory, and die with the process.
pub fn open(mut settings: Settings, cores: usize) -> Result<(Vec<CoreLog>, Collector), Error> {
    let is_on = !settings.sinks.is_empty();
    let ring_bytes = if is_on { settings.ring_bytes.max(LEAST_RING) } else { 1 };
    let directory = settings.spool.dir.as_deref().filter(|_| is_on);
    let directory = directory.map(recovery::take).transpose()?.flatten();
    if directory.is_none() {
        settings.spool.dir = None;
    }
    let wake = Arc::default();
    let fails_closed = settings.spool.fails_closed;
    let now_ms = (handle::now_us() / 1000).unsigned_abs();
    let boot = directory.as_ref().map_or(now_ms, |directory| directory.next_boot(now_ms));
    let collector = Collector::open(settings, boot, cores, Arc::clone(&wake))?;
    let metrics = collector.metrics();
    let past = directory.as_ref().map(recovery::recover_all).unwrap_or_default();
    let origin = collector.origin();
    let has_waited = past.is_too_much();
    let collector = collector.with_past(directory, past);
    let place = collector.directory.as_ref().and_then(|one| recovery::place_for_rings(one, has_waited));
    let pair = |core| {
        let identity = ring::Identity {
            proxy: origin.proxy.to_string(),
            boot: origin.boot,
            core,
            pid: std::process::id(),
        };
        let ends = ring::ring(place, &identity, ring_bytes);
        let ends = ends.map_err(|source| Error::Memory { source })?;
        Ok(core_log::pair(ends, (is_on, fails_closed), &metrics, &wake))
    };
    let cores = 0..u16::try_from(cores).unwrap_or(u16::MAX);
    let pairs = cores.map(pair).collect::<Result<Vec<_>, Error>>()?;
    let (logs, sources): (Vec<CoreLog>, Vec<core_log::Source>) = pairs.into_iter().unzip();
    if let Some(directory) = place {
        let kept = (0..).zip(&sources).filter(|(_, source)| source.reader.is_kept()).map(|(core, _)| core);
        directory.announce(boot, kept);
    }
    Ok((logs, collector.with_sources(sources)))
}
