//! The allocator, and giving freed pages back to the system.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by contract, and the library's own calls have no safe wrapper"
)]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{mi_malloc, mi_realloc, mi_zalloc};
use mimalloc::MiMalloc;

/// mimalloc by its plain calls where its blocks are aligned anyway. The crate's own wrapper always takes the aligned
/// ones, which search for and over-allocate everything that is larger than a kilobyte: buffers and futures.
pub struct Allocator;

/// mimalloc aligns each block to 16 bytes, one smaller than that to its size rounded up to a word.
const ALWAYS_ALIGNED: usize = 16;

fn is_plain(layout: Layout) -> bool {
    layout.align() <= ALWAYS_ALIGNED && layout.align() <= layout.size()
}

// SAFETY: `mi_malloc` and its kin give blocks that no one else has, at least as large as asked, aligned as `is_plain`
// says, or null; all of them may be freed and resized by each other's functions. All else is the crate's own wrapper.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_plain(layout) {
            // SAFETY: any size may be asked for.
            true => unsafe { mi_malloc(layout.size()).cast() },
            // SAFETY: the caller's promise, passed on.
            false => unsafe { MiMalloc.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match is_plain(layout) {
            // SAFETY: any size may be asked for.
            true => unsafe { mi_zalloc(layout.size()).cast() },
            // SAFETY: the caller's promise, passed on.
            false => unsafe { MiMalloc.alloc_zeroed(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match layout.align() <= ALWAYS_ALIGNED && layout.align() <= size {
            // SAFETY: the caller promises that `block` came from here and is still whole.
            true => unsafe { mi_realloc(block.cast(), size).cast() },
            // SAFETY: the same.
            false => unsafe { MiMalloc.realloc(block, layout, size) },
        }
    }
}

use std::time::Duration;

/// How often a thread with much to give back does so.
pub const RELEASE_EVERY: Duration = Duration::from_secs(4);

/// Collects this thread's free pages. Without it the allocator keeps what parked connections gave back, and what was
/// allocated here and freed by another thread.
pub fn release() {
    // SAFETY: no arguments to get wrong, no memory handed over; it touches only the calling thread's heap.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_aligned_as_asked() {
        for size in (1..200).chain([1000, 1024, 1350, 4096, 8192, 100_000]) {
            for align in [1, 2, 4, 8, 16, 32, 128, 4096] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: sizes are not zero; each block is written within its size and freed once, as it was asked for.
                unsafe {
                    let block = Allocator.alloc(layout);
                    assert_eq!(block.addr() % align, 0, "{layout:?}");
                    block.write_bytes(7, size);
                    let grown = Allocator.realloc(block, layout, size * 3);
                    assert_eq!(grown.addr() % align, 0, "{layout:?} grown");
                    assert!((0..size).all(|at| grown.add(at).read() == 7));
                    Allocator.dealloc(grown, Layout::from_size_align(size * 3, align).unwrap());
                    let zeroed = Allocator.alloc_zeroed(layout);
                    assert!((0..size).all(|at| zeroed.add(at).read() == 0));
                    Allocator.dealloc(zeroed, layout);
                }
            }
        }
    }
}
