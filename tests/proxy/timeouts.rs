//! Every wait upstream has its own deadline, and the record names the line of the config that set it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::tollgate::CATCH_ALL;
use crate::support::{Origin, Setup, Tollgate, get};

fn gate(address: std::net::SocketAddr, timeouts: &str) -> Tollgate {
    Setup::new(format!(
        "[upstream.app]\nservers = [\"{address}\"]\neject = false\ntimeouts = {{ {timeouts} }}\n{CATCH_ALL}"
    ))
    .start()
}

#[track_caller]
fn ended(record: &Value, by: &str, at: &str, reason: &str, cause: &str) {
    assert_eq!((record["end_by"].as_str(), record["end_at"].as_str()), (Some(by), Some(at)), "{record}");
    assert_eq!(record["reason"], reason, "{record}");
    let seen = record["cause"].as_str().unwrap_or("");
    assert!(seen.contains(cause) && seen.contains("@tollgate.toml:"), "cause {seen:?} instead of {cause:?}");
}

#[test]
fn an_answer_that_does_not_begin_is_504() {
    let origin = Origin::with(|talk| {
        talk.wait_closed();
    });
    let tollgate = gate(origin.address, "upstream = \"300ms\"");
    let start = Instant::now();
    let answer = tollgate.get("/?m=wait");
    assert_eq!(answer.status, 504);
    assert!((290..3_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert!(answer.header("x-request-id").is_some());
    let record = tollgate.records().wait("m=wait");
    ended(&record, "upstream", "wait", "http_response_timeout", "timeouts.upstream=300ms");
    // The line that the cause names is the line that the timeout stands in.
    let text = tollgate.setup.text();
    let line = text.lines().position(|line| line.contains("300ms")).unwrap() + 1;
    let named = record["cause"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    assert_eq!(named, line.to_string());
    assert!(record["t_wait_us"].as_u64().unwrap_or(0) >= 290_000, "{record}");
}

#[test]
fn the_time_for_an_answer_begins_after_the_request_was_sent() {
    let origin = Origin::start();
    let tollgate = gate(origin.address, "upstream = \"400ms\"");
    let mut connection = tollgate.plain();
    connection.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n");
    for byte in b"slow" {
        crate::support::pause(Duration::from_millis(200));
        connection.send([*byte]);
    }
    assert_eq!(connection.answer().status, 200);
}

#[test]
fn an_answer_that_stops_is_broken_off() {
    let origin = Origin::with(|talk| {
        talk.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
        talk.wait_closed();
    });
    let tollgate = gate(origin.address, "upstream_body = \"300ms\"");
    let answer = tollgate.get("/?m=stopped");
    assert_eq!((answer.status, answer.complete), (200, false));
    let record = tollgate.records().wait("m=stopped");
    ended(&record, "upstream", "resp", "connection_read_timeout", "timeouts.upstream_body=300ms");
    assert_eq!(record["status"], 200);
}

#[test]
fn an_answer_that_goes_on_slowly_is_not_broken_off() {
    let origin = Origin::with(|talk| {
        talk.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n");
        for byte in b"steady" {
            crate::support::pause(Duration::from_millis(200));
            talk.send([*byte]);
        }
    });
    let tollgate = gate(origin.address, "upstream_body = \"600ms\", upstream = \"600ms\"");
    assert_eq!(tollgate.get("/").text(), "steady");
}

#[test]
fn a_connection_that_does_not_come_about_is_504() {
    // A listener whose queue is full: the kernel answers no further connection.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        filling.push(stream);
    }
    let tollgate = gate(address, "connect = \"300ms\"");
    assert_eq!(tollgate.get("/?m=connect").status, 504);
    let record = tollgate.records().wait("m=connect");
    ended(&record, "upstream", "connect", "connection_timeout", "timeouts.connect=300ms");
}

#[test]
fn the_most_specific_timeout_wins() {
    let origin = Origin::with(|talk| {
        talk.wait_closed();
    });
    let tollgate = Setup::new(format!(
        "[upstream.app]\nservers = [\"{}\"]\neject = false\n[site.\"*\"]\ntimeouts = {{ upstream = \"30s\" }}\n\
         routes = [{{ path = \"/*\", proxy = \"app\" }},\n{{ path = \"/quick\", proxy = \"app\", timeouts = {{ upstream = \"250ms\" }} }}]\n",
        origin.address
    ))
    .server("timeouts = { upstream = \"20s\" }")
    .start();
    assert_eq!(tollgate.get("/quick").status, 504);
    ended(
        &tollgate.records().wait("/quick"),
        "upstream",
        "wait",
        "http_response_timeout",
        "timeouts.upstream=250ms",
    );
}

#[test]
fn a_client_that_leaves_frees_the_upstream() {
    let origin = Origin::with(|talk| {
        talk.wait_closed();
    });
    let tollgate = gate(origin.address, "upstream = \"30s\"");
    let mut client = tollgate.plain();
    client.send(get("/?m=left"));
    origin.wait_for(1);
    client.reset();
    crate::support::eventually("the upstream request is given up", || (origin.open() == 0).then_some(()));
    let record = tollgate.records().wait("m=left");
    assert_eq!(
        (record["end_by"].as_str(), record["end_at"].as_str()),
        (Some("client"), Some("wait")),
        "{record}"
    );
    assert_eq!(record["reason"], "client_abort");
}
