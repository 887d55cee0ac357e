//! Which endpoint next: smooth weighted round robin, least connections, or the better of two random ones.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::endpoint::Endpoint;

/// How an endpoint is chosen among the usable ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Smooth weighted round robin, as nginx does it: no bursts at the heavy one.
    RoundRobin,
    /// Fewest requests in flight per weight; round robin among equals.
    LeastConn,
    /// The less loaded of two drawn at random ("power of two choices", Mitzenmacher 2001).
    RandomTwo,
}

/// What was chosen, and why there.
#[derive(Clone, Debug)]
pub struct Pick {
    pub endpoint: Arc<Endpoint>,
    pub why: &'static str,
}

/// Which endpoints are candidates at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tier {
    Primary,
    Backup,
    /// Too few are usable: health is ignored rather than trusted (Envoy's panic threshold, 50 %).
    Panic,
}

/// The turn of one core at one upstream.
#[derive(Debug)]
pub struct Turn {
    current: RefCell<Vec<i64>>,
    random: Cell<u64>,
}

impl Turn {
    pub fn new(seed: u64) -> Self {
        Self { current: RefCell::default(), random: Cell::new(seed | 1) }
    }

    /// Chooses among `endpoints`, leaving out those already `tried` where another one is left.
    pub fn pick(
        &self,
        balance: Balance,
        endpoints: &[Arc<Endpoint>],
        tried: &[Arc<Endpoint>],
        now_ms: u64,
    ) -> Option<Pick> {
        let tier = tier(endpoints, now_ms)?;
        let is_candidate = |e: &Endpoint| is_in(tier, e, now_ms);
        let is_fresh = |e: &Endpoint| is_candidate(e) && !tried.iter().any(|t| std::ptr::eq(&**t, e));
        let index = match tried.is_empty() {
            true => self.choose(balance, endpoints, is_candidate),
            false => self
                .choose(balance, endpoints, is_fresh)
                .or_else(|| self.choose(balance, endpoints, is_candidate)),
        }?;
        let why = match (tier, balance) {
            (Tier::Panic, _) => "panic",
            (Tier::Backup, _) => "backup",
            (_, Balance::RoundRobin) => "rr",
            (_, Balance::LeastConn) => "least",
            (_, Balance::RandomTwo) => "random2",
        };
        Some(Pick { endpoint: Arc::clone(&endpoints[index]), why })
    }

    fn choose(
        &self,
        balance: Balance,
        endpoints: &[Arc<Endpoint>],
        is_candidate: impl Fn(&Endpoint) -> bool,
    ) -> Option<usize> {
        match balance {
            Balance::RoundRobin => self.round_robin(endpoints, is_candidate),
            Balance::LeastConn => {
                let least = endpoints.iter().filter(|e| is_candidate(e)).map(|e| load(e)).min()?;
                self.round_robin(endpoints, |e| is_candidate(e) && load(e) == least)
            }
            Balance::RandomTwo => {
                let count = endpoints.iter().filter(|e| is_candidate(e)).count();
                let nth = |n| endpoints.iter().enumerate().filter(|(_, e)| is_candidate(e)).nth(n);
                let first = self.below(count)?;
                let second = (first + 1 + self.below(count - 1).unwrap_or(0)) % count;
                let (a, b) = (nth(first)?, nth(second)?);
                Some(if load(b.1) < load(a.1) { b.0 } else { a.0 })
            }
        }
    }

    /// Each candidate gains its weight, the richest is chosen and pays the sum.
    fn round_robin(
        &self,
        endpoints: &[Arc<Endpoint>],
        is_candidate: impl Fn(&Endpoint) -> bool,
    ) -> Option<usize> {
        let mut current = self.current.borrow_mut();
        current.resize(endpoints.len(), 0);
        let mut total = 0;
        let mut best: Option<usize> = None;
        for (index, endpoint) in endpoints.iter().enumerate() {
            if !is_candidate(endpoint) {
                continue;
            }
            let weight = i64::from(endpoint.weight);
            total += weight;
            current[index] += weight;
            if best.is_none_or(|b| current[index] > current[b]) {
                best = Some(index);
            }
        }
        current[best?] -= total;
        best
    }

