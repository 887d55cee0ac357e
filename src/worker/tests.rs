use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

use super::*;

const CHILD: &str = "TOLLGATE_TEST_SERVE";

/// A tiny server when it is started as a worker by the tests below; else does nothing. Its first answers are 503
/// as often as the variable says.
#[test]
fn child() {
    let Ok(unready) = std::env::var(CHILD) else { return };
    let mut unready: u32 = unready.parse().unwrap();
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let status = if unready > 0 { "503 no" } else { "200 ok" };
        unready = unready.saturating_sub(1);
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
}

/// Settings of a worker that serves.
fn server(unready: u32) -> Settings {
    let exe = std::env::current_exe().unwrap().display().to_string();
    let command =
        [exe.as_str(), "--exact", "worker::tests::child", "--nocapture"].map(str::to_owned).to_vec();
    Settings {
        env: vec![(CHILD.to_owned(), unready.to_string())],
        ready: Ready::Http { path: "/healthz".to_owned() },
        restart: quick(),
        ..Settings::new("app", command, 1)
    }
}

fn shell(script: &str) -> Settings {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    Settings { restart: quick(), ..Settings::new("app", command, 1) }
}

fn quick() -> Restart {
    Restart { first_delay: Duration::from_millis(1), max_quick_deaths: 3, ..Restart::default() }
}

struct Fixture {
    supervisor: Supervisor,
    events: mpsc::UnboundedReceiver<Event>,
    lines: mpsc::Receiver<Line>,
    in_flight: Arc<AtomicU32>,
}

impl Fixture {
    fn start(settings: Settings) -> Self {
        Self::start_prepared(Supervisor::prepare(settings).unwrap())
    }

