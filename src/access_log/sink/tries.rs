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
    metrics: Arc<SinkMetrics>,
    blame: Blame,
    pace: Pace,
    random: u64,
    /// The next pause, if the other side does not say how long.
    backoff: Duration,
    /// When something was taken last, or the first try.
    since: Instant,
}

/// How it ended if not well.
#[derive(Debug)]
pub(super) enum End {
    /// The other side wants lines.
    Lines,
    /// What comes next is to go with it; if nothing does, it is tried again after this pause.
    Stuck(Duration),
    Lost(Reason),
}

impl Tries {
    pub(super) fn new(metrics: Arc<SinkMetrics>, blame: Blame, pace: Pace, random: u64) -> Self {
        Self { metrics, blame, pace, random, backoff: pace.backoff, since: Instant::now() }
    }

    /// Tries until it succeeds, will never succeed, wants more beside it, or there is no time left.
    pub(super) async fn deliver(
        &mut self,
        sink: &mut Sink,
        parcel: &mut Parcel,
        stop: &mut Stop,
    ) -> Result<(), End> {
        while let Some(left) = stop.time_left() {
            let undone = parcel.left();
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
            if parcel.left() < undone {
                self.progress();
            }
            self.failed(reason, sink.trouble(reason));
            let pause = self.next_pause(after);
            if parcel.todo.wants_company() {
                return Err(End::Stuck(pause));
            }
            stop.pause(pause).await;
        }
        Err(End::Lost(Reason::Stopped))
    }

    fn next_pause(&mut self, after: Option<Duration>) -> Duration {
        // Some say 0, for ever.
        let pause = after
            .map_or_else(|| jittered(self.backoff, self.random), |after| after.max(self.pace.backoff))
            .min(self.pace.backoff_max);
        self.random = self.random.rotate_left(24);
        self.backoff = (self.backoff * 2).min(self.pace.backoff_max);
        pause
    }

    /// A part of it has its verdict: the other side is there, and the pauses begin anew.
    fn progress(&mut self) {
        self.taken();
        (self.backoff, self.since) = (self.pace.backoff, Instant::now());
    }

    fn taken(&self) {
        self.blame.on(Reason::QueueFull);
        if self.metrics.set_trouble(None) && self.metrics.told.swap(false, Ordering::Relaxed) {
            tracing::info!(sink = self.metrics.name, "the log is taken again");
        }
    }

    fn failed(&self, reason: Reason, why: &str) {
        self.blame.on(reason);
        self.metrics.retries.fetch_add(1, Ordering::Relaxed);
        let is_news = self.metrics.set_trouble(Some(why));
        if self.since.elapsed() >= TELL_AFTER && (!self.metrics.told.swap(true, Ordering::Relaxed) || is_news)
        {
            tracing::warn!(
                sink = self.metrics.name,
                why,
                "the log is not taken: records wait, and it is tried again"
            );
        }
    }
}
