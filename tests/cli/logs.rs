//! Reading logs, ours and those of other proxies: what is printed, what is never printed, and how it ends.
//!
//! The files in `logs` were written by nginx 1.22, HAProxy 2.6 and Caddy 2.6 (their dates moved back); Traefik's follow
//! its documentation.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{golden, stderr, stdout, tollgate, wait_until};

const SAMPLES: &str = "tests/cli/logs";
const FILES: [&str; 8] = [
    "combined.log",
    "timed.log",
    "nginx.jsonl",
    "haproxy.log",
    "haproxy-syslog.log",
    "caddy.jsonl",
    "traefik.log",
    "traefik.jsonl",
];
/// Every command that answers about rows, without its source.
const COMMANDS: &[&[&str]] = &[
    &["search"],
    &["search", "-o", "wide"],
    &["search", "-o", "json"],
    &["search", "--sort", "dur"],
    &["tail"],
    &["tail", "-o", "json"],
    &["top", "path,ua,host,upstream,reason"],
    &["top", "cause", "--json"],
    &["stats"],
    &["stats", "--by", "ua", "--every", "1m"],
    &["stats", "--by", "path", "--json"],
    &["explain", "status:504"],
    &["explain", "status:504", "--json"],
    &["compare", "status:504", "status:200"],
    &["compare", "status:504", "status:200", "--json"],
    &["audit"],
    &["audit", "--json"],
    &["export", "--as", "csv"],
    &["export", "--as", "ndjson"],
    &["export", "--as", "combined"],
    &["show", "01a1fd62"],
    &["show", "01a1fd62", "-o", "json"],
    &["replay", "01a1fd62"],
];

fn sample(name: &str) -> String {
    format!("{SAMPLES}/{name}")
}

