//! The command line: one match on the subcommand, exit codes in one place.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 bad config, 4 not permitted or address in use, 5 no instance,
//! 130 interrupted.

mod check;

use std::process::ExitCode;

pub use check::check;

/// How a command ended; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    BadConfig = 3,
    NotPermitted = 4,
    NoInstance = 5,
    Interrupted = 130,
}

/// Parses the arguments and runs the command.
pub fn run() -> ExitCode {
    ExitCode::from(Exit::Done as u8)
}
