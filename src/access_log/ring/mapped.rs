//! The only place that touches the mapping: [`Tail`] and [`Head`], the two ends of one lane of bytes, and the words that
//! are read and written as atomics.
//!
//! Whoever holds a [`Mapped`] can only reach words as atomics. The bytes of a lane belong to its one [`Tail`] and its one
//! [`Head`], which [`Mapped::split`] hands out once, as it takes the mapping by value: what stands between the published
//! write position and the published read position is the head's, the rest is the tail's.
//!
//! The file is ours (mode 0600, in a directory that one process has locked) and never made shorter. Another program that
//! writes into it breaks this, as it would break any mapped file.
#![allow(unsafe_code, reason = "memory that outlives the process is reached by pointers only")]

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::layout::{FLIGHT_AT, Layout, SLOT_WORDS, SLOTS, Word};

/// Memory in the form of [`Layout`].
#[derive(Debug)]
pub(in crate::access_log) struct Mapped {
    memory: MmapRaw,
}

/// One slot of the in-flight table.
pub(in crate::access_log) type SlotWords = [AtomicU64; SLOT_WORDS];

impl Mapped {
    /// Maps `file`, or memory of its own without one.
    ///
    /// # Errors
    /// The system has no memory for it, or the file does not have the size of `layout`.
    pub(super) fn new(file: Option<&File>, layout: &Layout) -> io::Result<Self> {
        let size = layout.size();
        let memory = match file {
            Some(file) if file.metadata()?.len() != size as u64 => {
                return Err(io::Error::other("the file has another size"));
            }
            Some(file) => MmapOptions::new().len(size).map_raw(file)?,
            None => MmapOptions::new().len(size).map_anon()?.into(),
        };
        Ok(Self { memory })
    }

    /// The ends of both lanes, the small one first. Once per mapping, as it is the only one to have it.
    pub(super) fn split(self, layout: &Layout) -> (Arc<Self>, [(Tail, Head); 2]) {
        let mapped = Arc::new(self);
        let ends = layout.lanes().map(|lane| {
            debug_assert!(lane.bytes.is_power_of_two() && lane.at + lane.bytes <= layout.size());
            let lane = Lane { mapped: Arc::clone(&mapped), lane };
            let read = lane.read().load(Ordering::Relaxed);
            let write = lane.write().load(Ordering::Relaxed);
            (Tail { lane: lane.clone(), write, read }, Head { lane, read, write })
        });
        (mapped, ends)
    }

    /// A word of the header that is not a position.
    pub(in crate::access_log) fn word(&self, word: Word) -> &AtomicU64 {
        self.atomic(word as usize)
    }

    /// The in-flight table.
    pub(in crate::access_log) fn slots(&self) -> &[SlotWords; SLOTS] {
        // SAFETY: every layout has the whole table at this multiple of eight, and a mapping begins at a page. All bit
        // patterns are atomics, and nobody makes any other kind of reference to these bytes.
        unsafe { &*self.memory.as_ptr().add(FLIGHT_AT).cast() }
    }

    fn atomic(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= FLIGHT_AT);
        // SAFETY: callers name a word of the header by its constant place: a multiple of eight below `FLIGHT_AT`, which
        // every layout has. All bit patterns are an atomic, and nobody makes any other kind of reference to these bytes.
        unsafe { &*self.memory.as_ptr().add(at).cast() }
    }
}

/// Where a lane's bytes stand, and its positions.
#[derive(Clone, Debug)]
struct Lane {
    mapped: Arc<Mapped>,
    lane: super::layout::Lane,
}

impl Lane {
    fn write(&self) -> &AtomicU64 {
        self.mapped.atomic(self.lane.write_at)
    }

    fn read(&self) -> &AtomicU64 {
        self.mapped.atomic(self.lane.read_at)
    }

    /// Where `position` stands in the lane; always less than its size, a power of two.
    fn index(&self, position: u64) -> usize {
        (position & (self.lane.bytes as u64 - 1)) as usize
    }
}

/// The end of a lane where bytes go in.
#[derive(Debug)]
pub(super) struct Tail {
    lane: Lane,
    /// Bytes ever put in.
    write: u64,
    /// The read position as it was seen last.
    read: u64,
}

impl super::tiers::Produce for Tail {
    #[inline]
    fn has_room(&mut self, count: usize) -> bool {
        if self.free() < count {
            // Acquire: the head no longer looks at what it has given back.
            self.read = self.lane.read().load(Ordering::Acquire);
        }
        self.free() >= count
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.lane.read().load(Ordering::Acquire) == self.write
    }

    fn position(&self) -> u64 {
        self.write
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) -> bool {
        if !self.has_room(bytes.len()) {
            return false;
        }
        let at = self.lane.index(self.write);
        let (first, second) = bytes.split_at(bytes.len().min(self.lane.lane.bytes - at));
        let start = self.lane.lane.at;
        // SAFETY: `at` is less than the lane's size and `first` ends at its end at most; `second` is not longer than what
        // is free in front of `at`, as `bytes` fits into the lane. The lane lies within the mapping. These bytes are free:
        // behind the write position, less than a lane's size away from the read position, so the head makes no reference
        // to them; and there is no other tail. `bytes` is borrowed memory, so it is none of them.
        unsafe {
            let lane = self.lane.mapped.memory.as_mut_ptr().add(start);
            lane.add(at).copy_from_nonoverlapping(first.as_ptr(), first.len());
            if !second.is_empty() {
                lane.copy_from_nonoverlapping(second.as_ptr(), second.len());
            }
        }
        self.write += bytes.len() as u64;
        // Release: whoever sees the position sees the bytes. A process that is killed has done both or only the first.
        self.lane.write().store(self.write, Ordering::Release);
        true
    }
}

impl Tail {
    #[inline]
    fn free(&self) -> usize {
        // A read position that cannot be leaves no room.
        let used = self.write.wrapping_sub(self.read);
        (self.lane.lane.bytes as u64).saturating_sub(used) as usize
    }
}

/// The end of a lane where bytes come out.
#[derive(Debug)]
pub(super) struct Head {
    lane: Lane,
    /// Bytes ever taken; published by `commit` only.
    read: u64,
    /// The write position as it was seen last. Never more than a lane's size ahead of what is published as read.
    write: u64,
}

impl super::tiers::Consume for Head {
    fn look(&mut self) -> usize {
        // Acquire: together with the position the bytes before it are there.
        self.write = self.lane.write().load(Ordering::Acquire);
        (self.write - self.read) as usize
    }

    fn is_empty(&self) -> bool {
        self.lane.write().load(Ordering::Acquire) == self.read
    }

    fn seen(&self) -> (&[u8], &[u8]) {
        let count = (self.write - self.read) as usize;
        let at = self.lane.index(self.read);
        let first = count.min(self.lane.lane.bytes - at);
        // SAFETY: from the read position of this head to the write position that it has seen: bytes that are initialised
        // (a mapping begins as zeros), lie within the lane (`at` is less than its size, and there are never more than that
        // between the positions, as the only tail checks), and are not written before they are given back, which needs
        // `&mut self` and so the end of this borrow.
        unsafe {
            let lane = self.lane.mapped.memory.as_ptr().add(self.lane.lane.at);
            (std::slice::from_raw_parts(lane.add(at), first), std::slice::from_raw_parts(lane, count - first))
        }
    }

    fn advance(&mut self, count: usize) {
        self.read = self.write.min(self.read + count as u64);
    }

    fn commit(&mut self) {
        // Release: all looks at these bytes are over.
        self.lane.read().store(self.read, Ordering::Release);
    }
}
