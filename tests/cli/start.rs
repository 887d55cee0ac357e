//! What a start makes that is missing, and what it says when it cannot.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::first_minute::{Running, address, eventually, get, read};
use crate::stderr;

const SITE: &str = "[site.\"localhost\"]\nroutes = [{ path = \"/*\", respond = \"hi\" }]\n";
const SERVER: &str = "[server]\nhttp = \"127.0.0.1:0\"\n";

fn config(dir: &Path, text: &str) {
    std::fs::write(dir.join("tollgate.toml"), format!("{text}\n{SITE}")).unwrap();
}

fn tollgate_in(dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(words).current_dir(dir).env_remove("TOLLGATE_LOG").env_remove("TOLLGATE_CONFIG");
    command.env_remove("TOLLGATE_LOGS_TOKEN_FILE").output().unwrap()
}

/// What a start says that must fail.
fn refused(dir: &Path, text: &str) -> String {
    config(dir, text);
    let output = tollgate_in(dir, &["run", "-c", "tollgate.toml"]);
    assert!(!output.status.success());
    stderr(&output)
}

#[test]
fn missing_directories_of_sockets_and_log_files_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let log = "[log]\nservice = \"none\"\nfile = \"log/own/access.log\"\nspool = { dir = \"var/spool\" }\n";
    let sink = "[log.sink.kept]\ntype = \"file\"\nto = \"log/sinks/kept.log\"\n";
    let server = "[server]\nhttp = [\"127.0.0.1:0\", \"unix:sockets/in/http.sock\"]\n";
    config(dir.path(), &format!("{server}{log}{sink}"));
    let running = Running::start(dir.path(), &["run", "-c", "tollgate.toml"]);
    assert!(get(address(dir.path()), "/made").ends_with("hi"));
    UnixStream::connect(dir.path().join("sockets/in/http.sock")).unwrap();
    for file in ["log/own/access.log", "log/sinks/kept.log"] {
        eventually(file, || read(dir.path(), file).contains("/made").then_some(()));
    }
    running.stop();
}

#[test]
fn a_directory_that_cannot_be_made_is_named_with_what_wants_it_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("taken"), "").unwrap();
    let listener = refused(dir.path(), "[server]\nhttp = \"unix:taken/http.sock\"\n");
    let file =
        refused(dir.path(), &format!("{SERVER}[log]\nservice = \"none\"\nfile = \"taken/access.log\"\n"));
    let sink = format!(
        "{SERVER}[log]\nservice = \"none\"\n[log.sink.kept]\ntype = \"file\"\nto = \"taken/k.log\"\n"
    );
    let sink = refused(dir.path(), &sink);
    for (told, parts) in [
        (
            listener,
            [
                "http: cannot listen on unix:taken/http.sock: cannot make the directory taken: ",
                "hint: let this user",
            ],
        ),
        (file, ["the log file taken/access.log: Not a directory", "choose another path for `file` of [log]"]),
        (
            sink,
            [
                "file of the sink `kept`, taken/k.log: Not a directory",
                "choose another path for `to` of [log.sink.kept]",
            ],
        ),
    ] {
        for part in parts {
            assert!(told.contains(part), "{part} is missing in\n{told}");
        }
    }
}

#[test]
fn a_start_that_cannot_keep_its_log_fails_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("taken"), "").unwrap();
    let data = refused(dir.path(), &format!("{SERVER}[log]\ndata = \"taken/logs\"\n"));
    let spool = "[log]\nservice = \"none\"\nfile = \"access.log\"\nspool = { dir = \"taken/spool\" }\n";
    let spool = refused(dir.path(), &format!("{SERVER}{spool}"));
    for (told, parts) in [
        (
            data,
            ["cannot keep its data in taken/logs: Not a directory", "another directory for `data` of [log]"],
        ),
        (spool, ["cannot keep the log in taken/spool: Not a directory", "or `dir` of [log.spool]"]),
    ] {
        for part in parts {
            assert!(told.contains(part), "{part} is missing in\n{told}");
        }
    }
}

