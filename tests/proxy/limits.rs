//! Requests and connections have a size, and what is beyond is refused with the right word.

use crate::support::client::one_shot;
use crate::support::h2raw::{DATA, Ending, simple};
use crate::support::{Origin, Setup, Tollgate, Way, eventually, get, get_with, post};

fn gate(line: &str) -> (Origin, Tollgate) {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).server(line).start();
    (origin, tollgate)
}

fn status_of(tollgate: &Tollgate, request: &str) -> u16 {
    one_shot(tollgate.plain(), request.as_bytes(), Way::Whole).0.map_or(0, |answer| answer.status)
}

#[test]
fn counts_header_fields() {
    let (origin, tollgate) = gate("max_headers = 20");
    let fields = |n: usize| (0..n).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    assert_eq!(status_of(&tollgate, &get_with("/", &(fields(15) + "Connection: close\r\n"))), 200);
    assert_eq!(status_of(&tollgate, &get_with("/many", &fields(21))), 431);
    assert_eq!(status_of(&tollgate, &get_with("/many", &fields(2_000))), 431);
    assert_eq!(origin.count(), 1);
    let record = tollgate.records().wait_that("the refused head", |record| record["status"] == 431);
    assert_eq!(
        (record["reason"].as_str(), record["end_at"].as_str()),
        (Some("http_request_error"), Some("head"))
    );
}

#[test]
fn measures_the_head() {
    let (origin, tollgate) = gate("max_header_size = \"8KiB\"");
    let value = |n: usize| format!("X: {}\r\n", "y".repeat(n));
    assert_eq!(status_of(&tollgate, &get_with("/", &(value(4_000) + "Connection: close\r\n"))), 200);
    assert_eq!(status_of(&tollgate, &get_with("/", &value(9_000))), 431);
    assert_eq!(status_of(&tollgate, &get_with("/", &value(200_000))), 431);
    let long_target = status_of(&tollgate, &get(&format!("/{}", "a".repeat(9_000))));
    assert!([414, 431].contains(&long_target), "answered {long_target}");
    let long_method = status_of(&tollgate, &format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(9_000)));
    assert!([400, 414, 431, 501].contains(&long_method), "answered {long_method}");
    assert_eq!(origin.count(), 1);
}

#[test]
fn measures_heads_over_h2() {
    let (origin, tollgate) = gate("max_header_size = \"8KiB\"\nmax_headers = 20");
    let big = vec![b'y'; 12_000];
    let mut h2 = tollgate.h2c();
    let mut fields = simple("GET", "/big");
    fields.push((b"x", &big));
    let stream = h2.request(&fields, true);
    let ending = h2.ending(stream);
    assert!(matches!(ending, Ending::Answer(431, _) | Ending::Reset(_)), "{ending:?}");
    let stream = h2.get("/good");
    assert!(matches!(h2.ending(stream), Ending::Answer(200, _)), "the connection goes on");
    let names: Vec<String> = (0..30).map(|n| format!("x-{n}")).collect();
    let mut many = simple("GET", "/many");
    many.extend(names.iter().map(|name| (name.as_bytes(), b"y" as &[u8])));
    let stream = h2.request(&many, true);
    let ending = h2.ending(stream);
    assert!(matches!(ending, Ending::Answer(431, _) | Ending::Reset(_)), "{ending:?}");
    assert_eq!(origin.requests().iter().filter(|got| got.target != "/good").count(), 0);
}

#[test]
fn measures_bodies_by_their_length_before_a_byte_is_sent() {
    let (origin, tollgate) = gate("max_body = \"1KiB\"");
    assert_eq!(tollgate.plain().ask(post("/", &"x".repeat(1_024))).status, 200);
    let head = "POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1025\r\n\r\n";
    assert_eq!(tollgate.plain().ask(head).status, 413);
    assert_eq!(origin.count(), 1);
    let record = tollgate.records().wait("/length");
    assert_eq!(
        (record["status"].as_u64(), record["reason"].as_str()),
        (Some(413), Some("http_request_error"))
    );
    assert!(record["cause"].as_str().unwrap_or("").starts_with("max_body=1KiB @"), "{record}");
}

