//! [`Pace`] and [`Rhythm`]: how much goes out at once, and when.

use std::time::Duration;

use tokio::time::Instant;

/// How a sink likes to be served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) batch_bytes: usize,
    pub(super) linger: Duration,
    pub(super) timeout: Duration,
    pub(super) backoff: Duration,
    pub(super) backoff_max: Duration,
}

/// A batch smaller than this is no load: then the next one waits half as long.
const SMALL: usize = 64 << 10;

/// When the next batch is due. What comes after a rest goes at once: somebody may be watching.
#[derive(Debug)]
pub(super) struct Rhythm {
    linger: Duration,
    pub(super) next: Instant,
}

impl Rhythm {
    pub(super) fn new(pace: &Pace) -> Self {
        Self { linger: pace.linger, next: Instant::now() }
    }

    /// A batch with so many bytes goes now.
    pub(super) fn beat(&mut self, bytes: usize) {
        let linger = if bytes < SMALL { self.linger / 2 } else { self.linger };
        self.next = Instant::now() + linger;
    }
}

/// Between half of `pause` and all of it, so that many proxies do not come back at once.
pub(super) fn jittered(pause: Duration, random: u64) -> Duration {
    let part = (random >> 40) as u32;
    pause / 2 + (pause / 2 / (1 << 24)) * part
}

/// For a file or a terminal.
pub(super) fn local_pace(linger: Duration) -> Pace {
    Pace {
        batch_bytes: 1 << 20,
        linger,
        timeout: Duration::MAX,
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_secs(1),
    }
}
