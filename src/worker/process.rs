//! One running worker process and its group.

use std::io;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Settings;
use super::output::{Capture, Line, Stream};

/// Set by service managers for us; a worker that read them would answer in our name.
const NOT_INHERITED: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];
/// How long output may still come after the process has ended.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// A worker process, the leader of a process group of its own. Dropping it kills the group.
pub(super) struct Process {
    child: Child,
    group: Option<Pid>,
    output: JoinSet<()>,
}

/// Whose process to start, and where its output goes.
pub(super) struct Start<'a> {
    pub(super) settings: &'a Settings,
    pub(super) index: usize,
    pub(super) name: &'a Arc<str>,
    pub(super) address: SocketAddr,
    pub(super) lines: &'a mpsc::Sender<Line>,
    pub(super) dropped: &'a Arc<AtomicU64>,
}

impl Process {
    pub(super) fn start(start: &Start<'_>) -> io::Result<Self> {
        let mut child = command(start).spawn().map_err(|error| named(&error, start.settings))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let mut output = JoinSet::new();
        let capture = |stream| Capture {
            worker: Arc::clone(start.name),
            stream,
            lines: start.lines.clone(),
            dropped: Arc::clone(start.dropped),
        };
        if let Some(stdout) = child.stdout.take() {
            output.spawn(capture(Stream::Out).run(stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            output.spawn(capture(Stream::Err).run(stderr));
        }
        Ok(Self { child, group, output })
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Completes when the process has ended. May be cancelled and called again.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => describe(status),
            Err(error) => format!("lost: {error}"),
        }
    }

    /// SIGTERM to the group, SIGKILL after `patience`; returns when the process is gone. Says how it ended.
    pub(super) async fn stop(&mut self, patience: Duration) -> String {
        self.signal(Signal::TERM);
        if let Ok(how) = tokio::time::timeout(patience, self.ended()).await {
            return how;
        }
        self.signal(Signal::KILL);
        format!("{} after {patience:?} without ending on SIGTERM", self.ended().await)
    }

    /// After the end of the process: ends what is left of its group and waits for the rest of its output.
    pub(super) async fn clean_up(mut self) {
        self.signal(Signal::KILL);
        let rest = async { while self.output.join_next().await.is_some() {} };
        // A process that left the group may hold the pipe open for ever.
        let _ = tokio::time::timeout(OUTPUT_GRACE, rest).await;
        self.group = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Fails when the whole group is gone, which is fine.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The system does not say whether it misses the directory or the program.
fn named(error: &io::Error, settings: &Settings) -> io::Error {
    let cwd = settings.cwd.display();
    let what = match std::fs::metadata(&settings.cwd) {
        Err(why) => format!("its directory {cwd} (`cwd`): {why}"),
        Ok(found) if !found.is_dir() => format!("its directory {cwd} (`cwd`) is none"),
        Ok(_) => {
            let program = settings.launcher.first().or(settings.command.first());
            format!("{}: {error}", program.map_or("", String::as_str))
        }
    };
    io::Error::new(error.kind(), what)
}

fn command(start: &Start<'_>) -> Command {
    let Settings { name, command, launcher, env, cwd, .. } = start.settings;
    let mut words = launcher.iter().chain(command);
    // An empty command is refused before; spawning "" fails and is reported.
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words).current_dir(cwd);
    for variable in NOT_INHERITED {
        command.env_remove(variable);
    }
    command
        .envs(env.iter().map(|(key, value)| (key, value)))
        .env("PORT", start.address.port().to_string())
        .env("TOLLGATE_WORKER", start.index.to_string())
        .env("TOLLGATE_UPSTREAM", &**name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Resident bytes of a process; none when it is gone.
pub(super) fn resident_bytes(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
