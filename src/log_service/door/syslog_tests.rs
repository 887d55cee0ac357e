//! Syslog and JSON lines as senders see them: real sockets, a real directory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::portion::Portion;
use super::tests::{connector, issue};
use super::{Desk, Door};
use crate::log_service::entry::Entry;
use crate::log_service::query::Query;
use crate::log_service::read::{Newest, Window};
use crate::log_service::{InputKind, InputSettings, Limits, Listen, LogService, Secret, Settings, Tls};

const PATIENCE: Duration = Duration::from_secs(20);

struct Service {
    address: SocketAddr,
    desk: Arc<Desk>,
    data: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn start(kind: InputKind, token: Option<&str>, change: impl FnOnce(&mut Settings)) -> Service {
    let data = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(data.path().join("logs"));
    settings.inputs = vec![InputSettings {
        name: "in".to_owned(),
        kind,
        listen: Listen::Tcp(([127, 0, 0, 1], 0).into()),
        secret: token.map(|token| Secret(token.into())),
        tls: None,
        trusted: false,
    }];
    change(&mut settings);
    let service = LogService::start(settings).await.unwrap();
    let Listen::Tcp(address) = service.inputs()[0].1 else { panic!("not tcp") };
    let desk = Arc::clone(&service.doors.desk);
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(async { service.run(async { drop(stopped.await) }).await.unwrap() });
    Service { address, desk, data, stop, ended }
}

impl Service {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream
    }

    fn count(&self, name: &str) -> u64 {
        self.desk.counts().to_json()[name].as_u64().unwrap()
    }

    async fn reaches(&self, name: &str, count: u64) {
        let reached = async {
            while self.count(name) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok() && self.count(name) == count, "{name}: {}, not {count}", self.count(name));
    }

    /// What is stored, in the order of its time.
    fn rows(&self) -> Vec<Value> {
        let rows = Newest::of(&self.data.path().join("logs"), &Query::all(), Window::default(), 100_000)
            .unwrap()
            .rows;
        rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
    }
}

/// The service closes a connection of which it wants no more.
async fn is_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // What it has not read makes a reset of its end.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(rest.is_empty());
}

fn counted(message: &str) -> String {
    format!("{} {message}", message.len())
}

