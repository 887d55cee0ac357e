//! [`Running`]: a collector at work, and its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::Error;
use super::handle::Handle;
use super::metrics::{Metrics, Reason};

/// A collector at work.
#[derive(Debug)]
pub struct Running {
    pub(super) stop: watch::Sender<Option<Instant>>,
    pub(super) done: oneshot::Receiver<()>,
    pub(super) handle: Handle,
}

/// What became of the log at its end.
#[derive(Debug)]
pub struct Report {
    /// Sinks that did not get everything in the time there was, with the number of entries that are lost for each.
    pub undelivered: Vec<(String, u64)>,
    /// Sinks for which something waits on disk for the next start, with its bytes.
    pub waiting: Vec<(String, u64)>,
}

impl Running {
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub fn metrics(&self) -> Arc<Metrics> {
        self.handle.metrics()
    }

    /// Delivers what is there, for at most `grace`, and ends. Call it when the cores have ended: what they write later
    /// is lost.
    pub async fn stop(self, grace: Duration) -> Report {
        let deadline = Instant::now() + grace;
        self.stop.send_replace(Some(deadline));
        self.handle.wake.now();
        let _ = timeout_at(deadline + Duration::from_secs(1), self.done).await;
        let sinks = &self.handle.metrics.sinks;
        let undelivered = sinks.iter().filter_map(|sink| {
            let count = sink.dropped.get(Reason::Stopped);
            (count > 0).then(|| (sink.name.clone(), count))
        });
        let waiting = sinks.iter().filter_map(|sink| {
            let bytes = sink.lag_bytes.load(Ordering::Relaxed);
            (bytes > 0).then(|| (sink.name.clone(), bytes))
        });
        Report { undelivered: undelivered.collect(), waiting: waiting.collect() }
    }
}

/// Runs `work` on a new thread with a small runtime.
pub(super) fn on_thread<F: Future>(
    name: &str,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Thread { source })?;
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        runtime.block_on(work());
    });
    thread.map(drop).map_err(|source| Error::Thread { source })
}