    fn start_prepared(prepared: Prepared) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let (lines_sender, lines) = mpsc::channel(100);
        let in_flight = Arc::new(AtomicU32::new(0));
        let asked = Arc::clone(&in_flight);
        let hooks = Hooks {
            on_change: Arc::new(move |event| drop(sender.send(event))),
            in_flight: Arc::new(move |_| asked.load(Ordering::Relaxed)),
        };
        let supervisor = prepared.start(&hooks, &lines_sender);
        Self { supervisor, events, lines, in_flight }
    }

    async fn event(&mut self) -> Event {
        within(self.events.recv()).await.unwrap()
    }

    async fn until(&mut self, state: State) -> Event {
        loop {
            let event = self.event().await;
            if event.state == state {
                return event;
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.supervisor.status()[0].pid.unwrap().cast_signed()).unwrap()
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap()
}

fn is_alive(id: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

#[tokio::test]
async fn serves_from_the_first_good_answer_on() {
    let mut fixture = Fixture::start(server(2));
    assert_eq!(fixture.event().await.state, State::Starting);
    assert_eq!(fixture.event().await.state, State::Serving);
    assert_eq!(within(fixture.supervisor.settled()).await, 1);
    let status = &fixture.supervisor.status()[0];
    assert_eq!((status.name.as_str(), status.state, status.restarts), ("app-0", State::Serving, 0));
    assert!(status.rss_bytes.unwrap() > 0);
    within(fixture.supervisor.stop()).await;
    assert_eq!(fixture.event().await.state, State::Stopping);
    assert_eq!(fixture.event().await.state, State::Stopped);
}

#[tokio::test]
async fn a_killed_worker_comes_back_on_its_port() {
    let mut fixture = Fixture::start(server(0));
    let before = fixture.until(State::Serving).await;
    kill_process(fixture.pid(), Signal::KILL).unwrap();
    assert_eq!(fixture.event().await.state, State::Waiting, "told before anything else happens");
    let after = fixture.until(State::Serving).await;
    assert_eq!((after.address, after.restarts), (before.address, 1));
    assert_eq!(fixture.supervisor.status()[0].last_end.as_deref(), Some("signal 9"));
    within(fixture.supervisor.stop()).await;
}

#[tokio::test]
async fn too_many_quick_deaths_make_it_errored() {
    let mut fixture = Fixture::start(shell("exit 3"));
    let event = fixture.until(State::Errored).await;
    assert_eq!(event.restarts, 2);
    assert_eq!(fixture.supervisor.status()[0].last_end.as_deref(), Some("exit code 3"));
    assert_eq!(within(fixture.supervisor.settled()).await, 0);
    within(fixture.supervisor.stop()).await;
}

#[tokio::test]
async fn a_directory_that_does_not_exist_is_named() {
    let mut settings = shell("exit 0");
    settings.cwd = "/does/not/exist".into();
    let mut fixture = Fixture::start(settings);
    fixture.until(State::Waiting).await;
    let end = fixture.supervisor.status()[0].last_end.clone().unwrap();
    assert!(end.starts_with("cannot start: its directory /does/not/exist (`cwd`): No such file"), "{end}");
    within(fixture.supervisor.stop()).await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_reported() {
    let mut fixture = Fixture::start(Settings::new("app", vec!["/does/not/exist".to_owned()], 1));
    fixture.until(State::Waiting).await;
    let end = fixture.supervisor.status()[0].last_end.clone().unwrap();
    assert!(end.starts_with("cannot start: /does/not/exist: No such file"), "{end}");
    within(fixture.supervisor.stop()).await;
}

#[tokio::test]
async fn one_that_never_becomes_ready_is_stopped_and_started_again() {
    let settings = Settings { ready_timeout: Duration::from_millis(50), ..shell("sleep 600") };
    let mut fixture = Fixture::start(settings);
    fixture.until(State::Waiting).await;
    let end = fixture.supervisor.status()[0].last_end.clone().unwrap();
    assert!(end.starts_with("not ready on 127.0.0.1:") && end.contains("within 50ms"), "{end}");
    assert_eq!(fixture.until(State::Starting).await.restarts, 1);
    within(fixture.supervisor.stop()).await;
}

#[tokio::test]
async fn knows_its_place_and_its_lines_carry_its_name() {
    let mut fixture =
        Fixture::start(shell("echo $TOLLGATE_UPSTREAM $TOLLGATE_WORKER $PORT; echo oops >&2; sleep 600"));
    let port = fixture.supervisor.status()[0].address.port();
    let mut lines =
        [within(fixture.lines.recv()).await.unwrap(), within(fixture.lines.recv()).await.unwrap()];
    lines.sort_by_key(|line| line.stream == Stream::Err);
    assert_eq!(
        (&*lines[0].worker, lines[0].stream, &lines[0].text),
        ("app-0", Stream::Out, &format!("app 0 {port}"))
    );
    assert_eq!((lines[1].stream, &*lines[1].text), (Stream::Err, "oops"));
    within(fixture.supervisor.stop()).await;
}

#[tokio::test]
async fn stopping_ends_the_whole_group_even_if_it_ignores_sigterm() {
    let settings = Settings {
        stop_timeout: Duration::from_millis(50),
        ..shell("trap '' TERM; sleep 600 & echo $!; while true; do wait; done")
    };
    let mut fixture = Fixture::start(settings);
    let grandchild = within(fixture.lines.recv()).await.unwrap().text;
    assert!(is_alive(&grandchild));
    within(fixture.supervisor.stop()).await;
    assert!(fixture.supervisor.status()[0].last_end.as_deref().unwrap().starts_with("signal 9"));
    within(async {
        while is_alive(&grandchild) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_dead_worker_leaves_behind_is_ended() {
    let mut fixture = Fixture::start(shell("sleep 600 & echo $!"));
    let grandchild = within(fixture.lines.recv()).await.unwrap().text;
    within(async {
        while is_alive(&grandchild) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within(fixture.supervisor.stop()).await;
}

#[tokio::test]
async fn a_restart_waits_for_the_requests_in_flight() {
    let mut fixture = Fixture::start(server(0));
    fixture.until(State::Serving).await;
    let before = fixture.pid();
    fixture.in_flight.store(1, Ordering::Relaxed);
    fixture.supervisor.restart(0).await;
    assert_eq!(fixture.event().await.state, State::Draining);
    assert_eq!(fixture.pid(), before);
    assert!(fixture.events.try_recv().is_err());
    fixture.in_flight.store(0, Ordering::Relaxed);
    assert_eq!(fixture.event().await.state, State::Stopping);
    fixture.until(State::Serving).await;
    assert_ne!(fixture.pid(), before);
    within(fixture.supervisor.stop()).await;
}

#[tokio::test]
async fn a_stop_while_draining_is_a_stop() {
    let mut fixture = Fixture::start(server(0));
    fixture.until(State::Serving).await;
    fixture.in_flight.store(1, Ordering::Relaxed);
    fixture.supervisor.restart(0).await;
    fixture.until(State::Draining).await;
    within(fixture.supervisor.stop()).await;
    assert_eq!(fixture.supervisor.status()[0].restarts, 0);
}

#[tokio::test]
async fn a_taken_port_is_replaced_and_told() {
    let prepared = Supervisor::prepare(server(0)).unwrap();
    let planned = prepared.addresses()[0];
    let _squatter = TcpListener::bind(planned).unwrap();
    let mut fixture = Fixture::start_prepared(prepared);
    let serving: SocketAddr = fixture.until(State::Serving).await.address;
    assert_ne!(serving, planned);
    within(fixture.supervisor.stop()).await;
}

#[tokio::test]
async fn a_taken_fixed_port_is_reported_and_its_owner_gets_no_requests() {
    let squatter = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = squatter.local_addr().unwrap().port();
    let settings = Settings { port: PortChoice::From(port), ready: Ready::Connect, ..shell("sleep 600") };
    let mut fixture = Fixture::start(settings);
    assert_eq!(fixture.event().await.state, State::Starting);
    assert_eq!(fixture.event().await.state, State::Waiting);
    let end = fixture.supervisor.status()[0].last_end.clone().unwrap();
    assert_eq!(end, format!("cannot start: somebody else listens on 127.0.0.1:{port}"));
    within(fixture.supervisor.stop()).await;
}

#[tokio::test]
async fn over_its_memory_limit_it_is_replaced() {
    let mut fixture = Fixture::start(Settings { memory_limit: Some(1), ..server(0) });
    fixture.until(State::Serving).await;
    fixture.until(State::Draining).await;
    assert_eq!(fixture.until(State::Serving).await.restarts, 1);
    within(fixture.supervisor.stop()).await;
}

#[tokio::test]
async fn dropping_the_supervisor_ends_the_workers() {
    let mut fixture = Fixture::start(server(0));
    fixture.until(State::Serving).await;
    let id = fixture.supervisor.status()[0].pid.unwrap().to_string();
    drop(fixture.supervisor);
    within(async {
        while is_alive(&id) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[test]
fn a_ready_path_must_be_a_path() {
    for path in ["healthz", "", "/a b"] {
        let settings = Settings { ready: Ready::Http { path: path.to_owned() }, ..server(0) };
        assert!(matches!(Supervisor::prepare(settings), Err(WorkerError::BadReadyPath { .. })), "{path:?}");
    }
}

#[tokio::test]
async fn a_service_without_port_is_ready_when_its_socket_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("service.sock");
    let settings = Settings { ready: Ready::Socket { path: path.clone() }, ..shell("sleep 600") };
    let mut fixture = Fixture::start(settings);
    assert_eq!(fixture.event().await.state, State::Starting);
    assert!(fixture.events.try_recv().is_err());
    let _service = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(fixture.event().await.state, State::Serving);
    within(fixture.supervisor.stop()).await;
}

#[test]
fn an_empty_command_is_refused() {
    let error = Supervisor::prepare(Settings::new("app", Vec::new(), 1)).unwrap_err();
    assert!(matches!(error, WorkerError::NoCommand { .. }));
}
