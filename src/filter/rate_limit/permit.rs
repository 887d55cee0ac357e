//! How many requests of a key are under way: a bounded table of counters, and the permits that hold them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const WAYS: usize = 7;
/// The low bits of a cell count the permits, the others are the key's tag. A cell that counts 0 is free.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

#[derive(Default)]
#[repr(align(64))]
struct Set {
    cells: [AtomicU64; WAYS],
    /// Counts the permits of keys that found no cell.
    overflow: AtomicU64,
}

pub(super) struct Permits {
    /// A power of two.
    sets: Box<[Set]>,
    most: u64,
    shared: AtomicU64,
}

/// A place among the concurrent requests of a key; dropping it frees the place.
#[must_use]
pub struct Permit {
    permits: Arc<Permits>,
    set: usize,
    /// `None`: the overflow cell.
    way: Option<usize>,
}

impl Permits {
    /// At most `most` per key, for at least `capacity` keys at a time.
    pub(super) fn new(most: NonZeroU32, capacity: u32) -> Self {
        let sets = (capacity as usize).div_ceil(WAYS).next_power_of_two();
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
            most: u64::from(most.get()).min(COUNT - 1),
            shared: AtomicU64::new(0),
        }
    }

    pub(super) fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// `None` when the key has all its places taken.
    pub(super) fn enter(this: &Arc<Self>, hash: u64) -> Option<Permit> {
        // The count of sets is a power of two, so the mask stays inside.
        let index = hash as usize & (this.sets.len() - 1);
        let set = &this.sets[index];
        let tag = hash & !COUNT;
        let way = set.find(tag).or_else(|| set.claim(tag));
        let entered = match way {
            Some(Place::Claimed(_)) => true,
            Some(Place::Known(way)) => this.raise(&set.cells[way], Some(tag)),
            None => {
                this.shared.fetch_add(1, Ordering::Relaxed);
                this.raise(&set.overflow, None)
            }
        };
        entered.then(|| Permit { permits: Arc::clone(this), set: index, way: way.map(Place::way) })
    }

    /// Counts one more, unless that is too many. When the cell has gone to another key meanwhile, which takes a
    /// race with its last permit, the request is refused: that errs on the safe side, once.
    fn raise(&self, cell: &AtomicU64, tag: Option<u64>) -> bool {
        let more = |seen: u64| {
            let same = tag.is_none_or(|tag| seen & !COUNT == tag);
            (same && seen & COUNT < self.most).then_some(seen + 1)
        };
        cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

#[derive(Clone, Copy)]
enum Place {
    /// The key's cell, which is in use.
    Known(usize),
    /// A free cell, taken and counted as one already.
    Claimed(usize),
}

impl Place {
    fn way(self) -> usize {
        match self {
            Self::Known(way) | Self::Claimed(way) => way,
        }
    }
}

impl Set {
    fn find(&self, tag: u64) -> Option<Place> {
        let holds = |cell: &AtomicU64| {
            let seen = cell.load(Ordering::Acquire);
            seen & !COUNT == tag && seen & COUNT > 0
        };
        self.cells.iter().position(holds).map(Place::Known)
    }

    fn claim(&self, tag: u64) -> Option<Place> {
        let take = |cell: &AtomicU64| {
            let free = |seen: u64| (seen & COUNT == 0).then_some(tag | 1);
            cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).is_ok()
        };
        self.cells.iter().position(take).map(Place::Claimed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let set = &self.permits.sets[self.set];
        let cell = self.way.map_or(&set.overflow, |way| &set.cells[way]);
        // A permit holds exactly one count, so the count is above 0 and nothing is borrowed from the tag.
        cell.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").field("set", &self.set).field("way", &self.way).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(most: u32, capacity: u32) -> Arc<Permits> {
        Arc::new(Permits::new(NonZeroU32::new(most).unwrap(), capacity))
    }

    /// Hashes of different keys that fall into one set.
    fn hash(key: u64) -> u64 {
        key << COUNT_BITS
    }

    #[test]
    fn gives_places_up_to_the_limit_and_takes_them_back() {
        let permits = permits(2, 1);
        let first = Permits::enter(&permits, hash(1)).unwrap();
        let _second = Permits::enter(&permits, hash(1)).unwrap();
        assert!(Permits::enter(&permits, hash(1)).is_none());
        assert!(Permits::enter(&permits, hash(2)).is_some());
        drop(first);
        assert!(Permits::enter(&permits, hash(1)).is_some());
    }

    #[test]
    fn keys_without_a_cell_share_one_count() {
        let permits = permits(1, 1);
        let held: Vec<_> = (1..=100).filter_map(|key| Permits::enter(&permits, hash(key))).collect();
        assert_eq!(held.len(), WAYS + 1);
        assert_eq!(permits.shared(), 100 - WAYS as u64);
        drop(held);
        assert!(Permits::enter(&permits, hash(1000)).is_some());
    }

    #[test]
    fn counts_are_zero_when_all_permits_are_gone() {
        let permits = permits(3, 16);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let permits = &permits;
                scope.spawn(move || {
                    for round in 0..2000_u64 {
                        let _permit = Permits::enter(permits, hash((round + thread) % 20) | (round % 4));
                    }
                });
            }
        });
        let cells = permits.sets.iter().flat_map(|set| set.cells.iter().chain([&set.overflow]));
        assert!(cells.into_iter().all(|cell| cell.load(Ordering::Relaxed) & COUNT == 0));
    }
}
