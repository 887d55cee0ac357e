//! The small step between tollgate and a worker's command: `tollgate worker-exec PARENT -- COMMAND…` asks the
//! kernel to kill it when tollgate dies, however tollgate dies, and then becomes the command.
//!
//! Trap: the kernel means the *thread* that started the process. So workers are started from tasks of a runtime
//! whose threads live as long as the process: never from a blocking pool, and no task there may use
//! `block_in_place`, which moves the others to a thread of that pool.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "worker-exec";

/// What goes before a worker's command so that it dies with us. `tollgate` is our own executable:
/// `/proc/self/exe` also works after the file was replaced.
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    use std::time::Duration;

    use rustix::process::{Pid, kill_process};

    use super::*;

    const ENTRY: &str = "TOLLGATE_TEST_EXEC";

    /// Becomes `sleep` when it is started by the test below; else does nothing.
    #[test]
    fn entry() {
        if std::env::var_os(ENTRY).is_some() {
            let parent = getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned());
            panic!("{}", exec(parent, &["sleep".to_owned(), "600".to_owned()]));
        }
    }

    #[tokio::test]
    async fn a_worker_dies_with_the_process_that_started_it() {
        let mut shell = Command::new("sh")
            .arg("-c")
            .arg(r#""$0" --exact worker::exec::tests::entry >/dev/null 2>&1 & echo $!; wait"#)
            .arg(std::env::current_exe().unwrap())
            .env(ENTRY, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let worker = line.trim();
        until(|| name_of(worker).as_deref() == Some("sleep")).await;
        kill_process(Pid::from_child(&shell), Signal::KILL).unwrap();
        shell.wait().unwrap();
        until(|| name_of(worker).is_none()).await;
    }

    #[test]
    fn an_orphan_does_not_start() {
        let error = exec(0, &["true".to_owned()]);
        set_parent_process_death_signal(None).unwrap();
        assert!(error.to_string().contains("is gone"), "{error}");
    }

    #[test]
    fn the_launcher_names_us_as_the_parent() {
        let words = launcher(Path::new("/usr/bin/tollgate"));
        assert_eq!(words, ["/usr/bin/tollgate", "worker-exec", &std::process::id().to_string(), "--"]);
    }

    /// Name of a living process.
    fn name_of(id: &str) -> Option<String> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (name, state) = stat.split_once('(')?.1.rsplit_once(") ")?;
        (!state.starts_with('Z')).then(|| name.to_owned())
    }

    async fn until(condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
    }
}