const MESSAGE: &str = "<165>1 2026-11-21T09:14:03.512804Z web-1 shop 17 ID47 [a@1 k=\"v\"] hello";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_and_lines_are_told_apart_by_connection() {
    let service = start(InputKind::Syslog, None, |_| {}).await;
    let _counted = service.send((counted(MESSAGE) + &counted("<11>1 - - b - - - two")).as_bytes()).await;
    let _lines = service.send(b"<14>Oct 11 22:14:15 web-1 c[7]: three\n<14>@cee: {\"order\":4}\n").await;
    // Without an end: the connection ends it.
    drop(service.send(b"<14>five").await);
    service.reaches("accepted", 5).await;
    let rows = service.rows();
    let of = |name: &str, value: Value| {
        rows.iter().find(|row| row[name] == value).unwrap_or_else(|| panic!("{rows:?}"))
    };
    let first = of("app", json!("shop"));
    assert_eq!(
        (
            &first["ts"],
            &first["level"],
            &first["msg"],
            &first["sd.a@1.k"],
            &first["hostname"],
            &first["procid"]
        ),
        (
            &json!("2026-11-21T09:14:03.512804Z"),
            &json!("notice"),
            &json!("hello"),
            &json!("v"),
            &json!("web-1"),
            &json!(17)
        )
    );
    assert_eq!(of("app", json!("b"))["level"], "error");
    assert_eq!(of("app", json!("c"))["msg"], "three");
    assert_eq!(of("order", json!(4))["facility"], "user");
    of("msg", json!("five"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_is_refused_and_what_follows_is_kept() {
    let small = |settings: &mut Settings| settings.limits.entry_bytes = 200;
    let service = start(InputKind::Syslog, None, small).await;
    let long = format!("<14>1 - - - - - - {}", "x".repeat(300_000));
    let _counted = service.send(format!("{}{}", counted(&long), counted("<14>a")).as_bytes()).await;
    let _lines = service.send(format!("{long}\n<14>b\n").as_bytes()).await;
    service.reaches("accepted", 2).await;
    service.reaches("rejected", 2).await;
    // A message that grows as an entry beyond the limit.
    let _quotes = service.send(format!("<14>1 - - - - - - {}\n", "\"".repeat(150)).as_bytes()).await;
    service.reaches("rejected", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_which_nothing_can_be_read_is_closed() {
    let service = start(InputKind::Syslog, None, |_| {}).await;
    is_closed(service.send(b"5 <14>ano count").await).await;
    service.reaches("accepted", 1).await;
    drop(service.send(b"5 <14>b99 <14>torn").await);
    service.reaches("rejected", 2).await;
    assert_eq!(service.count("accepted"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_for_and_never_stored() {
    let service = start(InputKind::Syslog, Some("s3cret"), |_| {}).await;
    for bad in ["<14>1 - - - - - - x\n", "<14>x\n", "<14>1 - - - - - [other@1 s3cret=\"1\"] x\n"] {
        is_closed(service.send(bad.as_bytes()).await).await;
    }
    service.reaches("rejected", 3).await;
    for shown in ["s3cret@41058 tag=\"x\"", "s3cret"] {
        let message = format!("<14>1 - - - - - [{shown}][a@1 k=\"v\"] x\n");
        // Once is enough for a connection, each time is what most services want.
        let _stream = service.send(format!("{message}{message}<14>1 - - - - - - y\n").as_bytes()).await;
    }
    service.reaches("accepted", 6).await;
    assert!(!format!("{:?}", service.rows()).contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_objects_and_the_first_may_show_a_token() {
    let service = start(InputKind::Lines, Some("s3cret"), |_| {}).await;
    is_closed(service.send(b"{\"a\":1}\n").await).await;
    is_closed(service.send(b"{\"token\":\"wrong\"}\n{\"a\":1}\n").await).await;
    service.reaches("rejected", 2).await;
    let _stream =
        service.send(b"{\"token\":\"s3cret\"}\n{\"a\":1}\nnonsense\n\n{\"b\":2}\r\n[1]\n{\"c\":").await;
    service.reaches("accepted", 2).await;
    service.reaches("rejected", 4).await;
    assert!(!format!("{:?}", service.rows()).contains("s3cret"));
    let open = start(InputKind::Lines, None, |_| {}).await;
    drop(open.send(b"{\"token\":\"s3cret\"}\n{\"a\":1}").await);
    open.reaches("accepted", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_certificates_of_clients_are_for_inputs_too() {
    let (server, client) = (issue(), issue());
    let tls = Tls {
        chain: server.chain.clone().into_bytes(),
        key: server.key.clone().into_bytes(),
        client_ca: Some(client.ca.clone().into_bytes()),
    };
    let service = start(InputKind::Syslog, None, |settings| settings.inputs[0].tls = Some(tls)).await;
    let name = || rustls::pki_types::ServerName::try_from("logs.test").unwrap();
    let known = connector(&server, Some(&client)).connect(name(), service.connect().await).await;
    known.unwrap().write_all(counted(MESSAGE).as_bytes()).await.unwrap();
    service.reaches("accepted", 1).await;
    if let Ok(mut stranger) = connector(&server, None).connect(name(), service.connect().await).await {
        let _ = stranger.write_all(counted(MESSAGE).as_bytes()).await;
        assert!(stranger.read_to_end(&mut Vec::new()).await.is_err());
    }
    assert_eq!(service.count("accepted"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_sender_stays_and_one_that_stops_in_a_message_goes() {
    let short = |settings: &mut Settings| settings.limits.idle_timeout = Duration::from_millis(50);
    let service = start(InputKind::Syslog, None, short).await;
    let mut silent = service.send(b"<14>a\n").await;
    is_closed(service.send(b"<14>half").await).await;
    silent.write_all(b"<14>b\n").await.unwrap();
    // The half line is kept as what it is.
    service.reaches("accepted", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_says_nothing_keeps_no_place() {
    let short = |settings: &mut Settings| settings.limits.idle_timeout = Duration::from_millis(50);
    for (kind, greeting) in [
        (InputKind::Lines, "{\"token\":\"s3cret\"}\n{}\n"),
        (InputKind::Syslog, "<14>1 - - - - - [s3cret] a\n"),
    ] {
        let service = start(kind, Some("s3cret"), short).await;
        let mut known = service.send(greeting.as_bytes()).await;
        service.reaches("accepted", 1).await;
        is_closed(service.connect().await).await;
        // One that has shown the token may be as silent as it likes.
        known.write_all(b"{}\n").await.unwrap();
        service.reaches("accepted", 2).await;
    }
}

/// An entry in memory is more than its text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_entries_take_the_room_that_they_take() {
    let service = start(InputKind::Lumberjack, None, |_| {}).await;
    let before = service.desk.room.available_permits();
    let mut portion = Portion::new(Arc::clone(&service.desk), Arc::new(Door::open()), "a".into(), true);
    for _ in 0..100 {
        portion.add(Ok::<_, String>("{}".into())).await.unwrap();
    }
    assert!(before - service.desk.room.available_permits() >= 100 * size_of::<Entry>());
    portion.store().await.unwrap();
    assert_eq!((service.desk.room.available_permits(), service.count("accepted")), (before, 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_hold_half_a_message_hold_no_more_than_there_is_room_for() {
    let tight = |settings: &mut Settings| {
        settings.limits =
            Limits { held_bytes: 100_000, idle_timeout: Duration::from_secs(3), ..Limits::default() };
    };
    let service = start(InputKind::Syslog, None, tight).await;
    let mut halves = Vec::new();
    for _ in 0..8 {
        halves.push(service.send(format!("<14>{}", "x".repeat(30_000)).as_bytes()).await);
    }
    // Two bytes of room for each byte: not all can have it. Each is kept as far as it came or refused, and counted.
    let ended = async {
        while service.count("accepted") + service.count("rejected") < 8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    for half in halves {
        is_closed(half).await;
    }
    assert_eq!(service.desk.room.available_permits(), 100_000);
    assert!(service.count("accepted") > 0 && service.count("rejected") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_before_a_stop_is_kept() {
    // As long as a busy machine needs for them.
    let service = start(InputKind::Syslog, None, |settings| settings.limits.grace = 2 * PATIENCE).await;
    let mut stream = service.connect().await;
    for _ in 0..50 {
        stream.write_all("<14>1 - - - - - - x\n".repeat(1000).as_bytes()).await.unwrap();
    }
    service.stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, service.ended).await.unwrap().unwrap();
    assert_eq!(service.desk.counts().to_json()["accepted"], 50_000);
    is_closed(stream).await;
}
