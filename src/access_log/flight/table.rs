//! [`Table`]: the core's side of its in-flight table.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Arriving, slot};
use crate::access_log::ring::{Mapped, SLOTS, SlotWords, Word};
use crate::record::EndAt;

/// Stands for an exchange that found no slot: it is only counted.
pub(in crate::access_log) const NONE: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub(in crate::access_log) struct Table {
    mapped: Arc<Mapped>,
    /// The one given back last is taken first: it is in the cache.
    free: RefCell<Vec<u32>>,
}

impl Table {
    pub(in crate::access_log) fn new(mapped: &Arc<Mapped>) -> Self {
        let free = RefCell::new((0..SLOTS as u32).rev().collect());
        Self { mapped: Arc::clone(mapped), free }
    }

    /// Takes a slot; the number by which it is known.
    #[inline]
    pub(in crate::access_log) fn enter(&self, arriving: &Arriving<'_>) -> u32 {
        let number = self.free.borrow_mut().pop().unwrap_or(NONE);
        match self.slot(number) {
            Some(slot) => slot::fill(slot, arriving),
            None => self.count_beyond(1),
        }
        number
    }

    #[inline]
    pub(in crate::access_log) fn reach(&self, number: u32, at: EndAt) {
        if let Some(slot) = self.slot(number) {
            slot::reach(slot, at);
        }
    }

    pub(in crate::access_log) fn put_ip(&self, number: u32, ip: IpAddr) {
        if let Some(slot) = self.slot(number) {
            slot::put_ip(slot, ip);
        }
    }

    #[inline]
    pub(in crate::access_log) fn close(&self, number: u32, position: u64) {
        if let Some(slot) = self.slot(number) {
            slot::close(slot, position);
        }
    }

    #[inline]
    pub(in crate::access_log) fn leave(&self, number: u32) {
        match self.slot(number) {
            Some(slot) => {
                slot::free(slot);
                // Never more than there are: each number is given back once.
                self.free.borrow_mut().push(number);
            }
            None => self.count_beyond(-1),
        }
    }

    fn slot(&self, number: u32) -> Option<&SlotWords> {
        self.mapped.slots().get(number as usize)
    }

    #[cold]
    fn count_beyond(&self, by: i64) {
        // Only this core writes it.
        let word = self.mapped.word(Word::Beyond);
        word.store(word.load(Ordering::Relaxed).saturating_add_signed(by), Ordering::Relaxed);
    }
}

/// Exchanges under way that found no slot.
pub(super) fn beyond(mapped: &Mapped) -> u64 {
    mapped.word(Word::Beyond).load(Ordering::Relaxed)
}
