//! A stop finishes what is in flight, takes nothing new, and ends by its deadline.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{DEADLINE, Http1, Origin, Setup, Tollgate, eventually, get};

/// Holds each request until it is told to go on.
fn holding() -> (Origin, std::sync::mpsc::Sender<()>) {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::with(move |talk| {
        talk.read_body();
        if talk.path() == "/hold" {
            let _ = wait.lock().unwrap().recv_timeout(DEADLINE);
        }
        talk.ok("held");
    });
    (origin, go)
}

fn no_longer_accepts(tollgate: &Tollgate) {
    eventually("nothing new is accepted", || {
        std::net::TcpStream::connect(tollgate.http).is_err().then_some(())
    });
}

#[test]
fn a_stop_finishes_requests_in_flight() {
    let (origin, go) = holding();
    let mut tollgate = Setup::proxy(origin.address).start();
    let mut idle = tollgate.plain();
    assert_eq!(idle.ask(get("/")).status, 200);
    let mut open = tollgate.plain();
    open.send(get("/hold?m=held"));
    origin.wait_for(2);
    tollgate.signal(Signal::TERM);
    no_longer_accepts(&tollgate);
    assert!(idle.closes_within(DEADLINE), "an idle connection is closed at once");
    assert!(tollgate.is_running());
    go.send(()).unwrap();
    let answer = open.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "held"));
    assert_eq!(answer.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("close"));
    assert!(tollgate.wait_exit(DEADLINE).is_some_and(|status| status.success()));
    let kinds: Vec<String> =
        tollgate.records().all().iter().map(|r| r["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "request").count(), 2);
    assert_eq!(kinds.last().map(String::as_str), Some("stop"), "{kinds:?}");
    for kind in ["start", "stop"] {
        assert_eq!(kinds.iter().filter(|seen| *seen == kind).count(), 1, "{kind} in {kinds:?}");
    }
}

#[test]
fn a_stop_closes_parked_connections_at_once() {
    let origin = Origin::start();
    let setup = Setup::new(format!("[upstream.app]\nservers = [\"{}\"]\n", origin.address));
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!(
        "[site.localhost]\ntls = {tls}\nredirect_http = false\nroutes = [{{ path = \"/*\", proxy = \"app\" }}]\n"
    );
    let mut tollgate = setup.https().and(site).start();
    let mut connections = [tollgate.plain(), tollgate.tls()];
    for connection in &mut connections {
        assert_eq!(connection.ask(get("/")).status, 200);
    }
    // Long enough to be parked.
    crate::support::pause(Duration::from_millis(2_500));
    tollgate.signal(Signal::TERM);
    for connection in &mut connections {
        assert!(connection.closes_within(DEADLINE));
    }
    assert!(tollgate.wait_exit(DEADLINE).is_some_and(|status| status.success()));
}

#[test]
fn a_stop_does_not_wait_for_who_has_not_asked_for_anything() {
    let setup = Setup::new("");
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!(
        "[site.localhost]\ntls = {tls}\nredirect_http = false\nroutes = [{{ path = \"/*\", respond = \"ok\" }}]\n"
    );
    let mut tollgate =
        setup.https().cores(1).server("timeouts = { drain = \"60s\", header = \"60s\" }").and(site).start();
    let bare = || Http1::over(Box::new(std::net::TcpStream::connect(tollgate.https()).unwrap()));
    // One core accepts them in order: when it answers later ones it has these.
    let mut silent = [tollgate.plain(), bare(), bare()];
    silent[2].send("\x16\x03\x01");
    assert_eq!(tollgate.plain().ask(get("/")).status, 200);
    assert_eq!(tollgate.tls().ask(get("/")).status, 200);
    tollgate.signal(Signal::TERM);
    for (which, connection) in silent.iter_mut().enumerate() {
        assert!(connection.closes_within(DEADLINE), "connection {which} is still open");
    }
    assert!(tollgate.wait_exit(DEADLINE).is_some_and(|status| status.success()));
}

#[test]
fn a_stop_finishes_h2_streams_in_flight() {
    let (origin, go) = holding();
    let mut tollgate = Setup::proxy(origin.address).start();
    let mut h2 = tollgate.h2c();
    let stream = h2.get("/hold");
    origin.wait_for(1);
    tollgate.signal(Signal::TERM);
    no_longer_accepts(&tollgate);
    go.send(()).unwrap();
    let mut ending = h2.ending(stream);
    while ending == crate::support::h2raw::Ending::GoAway(0) {
        ending = h2.ending(stream);
    }
    assert_eq!(ending, crate::support::h2raw::Ending::Answer(200, b"held".to_vec()));
    assert!(tollgate.wait_exit(DEADLINE).is_some_and(|status| status.success()));
}

#[test]
fn a_stop_does_not_wait_for_an_h2_client_that_ignores_it() {
    let (origin, go) = holding();
    let mut tollgate = Setup::proxy(origin.address).start();
    let mut h2 = tollgate.h2c();
    h2.get("/hold?m=ignorant");
    origin.wait_for(1);
    tollgate.signal(Signal::TERM);
    no_longer_accepts(&tollgate);
    // The client reads nothing from here on, so it acknowledges no PING either.
    go.send(()).unwrap();
    tollgate.records().wait("m=ignorant");
    assert!(tollgate.wait_exit(DEADLINE).is_some_and(|status| status.success()));
}

#[test]
fn a_stop_has_a_deadline() {
    let (origin, _go) = holding();
    let mut tollgate = Setup::proxy(origin.address).server("timeouts = { drain = \"500ms\" }").start();
    let mut open = tollgate.plain();
    open.send(get("/hold?m=late"));
    origin.wait_for(1);
    tollgate.signal(Signal::TERM);
    assert!(tollgate.wait_exit(Duration::from_secs(5)).is_some());
    let records = tollgate.records().of("m=late");
    assert_eq!(records.len(), 1, "the exchange that was cut has its record");
    assert_eq!(
        (records[0]["end_by"].as_str(), records[0]["reason"].as_str()),
        (Some("admin"), Some("drained"))
    );
}

#[test]
fn a_tunnel_that_outlives_the_drain_is_cut_and_says_so() {
    let origin = Origin::with(|talk| {
        talk.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
        talk.wait_closed();
    });
    let mut tollgate = Setup::proxy(origin.address).server("timeouts = { drain = \"300ms\" }").start();
    let mut socket = tollgate.plain();
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(socket.ask(crate::support::get_with("/?m=tunnel", lines)).status, 101);
    tollgate.signal(Signal::TERM);
    assert!(tollgate.wait_exit(Duration::from_secs(5)).is_some());
    let records = tollgate.records().of("m=tunnel");
    let close = records.iter().find(|record| record["kind"] == "close").expect("a close record");
    assert_eq!(
        (close["end_by"].as_str(), close["end_at"].as_str(), close["reason"].as_str()),
        (Some("admin"), Some("tunnel"), Some("drained")),
        "{close}"
    );
}

#[test]
fn a_second_signal_stops_at_once() {
    let (origin, _go) = holding();
    let mut tollgate = Setup::proxy(origin.address).start();
    let mut open = tollgate.plain();
    open.send(get("/hold"));
    origin.wait_for(1);
    tollgate.signal(Signal::INT);
    no_longer_accepts(&tollgate);
    tollgate.signal(Signal::INT);
    assert!(tollgate.wait_exit(Duration::from_secs(3)).is_some());
    // Stopped by force: how it ended is not this test's business, that it ended is.
    std::mem::forget(tollgate);
}

#[test]
fn the_stop_command_stops_it() {
    let origin = Origin::start();
    let mut tollgate = Setup::proxy(origin.address).start();
    assert_eq!(tollgate.get("/").status, 200);
    let said = tollgate.command(&["stop"]);
    assert!(said.status.success(), "{said:?}");
    assert!(tollgate.wait_exit(DEADLINE).is_some_and(|status| status.success()));
    let again = tollgate.command(&["status"]);
    assert_eq!(again.status.code(), Some(5), "no instance is exit code 5");
}

#[test]
fn a_second_instance_on_the_same_socket_is_refused() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["run", "-c"])
        .arg(&tollgate.config)
        .current_dir(tollgate.setup.dir())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(4), "{second:?}");
    assert_eq!(tollgate.get("/").status, 200);
}

#[test]
fn status_tells_what_is_there() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    assert_eq!(tollgate.get("/").status, 200);
    let said = tollgate.command(&["status", "--json"]);
    assert!(said.status.success(), "{said:?}");
    let json: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!(json["listeners"][0]["address"], tollgate.http.to_string());
    assert!(said.stderr.is_empty(), "{said:?}");
}
