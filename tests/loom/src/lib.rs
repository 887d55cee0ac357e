//! The ring between a core and the collector, in every order of its steps that the memory model allows.
//!
//! `Tails` and `Heads` are the program's own source. Below them stands a lane like that of `ring/mapped.rs`, with the same
//! orderings, over atomics and cells that loom watches: it finds each read of a byte that may be written at that moment.

#![cfg(test)]

#[path = "../../../src/access_log/ring/tiers.rs"]
#[allow(dead_code, unreachable_pub)]
mod tiers;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use tiers::{ALIGN, Consume, Heads, PREFIX, Produce, Tails};

/// Bytes of an entry: what stands in front, and four more.
const ENTRY: usize = PREFIX + 4;

struct Lane {
    write: AtomicU64,
    read: AtomicU64,
    /// One cell for each word, as a whole is written or read at once.
    words: Vec<UnsafeCell<[u8; ALIGN]>>,
}

impl Lane {
    fn word(&self, position: u64) -> &UnsafeCell<[u8; ALIGN]> {
        &self.words[position as usize / ALIGN % self.words.len()]
    }

    fn bytes(&self) -> u64 {
        (self.words.len() * ALIGN) as u64
    }
}

struct Tail {
    lane: Arc<Lane>,
    write: u64,
    read: u64,
}

impl Produce for Tail {
    fn has_room(&mut self, count: usize) -> bool {
        if self.lane.bytes() - (self.write - self.read) < count as u64 {
            self.read = self.lane.read.load(Ordering::Acquire);
        }
        self.lane.bytes() - (self.write - self.read) >= count as u64
    }

    fn is_empty(&self) -> bool {
        self.lane.read.load(Ordering::Acquire) == self.write
    }

    fn position(&self) -> u64 {
        self.write
    }

    fn push(&mut self, bytes: &[u8]) -> bool {
        if !self.has_room(bytes.len()) {
            return false;
        }
        for word in bytes.chunks_exact(ALIGN) {
            // SAFETY: loom panics when it is not exclusive.
            self.lane.word(self.write).with_mut(|cell| unsafe { (*cell).copy_from_slice(word) });
            self.write += ALIGN as u64;
        }
        self.lane.write.store(self.write, Ordering::Release);
        true
    }
}

struct Head {
    lane: Arc<Lane>,
    read: u64,
    write: u64,
    /// What a look has shown, from `read` on. The program reads it in place, at any time until it is given back.
    seen: Vec<u8>,
}

impl Head {
    fn copy(&mut self) {
        self.seen.clear();
        for position in (self.read..self.write).step_by(ALIGN) {
            // SAFETY: loom panics when somebody writes it.
            self.lane.word(position).with(|cell| self.seen.extend_from_slice(unsafe { &*cell }));
        }
    }
}

impl Consume for Head {
    fn look(&mut self) -> usize {
        self.write = self.lane.write.load(Ordering::Acquire);
        self.copy();
        self.seen.len()
    }

    fn is_empty(&self) -> bool {
        self.lane.write.load(Ordering::Acquire) == self.read
    }

    fn seen(&self) -> (&[u8], &[u8]) {
        (&self.seen, &[])
    }

    fn advance(&mut self, count: usize) {
        // Once more: still nobody may write there.
        self.copy();
        self.read += count as u64;
    }

    fn commit(&mut self) {
        self.lane.read.store(self.read, Ordering::Release);
    }
}

fn lane(entries: usize) -> (Tail, Head) {
    let words = (0..entries * ENTRY / ALIGN).map(|_| UnsafeCell::new([0; ALIGN])).collect();
    let lane = Arc::new(Lane { write: AtomicU64::new(0), read: AtomicU64::new(0), words });
    (Tail { lane: Arc::clone(&lane), write: 0, read: 0 }, Head { lane, read: 0, write: 0, seen: Vec::new() })
}

/// Lanes with room for so many entries.
fn ring(small: usize, large: usize) -> (Tails<Tail>, Heads<Head>) {
    let (small, large) = (lane(small), lane(large));
    (
        Tails { small: small.0, large: large.0, is_small_full: false },
        Heads { small: small.1, large: large.1, straddling: Vec::new() },
    )
}

fn push(tails: &mut Tails<Tail>, number: u32) -> bool {
    let mut entry = [0; ENTRY];
    entry[4..8].copy_from_slice(&4_u32.to_le_bytes());
    entry[PREFIX..].copy_from_slice(&number.to_le_bytes());
    tails.push(&mut entry, |_, _| ())
}

fn drain(heads: &mut Heads<Head>, into: &mut Vec<u32>) {
    heads.drain(usize::MAX, |entry| into.push(u32::from_le_bytes(entry.try_into().unwrap())));
}

/// What was taken in is handed out once and in order, whatever was refused, however often the reader looks.
#[test]
fn every_entry_comes_out_once_and_in_order() {
    loom::model(|| {
        let (mut tails, mut heads) = ring(1, 2);
        let core =
            thread::spawn(move || (1..=4).filter(|number| push(&mut tails, *number)).collect::<Vec<u32>>());
        let mut out = Vec::new();
        for _ in 0..2 {
            drain(&mut heads, &mut out);
            heads.commit();
        }
        let taken = core.join().unwrap();
        drain(&mut heads, &mut out);
        heads.commit();
        assert_eq!(out, taken);
        assert!(heads.is_empty());
    });
}

/// What is drained and not given back is not overwritten: the reader may still look, and so may the next process.
#[test]
fn what_is_not_given_back_stays() {
    loom::model(|| {
        let (mut tails, mut heads) = ring(1, 1);
        assert!(push(&mut tails, 1));
        let core =
            thread::spawn(move || (2..=4).filter(|number| push(&mut tails, *number)).collect::<Vec<u32>>());
        let mut out = Vec::new();
        drain(&mut heads, &mut out);
        drain(&mut heads, &mut out);
        // As after a death: from the positions that are given back.
        let (mut small, mut large) = (heads.small.lane.clone(), heads.large.lane.clone());
        let again = |lane: &mut Arc<Lane>| Head { lane: lane.clone(), read: 0, write: 0, seen: Vec::new() };
        let mut next = Heads { small: again(&mut small), large: again(&mut large), straddling: Vec::new() };
        let mut found = Vec::new();
        drain(&mut next, &mut found);
        assert!(found.starts_with(&out), "{out:?} was drained, {found:?} is there");
        let mut all = vec![1];
        all.extend(core.join().unwrap());
        assert!(all.starts_with(&found), "{found:?} of {all:?}");
        assert!(all.len() <= 2, "nothing was given back");
    });
}
