//! How far a long reading is: one line on stderr, only when that is a terminal.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::words::{count, duration, size};
use crate::log_service::exec::Control;

/// Shorter readings show nothing.
const PATIENCE: Duration = Duration::from_millis(700);
const STEP: Duration = Duration::from_millis(200);

/// Bytes read out of how many.
#[derive(Clone)]
pub(super) struct Progress(Rc<State>);

struct State {
    /// 0 when it cannot be told, as of a pipe.
    whole: u64,
    done: Cell<u64>,
    started: Instant,
    shown: Cell<Option<Instant>>,
    is_shown: bool,
}

impl Progress {
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let sizes = paths.iter().map(|path| path.metadata().map_or(0, |metadata| metadata.len()));
        let is_pipe = paths.iter().any(|path| path == Path::new("-"));
        let whole = if is_pipe { 0 } else { sizes.sum() };
        let is_shown = std::io::stderr().is_terminal();
        Self(Rc::new(State {
            whole,
            done: Cell::new(0),
            started: Instant::now(),
            shown: Cell::new(None),
            is_shown,
        }))
    }

    /// To be called with every number of bytes read.
    pub(super) fn counter(&self) -> impl FnMut(u64) + 'static {
        let state = Rc::clone(&self.0);
        move |bytes| state.advance(bytes)
    }

    /// Takes the line away again.
    pub(super) fn end(&self) {
        if self.0.shown.get().is_some() {
            clear();
        }
    }
}

/// Runs a scan over a store and shows how far it is, in rows. It runs on a thread of its own.
pub(super) fn of_scan<T: Send>(control: &Control, scan: impl FnOnce() -> T + Send) -> T {
    let (started, own) = (Instant::now(), std::thread::current());
    let is_over = AtomicBool::new(false);
    let told = std::thread::scope(|threads| {
        let running = threads.spawn(|| {
            let told = scan();
            // Not `is_finished`, which is true only some time after the call.
            is_over.store(true, Ordering::Release);
            own.unpark();
            told
        });
        let mut is_shown = false;
        // A scan that panics is finished without being over.
        while !is_over.load(Ordering::Acquire) && !running.is_finished() {
            std::thread::park_timeout(STEP);
            if started.elapsed() > PATIENCE
                && std::io::stderr().is_terminal()
                && !is_over.load(Ordering::Acquire)
            {
                let (done, whole) = control.progress();
                is_shown = true;
                let _ = write!(std::io::stderr(), "\r\x1b[K{}", rows(done, whole, started.elapsed()));
            }
        }
        if is_shown {
            clear();
        }
        running.join()
    });
    told.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How far the scan of a service is, as it tells.
pub(super) struct Served {
    started: Instant,
    is_terminal: bool,
    is_shown: bool,
}

impl Served {
    /// Nothing is shown when `is_beside_rows`: on a terminal they would be mixed.
    pub(super) fn new(is_beside_rows: bool) -> Self {
        let is_terminal =
            std::io::stderr().is_terminal() && !(is_beside_rows && std::io::stdout().is_terminal());
        Self { started: Instant::now(), is_terminal, is_shown: false }
    }

    pub(super) fn show(&mut self, done: u64, whole: u64) {
        if self.is_terminal {
            self.is_shown = true;
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", rows(done, whole, self.started.elapsed()));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.is_shown {
            clear();
        }
    }
}

/// `43 % of 120 000 000 rows, 3.1s left`.
fn rows(done: u64, whole: u64, elapsed: Duration) -> String {
    let (done, whole) = (done.min(whole), whole.max(1));
    let left = elapsed.as_micros() * u128::from(whole - done.min(whole)) / u128::from(done.max(1));
    let left = duration(u64::try_from(left).unwrap_or(u64::MAX));
    format!("{} % of {} rows, {left} left", done.saturating_mul(100) / whole, count(whole))
}

impl State {
    fn advance(&self, bytes: u64) {
        self.done.set(self.done.get() + bytes);
        let elapsed = self.started.elapsed();
        let is_due = self.shown.get().map_or(elapsed > PATIENCE, |shown| shown.elapsed() > STEP);
        if !self.is_shown || !is_due {
            return;
        }
        self.shown.set(Some(Instant::now()));
        // A progress line that cannot be written is no reason to fail.
        let _ = write!(std::io::stderr(), "\r\x1b[K{}", text(self.done.get(), self.whole, elapsed));
    }
}

/// `43 % of 1.2GB, 210.3MB/s, 3.1s left`.
fn text(done: u64, whole: u64, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    // Only for looking at.
    let speed = format!("{}/s", size(rate as u64));
    if whole == 0 {
        return format!("{} read, {speed}", size(done));
    }
    let left = whole.saturating_sub(done) as f64 / rate.max(1.0) * 1e6;
    let share = done.saturating_mul(100) / whole;
    format!("{share} % of {}, {speed}, {} left", size(whole), duration(left as u64))
}

fn clear() {
    let _ = write!(std::io::stderr(), "\r\x1b[K");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_and_how_long() {
        let second = Duration::from_secs(1);
        assert_eq!(text(250_000_000, 1_000_000_000, second), "25 % of 1.0GB, 250.0MB/s, 3.0s left");
        assert_eq!(text(5_000, 0, second), "5.0kB read, 5.0kB/s");
    }
}