    /// A number below `bound`; xorshift is random enough to spread load.
    fn below(&self, bound: usize) -> Option<usize> {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        (bound > 0).then(|| (x % bound as u64) as usize)
    }
}

/// Requests in flight, comparable across weights.
fn load(endpoint: &Endpoint) -> u64 {
    endpoint.in_flight.sum() * 1_000 / u64::from(endpoint.weight.max(1))
}

fn is_in(tier: Tier, endpoint: &Endpoint, now_ms: u64) -> bool {
    match tier {
        Tier::Primary => !endpoint.backup && endpoint.is_usable(now_ms),
        Tier::Backup => endpoint.backup && endpoint.is_usable(now_ms),
        Tier::Panic => endpoint.up.load(Ordering::Relaxed),
    }
}

fn tier(endpoints: &[Arc<Endpoint>], now_ms: u64) -> Option<Tier> {
    let (mut up, mut usable, mut backups) = (0, 0, 0);
    for endpoint in endpoints {
        let is_usable = endpoint.is_usable(now_ms);
        match endpoint.backup {
            true => backups += usize::from(is_usable),
            false => {
                up += usize::from(endpoint.up.load(Ordering::Relaxed));
                usable += usize::from(is_usable);
            }
        }
    }
    match () {
        () if usable > 0 && usable * 2 >= up => Some(Tier::Primary),
        () if backups > 0 => Some(Tier::Backup),
        () if endpoints.iter().any(|e| e.up.load(Ordering::Relaxed)) => Some(Tier::Panic),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::Address;
    use super::*;

    fn endpoints(weights: &[u32]) -> Vec<Arc<Endpoint>> {
        let address = |i| Address::Tcp(([127, 0, 0, 1], 4000 + i as u16).into());
        let make = |(i, w): (usize, &u32)| Arc::new(Endpoint::new(address(i), *w, false, None, true));
        weights.iter().enumerate().map(make).collect()
    }

    fn sequence(balance: Balance, endpoints: &[Arc<Endpoint>], count: usize) -> Vec<u16> {
        let turn = Turn::new(7);
        let port = |pick: Pick| match pick.endpoint.address {
            Address::Tcp(a) => a.port() - 4000,
            Address::Unix(_) => unreachable!("all are TCP"),
        };
        (0..count).filter_map(|_| turn.pick(balance, endpoints, &[], 0)).map(port).collect()
    }

    #[test]
    fn spreads_heavy_endpoints_smoothly() {
        let order = sequence(Balance::RoundRobin, &endpoints(&[5, 1, 1]), 7);
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn prefers_the_least_loaded_per_weight() {
        let all = endpoints(&[1, 2]);
        all[0].in_flight.add(1);
        all[1].in_flight.add(1);
        assert_eq!(sequence(Balance::LeastConn, &all, 1), [1]);
    }

    #[test]
    fn takes_the_better_of_two() {
        let all = endpoints(&[1, 1]);
        all[0].in_flight.add(9);
        assert_eq!(sequence(Balance::RandomTwo, &all, 4), [1, 1, 1, 1]);
    }

    #[test]
    fn leaves_out_what_was_tried() {
        let all = endpoints(&[1, 1]);
        let turn = Turn::new(1);
        let pick = turn.pick(Balance::RoundRobin, &all, &all[..1], 0).unwrap();
        assert!(Arc::ptr_eq(&pick.endpoint, &all[1]));
    }

    #[test]
    fn ignores_health_when_most_are_ejected() {
        let all = endpoints(&[1, 1, 1]);
        for endpoint in &all[..2] {
            endpoint.ejected_until_ms.store(1_000, Ordering::Relaxed);
        }
        let pick = Turn::new(1).pick(Balance::RoundRobin, &all, &[], 0).unwrap();
        assert_eq!(pick.why, "panic");
    }

    #[test]
    fn nothing_is_picked_when_all_are_down() {
        let all = endpoints(&[1]);
        all[0].up.store(false, Ordering::Relaxed);
        assert!(Turn::new(1).pick(Balance::RandomTwo, &all, &[], 0).is_none());
    }
}
