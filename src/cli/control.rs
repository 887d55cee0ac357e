//! `tollgate status`, `reload` and `stop`: the other end of the admin socket.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use tokio::net::UnixStream;

use super::Exit;
use crate::app::admin::{Reply, Status, UpstreamStatus};
use crate::worker::io::Io;

const DEADLINE: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// How often a stopping instance is looked at.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// Prints the state of the running instance, as a table or as it came.
pub fn status(socket: &Path, json: bool) -> Exit {
    run(socket, async |socket| {
        let answer = ask(socket, Method::GET, "/status").await?;
        if json { pretty(&answer.body) } else { Ok(table(&serde_json::from_slice(&answer.body)?)) }
    })
}

/// Asks the running instance to load its configuration again.
pub fn reload(socket: &Path, json: bool) -> Exit {
    run(socket, async |socket| {
        let answer = ask(socket, Method::POST, "/reload").await?;
        tell(&answer, json)
    })
}

/// Asks the running instance to open its log files again.
pub fn reopen_logs(socket: &Path, json: bool) -> Exit {
    run(socket, async |socket| {
        let answer = ask(socket, Method::POST, "/logs/reopen").await?;
        tell(&answer, json)
    })
}

/// Asks the running instance to stop, and waits until it has. The instance itself ends the drain at its deadline.
pub fn stop(socket: &Path) -> Exit {
    run(socket, async |socket| {
        ask(socket, Method::POST, "/stop").await?;
        while UnixStream::connect(socket).await.is_ok() {
            tokio::time::sleep(STOP_CHECK).await;
        }
        Ok("stopped\n".to_owned())
    })
}

#[derive(Debug, thiserror::Error)]
enum ControlError {
    #[error("no tollgate is running here")]
    NoInstance,
    #[error("not permitted to talk to it; run as its user, or join its group")]
    NotPermitted,
    #[error("it does not answer")]
    Deadline,
    #[error("it answers what this version does not understand; is it another version?")]
    Unreadable(#[from] serde_json::Error),
    #[error("{0}")]
    Refused(String),
    /// The whole answer, for a script: goes to the output.
    #[error("refused")]
    RefusedJson(String),
    #[error("the connection broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ControlError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoInstance => Exit::NoInstance,
            Self::NotPermitted => Exit::NotPermitted,
            _ => Exit::Failed,
        }
    }
}

impl From<io::Error> for ControlError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NoInstance,
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::Broken(error.into()),
        }
    }
}

/// Runs a command and prints its text; a closed pipe is no error, the reader has seen enough.
fn run(socket: &Path, command: impl AsyncFnOnce(&Path) -> Result<String, ControlError>) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(command(socket)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(text) => {
            let _ = io::stdout().write_all(text.as_bytes());
            Exit::Done
        }
        Err(ControlError::RefusedJson(text)) => {
            let _ = io::stdout().write_all(text.as_bytes());
            Exit::Failed
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "tollgate: {}: {error}", socket.display());
            error.exit()
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Bytes,
}

async fn ask(socket: &Path, method: Method, path: &str) -> Result<Answer, ControlError> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await?;
        let handshake = hyper::client::conn::http1::handshake(Io(stream)).await;
        let (mut sender, connection) = handshake.map_err(broken)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "tollgate")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::<Bytes>::default())
            .map_err(broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(ControlError::Broken)?.to_bytes();
            Ok(Answer { status, body })
        };
        let (answer, _) = tokio::join!(answer, connection);
        answer
    };
    tokio::time::timeout(DEADLINE, exchange).await.unwrap_or(Err(ControlError::Deadline))
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ControlError {
    ControlError::Broken(error.into())
}

fn tell(answer: &Answer, json: bool) -> Result<String, ControlError> {
    if json {
        let text = pretty(&answer.body)?;
        return if answer.status.is_success() { Ok(text) } else { Err(ControlError::RefusedJson(text)) };
    }
    let reply: Reply = serde_json::from_slice(&answer.body)?;
    match reply.error {
        Some(error) => Err(ControlError::Refused(error)),
        None => Ok(format!("{}\n", reply.message.unwrap_or_default())),
    }
}

fn pretty(body: &[u8]) -> Result<String, ControlError> {
    let value: serde_json::Value = serde_json::from_slice(body)?;
    Ok(format!("{value:#}\n"))
}

fn table(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {}", clean(&value));
    };
    line("tollgate", format!("{}, pid {}, up {}", status.version, status.pid, ago(status.uptime_s)));
    line("config", format!("{} (loaded {}×)", status.config, status.plans));
    line("listening", status.listeners.join("  "));
    line("connections", format!("{} open, {} in all", status.connections.open, status.connections.total));
    line("requests", format!("{} open, {} in all", status.requests.open, status.requests.total));
    line("log", log_line(status));
    for upstream in &status.upstreams {
        text.push('\n');
        text.push_str(&upstream_table(upstream));
    }
    text
}

fn log_line(status: &Status) -> String {
    let mut line = format!("{} records, {} delivered", status.log.records, status.log.delivered);
    for (reason, count) in &status.log.dropped {
        let _ = write!(line, ", {count} dropped ({reason})");
    }
    line
}

