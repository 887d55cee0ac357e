//! [`Core`]: what one event-loop thread owns.

use std::rc::Rc;
use std::sync::Arc;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::access_log::follow::Writer;
use crate::files::OpenFiles;
use crate::process::clock::Clock;
use crate::process::deadline::Deadlines;
use crate::process::lag::Lag;
use crate::record::id::{IdSource, Random};
use crate::upstream::local::Locals;

/// What the other threads may read about a core. Only its core writes.
#[derive(Debug, Default)]
pub struct Counts {
    pub accepted: AtomicU64,
    pub requests: AtomicU64,
    pub in_flight: AtomicU32,
    pub refused: AtomicU64,
    pub idle_upstream: AtomicU32,
    pub lag: Lag,
}

impl Counts {
    /// A plain load and store: there is only one writer, so no read-modify-write is needed.
    pub fn step32(counter: &AtomicU32, by: i32) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add_signed(by), Ordering::Relaxed);
    }

    pub fn step64(counter: &AtomicU64) {
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// See the module.
pub struct Core {
    pub index: u16,
    pub clock: Clock,
    pub ids: IdSource,
    pub random: Random,
    pub deadlines: Rc<Deadlines>,
    pub locals: Locals,
    pub files: OpenFiles,
    pub log: Rc<Writer>,
    pub counts: Arc<Counts>,
}
