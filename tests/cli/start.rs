//! What a start makes that is missing, and what it says when it cannot.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

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
    let file = refused(dir.path(), &format!("{SERVER}[log]\nservice = \"none\"\nfile = \"taken/access.log\"\n"));
    let sink = format!("{SERVER}[log]\nservice = \"none\"\n[log.sink.kept]\ntype = \"file\"\nto = \"taken/k.log\"\n");
    let sink = refused(dir.path(), &sink);
    for (told, parts) in [
        (
            listener,
            ["http: cannot listen on unix:taken/http.sock: cannot make the directory taken: ", "hint: let this user"],
        ),
        (file, ["the log file taken/access.log: Not a directory", "choose another path for `file` of [log]"]),
        (
            sink,
            ["file of the sink `kept`, taken/k.log: Not a directory", "choose another path for `to` of [log.sink.kept]"],
        ),
    ] {
        for part in parts {
            assert!(told.contains(part), "{part} is missing in\n{told}");
        }
    }
}
