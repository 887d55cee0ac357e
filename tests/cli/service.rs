//! Reading from a running log service: what it and its directory tell about the same rows.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::{stderr, stdout, tollgate, wait_until};

const ID: &str = "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A service on a directory of its own; killed when the test ends, however it ends.
struct Service {
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start(more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (socket, data) = (directory.path().join("s.sock"), directory.path().join("data"));
        let child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["logs", "serve", "--data", data.to_str().unwrap()])
            .args(["--http", &format!("unix:{}", socket.display())])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until(|| UnixStream::connect(&socket).ok());
        Self { child, directory }
    }

    fn sources(&self) -> [[String; 2]; 2] {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        [["--service".to_owned(), format!("unix:{}", path("s.sock"))], ["--data".to_owned(), path("data")]]
    }

    fn post(&self, body: &str) {
        let mut stream = UnixStream::connect(self.directory.path().join("s.sock")).unwrap();
        let head = "POST /logs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/x-ndjson\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

fn logs(words: &[&str], source: &[String; 2]) -> std::process::Output {
    tollgate(&[&["logs"], words, &[&source[0], &source[1]]].concat())
}

fn request(seq: u64, id: &str, micros: u64, more: &str) -> String {
    format!(
        "{{\"v\":1,\"kind\":\"request\",\"id\":\"{id}\",\"ts\":\"{}\",\"proxy\":\"e\",\"boot\":1,\"core\":0,\
         \"seq\":{seq},\"conn\":9,\"method\":\"GET\",\"path\":\"/{seq}\",\"status\":200,\"dur_us\":{micros}{more}}}\n",
        jiff::Timestamp::now()
    )
}

#[test]
fn a_line_joins_its_request_by_whichever_name_it_says() {
    let packets = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let service = Service::start(&["--packets", &packets.to_string()]);
    let own = format!(",\"rid\":\"from-cdn-1\",\"trace_id\":\"{TRACE}\"");
    let lines = [
        format!(r#"{{"msg":"line by id","id":"{ID}"}}"#),
        format!(r#"{{"msg":"line by request id","x-request-id":"{ID}"}}"#),
        format!(r#"{{"msg":"line by trace","trace_id":"{}"}}"#, ID.replace('-', "")),
        format!(r#"{{"msg":"line by the request's trace","trace_id":"{TRACE}"}}"#),
        r#"{"msg":"line by the id of the caller","x-request-id":"from-cdn-1"}"#.to_owned(),
        format!(r#"{{"msg":"line with two names","trace_id":"{}","x-request-id":"{ID}"}}"#, "a".repeat(32)),
        format!(r#"{{"msg":"line that names {ID}"}}"#),
    ];
    service.post(&(request(1, ID, 10, &own) + &lines.join("\n")));
    let mut stream = TcpStream::connect(packets).unwrap();
    let packet = |name: &str, key: u8| {
        format!(
            r#"{{"uri":"/logs","method":"POST","key":{key},"params":{{"msg":"line of a packet by {name}","{name}":"{ID}"}}}}¶"#
        )
    };
    stream.write_all((packet("x-request-id", 1) + &packet("trace_id", 2)).as_bytes()).unwrap();
    let mut replies = Vec::new();
    let mut reader = BufReader::new(stream);
    while replies.len() < 2 {
        let mut reply = Vec::new();
        reader.read_until(0xb6, &mut reply).unwrap();
        assert!(String::from_utf8_lossy(&reply).contains("success"));
        replies.push(reply);
    }
    for source in service.sources() {
        for id in [ID, "01a1fd62-5978", "01a1fd62…a9d4", "from-cdn-1", TRACE] {
            let seen = stdout(&logs(&["show", id], &source));
            assert_eq!(
                seen.matches("    id        ").count() + seen.matches("\n  id        ").count(),
                1,
                "{id}: {seen}"
            );
            let (_, below) = seen.split_once("lines that name it").unwrap_or_else(|| panic!("{id}: {seen}"));
            assert_eq!(below.matches(" line ").count(), 9, "{source:?} {id}: {seen}");
        }
    }
}

#[test]
fn files_show_lines_by_every_name_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.jsonl");
    let line = format!(
        r#"{{"kind":"app","line":"line by request id","x-request-id":"{ID}","ts":"2026-11-21T09:14:04Z"}}"#
    );
    let own = ",\"rid\":\"from-cdn-1\"";
    std::fs::write(&file, request(1, ID, 10, own) + &line + "\n").unwrap();
    let source = ["--from".to_owned(), file.display().to_string()];
    let seen = stdout(&logs(&["show", ID], &source));
    assert!(seen.contains("lines that name it") && seen.contains("line by request id"), "{seen}");
    assert!(stdout(&logs(&["show", "from-cdn-1"], &source)).contains(ID));
}

#[test]
fn the_slowest_are_told_as_many_as_were_asked_for() {
    let service = Service::start(&[]);
    let mut body = String::new();
    for seq in 1..=12_000u64 {
        let id = format!("01a1fd62-5978-7cdd-9c2e-{seq:012x}");
        // Three of each duration, not in order.
        write!(body, "{}", request(seq, &id, 1 + (seq * 7919 % 12_000) / 3, "")).unwrap();
    }
    service.post(&body);
    for source in service.sources() {
        let output = logs(&["search", "path:/*", "--sort", "dur", "-n", "11500", "-o", "json"], &source);
        let rows: Vec<Value> =
            stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (report, rows) = rows.split_last().unwrap();
        let times: Vec<u64> = rows.iter().map(|row| row["dur_us"].as_u64().unwrap()).collect();
        assert_eq!(
            (times.len(), times[0], report["complete"].as_bool()),
            (11_500, 4_000, Some(true)),
            "{source:?}"
        );
        assert!(times.is_sorted_by(|a, b| a >= b));
        let ids: std::collections::HashSet<&str> =
            rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), rows.len(), "each once");
    }
    let alike: String = (12_001..=23_000u64)
        .map(|seq| request(seq, &format!("01a1fd62-5978-7cdd-9c2e-{seq:012x}"), 9_000, ""))
        .collect();
    service.post(&alike);
    let output = logs(&["search", "--sort", "dur", "-n", "20000"], &service.sources()[0]);
    assert!(stderr(&output).contains("10 000 rows, there are more"), "{}", stderr(&output));
    assert!(!stderr(&output).contains(" complete"), "{}", stderr(&output));
}

#[test]
fn a_tail_says_at_its_end_how_many_it_left_out_and_whether_any_is_missing() {
    let service = Service::start(&[]);
    let [source, _] = service.sources();
    let mut tail = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["logs", "tail", "-f", "-n", "1", "--rate", "5/s", &source[0], &source[1]])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    service.post(&request(1, ID, 10, ""));
    let mut lines = BufReader::new(tail.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("/1"), "{line}");
    let body: String = (2..=101).map(|seq| request(seq, ID, 10, "")).collect();
    service.post(&body);
    line.clear();
    lines.read_line(&mut line).unwrap();
    let stopped = Command::new("kill").args(["-INT", &tail.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let told = tail.wait_with_output().unwrap();
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("sampling: 5 of ") || told.contains("sampling: 4 of "), "{told}");
    let last = told.lines().last().unwrap();
    assert!(
        last.contains(" left out (sampled: more came than could be shown)") && !last.contains("complete"),
        "{told}"
    );
}

#[test]
fn an_audit_proves_the_files_against_a_head_that_was_written_down() {
    let service = Service::start(&[]);
    service.post(&request(1, ID, 10, ""));
    for source in service.sources() {
        let told = logs(&["audit", "--verify"], &source);
        let seen = stdout(&told);
        assert!(told.status.success(), "{seen} {}", stderr(&told));
        assert!(seen.contains("files     none yet"), "{seen}");
        // What a chain without links begins with.
        let (begin, strange) = ("0".repeat(64), "f".repeat(64));
        assert!(logs(&["audit", "--verify", "--head", &begin], &source).status.success());
        assert_eq!(logs(&["audit", "--verify", "--head", &strange], &source).status.code(), Some(1));
        assert!(!stdout(&logs(&["audit"], &source)).contains("files"), "only where it was asked for");
    }
}

#[test]
fn the_configuration_says_where_the_log_is() {
    let service = Service::start(&[]);
    service.post(&request(1, ID, 10, ""));
    let file = service.directory.path().join("my.toml");
    let config = ["-c".to_owned(), file.display().to_string()];
    let [[_, socket], [_, data]] = service.sources();
    let broken = "[site.nowhere]\nroutes = 7\n";
    for log in [format!("data = {data:?}"), format!("service = {socket:?}")] {
        // Whatever else is wrong with it must keep nobody from reading the log.
        std::fs::write(&file, format!("[log]\n{log}\n{broken}")).unwrap();
        let told = logs(&["show", ID], &config);
        assert!(told.status.success() && stdout(&told).contains(ID), "{log}: {}", stderr(&told));
    }
    std::fs::write(&file, "[log]\nservice = \"none\"\nfile = \"access.log\"\n").unwrap();
    let told = logs(&["show", ID], &config);
    assert_eq!(told.status.code(), Some(2));
    assert!(stderr(&told).contains("is `none`: read its files with --from"), "{}", stderr(&told));
}
