//! Slow clients hold nothing for long: each kind has its own deadline, and its own record.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::Http1;
use crate::support::{DEADLINE, Origin, Setup, Tollgate, get, pause};

const TIMEOUTS: &str = "timeouts = { handshake = \"1s\", header = \"1s\", idle = \"2s\", body = \"1s\", write = \"1s\", min_body_rate = \"1KiB/s\" }";

fn gate() -> (Origin, Tollgate) {
    let origin = Origin::with(|talk| {
        talk.read_body();
        if talk.path() == "/big" {
            let piece = vec![b'x'; 1 << 20];
            talk.send("HTTP/1.1 200 OK\r\ncontent-length: 268435456\r\n\r\n");
            (0..256).all(|_| talk.send(&piece));
            talk.close();
            return;
        }
        talk.ok("ok");
    });
    let setup = Setup::new(format!("[upstream.app]\nservers = [\"{}\"]\n", origin.address));
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!(
        "[site.localhost]\ntls = {tls}\nredirect_http = false\nroutes = [{{ path = \"/*\", proxy = \"app\" }}]\n"
    );
    let tollgate = setup.https().and(site).server(TIMEOUTS).start();
    (origin, tollgate)
}

/// Keeps sending `drip` until the connection ends; how long that took.
fn drips_until_closed(mut connection: Http1, drip: &[u8]) -> Duration {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if connection.try_send(drip).is_err() || connection.closes_within(Duration::from_millis(100)) {
            break;
        }
        pause(Duration::from_millis(100));
    }
    start.elapsed()
}

fn cause_of(record: &Value) -> &str {
    record["cause"].as_str().unwrap_or("")
}

#[test]
fn hangs_up_on_a_client_that_says_nothing() {
    let (_origin, tollgate) = gate();
    assert!(tollgate.plain().closes_within(Duration::from_secs(5)), "plain");
    let silent = crate::support::client::tcp(tollgate.https());
    assert!(Http1::over(Box::new(silent)).closes_within(Duration::from_secs(5)), "before the handshake");
    assert!(tollgate.tls().closes_within(Duration::from_secs(5)), "after the handshake");
    let record = tollgate.records().wait_that("the handshake that never came", |record| {
        record["kind"] == "conn" && record["end_at"] == "tls"
    });
    assert_eq!(record["reason"], "client_timeout", "{record}");
}

#[test]
fn answers_408_to_half_a_head() {
    let (origin, tollgate) = gate();
    for dial in [Tollgate::plain, Tollgate::tls] {
        let mut connection = dial(&tollgate);
        connection.send("GET /half HTTP/1.1\r\nHost: local");
        let status = connection.reader.answer(false).map_or(0, |answer| answer.status);
        assert_eq!(status, 408);
        assert!(connection.closes_within(Duration::from_secs(3)));
    }
    assert_eq!(origin.count(), 0);
    let record =
        tollgate.records().wait_that("the half head", |r| r["end_at"] == "head" && r["status"] == 408);
    assert_eq!(
        (&record["end_by"], &record["reason"]),
        (&Value::from("client"), &Value::from("client_timeout"))
    );
    assert!(cause_of(&record).starts_with("timeouts.header=1s @tollgate.toml:"), "{record}");
}

#[test]
fn the_time_of_a_head_is_not_extended_by_dripping() {
    let (_origin, tollgate) = gate();
    let mut connection = tollgate.plain();
    connection.send("GET / HTTP/1.1\r\nHost: localhost\r\n");
    let took = drips_until_closed(connection, b"X: y\r\n");
    assert!(took < Duration::from_secs(5), "a dripping head lived for {took:?}");
}

#[test]
fn a_body_that_stops_is_given_up() {
    let (_origin, tollgate) = gate();
    let mut connection = tollgate.plain();
    connection.send("POST /stopped HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc");
    let status = connection.reader.answer(false).map_or(0, |answer| answer.status);
    assert!([0, 408].contains(&status), "answered {status}");
    assert!(connection.closes_within(DEADLINE));
    let record = tollgate.records().wait("/stopped");
    assert_eq!(
        (&record["reason"], &record["end_at"]),
        (&Value::from("client_timeout"), &Value::from("body")),
        "{record}"
    );
    assert!(cause_of(&record).starts_with("timeouts.body=1s @tollgate.toml:"), "{record}");
}

