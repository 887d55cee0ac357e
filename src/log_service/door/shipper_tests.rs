//! Forward and Lumberjack as senders see them: real sockets, a real store.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;

use super::tests::{Service, get, start};
use crate::log_service::{InputKind, InputSettings, Limits, Listen, Secret, Settings};
use crate::wire::forward::handshake::{self, Credentials};
use crate::wire::forward::{Chunk, acked};
use crate::wire::lumberjack::{self, Window};

async fn service(kind: InputKind, secret: Option<&str>, limits: Limits) -> Service {
    let input = InputSettings {
        name: "app".to_owned(),
        kind,
        listen: Listen::Tcp(([127, 0, 0, 1], 0).into()),
        secret: secret.map(|secret| Secret(secret.into())),
        tls: None,
        trusted: false,
    };
    start(|settings: &mut Settings| (settings.inputs, settings.limits) = (vec![input], limits)).await
}

async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.input.unwrap()).await.unwrap()
}

/// The members `m` of all that is stored, in order.
async fn stored(service: &Service) -> Vec<Value> {
    let rows = rows(service).await;
    let mut found: Vec<Value> = rows.into_iter().map(|row| row["m"].clone()).collect();
    found.sort_by_key(Value::to_string);
    found
}

async fn rows(service: &Service) -> Vec<Value> {
    let told = text(service, "/logs/search?since=all&n=1000").await;
    told.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|row: &Value| row["from"].is_string())
        .collect()
}

