//! The commands as they are called, against a real directory and a real service. What they print is tested where it
//! is made; here it is that they find, and how they exit.

use std::io::{Read, Write};
use std::path::Path;

use clap::Parser;

use super::*;
use crate::log_service::{Listen, LogService, Settings};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    logs: LogsArgs,
}

fn call(words: &[&str]) -> Exit {
    let line = Line::try_parse_from(std::iter::once(&"logs").chain(words));
    run(line.unwrap_or_else(|error| panic!("{error}")).logs, false, PathBuf::new)
}

const ID: &str = "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4";

fn log_file(directory: &Path) -> String {
    let path = directory.join("access.jsonl");
    let mut file = std::fs::File::create(&path).unwrap();
    for (seq, status) in [(1, 200), (2, 504)] {
        let now = jiff::Timestamp::now();
        writeln!(
            file,
            r#"{{"kind":"request","ts":"{now}","id":"{ID}","proxy":"e","boot":1,"core":0,"seq":{seq},"status":{status},"dur_us":{seq}000,"path":"/a"}}"#
        )
        .unwrap();
    }
    path.to_str().unwrap().to_owned()
}

fn all_commands(source: [&str; 2]) {
    let [kind, place] = source;
    for (words, exit) in [
        (&["search", "status:5xx"][..], Exit::Done),
        (&["search", "status:404"], Exit::Failed),
        (&["search", "stat us:"], Exit::Usage),
        (&["search", "--since", "yesterday"], Exit::Usage),
        (&["search", "--sort", "dur", "-n", "1", "-o", "json"], Exit::Done),
        (&["search", "--until", "1h", "--since", "2h"], Exit::Failed),
        (&["tail", "-n", "1", "-o", "wide"], Exit::Done),
        (&["show", "01a1fd62…a9d4"], Exit::Done),
        (&["show", "01a1fd63"], Exit::Failed),
        (&["show", ID, "-o", "json"], Exit::Done),
        (&["show", "01"], Exit::Usage),
        (&["top", "path,status", "status:5xx", "--by", "p99"], Exit::Done),
        (&["top", "path", "status:404"], Exit::Failed),
        (&["stats", "--by", "status"], Exit::Done),
        (&["stats", "--every", "10s", "--json"], Exit::Done),
        (&["stats", "--every", "soon"], Exit::Usage),
        (&["stats", "--by", "status", "--every", "1m"], Exit::Done),
        (&["tail", "--errors", "--slow", "1ms"], Exit::Done),
        (&["tail", "--errors", "--slow", "1s"], Exit::Failed),
        (&["top", "path", "--by", "err%", "--vs", "1h-ago", "--since", "1h"], Exit::Done),
        (&["top", "path", "--vs", "often"], Exit::Usage),
        (&["compare", "status:200", "status:5xx"], Exit::Done),
        (&["compare", "2h..1h", "1h..now"], Exit::Failed),
        (&["compare", "2h..soon", "1h..now"], Exit::Usage),
        (&["explain", "status:5xx"], Exit::Done),
        (&["explain", "status:404", "--json"], Exit::Failed),
        (&["audit"], Exit::Done),
        (&["audit", "--verify", "--json"], Exit::Done),
        (&["export", "--as", "csv"], Exit::Done),
        (&["export", "status:404"], Exit::Failed),
        (&["replay", "01a1fd62", "--to", "nowhere"], Exit::Usage),
    ] {
        let words: Vec<&str> = words.iter().copied().chain([kind, place]).collect();
        assert_eq!(call(&words), exit, "{words:?}");
    }
}

#[test]
fn files_answer() {
    let directory = tempfile::tempdir().unwrap();
    let file = log_file(directory.path());
    all_commands(["--file", &file]);
    assert_eq!(call(&["tail", "-f", "--rate", "0", "--file", &file]), Exit::Usage);
    assert_eq!(call(&["search", "--file", "/nowhere/at/all"]), Exit::Usage);
    assert_eq!(call(&["search", "--data", "/nowhere/at/all"]), Exit::Usage);
    assert_eq!(call(&["search", "--service", "unix:/nowhere/at/all"]), Exit::Usage);
}

#[test]
fn a_service_and_its_directory_answer_alike() {
    let directory = tempfile::tempdir().unwrap();
    let file = log_file(directory.path());
    while_served(directory.path(), |socket| {
        post(socket, &std::fs::read_to_string(file).unwrap());
        all_commands(["--service", &format!("unix:{}", socket.display())]);
        all_commands(["--data", directory.path().join("data").to_str().unwrap()]);
    });
}

/// Runs `work` beside a service that keeps its data in `data` of the directory, and ends the service in order.
fn while_served(directory: &Path, work: impl FnOnce(&Path)) {
    let mut settings = Settings::new(directory.join("data"));
    let socket = directory.join("logs.sock");
    settings.http = vec![Listen::Unix(socket.clone())];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let service = runtime.block_on(LogService::start(settings)).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ended = runtime.spawn(service.run(async { drop(stopped.await) }));
    work(&socket);
    stop.send(()).unwrap();
    runtime.block_on(ended).unwrap().unwrap();
}

fn post(socket: &Path, body: &str) {
    let body_lines = body.lines().count();
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let length = body.len();
    let head =
        format!("POST /logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("\"accepted\":{}", body_lines)),
        "{answer}"
    );
}

#[test]
fn the_slowest_beyond_a_page_end_with_those_that_have_no_duration() {
    use super::source::{Asked, MAX_PAGE, Source};
    use crate::log_service::directory::Directory;
    use crate::log_service::exec::Sort;
    use crate::log_service::read::Window;

    let directory = tempfile::tempdir().unwrap();
    let each = MAX_PAGE + 300;
    let now = jiff::Timestamp::now().as_microsecond();
    let row = |at: usize| {
        let ts = jiff::Timestamp::from_microsecond(now - i64::try_from(at).unwrap()).unwrap();
        let dur = if at.is_multiple_of(2) { format!(r#","dur_us":{at}"#) } else { String::new() };
        format!("{{\"kind\":\"request\",\"ts\":\"{ts}\",\"path\":\"/{at}\"{dur}}}\n")
    };
    while_served(directory.path(), |socket| post(socket, &(0..2 * each).map(row).collect::<String>()));

    let source = Source::Directory(Directory::new(directory.path().join("data")));
    let asked = Asked::new(String::new(), Window::default()).unwrap();
    let first = |count| source.first(&asked, Sort::Slowest, count).unwrap().unwrap();
    let (rows, told) = first(2 * each - 5);
    assert_eq!((rows.len(), told.is_cut), (2 * each - 5, false));
    let timed = rows.iter().take_while(|row| row.contains("\"dur_us\"")).count();
    assert_eq!(timed, each, "then those without");
    let different: std::collections::HashSet<&String> = rows.iter().collect();
    assert_eq!(different.len(), rows.len());
    let (rows, told) = first(2 * each + 5);
    assert_eq!((rows.len(), told.is_cut), (2 * each, false), "there are no more");
}