#[test]
fn what_an_input_of_the_embedded_service_refuses_is_told_with_each_reason() {
    let dir = tempfile::tempdir().unwrap();
    let input = "[log.input.apps]\ntype = \"lines\"\nlisten = \"unix:run/apps.sock\"\n";
    config(dir.path(), &format!("{SERVER}{input}"));
    let running = Running::start(dir.path(), &["run", "-c", "tollgate.toml"]);
    address(dir.path());
    let mut socket =
        eventually("the input listens", || UnixStream::connect(dir.path().join("run/apps.sock")).ok());
    socket.write_all(b"[1]\n\"just a word\"\n{\"msg\":\n{\"msg\":\"taken\"}\n").unwrap();
    drop(socket);
    eventually("both reasons", || {
        let told = read(dir.path(), "stderr");
        let told: Vec<&str> = told.lines().filter(|line| line.contains("entries were refused")).collect();
        let is_told = |part: &str| told.iter().any(|line| line.contains(part) && line.contains("apps"));
        (is_told("expected a JSON object") && is_told("EOF while parsing")).then_some(())
    });
    running.stop();
    assert!(!read(dir.path(), "stderr").contains("log service: "), "start-up chatter");
}

#[test]
fn import_finds_the_embedded_service_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), &format!("{SERVER}[log]\ndata = \"kept\"\n"));
    let running = Running::start(dir.path(), &["run", "-c", "tollgate.toml"]);
    address(dir.path());
    let line = "192.0.2.7 - - [22/Nov/2026:17:00:00 +0000] \"GET /old HTTP/1.1\" 200 5 \"-\" \"-\"\n";
    std::fs::write(dir.path().join("access.log"), line).unwrap();
    let import = ["logs", "import", "access.log", "-c", "tollgate.toml"];
    // The service may still be starting.
    let told = eventually("it is imported", || {
        let output = tollgate_in(dir.path(), &import);
        let told = stderr(&output);
        assert!(!told.contains("9600"), "{told}");
        output.status.success().then_some(told)
    });
    assert!(told.contains("1 entry stored"), "{told}");
    running.stop();
}

#[test]
fn a_service_that_the_configuration_names_is_shown_its_token() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokens"), "secret-of-the-log\n").unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let serve = ["logs", "serve", "--data", "store", "--token-file", "tokens", "--http", &port.to_string()];
    let service = Running::start(dir.path(), &serve);
    eventually("it listens", || TcpStream::connect(port).ok());
    for (token, is_let_in) in [("secret-of-the-log", true), ("another", false)] {
        let log = format!("[log]\nservice = \"http://{port}\"\ntoken = \"{token}\"\n");
        config(dir.path(), &format!("{SERVER}{log}"));
        for command in ["tail", "stats", "search"] {
            let told = stderr(&tollgate_in(dir.path(), &["logs", command, "-c", "tollgate.toml"]));
            assert_eq!(!told.contains("asks for a token"), is_let_in, "{command}: {told}");
        }
    }
    service.stop();
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_and_a_closed_pipe_is_none() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), SERVER);
    let running = Running::start(dir.path(), &["run", "-c", "tollgate.toml"]);
    address(dir.path());
    for words in [&["completions", "bash"][..], &["status", "-c", "tollgate.toml"], &["version"]] {
        let run = |stdout: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
            let command = command.args(words).current_dir(dir.path()).stdout(stdout).stderr(Stdio::piped());
            let output = command.output().unwrap();
            (output.status.code(), stderr(&output))
        };
        let (code, told) = run(std::fs::File::options().write(true).open("/dev/full").unwrap().into());
        assert_eq!(code, Some(1), "{words:?}: {told}");
        assert!(told.contains("error: cannot write the result: "), "{words:?}: {told}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(run(writer.into()), (Some(0), String::new()), "{words:?}");
    }
    running.stop();
}