async fn text(service: &Service, path: &str) -> String {
    let mut stream = service.unix().await;
    let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn until(service: &Service, name: &str, count: u64) {
    let there = async { while get(service, "/status").await[name].as_u64() < Some(count) {} };
    time::timeout(Duration::from_secs(20), there).await.unwrap();
}

fn chunk(range: std::ops::Range<u64>) -> Chunk {
    let mut chunk = Chunk::default();
    for m in range {
        chunk.push("2026-01-02T03:04:05.5Z".parse().unwrap(), &json!({ "m": m }));
    }
    chunk
}

/// What the service answers up to this many bytes.
async fn answer(stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut answer = vec![0; bytes];
    time::timeout(Duration::from_secs(20), stream.read_exact(&mut answer)).await.unwrap().unwrap();
    answer
}

/// Whether the service has hung up.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await.unwrap();
    read.is_err() || rest.is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_is_acknowledged_when_it_is_stored_with_its_time_and_tag() {
    let service = service(InputKind::Forward, None, Limits::default()).await;
    let mut stream = connect(&service).await;
    for (index, is_packed) in [false, true].into_iter().enumerate() {
        let first = 10 * index as u64;
        let message = chunk(first..first + 3).message("app.web", "abcd", is_packed).unwrap();
        stream.write_all(&message).await.unwrap();
        assert_eq!(acked(&answer(&mut stream, 10).await), Some(&b"abcd"[..]));
    }
    let rows = rows(&service).await;
    assert_eq!(stored(&service).await, [0, 1, 10, 11, 12, 2].map(Value::from));
    assert!(
        rows.iter().all(|row| row["tag"] == "app.web" && row["ts"].to_string().contains("03:04:05.5")),
        "{rows:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_with_bad_entries_is_acknowledged_and_its_good_ones_are_kept() {
    let limits = Limits { entry_bytes: 1000, ..Limits::default() };
    let service = service(InputKind::Forward, None, limits).await;
    let mut stream = connect(&service).await;
    let mut bad = chunk(1..2);
    bad.push(jiff::Timestamp::UNIX_EPOCH, &json!("no map"));
    bad.push(jiff::Timestamp::UNIX_EPOCH, &json!({"m": "x".repeat(2000)}));
    bad.push(jiff::Timestamp::UNIX_EPOCH, &json!({"m": 2}));
    stream.write_all(&bad.message("app", "abcd", true).unwrap()).await.unwrap();
    assert_eq!(acked(&answer(&mut stream, 10).await), Some(&b"abcd"[..]));
    assert_eq!(stored(&service).await, [1, 2].map(Value::from));
    assert_eq!(get(&service, "/status").await["rejected"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_chunk_is_stored_without_a_word_even_when_the_sender_breaks_off() {
    let service = service(InputKind::Forward, None, Limits::default()).await;
    let mut stream = connect(&service).await;
    let alone = [&b"\x93\xa3app\x01\x81\xa1m"[..], &[7]].concat();
    let cut = &[&b"\x92\xa3app\x92\x92\x01\x81\xa1m"[..], &[8], b"\x92"].concat()[..];
    stream.write_all(&[&alone, cut].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(is_closed(&mut stream).await);
    assert_eq!(stored(&service).await, [7, 8].map(Value::from));
    assert_eq!(get(&service, "/status").await["bad_messages"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_whole_does_not_wait_for_a_message_that_stops() {
    let service = service(InputKind::Forward, None, Limits::default()).await;
    let mut stream = connect(&service).await;
    let whole = chunk(0..2).message("app", "abcd", false).unwrap();
    let half = chunk(2..4).message("app", "efgh", false).unwrap();
    // Without its options, and the last byte of its last entry.
    let (begin, end) = half.split_at(half.len() - 30);
    stream.write_all(&[&whole, begin].concat()).await.unwrap();
    assert_eq!(acked(&answer(&mut stream, 10).await), Some(&b"abcd"[..]));
    until(&service, "accepted", 3).await;
    stream.write_all(end).await.unwrap();
    assert_eq!(acked(&answer(&mut stream, 10).await), Some(&b"efgh"[..]));
    assert_eq!(stored(&service).await, [0, 1, 2, 3].map(Value::from));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_forward_ends_the_connection_and_is_counted() {
    let service = service(InputKind::Forward, None, Limits::default()).await;
    for bad in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xc1", b"\x93\xdb\xff\xff\xff\xff"] {
        let mut stream = connect(&service).await;
        stream.write_all(bad).await.unwrap();
        assert!(is_closed(&mut stream).await);
    }
    until(&service, "bad_messages", 3).await;
}

async fn greet(stream: &mut TcpStream, key: &str) -> bool {
    let helo = answer(stream, 48).await;
    let shown = Credentials { host: "web-1", key, user: None };
    let (ping, pinged) = handshake::ping(&helo, &shown).unwrap();
    stream.write_all(&ping).await.unwrap();
    let mut pong = vec![0; 1000];
    let read = stream.read(&mut pong).await.unwrap();
    pinged.check(&pong[..read], "s3cret").is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_key_is_asked_for_and_nothing_is_taken_without_it() {
    let service = service(InputKind::Forward, Some("s3cret"), Limits::default()).await;
    let message = chunk(0..1).message("app", "abcd", false).unwrap();
    let mut stream = connect(&service).await;
    assert!(!greet(&mut stream, "wrong").await);
    let _ = stream.write_all(&message).await;
    assert!(is_closed(&mut stream).await);
    let mut stream = connect(&service).await;
    stream.write_all(&message).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    until(&service, "denied", 2).await;
    drop(connect(&service).await);
    assert!(stored(&service).await.is_empty());
    let mut stream = connect(&service).await;
    assert!(greet(&mut stream, "s3cret").await);
    stream.write_all(&message).await.unwrap();
    assert_eq!(acked(&answer(&mut stream, 10).await), Some(&b"abcd"[..]));
    assert_eq!(get(&service, "/status").await["bad_messages"], 0, "a look at the port is nothing bad");
}

fn window(texts: &[&str], compressed: bool) -> Vec<u8> {
    let mut window = Window::default();
    texts.iter().for_each(|text| window.push(text.as_bytes()).unwrap());
    window.bytes(compressed).unwrap()
}

async fn ack(stream: &mut TcpStream) -> Option<u32> {
    lumberjack::acked(answer(stream, 6).await.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_acknowledged_when_it_is_stored_as_it_was_sent() {
    let service = service(InputKind::Lumberjack, None, Limits::default()).await;
    let mut stream = connect(&service).await;
    let beat =
        r#"{"@timestamp":"2026-01-02T03:04:05.500Z","@metadata":{"beat":"filebeat"},"message":"hi","m":1}"#;
    for compressed in [false, true] {
        stream.write_all(&window(&[beat, r#"{"m":2}"#], compressed)).await.unwrap();
        assert_eq!(ack(&mut stream).await, Some(2));
    }
    let rows = rows(&service).await;
    let of_beat = rows.iter().find(|row| row["m"] == 1).unwrap();
    assert_eq!((&of_beat["message"], &of_beat["@metadata"]), (&json!("hi"), &json!({"beat": "filebeat"})));
    assert_eq!(rows.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_with_bad_events_is_acknowledged_and_its_good_ones_are_kept() {
    let limits = Limits { entry_bytes: 1000, ..Limits::default() };
    let service = service(InputKind::Lumberjack, None, limits).await;
    let mut stream = connect(&service).await;
    let large = format!("{{\"m\":\"{}\"}}", "x".repeat(2000));
    let texts = [r#"{"m":1}"#, "nonsense", &large, "[]", r#"{"m":2}"#];
    stream.write_all(&window(&texts, true)).await.unwrap();
    assert_eq!(ack(&mut stream).await, Some(5));
    assert_eq!(stored(&service).await, [1, 2].map(Value::from));
    assert_eq!(get(&service, "/status").await["rejected"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_comes_slowly_is_acknowledged_in_parts() {
    let service = service(InputKind::Lumberjack, None, Limits::default()).await;
    let mut stream = connect(&service).await;
    let whole = window(&[r#"{"m":1}"#, r#"{"m":2}"#], false);
    let (first, second) = whole.split_at(6 + 10 + 7);
    stream.write_all(first).await.unwrap();
    assert_eq!(ack(&mut stream).await, Some(1));
    assert_eq!(stored(&service).await, [1].map(Value::from));
    stream.write_all(second).await.unwrap();
    assert_eq!(ack(&mut stream).await, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_version_1_are_acknowledged_in_version_1() {
    let service = service(InputKind::Lumberjack, None, Limits::default()).await;
    let mut stream = connect(&service).await;
    let event = |seq: u8| [&b"1D\0\0\0"[..], &[seq], b"\0\0\0\x01\0\0\0\x01m\0\0\0\x01a"].concat();
    // The window is said once for all.
    stream.write_all(&[&b"1W\0\0\0\x02"[..], &[1, 2, 3, 4].map(event).concat()].concat()).await.unwrap();
    assert_eq!(answer(&mut stream, 12).await, *b"1A\0\0\0\x021A\0\0\0\x04");
    assert_eq!(stored(&service).await, ["a"; 4].map(Value::from));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_room_is_not_acknowledged() {
    let limits = Limits { held_bytes: 1, body_timeout: Duration::from_millis(50), ..Limits::default() };
    let service = service(InputKind::Lumberjack, None, limits).await;
    let mut stream = connect(&service).await;
    stream.write_all(&window(&[r#"{"m":1}"#], false)).await.unwrap();
    assert!(is_closed(&mut stream).await);
    assert!(stored(&service).await.is_empty());
}
