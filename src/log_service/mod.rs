//! The log service: takes entries in, keeps them durable, and answers questions about them.
//!
//! Here live the doors (`POST /frames` and `/logs`, the `¶` packet port, live tail), the store (a write-ahead log, the
//! newest rows in memory, files of columns), the filter language ([`query`]) and reading straight from a data directory
//! ([`read`]). How results look in a terminal is not here but in `cli::logs`; how records come to be is in `access_log`.
//!
//! Invariants: an entry is acknowledged only after it is in the log, durable as far as [`SyncWhen`] asks; what was cut by a crash is
//! recognised by its checksum and never shown; a resent record `(proxy, boot, core, seq)` is stored once.

mod alert;
mod batch;
#[doc(hidden)]
pub mod bench;
mod bucket;
pub mod client;
pub(crate) mod directory;
mod columns;
mod configured;
mod door;
mod entry;
pub(crate) mod export;
pub(crate) mod exec;
pub mod foreign;
mod frames;
mod intervals;
mod line;
mod outbound;
mod parquet;
mod part;
pub mod query;
pub mod read;
mod renames;
pub(crate) mod rollup;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod verify;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::sync::oneshot;

pub use crate::config::log_input::InputType as InputKind;
pub use alert::Settings as AlertSettings;
pub use bucket::Settings as BucketSettings;
pub use settings::{
    DEFAULT_PACKETS, InputSettings, Limits, Listen, ListenError, Secret, Settings, SyncError, SyncWhen, Tls,
    Token,
};
pub(crate) use store::Chained;

/// Why the service could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Another process writes to the directory; two writers would tear each other's lines.
    #[error("another log service already uses {}", .0.display())]
    InUse(PathBuf),
    /// The directory cannot be created, read or written.
    #[error("cannot use the log directory {}", .0.display())]
    Data(PathBuf, #[source] io::Error),
    /// An address cannot be bound.
    #[error("cannot listen on {0}")]
    Bind(String, #[source] io::Error),
    /// The certificate or key cannot be used.
    #[error("the certificate of the log service cannot be used")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The thread that writes has died.
    #[error("the log store has stopped")]
    Store,
}

impl ServiceError {
    fn is_full(&self) -> bool {
        matches!(self, Self::Data(_, error) if crate::process::directory::is_full(error))
    }
}

/// How often a full disk is tried again at the start.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// A log service with its directory open and its sockets bound, not yet serving.
pub struct LogService {
    doors: door::Doors,
    store: store::Running,
    alerts: alert::Watch,
    buckets: bucket::Buckets,
}

impl LogService {
    /// Opens the directory (cutting what a crash left half written) and binds all sockets. Needs a tokio runtime. Waits
    /// while the disk has no room for as much as a lock: senders keep what they have, and nobody would start it again.
    pub async fn start(settings: Settings) -> Result<Self, ServiceError> {
        let buckets = bucket::Buckets::open(&settings.buckets, &settings.data, settings.limits.compact_every);
        let wanted =
            store::Settings { shipped: buckets.shipped(), ..store::Settings::from_service(&settings) };
        let store = loop {
            match store::open(&wanted) {
                Err(error) if error.is_full() => {
                    tracing::error!(data = %wanted.data.display(), "no room for the log: it is tried again");
                    tokio::time::sleep(AGAIN).await;
                }
                opened => break opened?,
            }
        };
        let (alerts, handle) = alert::Watch::new(&settings.alerts, store.store(), settings.data.clone());
        let doors = door::Doors::bind(&settings, &store, (handle, buckets.desk())).await?;
        Ok(Self { doors, store, alerts, buckets })
    }

    /// The addresses that are bound, in the order of the settings.
    pub fn http(&self) -> Vec<Listen> {
        self.doors.http()
    }

    /// The address of the packet port, when there is one.
    pub fn packets(&self) -> Option<SocketAddr> {
        self.doors.packets()
    }

    /// The inputs, with the addresses that are bound.
    pub fn inputs(&self) -> Vec<(String, Listen)> {
        self.doors.inputs()
    }

    /// Serves until `stop` is ready; then lets open requests end (a few seconds), writes what was accepted and returns.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServiceError> {
        let Self { doors, store, alerts, buckets } = self;
        let stop = async {
            tokio::select! {
                () = stop => {}
                // Without its writing thread the service could only refuse: better to end and be started again.
                () = store.ended() => {}
            }
        };
        let (served, watched) = oneshot::channel::<()>();
        let (ended, shipped) = oneshot::channel::<()>();
        let watching = alerts.run(async { drop(watched.await) });
        let files = store.store();
        let shipping = buckets.run(&files, async { drop(shipped.await) });
        let serving = async {
            doors.serve(stop).await;
            drop((served, ended));
        };
        tokio::join!(serving, watching, shipping);
        store.close().await
    }
}

/// Starts the service and serves until `stop` is ready.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> Result<(), ServiceError> {
    LogService::start(settings).await?.run(stop).await
}
