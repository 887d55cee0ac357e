//! [`Tries`]: one parcel, again and again, until it is taken or given up; and what is told meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::pace::jittered;
use super::{Fault, Pace, Parcel, Sink, Stop};
use crate::access_log::metrics::{Reason, SinkMetrics};
use crate::access_log::spool::Blame;

/// What has not passed by then is told. A log service that starts beside us takes less.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// Knows nothing of the other parcels, so that several can be under way.
#[derive(Debug)]
pub(super) struct Tries {
    pub(super) metrics: Arc<SinkMetrics>,
    pub(super) blame: Blame,
    pub(super) pace: Pace,
    pub(super) random: u64,
}

/// How it ended if not well.
#[derive(Debug)]
pub(super) enum End {
    /// The other side wants lines.
    Lines,
    Lost(Reason),
}

impl Tries {
    /// Tries until it succeeds, will never succeed, or there is no time left.
    pub(super) async fn deliver(
        mut self,
        sink: &mut Sink,
        parcel: &mut Parcel,
        stop: &mut Stop,
    ) -> Result<(), End> {
        let (began, mut backoff) = (Instant::now(), self.pace.backoff);
        while let Some(left) = stop.time_left() {
            let answer = timeout(left.min(self.pace.timeout), sink.deliver(parcel)).await;
            let (reason, after) = match answer {
                Ok(Ok(())) => {
                    self.taken();
                    return Ok(());
                }
                Ok(Err(Fault::Lines)) => return Err(End::Lines),
                Ok(Err(Fault::Is { reason, is_final: true, .. })) => return Err(End::Lost(reason)),
                Ok(Err(Fault::Is { reason, after, .. })) => (reason, after),
                Err(_) => {
                    sink.interrupted();
                    (Reason::ServiceDown, None)
                }
            };
            self.failed(reason, sink.trouble(reason), began);
            // Some say 0, for ever.
            let pause =
                after.map_or_else(|| jittered(backoff, self.random), |after| after.max(self.pace.backoff));
            let pause = pause.min(self.pace.backoff_max);
            self.random = self.random.rotate_left(24);
            stop.pause(pause).await;
            backoff = (backoff * 2).min(self.pace.backoff_max);
        }
        Err(End::Lost(Reason::Stopped))
    }

    fn taken(&self) {
        self.blame.on(Reason::QueueFull);
        if self.metrics.set_trouble(None) && self.metrics.told.swap(false, Ordering::Relaxed) {
            tracing::info!(sink = self.metrics.name, "the log is taken again");
        }
    }

    fn failed(&self, reason: Reason, why: &str, began: Instant) {
        self.blame.on(reason);
        self.metrics.retries.fetch_add(1, Ordering::Relaxed);
        let is_news = self.metrics.set_trouble(Some(why));
        if began.elapsed() >= TELL_AFTER && (!self.metrics.told.swap(true, Ordering::Relaxed) || is_news) {
            tracing::warn!(
                sink = self.metrics.name,
                why,
                "the log is not taken: records wait, and it is tried again"
            );
        }
    }
}
