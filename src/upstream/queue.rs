//! Waiting for a place in flight or for an endpoint: bounded in number and in time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Upstream;
use super::body::Slot;
use super::send::Timeout;
use crate::exchange::failure::{Failure, Kind};
use crate::process::deadline::Deadline;

/// Takes a place among the requests in flight, waiting in the bounded queue when there is none.
pub(super) async fn enter(
    upstream: &Arc<Upstream>,
    timeout: &Timeout,
    deadline: &Deadline,
) -> Result<Slot, Failure> {
    let missed = || Failure::refuse(Kind::QueueFull, "no place in flight at the upstream");
    wait_for(upstream, timeout, deadline, missed, || Slot::take(upstream)).await
}

/// Waits until `ready` gives something: at most `queue` requests wait, for at most `timeout`. Else it is `missed`.
pub(super) async fn wait_for<T>(
    upstream: &Upstream,
    timeout: &Timeout,
    deadline: &Deadline,
    missed: impl Fn() -> Failure,
    mut ready: impl FnMut() -> Option<T>,
) -> Result<T, Failure> {
    if let Some(found) = ready() {
        return Ok(found);
    }
    let _place = Waiting::enter(upstream).ok_or_else(&missed)?;
    deadline.set(timeout.after);
    loop {
        let changed = upstream.changed.notified();
        if let Some(found) = ready() {
            return Ok(found);
        }
        deadline.race(changed).await.ok_or_else(|| missed().because(&timeout.cause))?;
    }
}

/// One waiting request, counted.
struct Waiting<'a>(&'a Upstream);

impl<'a> Waiting<'a> {
    fn enter(upstream: &'a Upstream) -> Option<Self> {
        let add = |now| (now < upstream.settings.queue).then_some(now + 1);
        upstream.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).ok().map(|_| Self(upstream))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