#[test]
fn measures_chunked_bodies_as_they_come() {
    let (origin, tollgate) = gate("max_body = \"1KiB\"");
    let mut connection = tollgate.plain();
    connection.send("POST /chunks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..64 {
        if connection.try_send(format!("100\r\n{}\r\n", "x".repeat(256)).as_bytes()).is_err() {
            break;
        }
    }
    let status = connection.reader.answer(false).map_or(0, |answer| answer.status);
    assert_eq!(status, 413);
    let complete = origin.requests().iter().any(|got| !got.body.is_empty());
    assert!(!complete, "the origin got a whole body beyond the limit");
    assert_eq!(tollgate.records().wait("/chunks")["status"], 413);
}

#[test]
fn measures_bodies_over_h2() {
    let (origin, tollgate) = gate("max_body = \"1KiB\"");
    let mut h2 = tollgate.h2c();
    let stream = h2.request(&simple("POST", "/h2"), false);
    for _ in 0..4 {
        h2.frame(DATA, 0, stream, &[b'x'; 512]);
    }
    let ending = h2.ending(stream);
    assert!(matches!(ending, Ending::Answer(413, _)), "{ending:?}");
    assert!(origin.requests().iter().all(|got| got.body.is_empty()));
    let stream = h2.get("/good");
    assert!(matches!(h2.ending(stream), Ending::Answer(200, _)), "the connection goes on");
}

#[test]
fn a_route_has_its_own_body_limit() {
    let origin = Origin::start();
    let tollgate = Setup::new(format!(
        "[upstream.app]\nservers = [\"{}\"]\n[site.\"*\"]\nmax_body = \"10B\"\nroutes = [\n\
         {{ path = \"/*\", proxy = \"app\" }}, {{ path = \"/big\", proxy = \"app\", max_body = \"100B\" }}]\n",
        origin.address
    ))
    .start();
    assert_eq!(tollgate.plain().ask(post("/", &"x".repeat(11))).status, 413);
    assert_eq!(tollgate.plain().ask(post("/big", &"x".repeat(11))).status, 200);
    assert_eq!(tollgate.plain().ask(post("/big", &"x".repeat(101))).status, 413);
}

#[test]
fn bounds_connections_of_one_address() {
    let (_origin, tollgate) = gate("max_connections_per_ip = 4");
    let mut kept: Vec<_> = (0..4).map(|_| tollgate.plain()).collect();
    for connection in &mut kept {
        assert_eq!(connection.ask(get("/")).status, 200);
    }
    let mut fifth = tollgate.plain();
    fifth.send(get("/"));
    let status = fifth.reader.answer(false).map_or(0, |answer| answer.status);
    assert!([0, 429, 503].contains(&status), "a fifth connection was served ({status})");
    let record =
        tollgate.records().wait_that("the connection turned away", |record| record["kind"] == "conn");
    assert_eq!(record["reason"], "resource_exhausted", "{record}");
    assert!(record["cause"].as_str().unwrap_or("").starts_with("max_connections_per_ip=4 @"), "{record}");
    drop(kept);
    eventually("a place is free again", || {
        let mut next = tollgate.plain();
        next.send(get("/"));
        next.reader.answer(false).ok().filter(|answer| answer.status == 200)
    });
}

#[test]
fn more_connections_than_allowed_wait() {
    let (_origin, tollgate) = gate("max_connections = 4");
    let mut kept: Vec<_> = (0..4).map(|_| tollgate.plain()).collect();
    for connection in &mut kept {
        assert_eq!(connection.ask(get("/")).status, 200);
    }
    let mut waiting = tollgate.plain();
    waiting.send(get_with("/", "Connection: close\r\n"));
    waiting.socket().set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let waits = waiting.reader.fill().is_err_and(|error| crate::support::client::is_timeout(&error));
    assert!(waits, "a fifth connection was served or closed");
    drop(kept);
    waiting.socket().set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
    assert_eq!(waiting.answer().status, 200);
}

#[test]
fn bounds_streams_of_an_h2_connection() {
    let (_origin, tollgate) = gate("h2 = { max_streams = 4 }");
    let mut h2 = tollgate.h2c();
    let streams: Vec<u32> = (0..6).map(|_| h2.request(&simple("POST", "/"), false)).collect();
    let refused = h2.ending_within(streams[5], std::time::Duration::from_secs(5));
    assert!(matches!(refused, Ending::Reset(7) | Ending::GoAway(_)), "{refused:?}");
}
