//! Gives freed pages back to the system.
#![allow(unsafe_code, reason = "the allocator's own call has no safe wrapper")]

use std::time::Duration;

/// How often a thread with much to give back does so.
pub const RELEASE_EVERY: Duration = Duration::from_secs(4);

/// Collects this thread's free pages. Without it the allocator keeps what parked connections gave back, and what was
/// allocated here and freed by another thread.
pub fn release() {
    // SAFETY: no arguments to get wrong, no memory handed over; it touches only the calling thread's heap.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
