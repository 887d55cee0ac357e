//! The command line from outside: what the commands print, to the letter, and how they exit.
//!
//! `UPDATE=1` writes the files in `golden`; read the difference before you keep it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod check;
mod completions;
mod explain;
mod first_minute;
mod logs;
mod service;
mod start;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Runs tollgate in the root of the package.
fn tollgate(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(words).env_remove("TOLLGATE_LOG").env_remove("TOLLGATE_CONFIG").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Looks until there is something.
#[allow(clippy::disallowed_methods, reason = "another process is waited for, and no runtime runs here")]
fn wait_until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Compares with `golden/NAME`, or writes it.
#[track_caller]
fn golden(name: &str, seen: &str) {
    let path = Path::new("tests/cli/golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, seen).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == seen, "{} differs; seen:\n{seen}", path.display());
}