#[test]
fn a_reload_that_is_refused_says_so_without_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), SERVER);
    let running = Running::start(dir.path(), &["run", "-c", "tollgate.toml"]);
    address(dir.path());
    config(dir.path(), "[server]\nhttp = \"127.0.0.1:0\"\nhtttps = 1\n");
    let output = tollgate_in(dir.path(), &["reload", "-c", "tollgate.toml"]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(3));
    assert!(told.starts_with("error[") && !told.contains("control.sock"), "{told}");
    running.stop();
}

#[test]
fn back_at_the_addresses_that_are_bound_nothing_takes_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    config(dir.path(), SERVER);
    let running = Running::start(dir.path(), &["run", "-c", "tollgate.toml"]);
    address(dir.path());
    for (text, told) in [
        (
            "[server]\nhttp = \"127.0.0.2:0\"\n",
            "reloaded; the listening addresses changed too, which takes a restart\n",
        ),
        (SERVER, "reloaded\n"),
    ] {
        config(dir.path(), text);
        let output = tollgate_in(dir.path(), &["reload", "-c", "tollgate.toml"]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), told);
    }
    running.stop();
}

#[test]
fn a_start_without_a_configuration_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let output = tollgate_in(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(3));
    let expected = "error: there is no configuration config/tollgate.toml\n\
                    hint: name one with -c FILE, or go without: tollgate proxy --to ADDRESS\n";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn proxy_to_something_else_names_the_option_and_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let told = stderr(&tollgate_in(dir.path(), &["proxy", "--to", "localhost:3000"]));
    let expected = "error: --to: `localhost:3000` is not an address with a port\n\
                    help: for a name, write `dns:localhost:3000`\n";
    assert_eq!(told, expected);
}

#[test]
fn a_variable_that_is_not_set_is_the_only_thing_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let sink = "[log.sink.s]\ntype = \"elasticsearch\"\nto = \"http://127.0.0.1:9\"\n";
    config(dir.path(), &format!("{SERVER}{sink}user = \"u\"\npassword = \"${{TOLLGATE_TEST_UNSET}}\"\n"));
    let told = stderr(&tollgate_in(dir.path(), &["check", "tollgate.toml"]));
    assert!(told.contains("TOLLGATE_TEST_UNSET") && !told.contains("is missing beside"), "{told}");
    config(dir.path(), &format!("{SERVER}{sink}user = \"u\"\n"));
    let told = stderr(&tollgate_in(dir.path(), &["check", "tollgate.toml"]));
    assert!(told.contains("`password` is missing beside it"), "{told}");
}

#[test]
fn a_log_service_that_speaks_no_tls_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut socket in plain.incoming().map_while(Result::ok) {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            let _ = std::io::Read::read(&mut socket, &mut [0; 4096]);
        }
    });
    config(dir.path(), &format!("{SERVER}[log]\nservice = \"https://127.0.0.1:{port}\"\n"));
    let running = Running::start(dir.path(), &["run", "-c", "tollgate.toml"]);
    address(dir.path());
    eventually("the reason", || {
        let told = tollgate_in(dir.path(), &["status", "-c", "tollgate.toml"]);
        String::from_utf8(told.stdout).unwrap().contains("does not speak TLS").then_some(())
    });
    running.stop();
}

#[test]
fn top_of_a_field_that_nothing_has_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let line = "192.0.2.7 - - [22/Nov/2026:17:00:00 +0000] \"GET /old HTTP/1.1\" 200 5 \"-\" \"-\"\n";
    std::fs::write(dir.path().join("access.log"), line).unwrap();
    let top =
        |fields: &str| stderr(&tollgate_in(dir.path(), &["logs", "top", fields, "--from", "access.log"]));
    assert!(top("nosuch").contains("note: none of these rows has the field `nosuch`"), "{}", top("nosuch"));
    assert!(!top("path").contains("none of these rows"));
}
