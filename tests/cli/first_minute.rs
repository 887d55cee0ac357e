use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const DEADLINE: Duration = Duration::from_secs(20);

/// A tollgate in a directory of its own; killed when the test is over, if it still runs.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(dir: &Path, words: &[&str]) -> Self {
        let file = |name: &str| std::fs::File::create(dir.join(name)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(words).current_dir(dir).env_remove("TOLLGATE_LOG").env_remove("TOLLGATE_CONFIG");
        command.env("XDG_RUNTIME_DIR", dir);
        let command = command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        Self(command.spawn().unwrap())
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let ended = eventually("it ends", || self.0.try_wait().unwrap());
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub(crate) fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap_or_default()
}

/// The address of `http://…` in the line `serving`.
pub(crate) fn address(dir: &Path) -> SocketAddr {
    eventually("the four lines", || {
        let text = read(dir, "stderr");
        let rest = text.split_once("http://")?.1;
        text.contains("\nstop ").then(|| rest.split_whitespace().next().unwrap().parse().unwrap())
    })
}

pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer);
    answer
}

#[test]
fn four_lines_are_the_whole_output_of_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[server]\nhttp = \"127.0.0.1:0\"\n[site.\"localhost\"]\nroutes = [{ path = \"/*\", respond = \"hi\" }]\n";
    std::fs::write(dir.path().join("tollgate.toml"), config).unwrap();
    let running = Running::start(dir.path(), &["run", "-c", "tollgate.toml"]);
    assert!(get(address(dir.path()), "/").ends_with("hi"));
    // The record has arrived, so the embedded log service is up and has said whatever it says.
    eventually("the record is found", || {
        let mut search = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let output = search.args(["logs", "search", "status:200"]).current_dir(dir.path()).output().unwrap();
        output.status.success().then_some(())
    });
    running.stop();
    let told = read(dir.path(), "stderr");
    let heads: Vec<&str> = told.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(heads, ["serving", "try", "log", "stop"], "{told}");
    assert_eq!(read(dir.path(), "stdout"), "");
}

/// Answers every connection once.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
        }
    });
    address
}

#[test]
fn proxy_to_prints_one_line_for_people_per_request() {
    let dir = tempfile::tempdir().unwrap();
    let to = origin().to_string();
    let words = ["proxy", "--to", &to, "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"];
    let running = Running::start(dir.path(), &words);
    // Over http it redirects to https, which is an answer, too.
    assert!(get(address(dir.path()), "/a%1b").starts_with("HTTP/1.1 400"));
    assert!(get(address(dir.path()), "/b").starts_with("HTTP/1.1 308"));
    let lines =
        eventually("two lines", || Some(read(dir.path(), "stdout")).filter(|text| text.lines().count() == 2));
    assert!(lines.contains(" 308 GET localhost/b ") && !lines.contains(['{', '\u{1b}']), "{lines}");
    running.stop();
    assert_eq!(read(dir.path(), "stdout"), lines, "no lines about start and stop");
}

#[test]
fn proxy_to_prints_json_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let to = origin().to_string();
    let words = ["proxy", "--json", "--to", &to, "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"];
    let running = Running::start(dir.path(), &words);
    get(address(dir.path()), "/b");
    let line = eventually("its record", || {
        read(dir.path(), "stdout").lines().find(|line| line.contains("\"/b\"")).map(str::to_owned)
    });
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(record["status"], 308);
    running.stop();
}

/// Sends a line to a log service and checks that it was stored.
fn post_line(socket: &Path, line: &str) {
    let mut service = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let head =
        "POST /logs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json";
    write!(service, "{head}\r\nContent-Length: {}\r\n\r\n{line}", line.len()).unwrap();
    let mut answer = String::new();
    service.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"accepted\":1"), "{answer}");
}

#[test]
fn a_line_of_an_application_joins_the_request_whose_id_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[server]\nhttp = \"127.0.0.1:0\"\n[site.\"localhost\"]\nroutes = [{ path = \"/*\", respond = \"hi\" }]\n";
    std::fs::write(dir.path().join("tollgate.toml"), config).unwrap();
    let running = Running::start(dir.path(), &["run", "-c", "tollgate.toml"]);
    assert!(get(address(dir.path()), "/joined").ends_with("hi"));
    let logs = |words: &[&str]| {
        let mut logs = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let output = logs.arg("logs").args(words).current_dir(dir.path()).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    let found = eventually("the record is found", || logs(&["search", "path:/joined", "-o", "json"]));
    let id = found.split_once("\"id\":\"").unwrap().1.split_once('"').unwrap().0.to_owned();

    let socket = dir.path().join("run/logs/ingest.sock");
    post_line(&socket, &format!("{{\"id\":\"{id}\",\"level\":\"info\",\"msg\":\"cart has 3 parts\"}}"));
    post_line(&socket, &format!("{{\"x-request-id\":\"{id}\",\"msg\":\"paid by card\"}}"));
    let shown = logs(&["show", &id]).unwrap();
    for part in ["/joined", "cart has 3 parts", "paid by card"] {
        assert!(shown.contains(part), "{part} is missing in\n{shown}");
    }
    let service = format!("unix:{}", socket.display());
    let shown = logs(&["show", &id, "--service", &service]).unwrap();
    assert!(shown.contains("/joined") && shown.contains("cart has 3 parts"), "{shown}");
    running.stop();
}
