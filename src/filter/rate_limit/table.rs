//! Where the rate state of the keys lives: a table of fixed size, all atomics, shared by the cores.
//!
//! A key belongs to one set of seven cells, by its hash. A cell holds the key's tag and its *theoretical arrival
//! time* (TAT, nanoseconds since the limiter began): the moment at which its bucket is full again. A cell whose
//! TAT has passed says the same as no cell, so a new key may take it over without anything being lost. When all
//! seven are in use, new keys share the set's overflow cell until one is free.
//!
//! Two cores that touch one cell in the same instant may charge a request to the wrong key of two, or give one
//! key two cells. Both cost a single request and pass when the cell rests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::nanos::Nanos;
use governor::state::StateStore;

const WAYS: usize = 7;

/// Two cache lines: a lookup touches the first, and one cell of the second.
#[derive(Default)]
#[repr(align(64))]
struct Set {
    tags: [AtomicU64; WAYS],
    /// Checks that fell on the overflow cell.
    shared: AtomicU64,
    tats: [AtomicU64; WAYS],
    overflow: AtomicU64,
}

/// A handle; clones share the cells.
#[derive(Clone)]
pub(super) struct Table {
    /// A power of two.
    sets: Arc<[Set]>,
    period: u64,
}

impl Table {
    /// Room for at least `capacity` keys. `period` is the time in which one request is earned.
    pub(super) fn new(capacity: u32, period: Duration) -> Self {
        let sets = (capacity as usize).div_ceil(WAYS).next_power_of_two();
        Self { sets: (0..sets).map(|_| Set::default()).collect(), period: Nanos::from(period).as_u64() }
    }

    pub(super) fn shared(&self) -> u64 {
        self.sets.iter().map(|set| set.shared.load(Ordering::Relaxed)).sum()
    }

    fn set(&self, hash: u64) -> &Set {
        // The count of sets is a power of two, so the mask stays inside.
        &self.sets[hash as usize & (self.sets.len() - 1)]
    }
}

impl StateStore for Table {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, hash: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let set = self.set(*hash);
        // 0 marks a cell that nobody has used yet.
        let tag = (*hash).max(1);
        if let Some(cell) = set.find(tag) {
            return charge(cell, measure);
        }
        // The store is not told the time, but the answer for an unknown key is always one period after it.
        let (_, fresh) = measure(None)?;
        let now = fresh.as_u64().saturating_sub(self.period);
        charge(set.claim(tag, now), measure)
    }
}

impl Set {
    fn find(&self, tag: u64) -> Option<&AtomicU64> {
        let way = self.tags.iter().position(|cell| cell.load(Ordering::Acquire) == tag)?;
        Some(&self.tats[way])
    }

    /// A cell for a key that has none: one that rests, or the one that all share.
    fn claim(&self, tag: u64, now: u64) -> &AtomicU64 {
        for (cell, tat) in self.tags.iter().zip(&self.tats) {
            let old = cell.load(Ordering::Acquire);
            let rests = tat.load(Ordering::Acquire) <= now;
            if rests && cell.compare_exchange(old, tag, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return tat;
            }
        }
        self.shared.fetch_add(1, Ordering::Relaxed);
        &self.overflow
    }
}

/// Lets the limiter replace the cell's TAT, again and again until nobody came between.
fn charge<T, E>(cell: &AtomicU64, measure: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>) -> Result<T, E> {
    let mut seen = cell.load(Ordering::Acquire);
    loop {
        let (outcome, next) = measure(Some(Nanos::from(seen)))?;
        match cell.compare_exchange_weak(seen, next.as_u64(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(outcome),
            Err(now) => seen = now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GCRA with a period of 10 and a burst of one, at a given time.
    fn ask(table: &Table, hash: u64, now: u64) -> bool {
        let measure = |tat: Option<Nanos>| match tat.map_or(now, Nanos::as_u64) {
            tat if now < tat => Err(()),
            tat => Ok(((), Nanos::from(tat.max(now) + 10))),
        };
        table.measure_and_replace(&hash, measure).is_ok()
    }

    fn table(capacity: u32) -> Table {
        Table::new(capacity, Duration::from_nanos(10))
    }

    #[test]
    fn a_limited_key_is_never_pushed_out() {
        let table = table(1);
        assert!(ask(&table, 1, 100));
        for key in 2..1000 {
            ask(&table, key, 100);
        }
        assert!(!ask(&table, 1, 105));
        assert!(ask(&table, 1, 110));
    }

    #[test]
    fn new_keys_share_when_all_cells_are_in_use() {
        let table = table(1);
        let allowed = (1..=100).filter(|key| ask(&table, *key, 100)).count();
        assert_eq!(allowed, WAYS + 1);
        assert_eq!(table.shared(), 100 - WAYS as u64);
    }

    #[test]
    fn a_resting_cell_is_taken_over() {
        let table = table(1);
        for round in 0..100 {
            for key in 0..WAYS as u64 {
                assert!(ask(&table, 1 + round * 10 + key, 100 + round * 10));
            }
        }
        assert_eq!(table.shared(), 0);
    }

    #[test]
    fn cores_together_grant_no_more_than_one_core() {
        let table = &table(1);
        let allowed: usize = std::thread::scope(|scope| {
            let cores: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..1000).filter(|_| ask(table, 7, 100)).count())).collect();
            cores.into_iter().map(|core| core.join().unwrap()).sum()
        });
        // All four may miss the key at the same instant and claim a cell of their own, once.
        assert!((1..=4).contains(&allowed), "{allowed}");
    }

    #[test]
    fn a_set_is_two_cache_lines() {
        assert_eq!(size_of::<Set>(), 128);
    }
}
