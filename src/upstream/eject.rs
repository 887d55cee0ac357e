//! Passive ejection: an endpoint that fails again and again is left alone for a while. Defaults as Envoy's
//! outlier detection: 5 failures in a row, 30 s times the number of ejections (at most 300 s), at most 10 % of
//! the endpoints, but always one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::endpoint::Endpoint;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub failures: u32,
    pub base: Duration,
    pub max: Duration,
    pub max_percent: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { failures: 5, base: Duration::from_secs(30), max: Duration::from_secs(300), max_percent: 10 }
    }
}

/// How an attempt went, as far as the endpoint's health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Good,
    Bad,
}

/// Counts `outcome` and ejects `endpoint` when it has failed too often.
pub fn observe(
    settings: &Settings,
    endpoint: &Endpoint,
    all: &[Arc<Endpoint>],
    outcome: Outcome,
    now_ms: u64,
) {
    if outcome == Outcome::Good {
        // A load keeps the line shared in the usual case.
        if endpoint.failures.load(Ordering::Relaxed) != 0 {
            endpoint.failures.store(0, Ordering::Relaxed);
        }
        return;
    }
    let failures = endpoint.failures.fetch_add(1, Ordering::Relaxed) + 1;
    if failures >= settings.failures && may_eject(settings, endpoint, all, now_ms) {
        eject(settings, endpoint, now_ms);
    }
}

fn may_eject(settings: &Settings, endpoint: &Endpoint, all: &[Arc<Endpoint>], now_ms: u64) -> bool {
    let is_ejected = |e: &Endpoint| e.ejected_until_ms.load(Ordering::Relaxed) > now_ms;
    let ejected = all.iter().filter(|e| is_ejected(e)).count();
    let allowed = (all.len() * settings.max_percent as usize / 100).max(1);
    all.len() > 1 && !is_ejected(endpoint) && ejected < allowed
}

fn eject(settings: &Settings, endpoint: &Endpoint, now_ms: u64) {
    let times = endpoint.ejections.fetch_add(1, Ordering::Relaxed) + 1;
    let length = settings.base.saturating_mul(times).min(settings.max);
    endpoint.ejected_until_ms.store(now_ms + length.as_millis() as u64, Ordering::Relaxed);
    endpoint.failures.store(0, Ordering::Relaxed);
    tracing::warn!(endpoint = %endpoint.name, seconds = length.as_secs(), "endpoint ejected after failures in a row");
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::Address;
    use super::*;

    fn pair() -> Vec<Arc<Endpoint>> {
        let make =
            |port| Arc::new(Endpoint::new(Address::Tcp(([127, 0, 0, 1], port).into()), 1, false, None, true));
        vec![make(1), make(2)]
    }

    fn fail(all: &[Arc<Endpoint>], index: usize, times: u32, now_ms: u64) {
        for _ in 0..times {
            observe(&Settings::default(), &all[index], all, Outcome::Bad, now_ms);
        }
    }

    #[test]
    fn ejects_after_five_failures_in_a_row() {
        let all = pair();
        fail(&all, 0, 4, 0);
        observe(&Settings::default(), &all[0], &all, Outcome::Good, 0);
        fail(&all, 0, 4, 0);
        assert!(all[0].is_usable(0));
        fail(&all, 0, 1, 0);
        assert!(!all[0].is_usable(0));
        assert!(all[0].is_usable(30_000));
    }

    #[test]
    fn the_second_ejection_lasts_twice_as_long() {
        let all = pair();
        fail(&all, 0, 5, 0);
        fail(&all, 0, 5, 30_000);
        assert!(!all[0].is_usable(89_999));
        assert!(all[0].is_usable(90_000));
    }

    #[test]
    fn never_ejects_all() {
        let all = pair();
        fail(&all, 0, 5, 0);
        fail(&all, 1, 50, 0);
        assert!(all[1].is_usable(0));
        let one = &all[..1];
        fail(one, 0, 50, 100_000);
        assert!(one[0].is_usable(100_000));
    }
}