fn upstream_table(upstream: &UpstreamStatus) -> String {
    let mut rows = vec![
        ["UPSTREAM", "ADDRESS", "STATE", "OPEN", "REQUESTS", "WORKER", "RESTARTS", "MEMORY"]
            .map(str::to_owned),
    ];
    for endpoint in &upstream.endpoints {
        let worker = upstream.workers.iter().find(|worker| Some(&worker.name) == endpoint.worker.as_ref());
        let state = match (endpoint.up, endpoint.healthy, endpoint.ejected, worker) {
            (false, _, _, Some(worker)) => format!("{:?}", worker.state).to_lowercase(),
            (false, ..) => "down".to_owned(),
            (_, false, ..) => "unhealthy".to_owned(),
            (_, _, true, _) => "ejected".to_owned(),
            _ => "up".to_owned(),
        };
        let of_worker =
            |cell: &dyn Fn(&crate::worker::WorkerStatus) -> String| worker.map_or("-".to_owned(), cell);
        rows.push([
            clean(&upstream.name),
            clean(&endpoint.address),
            state,
            endpoint.in_flight.to_string(),
            endpoint.requests.to_string(),
            of_worker(&|worker| {
                let pid = worker.pid.map_or("-".to_owned(), |pid| pid.to_string());
                format!("{} ({pid}, {})", clean(&worker.name), ago(worker.for_s))
            }),
            of_worker(&|worker| worker.restarts.to_string()),
            of_worker(&|worker| worker.rss_bytes.map_or("-".to_owned(), mebibytes)),
        ]);
    }
    align(&rows)
}

fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}

/// `3d 4h`, `4h 5m`, `5m 6s`, `6s`.
fn ago(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// Nothing that a terminal would obey.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::admin::{Actions, Admin, Count, EndpointStatus, LogStatus};
    use crate::worker::{State, WorkerStatus};

    fn example() -> Status {
        let worker = |index: usize, state, restarts| WorkerStatus {
            name: format!("app-{index}"),
            index,
            pid: Some(100),
            state,
            address: "127.0.0.1:20001".parse().unwrap(),
            restarts,
            for_s: 61,
            rss_bytes: Some(3_000_000),
            dropped_lines: 0,
            last_end: None,
        };
        let endpoint = |index: usize, up| EndpointStatus {
            address: format!("127.0.0.1:2000{index}"),
            worker: Some(format!("app-{index}")),
            up,
            healthy: true,
            requests: 7,
            ..EndpointStatus::default()
        };
        Status {
            version: "0.1.0".to_owned(),
            pid: 42,
            uptime_s: 93_784,
            config: "tollgate.toml".to_owned(),
            plans: 2,
            listeners: vec!["http://127.0.0.1:8080".to_owned()],
            connections: Count { open: 1, total: 10 },
            requests: Count { open: 0, total: 20 },
            upstreams: vec![UpstreamStatus {
                name: "app".to_owned(),
                endpoints: vec![endpoint(0, true), endpoint(1, false)],
                workers: vec![worker(0, State::Serving, 0), worker(1, State::Errored, 16)],
            }],
            log: LogStatus { records: 20, delivered: 18, dropped: [("queue_full".to_owned(), 2)].into() },
        }
    }

    #[test]
    fn the_table_shows_workers_beside_their_endpoints() {
        let expected = "\
tollgate     0.1.0, pid 42, up 1d 2h
config       tollgate.toml (loaded 2×)
listening    http://127.0.0.1:8080
connections  1 open, 10 in all
requests     0 open, 20 in all
log          20 records, 18 delivered, 2 dropped (queue_full)

UPSTREAM  ADDRESS          STATE    OPEN  REQUESTS  WORKER               RESTARTS  MEMORY
app       127.0.0.1:20000  up       0     7         app-0 (100, 1m 1s)   0         3 MiB
app       127.0.0.1:20001  errored  0     7         app-1 (100, 1m 1s)   16        3 MiB
";
        // Column widths follow the longest cell.
        let normal = |text: &str| {
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(normal(&table(&example())), normal(expected));
    }

    #[test]
    fn nothing_in_the_table_is_obeyed_by_a_terminal() {
        let mut status = example();
        status.upstreams[0].endpoints[0].address = "\x1b[31mred".to_owned();
        status.config = "\x07".to_owned();
        assert!(!table(&status).chars().any(|c| c.is_control() && c != '\n'));
    }

    #[test]
    fn durations_show_their_two_largest_units() {
        assert_eq!([59, 61, 3_661, 90_061].map(ago), ["59s", "1m 1s", "1h 1m", "1d 1h"]);
    }

    #[test]
    fn without_an_instance_the_exit_code_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        assert_eq!(status(&path, false), Exit::NoInstance);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert_eq!(reload(&path, false), Exit::NoInstance, "a stale socket is no instance");
    }

    #[test]
    fn commands_reach_the_instance_and_report_its_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let (stop_sender, stopped) = tokio::sync::watch::channel(false);
        let actions = Actions {
            status: Box::new(example),
            reload: Box::new(|| Box::pin(async { Err("tollgate.toml:1: no".to_owned()) })),
            stop: Box::new(move || {
                stop_sender.send_replace(true);
            }),
            reopen_logs: Box::new(|| Box::pin(async { Ok("reopened".to_owned()) })),
        };
        let admin = Admin::bind(&path).unwrap();
        let mut told = stopped.clone();
        runtime.spawn(async move {
            tokio::select! {
                () = admin.serve(actions) => {}
                _ = told.wait_for(|stop| *stop) => {}
            }
        });
        assert_eq!(status(&path, false), Exit::Done);
        assert_eq!(status(&path, true), Exit::Done);
        assert_eq!(reload(&path, false), Exit::Failed);
        assert_eq!(reload(&path, true), Exit::Failed);
        assert_eq!(reopen_logs(&path, false), Exit::Done);
        assert_eq!(stop(&path), Exit::Done);
        assert!(*stopped.borrow());
        assert_eq!(status(&path, false), Exit::NoInstance);
    }
}
