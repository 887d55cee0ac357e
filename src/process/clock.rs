//! Wall time from the monotonic clock: one clock reading gives both.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Translates instants to wall time. Anchored again now and then, so that it follows clock steps.
#[derive(Debug)]
pub struct Clock {
    anchor: Cell<(Instant, i64)>,
}

impl Clock {
    pub fn new() -> Self {
        Self { anchor: Cell::new((Instant::now(), unix_us())) }
    }

    /// Microseconds since the Unix epoch at `at`.
    pub fn unix_us(&self, at: Instant) -> i64 {
        let (instant, unix) = self.anchor.get();
        match at.checked_duration_since(instant) {
            Some(later) => unix + later.as_micros() as i64,
            None => unix - instant.duration_since(at).as_micros() as i64,
        }
    }

    /// Reads the wall clock again.
    pub fn follow(&self) {
        self.anchor.set((Instant::now(), unix_us()));
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Microseconds since the Unix epoch, now; 0 before it.
pub fn unix_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros() as i64
}

/// Milliseconds since the first call in this process: the clock of ejections, shared by all cores.
pub fn process_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}