#[test]
fn a_body_below_the_least_rate_is_given_up() {
    let (_origin, tollgate) = gate();
    let mut connection = tollgate.plain();
    connection.send("POST /drip HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n");
    let took = drips_until_closed(connection, b"x");
    assert!(took < Duration::from_secs(18), "a dripping body lived for {took:?}");
    let record = tollgate.records().wait("/drip");
    assert_eq!(record["reason"], "client_timeout", "{record}");
    assert!(cause_of(&record).starts_with("timeouts.min_body_rate="), "{record}");
}

#[test]
fn a_slow_but_steady_body_passes() {
    let (origin, tollgate) = gate();
    let mut connection = tollgate.plain();
    connection.send("POST /steady HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n");
    for byte in b"bodybody" {
        pause(Duration::from_millis(300));
        connection.send([*byte]);
    }
    assert_eq!(connection.answer().status, 200);
    assert_eq!(origin.last().body, b"bodybody");
}

#[test]
fn closes_an_idle_kept_connection() {
    let (_origin, tollgate) = gate();
    for dial in [Tollgate::plain, Tollgate::tls] {
        let mut connection = dial(&tollgate);
        assert_eq!(connection.ask(get("/")).status, 200);
        pause(Duration::from_millis(1_200));
        assert_eq!(connection.ask(get("/")).status, 200, "idle is not header time");
        assert!(connection.closes_within(Duration::from_secs(6)));
    }
}

#[test]
fn an_idle_tls_connection_ends_with_close_notify() {
    let (_origin, tollgate) = gate();
    let mut connection = tollgate.tls();
    assert_eq!(connection.ask(get("/")).status, 200);
    // Without it the client cannot tell the end from a cut: its TLS says so with an error.
    assert!(matches!(connection.reader.fill(), Ok(false)), "the connection was cut");
}

#[test]
fn a_client_that_reads_nothing_is_given_up_and_holds_little_memory() {
    let (_origin, tollgate) = gate();
    assert_eq!(tollgate.get("/").status, 200);
    let before = tollgate.memory_kib();
    let mut stuck: Vec<Http1> = (0..8).map(|_| tollgate.plain()).collect();
    for connection in &mut stuck {
        connection.send(get("/big?m=stuck"));
    }
    let record = tollgate.records().wait("m=stuck");
    let grown = tollgate.memory_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "memory grew by {grown} KiB for 8 stuck readers");
    assert_eq!(
        (&record["end_by"], &record["reason"]),
        (&Value::from("client"), &Value::from("client_timeout")),
        "{record}"
    );
    assert!(cause_of(&record).starts_with("timeouts.write=1s"), "{record}");
}

#[test]
fn many_slow_clients_do_not_hurt_a_quick_one() {
    let (_origin, tollgate) = gate();
    let mut slow: Vec<Http1> = (0..200).map(|_| tollgate.plain()).collect();
    for connection in &mut slow {
        connection.send("GET / HTTP/1.1\r\nHo");
    }
    let start = Instant::now();
    let mut quick = tollgate.plain();
    for _ in 0..50 {
        assert_eq!(quick.ask(get("/")).status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(3), "50 requests took {:?}", start.elapsed());
    for mut connection in slow {
        assert!(connection.closes_within(Duration::from_secs(5)));
    }
}

#[test]
fn an_idle_h2_connection_is_closed() {
    let (_origin, tollgate) = gate();
    let mut h2 = tollgate.h2();
    let stream = h2.get("/");
    h2.ending(stream);
    assert!(h2.ends_within(Duration::from_secs(6)));
    let mut silent = tollgate.h2c();
    assert!(silent.ends_within(Duration::from_secs(6)));
}
