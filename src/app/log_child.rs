//! The embedded log service: a child of its own, started again whenever it dies, never in the proxy's way.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::worker::exec;

/// Pauses between starts: doubled after each quick death.
const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(10);
/// How much it gives way to the cores (`nice(2)`): it may be behind, a request may not.
const NICENESS: i32 = 5;
/// How long it may take to store what it has when it is asked to end.
const GRACE: Duration = Duration::from_secs(10);

/// The socket on which the embedded service takes records.
pub fn socket(data: &Path) -> PathBuf {
    data.join("ingest.sock")
}

/// Keeps the service alive until `stop` turns true, then ends it in order.
pub async fn keep(data: PathBuf, mut stop: watch::Receiver<bool>) {
    let mut pause = FIRST;
    while !*stop.borrow() {
        let born = Instant::now();
        match start(&data) {
            Ok(mut child) => {
                tokio::select! {
                    ended = child.wait() => {
                        let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                        tracing::error!(%how, "the log service ended; starting it again");
                    }
                    () = stopped(&mut stop) => return end(child).await,
                }
            }
            Err(error) => tracing::error!(%error, "cannot start the log service"),
        }
        pause = if born.elapsed() > STEADY { FIRST } else { (pause * 2).min(LAST) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone will not ask either: then it is time to end, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn start(data: &Path) -> std::io::Result<Child> {
    let tollgate = std::env::current_exe()?;
    let launcher = exec::launcher(&tollgate);
    let (program, arguments) = launcher.split_first().ok_or(std::io::ErrorKind::NotFound)?;
    let child = Command::new(program)
        .args(arguments)
        .arg(&tollgate)
        // Quiet: where it listens is nobody's business but ours, and the first minute has four lines of its own.
        .args(["--quiet", "logs", "serve", "--data"])
        .arg(data)
        .arg("--http")
        .arg(format!("unix:{}", socket(data).display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Its own group: a Ctrl-C in the terminal must not end it before the last records have come.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    if let Some(pid) = pid(&child) {
        // It has no other threads yet, and those that it starts inherit.
        let _ = rustix::process::setpriority_process(Some(pid), NICENESS);
    }
    Ok(child)
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
}

async fn end(mut child: Child) {
    if let Some(pid) = pid(&child) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        tracing::error!("the log service does not end; killing it");
        let _ = child.kill().await;
    }
}