/// Without the time that it took.
fn without_ms(text: &str) -> String {
    let line = |line: &str| match line.rsplit_once(", ") {
        Some((rest, time)) if time.ends_with(" ms") => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_lines_of_every_proxy_become_records() {
    for name in FILES {
        let output = tollgate(&["logs", "search", "-o", "json", "--from", &sample(name)]);
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        let rows: String = stdout(&output)
            .lines()
            .filter(|line| !line.starts_with(r#"{"kind":"report""#))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(!rows.contains("hunter2"), "{name}: secrets in queries are hidden");
        golden(&format!("logs-{}", name.replace('.', "-")), &rows);
    }
}

#[test]
fn answers_read_well() {
    let sample = sample("haproxy.log");
    for (name, words) in [
        ("search", &["search", "status:5xx"][..]),
        ("top", &["top", "upstream,status", "--by", "time"]),
        ("stats", &["stats", "--by", "status"]),
        ("explain", &["explain", "status:4xx"]),
        ("compare", &["compare", "listener:http-in", "listener:plain-in"]),
        ("audit", &["audit"]),
    ] {
        let words: Vec<&str> = ["logs"].iter().chain(words).copied().chain(["--from", &sample]).collect();
        let output = tollgate(&words);
        let text = format!("{}---\n{}", stdout(&output), without_ms(&stderr(&output)));
        golden(&format!("logs-{name}.txt"), &text);
    }
}

#[test]
fn a_request_is_told_whole() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.jsonl");
    std::fs::write(&file, story()).unwrap();
    let output = tollgate(&["logs", "show", "01a1fd62-5978", "--from", file.to_str().unwrap()]);
    golden("logs-show.txt", &format!("{}---\n{}", stdout(&output), without_ms(&stderr(&output))));
}

#[test]
fn json_is_asked_for_in_either_way() {
    for words in [&["search"][..], &["tail"], &["show", "01a1f5"]] {
        // The report, which is last, says how long it took.
        let with = |more: &[&str]| {
            let file = sample("caddy.jsonl");
            let words = [&["logs"][..], words, more, &["--from", file.as_str()]].concat();
            let text = stdout(&tollgate(&words));
            text.split_once("{\"kind\":\"report\"").unwrap().0.to_owned()
        };
        let seen = with(&["--json"]);
        assert!(seen.starts_with('{') && seen == with(&["-o", "json"]), "{words:?}: {seen}");
    }
}

#[test]
fn the_short_form_of_an_id_finds_the_request_among_all_of_its_minute() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("minute.jsonl");
    let id = |number: usize| format!("01a1fd62-5978-7cdd-9c2e-{number:012x}");
    let line = |number| {
        format!(r#"{{"kind":"request","id":"{}","ts":"2026-11-21T09:14:03Z","method":"GET"}}"#, id(number))
    };
    let named = format!(r#"{{"kind":"app","ts":"2026-11-21T09:14:03Z","line":"failed for {}"}}"#, id(4321));
    let lines: Vec<String> = (0x1000..0x2000).map(line).chain([named]).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let output = tollgate(&["logs", "show", "01a1fd62…10e1", "--from", file.to_str().unwrap()]);
    let seen = stdout(&output);
    assert!(seen.contains(&format!("id        {}", id(4321))), "{seen}");
    assert!(seen.contains("| failed for") && !seen.contains(&id(4322)), "{seen}");
}

#[test]
fn a_request_that_only_mentions_an_id_is_no_second_hit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.jsonl");
    let id = "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4";
    let mention = format!(
        r#"{{"kind":"request","ts":"2026-11-20T09:15:00Z","id":"01a1fd70-0000-7cdd-9c2e-51f0b7c1a9d9","method":"GET","path":"/status/{id}"}}"#
    ) + "\n";
    let show = |content: String, id: &str| {
        std::fs::write(&file, content).unwrap();
        tollgate(&["logs", "show", id, "--from", file.to_str().unwrap()])
    };
    for asked in [id, "01a1fd62-5978", "01A1FD62-5978", "01a1fd62…a9d4"] {
        let output = show(story() + &mention, asked);
        let seen = stdout(&output);
        assert!(!stderr(&output).contains("requests match"), "{asked}: {}", stderr(&output));
        assert!(seen.contains(&format!("id        {id}")), "{asked}: {seen}");
        assert!(seen.contains("lines that name it") && seen.contains("/status/"), "{asked}: {seen}");
    }
    let seen = stdout(&show(mention.clone(), id));
    assert!(seen.starts_with("lines that name it") && !seen.contains("id        "), "{seen}");
    std::fs::write(&file, mention).unwrap();
    let replay = tollgate(&["logs", "replay", id, "--from", file.to_str().unwrap()]);
    assert!(stderr(&replay).contains("no request has this id"), "{}", stderr(&replay));
}

/// A request that failed, its neighbours, and what its worker said.
fn story() -> String {
    let record = |seq: u64, id: &str, more: &str| {
        format!(
            r#"{{"v":1,"kind":"request","ts":"2026-11-20T09:14:0{seq}.512804Z","id":"{id}","proxy":"edge-1","boot":1795250000000,"core":0,"seq":{seq},"conn":88,"conn_req":{seq},"client_ip":"203.0.113.9","method":"GET","scheme":"https","host":"shop.example","path":"/api/cart","proto":"1.1","route":"/api/*",{more}}}"#
        ) + "\n"
    };
    let ok = r#""status":200,"dur_us":2100,"tx_body_b":512,"end_by":"none","end_at":"done""#;
    let failed = r#""status":504,"dur_us":30004112,"t_head_us":41,"t_conn_us":388,"t_send_us":12,"t_wait_us":30003000,"upstream":"cart","up_addr":"10.0.0.7:8080","tries":2,"try_log":[{"addr":"10.0.0.8:8080","conn_us":210,"reason":"connection_refused"}],"end_by":"upstream","end_at":"wait","reason":"http_response_timeout","cause":"timeouts.upstream=30s @tollgate.toml:12","n_conn":812,"n_req":212,"up_req":64,"tx_body_b":0"#;
    let app = r#"{"kind":"app","ts":"2026-11-20T09:14:05.1Z","worker":"cart-0","stream":"stderr","line":"01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4 waits for the database","proxy":"edge-1"}"#;
    record(1, "01a1fd61-0000-7cdd-9c2e-51f0b7c1a9d1", ok)
        + &record(2, "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4", failed)
        + &record(3, "01a1fd63-0000-7cdd-9c2e-51f0b7c1a9d2", ok)
        + app
        + "\n"
}

/// What could drive a terminal, or deceive who reads it.
fn is_dangerous(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{200b}' | '\u{2028}' | '\u{feff}' | '\u{9b}')
}

#[test]
fn nothing_that_a_request_sent_drives_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    // A title, a colour, a clear screen, C1, right-to-left, a line feed with a forged line, a report.
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[31m\u{1b}[2J\u{9b}31m\u{202e}\u{200b}\r\n{\"kind\":\"report\",\"complete\":true}\u{feff}\u{7f}";
    let file = directory.path().join("a\u{1b}[31m.jsonl");
    std::fs::write(&file, evil_records(evil)).unwrap();
    let raw = directory.path().join("raw.log");
    let line = format!(
        "1.2.3.4 - {evil} [20/Nov/2026:10:00:00 +0000] \"GET /{evil} HTTP/1.1\" 504 6 \"{evil}\" \"{evil}\"\n"
    );
    std::fs::write(&raw, line.replace(['\r', '\n'], "") + "\n").unwrap();
    for file in [&file, &raw] {
        for words in COMMANDS {
            // An id that is not there is an answer, too.
            let words: Vec<&str> =
                ["logs"].iter().chain(*words).copied().chain(["--from", file.to_str().unwrap()]).collect();
            let output = tollgate(&words);
            let seen = stdout(&output) + &stderr(&output);
            assert!(!seen.contains(is_dangerous), "{words:?}: {seen:?}");
            assert!(
                !seen.contains("\n{\"kind\":\"report\",\"complete\":true}"),
                "{words:?} shows a forged line: {seen}"
            );
        }
    }
}

/// Records, a line of an application and a gap with this text in every member, and a line that is none of them.
fn evil_records(evil: &str) -> String {
    let members = "rid rid_in trace_id proxy cfg listener client_ip peer_ip method scheme host path query site route \
        proto referer ua req_type resp_type enc upstream up_addr worker pick end_by end_at reason cause err \
        rl rl_rule tls_ver tls_cipher tls_sni user cache own";
    let mut record = serde_json::json!({"kind": "request", "id": "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4", "boot": 1, "core": 0, "seq": 1,
        "conn": 1, "status": 504, "dur_us": 20_000, "t_wait_us": 20_000, "ts": "2026-11-20T09:14:03Z", "tries": 2,
        "try_log": [{"addr": evil, "reason": evil}]});
    members.split(' ').for_each(|name| record[name] = evil.into());
    record[evil] = evil.into();
    let mut other = record.clone();
    (other["status"], other["seq"], other["id"]) = (200.into(), 3.into(), evil.into());
    let app = serde_json::json!({"kind": "app", "line": format!("01a1fd62-5978 {evil}"), "worker": evil, "stream": evil, "ts": evil});
    let gap = serde_json::json!({"kind": "gap", "proxy": evil, "boot": 1, "core": 0, "first_seq": 2, "last_seq": 2, "missing": 1, "reason": evil});
    format!("{record}\n{gap}\n{app}\n{other}\n\u{1b}[2Jno line at all\n")
}

#[test]
fn every_answer_says_whether_it_is_complete() {
    for words in COMMANDS {
        // These two ask for an id that is not in this file.
        if matches!(words[0], "show" | "replay") {
            continue;
        }
        let source = sample("haproxy.log");
        let words: Vec<&str> = ["logs"].iter().chain(*words).copied().chain(["--from", &source]).collect();
        let output = tollgate(&words);
        let last = stderr(&output).lines().last().unwrap_or_default().to_owned();
        assert!(
            last.contains("22 lines read (haproxy: no sequence numbers") && last.ends_with(" ms"),
            "{words:?}: {last}"
        );
        if words.iter().any(|word| matches!(*word, "json" | "--json")) {
            let last = stdout(&output).lines().last().unwrap_or_default().to_owned();
            assert!(last.starts_with(r#"{"kind":"report","complete":null"#), "{words:?}: {last}");
        }
    }
}

#[test]
fn sources_are_files_patterns_and_stdin_in_any_order_of_words() {
    let found = |words: &[&str]| {
        let words: Vec<&str> =
            ["logs", "search", "-o", "json", "-n", "1000"].iter().chain(words).copied().collect();
        let output = tollgate(&words);
        (output.status.code(), stdout(&output).lines().count().saturating_sub(1))
    };
    let (combined, haproxy) = (sample("combined.log"), sample("haproxy.log"));
    assert_eq!(found(&["--from", &combined]), (Some(0), 22));
    assert_eq!(found(&["--from", &combined, &haproxy]), (Some(0), 44));
    assert_eq!(found(&["--from", &combined, "status:502"]), found(&["status:502", "--from", &combined]));
    assert_eq!(found(&["--from", &sample("haproxy*.log")]), (Some(0), 44));
    assert_eq!(found(&["--from", &combined, "--format", "haproxy"]), (Some(1), 0));
    assert_eq!(found(&["status:999", "--from", &combined]).0, Some(1));
    assert_eq!(found(&["--from", &sample("nothing.log")]).0, Some(2));
    assert_eq!(found(&["--from", &combined, "--format", "iis"]).0, Some(2));
    let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["logs", "top", "status", "--from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(&combined).unwrap()).unwrap();
    assert!(stdout(&child.wait_with_output().unwrap()).contains("502"));
}

/// Killed when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn tail_follows_a_file_through_its_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let line = |path: &str| {
        format!("1.2.3.4 - - [20/Nov/2026:10:00:00 +0000] \"GET {path} HTTP/1.1\" 200 6 \"-\" \"-\"\n")
    };
    std::fs::write(&path, line("/before")).unwrap();
    let mut tail = Running(
        Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["logs", "tail", "-f", "--from", path.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(tail.0.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    let append = |text: &str| {
        std::fs::File::options()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap()
    };
    assert!(next().contains("/before"));
    append(&line("/one"));
    assert!(next().contains("/one"));
    let two = line("/two");
    append(&two[..30]);
    append(&two[30..]);
    assert!(next().contains("/two"), "a line that comes in two parts");
    std::fs::rename(&path, directory.path().join("access.log.1")).unwrap();
    append(&line("/three"));
    assert!(next().contains("/three"), "the file that took its name");
}

type Audited = Box<dyn Fn(std::os::unix::net::UnixStream) + Send>;

/// A service that begins a tail with one row, and does with the question for what is missing what `audited` says.
fn half_a_service(socket: &Path, audited: Audited) {
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = head.next().unwrap().unwrap();
            while head.next().unwrap().is_ok_and(|line| !line.is_empty()) {}
            if first.contains("/logs/tail") {
                let row = "{\"kind\":\"request\",\"path\":\"/one\"}\n";
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{row}\r\n",
                    row.len()
                );
                (&stream).write_all(answer.as_bytes()).unwrap();
                open.push(stream);
            } else {
                audited(stream);
            }
        }
    });
}

/// A tail that runs.
fn following(source: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["logs", "tail", "-f", "--rate", "all"]).args(source);
    Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

/// How it ended, and what it said.
fn ended(mut running: Running) -> (Option<i32>, String) {
    let mut said = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (running.0.wait().unwrap().code(), said)
}

#[test]
fn a_tail_ends_with_its_summary_whatever_the_service_says() {
    let directory = tempfile::tempdir().unwrap();
    let (asked, hear) = std::sync::mpsc::channel();
    let refused = |mut stream: std::os::unix::net::UnixStream| {
        let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}");
    };
    let silent = move |stream| asked.send(stream).unwrap();
    let services: [(&str, Audited); 2] = [("503", Box::new(refused)), ("you did not wait", Box::new(silent))];
    for (reason, audited) in services {
        let socket = directory.path().join(format!("{}.sock", reason.len()));
        half_a_service(&socket, audited);
        let mut tail = following(&["--service", &format!("unix:{}", socket.display())]);
        let mut lines = BufReader::new(tail.0.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("/one"));
        interrupt(&tail.0);
        // The second one ends the wait for an answer that does not come.
        let _silent = (reason != "503").then(|| {
            let stream = hear.recv_timeout(Duration::from_secs(20)).unwrap();
            interrupt(&tail.0);
            stream
        });
        let (code, said) = ended(tail);
        assert_eq!(code, Some(0), "{reason}: {said}");
        // The reason is a note, for terminals.
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("1 row, whether anything is missing cannot be told"), "{reason}: {said}");
    }
}

#[test]
fn a_tail_ends_though_lines_come_as_fast_as_they_are_printed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.jsonl");
    std::fs::write(&path, "").unwrap();
    let mut tail = following(&["-n", "0", "--from", path.to_str().unwrap()]);
    let (mut stdout, is_over) = (tail.0.stdout.take().unwrap(), std::sync::Arc::new(AtomicBool::new(false)));
    let over = std::sync::Arc::clone(&is_over);
    let writer = std::thread::spawn(move || {
        let mut file = std::fs::File::options().append(true).open(&path).unwrap();
        let lines = "{\"kind\":\"request\",\"path\":\"/one\"}\n".repeat(500);
        // So much that it takes longer to show than this test has, and no more.
        for _ in 0..16_000 {
            if over.load(Ordering::Relaxed) {
                return;
            }
            file.write_all(lines.as_bytes()).unwrap();
        }
    });
    let mut begin = [0; 1000];
    stdout.read_exact(&mut begin).unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    interrupt(&tail.0);
    let (code, said) = ended(tail);
    is_over.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    reader.join().unwrap().unwrap();
    assert!(code == Some(0) && said.contains(" rows, "), "{said}");
}

#[test]
fn what_was_imported_is_recognised() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("logs.sock");
    let service = format!("unix:{}", socket.display());
    let _running = Running(
        Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args([
                "logs",
                "serve",
                "--data",
                directory.path().join("data").to_str().unwrap(),
                "--http",
                &service,
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    wait_for(&socket);
    let file = directory.path().join("access.log");
    let whole = std::fs::read_to_string(sample("haproxy.log")).unwrap();
    let part: String = whole.lines().take(10).map(|line| format!("{line}\n")).collect();
    let import =
        |file: &Path| stderr(&tollgate(&["logs", "import", file.to_str().unwrap(), "--service", &service]));
    std::fs::write(&file, part).unwrap();
    assert!(import(&file).contains("10 entries stored, 0 were there already, 0 refused"));
    std::fs::write(&file, whole).unwrap();
    assert!(
        import(&file).contains("12 entries stored, 10 were there already, 0 refused"),
        "a file that has grown"
    );
    let rotated = directory.path().join("access.log.1");
    std::fs::rename(&file, &rotated).unwrap();
    assert!(import(&rotated).contains("0 entries stored, 22 were there already"), "a file that was renamed");
    let audit = tollgate(&["logs", "audit", "--since", "all", "--service", &service, "--json"]);
    let stream: serde_json::Value = serde_json::from_str(stdout(&audit).lines().next().unwrap()).unwrap();
    assert_eq!((&stream["stored"], &stream["unexplained"]), (&22.into(), &0.into()), "{stream}");
}

#[test]
fn a_directory_and_its_service_give_the_same_answers() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, data) = (directory.path().join("logs.sock"), directory.path().join("data"));
    let (service, data) = (format!("unix:{}", socket.display()), data.display().to_string());
    let _running = Running(
        Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["logs", "serve", "--data", &data, "--http", &service])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    wait_for(&socket);
    let file = directory.path().join("a.jsonl");
    std::fs::write(&file, story()).unwrap();
    let stored = tollgate(&["logs", "import", file.to_str().unwrap(), "--service", &service]);
    assert!(stderr(&stored).contains("4 entries stored"), "{}", stderr(&stored));
    for words in COMMANDS {
        let ask = |source: &[&str]| {
            // These two take no window.
            let window: &[&str] =
                if matches!(words[0], "show" | "replay" | "tail") { &[] } else { &["--since", "all"] };
            let words: Vec<&str> =
                ["logs"].iter().chain(*words).chain(window).chain(source).copied().collect();
            let output = tollgate(&words);
            let report = |line: &&str| !line.starts_with(r#"{"kind":"report""#);
            let rows: Vec<String> = stdout(&output).lines().filter(report).map(str::to_owned).collect();
            (output.status.code(), rows, without_ms(&stderr(&output)))
        };
        let (of_service, of_directory) = (ask(&["--service", &service]), ask(&["--data", &data]));
        assert_eq!(of_service.0, Some(0), "{words:?}: {}", of_service.2);
        assert_eq!(of_service, of_directory, "{words:?}");
        assert!(of_service.2.contains(" complete"), "{words:?}: {}", of_service.2);
    }
}

#[test]
fn a_head_that_is_compared_with_nothing_proves_nothing() {
    let hours = tempfile::tempdir().unwrap();
    let file = hours.path().join("2026-11-20/09.jsonl");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(&file, story()).unwrap();
    let (hours, file) = (hours.path().to_str().unwrap(), file.to_str().unwrap());
    for source in [["--from", file], ["--data", hours]] {
        let audit = |more: &[&str]| {
            let output = tollgate(&[&["logs", "audit", "--verify"][..], more, &source].concat());
            (output.status.code(), stderr(&output))
        };
        let (code, said) = audit(&[]);
        assert!(code == Some(0) && said.contains("the files were not compared"), "{source:?}: {said}");
        let (code, said) = audit(&["--head", &"ab".repeat(32)]);
        assert!(code == Some(1) && said.contains("the files were not compared"), "{source:?}: {said}");
        assert!(!said.contains("verified:"), "{source:?}: {said}");
        let (code, said) = audit(&["--head", ""]);
        assert!(code == Some(2) && said.contains("--head is empty"), "{source:?}: {said}");
    }
}

#[test]
fn a_condition_may_begin_with_a_minus() {
    let sample = sample("haproxy.log");
    let rows = |words: &[&str]| {
        let words: Vec<&str> =
            ["logs", "search", "-o", "json", "-n1000"].iter().chain(words).copied().collect();
        stdout(&tollgate(&words)).lines().count()
    };
    let of = |filter: &str| rows(&[filter, "--from", &sample]) - 1;
    assert!(of("method:GET") > 0 && of("-method:GET") > 0);
    assert_eq!(of("method:GET") + of("-method:GET"), 22);
    assert_eq!(rows(&["--from", &sample, "-method:GET"]) - 1, of("-method:GET"));
}

#[test]
fn an_export_as_parquet_is_a_whole_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.parquet");
    let output =
        tollgate(&["logs", "export", "--from", &sample("haproxy.log"), "-o", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
}

fn wait_for(socket: &Path) {
    wait_until(|| std::os::unix::net::UnixStream::connect(socket).ok());
}

#[test]
fn a_stopped_sql_ends_its_program_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let made = |name: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (data, temporary, bin) = (made("data"), made("tmp"), made("bin"));
    std::fs::write(data.join("09.jsonl"), story()).unwrap();
    let program = bin.join("duckdb");
    std::fs::write(&program, "#!/bin/sh\necho $$ >\"$PIDS\"\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let pids = directory.path().join(format!("pid-{}", signal.as_raw()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["logs", "sql", "select 1", "--data"]).arg(&data);
        command.env("PATH", &path).env("TMPDIR", &temporary).env("PIDS", &pids);
        let running = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        let pid = wait_until(|| std::fs::read_to_string(&pids).ok()?.trim().parse::<i32>().ok());
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 1);
        rustix::process::kill_process(rustix::process::Pid::from_child(&running.0), signal).unwrap();
        let (code, said) = ended(running);
        assert!(code == Some(2) && said.contains("stopped by SIG"), "{said}");
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "nothing is left");
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        wait_until(|| is_gone(pid).then_some(()));
    }
}

/// Not there any more, or nobody has asked yet how it ended.
fn is_gone(pid: rustix::process::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn templates_are_what_their_stores_read() {
    for store in ["es", "opensearch", "grafana"] {
        let output = tollgate(&["logs", "template", store]);
        assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok(), "{store}");
    }
    assert!(stdout(&tollgate(&["logs", "template", "clickhouse"])).starts_with("CREATE TABLE"));
}
