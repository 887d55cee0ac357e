//! How [`Delivery`] carries one parcel to its end; and what may go with it meanwhile.
//!
//! A record that the other side hangs up on, and that nothing came behind of, can be told from a receiver that is broken only
//! by others. So those that come are not held by it: they go with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::tries::{End, Tries};
use super::{Delivery, Pace, Parcel, Stop};
use crate::access_log::metrics::Reason;

impl Delivery {
    /// Tries until it succeeds, will never succeed, or there is no time left.
    pub(super) async fn deliver(
        &mut self,
        parcel: &mut Parcel,
        pace: &Pace,
        stop: &mut Stop,
    ) -> Result<(), Reason> {
        let mut tries = self.tries(pace);
        loop {
            if self.sink.wants_lines() && !parcel.has_lines {
                self.render(parcel);
            }
            match tries.deliver(&mut self.sink, parcel, stop).await {
                Ok(()) => return Ok(()),
                Err(End::Lines) => {}
                Err(End::Stuck(pause)) => self.wait_for_company(parcel, pause, pace, stop).await,
                Err(End::Lost(reason)) => return Err(reason),
            }
        }
    }

    pub(super) fn tries(&self, pace: &Pace) -> Tries {
        Tries::new(Arc::clone(&self.metrics), self.reader.blame(), *pace, self.random.next())
    }

    /// Until something comes, no longer than the pause.
    async fn wait_for_company(&mut self, parcel: &mut Parcel, pause: Duration, pace: &Pace, stop: &mut Stop) {
        tokio::select! {
            biased;
            true = self.reader.wait(pace.batch_bytes, Instant::now()) => {}
            _ = stop.pause(pause) => return,
        }
        let more = self.parcel(pace.batch_bytes);
        if !more.chunk.has_failed {
            return parcel.join(more);
        }
        self.reader.return_gaps(&more.chunk.gaps);
        self.metrics.retries.fetch_add(1, Ordering::Relaxed);
        stop.pause(pause).await;
    }
}
