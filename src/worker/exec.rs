//! The small step between tollgate and a worker's command: `tollgate worker-exec PARENT -- COMMAND…` asks the
//! kernel to kill it when tollgate dies, however tollgate dies, and then becomes the command.
//!
//! Trap: the kernel means the *thread* that started the process. So workers are started from tasks of a runtime
//! whose threads live as long as the process, never from a blocking pool.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "worker-exec";

/// What goes before a worker's command so that it dies with us. `tollgate` is our own executable.
pub fn launcher(tollgate: &Path) -> Vec<String> {
    let parent = std::process::id().to_string();
    vec![tollgate.display().to_string(), SUBCOMMAND.to_owned(), parent, "--".to_owned()]
}

/// Becomes `command`; returns only when that fails. `parent` is the process id of the tollgate that asked.
pub fn exec(parent: u32, command: &[String]) -> io::Error {
    let Some((program, arguments)) = command.split_first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no command given");
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // Without this check a parent that died before the line above would never be noticed.
    if getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned()) != Some(parent) {
        return io::Error::other("the tollgate that started this worker is gone");
    }
    Command::new(program).args(arguments).exec()
}
