//! What becomes of requests while the log service is away and the spool fills.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::support::{DEADLINE, Origin, Setup, Tollgate};

const WAIT: Duration = Duration::from_millis(300);

/// A small spool, in memory as another process (we) has the directory, for a log service that is not there: the least that
/// there is. The directory stays ours as long as the file lives.
fn setup(origin: &Origin, on_full: &str) -> (Setup, File) {
    let setup = Setup::proxy(origin.address).ship_to("unix:DIR/nobody.sock").without_file().log(format!(
        "buffer = \"1MiB\"\nspool = {{ dir = \"DIR/taken\", on_full = \"{on_full}\", block_for = \"300ms\" }}"
    ));
    std::fs::create_dir(setup.dir().join("taken")).unwrap();
    let lock = File::create(setup.dir().join("taken/ring.lock")).unwrap();
    lock.lock().unwrap();
    (setup, lock)
}

/// Sends requests whose records are large, also when packed, until the next ones would lose something.
fn fill(tollgate: &Tollgate) {
    let mut client = tollgate.plain();
    let mut state = 1_u64;
    let deadline = Instant::now() + DEADLINE;
    while tollgate.status()["log"]["pressure"] == "none" {
        assert!(Instant::now() < deadline, "the spool never fills: {}", tollgate.status()["log"]);
        for _ in 0..50 {
            let (path, agent) = (noise(&mut state), noise(&mut state));
            let request = format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {agent}\r\n\r\n");
            assert_eq!(client.ask(request).status, 200);
        }
    }
}

/// In order it would try its log service to the end of its grace.
fn end(mut tollgate: Tollgate) {
    assert!(tollgate.is_running());
    tollgate.kill();
}

/// Text that does not repeat itself (xorshift64, Marsaglia 2003).
fn noise(state: &mut u64) -> String {
    let words = std::iter::repeat_with(|| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        format!("{state:016x}")
    });
    words.take(60).collect()
}

#[test]
fn requests_wait_before_their_records_lose_something_and_go_on() {
    let origin = Origin::with(|talk| talk.ok("ok"));
    let (setup, _taken) = setup(&origin, "block");
    let tollgate = setup.start();
    assert_eq!(tollgate.get("/").status, 200);
    assert_eq!(tollgate.status()["log"]["waited"], 0, "with room nobody waits");
    fill(&tollgate);
    let begun = Instant::now();
    assert_eq!(tollgate.get("/late").status, 200);
    assert!(begun.elapsed() >= WAIT, "{:?}", begun.elapsed());
    let log = &tollgate.status()["log"];
    assert!(log["waited"].as_u64() >= Some(1) && log["waited"] == log["waited_in_vain"], "{log}");
    assert!(log["dropped"].as_object().unwrap().is_empty(), "{log}");
    end(tollgate);
}

#[test]
fn nobody_waits_where_records_may_lose_something() {
    let origin = Origin::with(|talk| talk.ok("ok"));
    let (setup, _taken) = setup(&origin, "degrade");
    let tollgate = setup.start();
    fill(&tollgate);
    assert_eq!(tollgate.get("/late").status, 200);
    assert_eq!(tollgate.status()["log"]["waited"], 0);
    end(tollgate);
}
