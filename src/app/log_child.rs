//! The embedded log service: a child of its own, started again whenever it dies, never in the proxy's way.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::process::directory;
use crate::worker::exec;

/// Pauses between starts: doubled after each quick death.
const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(10);
/// How much it gives way to the cores (`nice(2)`): it may be behind, a request may not.
const NICENESS: i32 = 5;
/// How long it may take to store what it has when it is asked to end.
const GRACE: Duration = Duration::from_secs(10);

/// How it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub data: PathBuf,
    pub keep_days: u64,
    pub keep_error_days: u64,
    pub keep_rollup_days: u64,
    pub keep_mib: u64,
    /// The service's own rule when there is none.
    pub free_mib: Option<u64>,
    pub memory_mib: u64,
    /// Where its inputs are written, if it has any.
    pub config: Option<PathBuf>,
    /// What is written there, to know when it changes.
    pub written: String,
}

impl Settings {
    /// Takes new settings over; whether the service is to be started again with them. Where it keeps its data only a restart
    /// of the proxy changes: its socket is there.
    pub fn take(&mut self, new: Self) -> bool {
        let is_news = new != *self && new.data == self.data;
        if is_news {
            *self = new;
        }
        is_news
    }

    /// As `tollgate logs serve` takes them.
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            vec!["--embedded".into(), "--data".into(), self.data.clone().into()];
        if let Some(config) = &self.config {
            arguments.extend(["--config".into(), config.clone().into()]);
        }
        let numbers = [
            ("--keep-days", Some(self.keep_days)),
            ("--keep-error-days", Some(self.keep_error_days)),
            ("--keep-rollup-days", Some(self.keep_rollup_days)),
            ("--keep-mib", Some(self.keep_mib)),
            ("--free-mib", self.free_mib),
            ("--memory-mib", Some(self.memory_mib)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                arguments.extend([name.into(), number.to_string().into()]);
            }
        }
        arguments.extend(["--http".into(), format!("unix:{}", socket(&self.data).display()).into()]);
        arguments
    }
}

/// The socket on which the embedded service takes records.
pub fn socket(data: &Path) -> PathBuf {
    data.join("ingest.sock")
}

/// Keeps the service alive until `stop` turns true, then ends it in order. With new settings it is ended in order and started
/// again; records wait for it meanwhile.
pub async fn keep(mut settings: watch::Receiver<Settings>, mut stop: watch::Receiver<bool>) {
    let mut pause = FIRST;
    while !*stop.borrow() {
        let born = Instant::now();
        let wanted = settings.borrow_and_update().clone();
        match start(&wanted) {
            Ok(mut child) => {
                tokio::select! {
                    ended = child.wait() => {
                        let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                        tracing::error!(%how, "the log service ended; starting it again");
                        tell_of(&wanted.data);
                    }
                    () = changed(&mut settings) => {
                        tracing::info!("the log service starts again with what its configuration says now");
                        end(child).await;
                        continue;
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

/// Says so if the directory is why the service ends.
fn tell_of(data: &Path) {
    if let Err(error) = directory::make_writable(data, directory::LOGS) {
        tracing::error!(path = %data.display(), %error, "the log service cannot write its directory");
    }
}

async fn changed(settings: &mut watch::Receiver<Settings>) {
    if settings.changed().await.is_err() {
        // Nobody is left who could change them.
        std::future::pending().await
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone will not ask either: then it is time to end, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn start(settings: &Settings) -> std::io::Result<Child> {
    let tollgate = std::env::current_exe()?;
    let launcher = exec::launcher(&tollgate);
    let (program, arguments) = launcher.split_first().ok_or(std::io::ErrorKind::NotFound)?;
    let child = Command::new(program)
        .args(arguments)
        .arg(&tollgate)
        // It tells of what it refuses as we tell of ours, unless we were asked for quiet.
        .args((!tracing::enabled!(tracing::Level::WARN)).then_some("--quiet"))
        .args(["logs", "serve"])
        .args(settings.arguments())
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

#[cfg(test)]
mod tests {
    use super::super::log_settings::log_child;
    use crate::config;

    #[test]
    fn the_embedded_service_is_started_with_what_the_configuration_keeps() {
        let text = "
[server]
http = \"127.0.0.1:0\"
[log]
data = \"d\"
memory = \"300MiB\"
keep = { age = \"36h\", errors = \"7d\", rollups = \"30d\", size = \"2GiB\", free = \"5GiB\" }
[site.\"localhost\"]
routes = [{ path = \"/*\", respond = \"hi\" }]
";
        let config = config::from_text("t.toml", text, &|_| None).unwrap();
        let arguments = log_child(&config).arguments();
        let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap()).collect();
        let expected = "--embedded --data d --keep-days 2 --keep-error-days 7 --keep-rollup-days 30 --keep-mib 2048 \
            --free-mib 5120 --memory-mib 300 --http unix:d/ingest.sock";
        assert_eq!(words.join(" "), expected);
    }
}
