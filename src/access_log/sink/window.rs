//! Several batches under way to a service that is far, each on a connection of its own: the time for the way there and
//! back is spent once for all of them.
//!
//! They may arrive in any order, as every record has its number; what is taken in its turn, and moves the cursor, is the
//! oldest of them. So the cursor never passes a batch that is not acknowledged.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;

use super::tries::{End, Tries};
use super::{Delivery, Pace, Parcel, Rhythm, Sink, Stop};

/// A batch that has ended, with the way that it went.
struct Done {
    lane: Sink,
    parcel: Parcel,
    end: Result<(), End>,
}

impl Delivery {
    /// Delivers until the spool is closed and read to its end, or the time to stop has run out.
    pub(super) async fn side_by_side(&mut self, mut lanes: Vec<Sink>, stop: &mut Stop) {
        let pace = self.sink.pace();
        let (mut rhythm, mut under_way) = (Rhythm::new(&pace), FuturesOrdered::new());
        let mut unread = pace.backoff;
        loop {
            let has_more = tokio::select! {
                biased;
                Some(done) = under_way.next() => {
                    if !self.end(done, &mut lanes, &pace, stop).await {
                        break;
                    }
                    continue;
                }
                has_more = self.reader.wait(pace.batch_bytes, rhythm.next), if !lanes.is_empty() => has_more,
            };
            if has_more && let Some(lane) = lanes.pop() {
                let parcel = self.parcel(pace.batch_bytes);
                if parcel.chunk.has_failed {
                    lanes.push(lane);
                    if !self.wait_for_disk(&parcel, &mut unread, &pace, stop).await {
                        break;
                    }
                    continue;
                }
                unread = pace.backoff;
                rhythm.beat(parcel.bytes());
                under_way.push_back(carry(lane, parcel, self.tries(&pace), stop.clone()));
            } else if let Some(done) = under_way.next().await {
                // What it could not deliver may be there to read again.
                if !self.end(done, &mut lanes, &pace, stop).await {
                    break;
                }
            } else {
                return;
            }
        }
        // The time has run out for all of them.
        while let Some(done) = under_way.next().await {
            self.reader.return_gaps(&done.parcel.chunk.gaps);
        }
    }

    async fn end(&mut self, done: Done, lanes: &mut Vec<Sink>, pace: &Pace, stop: &mut Stop) -> bool {
        let Done { lane, mut parcel, end } = done;
        lanes.push(lane);
        let end = match end {
            Ok(()) => Ok(()),
            Err(End::Lost(reason)) => Err(reason),
            // An older service: one by one is good enough for it.
            Err(End::Lines | End::Stuck(_)) => self.deliver(&mut parcel, pace, stop).await,
        };
        self.conclude(parcel, end, pace, stop).await
    }
}

async fn carry(mut lane: Sink, mut parcel: Parcel, mut tries: Tries, mut stop: Stop) -> Done {
    let end = match parcel.chunk.is_empty() {
        true => Ok(()),
        false => tries.deliver(&mut lane, &mut parcel, &mut stop).await,
    };
    Done { lane, parcel, end }
}
