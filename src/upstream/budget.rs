//! The retry budget: retries may be a share of the requests in flight, so that they never multiply an outage.
//! Defaults as in Envoy's retry budget: 20 %, at least 3.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Debug)]
pub struct Budget {
    percent: u32,
    min_concurrent: u32,
    retrying: AtomicU32,
}

impl Budget {
    pub fn new(percent: u32, min_concurrent: u32) -> Arc<Self> {
        Arc::new(Self { percent, min_concurrent, retrying: AtomicU32::new(0) })
    }

    /// Room for one more retry while `in_flight` requests are open; held until the permit is dropped.
    pub fn take(self: &Arc<Self>, in_flight: u32) -> Option<Permit> {
        let allowed = (u64::from(in_flight) * u64::from(self.percent) / 100) as u32;
        let allowed = allowed.max(self.min_concurrent);
        self.retrying
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < allowed).then_some(now + 1))
            .ok()
            .map(|_| Permit(Arc::clone(self)))
    }
}

/// One retry under way.
#[derive(Debug)]
pub struct Permit(Arc<Budget>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.retrying.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_the_minimum_then_the_share() {
        let budget = Budget::new(20, 3);
        let held: Vec<_> = (0..3).map(|_| budget.take(5)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(budget.take(5).is_none());
        assert!(budget.take(20).is_some(), "20 % of 20 is four");
        drop(held);
        assert!(budget.take(5).is_some());
    }
}
