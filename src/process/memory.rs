//! Gives freed pages back to the system.
#![allow(unsafe_code, reason = "the allocator's own call has no safe wrapper")]

/// Collects this thread's free pages. Without it the allocator keeps what parked connections gave back.
pub fn release() {
    // SAFETY: no arguments to get wrong, no memory handed over; it touches only the calling thread's heap.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
