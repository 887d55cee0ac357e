//! Frames, tokens and TLS as a client sees them: real sockets, a real directory.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::Desk;
use crate::log_service::exec::{self, Control, ExecError, Parts, Sort};
use crate::log_service::query::Query;
use crate::log_service::read::Window;
use crate::log_service::{InputKind, InputSettings, Limits, Listen, LogService, Settings, Tls, Token};
use crate::record::frame::{Builder, Codec, Form, Stream};
use crate::record::{Record, binary};

/// A desk with three records in its store; the rest must live as long as it is used.
pub(super) async fn desk() -> (Arc<Desk>, LogService, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let service = LogService::start(Settings::new(data.path().join("logs"))).await.unwrap();
    let desk = Arc::clone(&service.doors.desk);
    let mut split = crate::log_service::frames::split(&frame(0, 1..=3).into(), desk.limits.entry_bytes);
    desk.store_frames(&mut split, &"test".into()).await.unwrap();
    (desk, service, data)
}

/// Scans until it is stopped.
pub(super) fn scan_until_stopped(desk: &Desk, control: &Control) {
    let asked = exec::Asked::new(Query::all(), Window::default());
    let look = || exec::search(&Parts::new(desk.store.parts()), &asked, Sort::Newest, 1, control);
    while !matches!(look(), Err(ExecError::Stopped)) {}
}

pub(super) struct Service {
    listen: Vec<Listen>,
    /// The first of the inputs, if there are any.
    pub(super) input: Option<SocketAddr>,
    _data: tempfile::TempDir,
}

pub(super) async fn start(change: impl FnOnce(&mut Settings)) -> Service {
    let data = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(data.path().join("logs"));
    settings.http =
        vec![Listen::Tcp(([127, 0, 0, 1], 0).into()), Listen::Unix(data.path().join("logs.sock"))];
    change(&mut settings);
    let service = LogService::start(settings).await.unwrap();
    let listen = service.http();
    let input = service.inputs().first().map(|(_, listen)| match listen {
        Listen::Tcp(address) => *address,
        Listen::Unix(path) => panic!("{}", path.display()),
    });
    tokio::spawn(service.run(std::future::pending()));
    Service { listen, input, _data: data }
}

impl Service {
    pub(super) fn address(&self) -> SocketAddr {
        let Listen::Tcp(address) = self.listen[0] else { panic!("not tcp") };
        address
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    pub(super) async fn unix(&self) -> UnixStream {
        let Listen::Unix(path) = &self.listen[1] else { panic!("not unix") };
        UnixStream::connect(path).await.unwrap()
    }
}

/// One request, such as `GET /`, on a connection of its own; status, head and body of the answer.
pub(super) async fn call(
    address: SocketAddr,
    request: &str,
    headers: &str,
    body: &[u8],
) -> (u16, String, Vec<u8>) {
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: localhost:9200\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    exchange(address, &[head.as_bytes(), body].concat()).await
}

pub(super) async fn exchange(address: SocketAddr, request: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    (head[9..12].parse().unwrap(), head, answer[end..].to_vec())
}

/// Sends a body to `/frames` and reads the answer.
async fn post(mut stream: impl AsyncRead + AsyncWrite + Unpin, headers: &str, body: &[u8]) -> (u16, Value) {
    let head = format!(
        "POST /frames HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    // TLS ends without a notice when the service only closes.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

pub(super) async fn get(service: &Service, target: &str) -> Value {
    let mut stream = service.tcp().await;
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn frame(core: u16, range: std::ops::RangeInclusive<u64>) -> Vec<u8> {
    frame_at(1, core, range)
}

/// Records of `edge`, whose run began at 7.
pub(super) fn frame_at(ts_us: i64, core: u16, range: std::ops::RangeInclusive<u64>) -> Vec<u8> {
    let (mut builder, mut out) = (Builder::default(), Vec::new());
    for seq in range {
        let mut bytes = Vec::new();
        binary::encode(&Record { ts_us, path: Some(b"/f"), ..Record::default() }, seq, &mut bytes);
        builder.push(Form::Record, Some(seq), 1, &bytes);
    }
    builder.finish(&Stream { proxy: "edge", boot: 7, core }, Codec::Lz4, &mut out);
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_many_connections_are_stored_once_each() {
    let service = start(|_| {}).await;
    let mut senders = tokio::task::JoinSet::new();
    for core in 0..4u16 {
        for _ in 0..4 {
            let (tcp, unix) = (service.tcp().await, service.unix().await);
            senders.spawn(async move {
                let body = [frame(core, 1..=50), frame(core, 51..=90)].concat();
                let first = post(tcp, "", &body).await.1["accepted"].as_u64().unwrap();
                first + post(unix, "", &body).await.1["accepted"].as_u64().unwrap()
            });
        }
    }
    let accepted: u64 = senders.join_all().await.into_iter().sum();
    assert_eq!(accepted, 4 * 90);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_frame_is_named_and_the_others_are_stored() {
    let service = start(|_| {}).await;
    let mut bad = frame(0, 4..=6);
    bad[80] ^= 1;
    let body = [frame(0, 1..=3), bad, frame(0, 7..=9)].concat();
    let (status, told) = post(service.tcp().await, "", &body).await;
    assert_eq!((status, &told["accepted"], &told["rejected"]), (400, &6.into(), &1.into()));
    assert_eq!(told["bad"][0]["frame"], 2);
    assert!(told["error"].as_str().unwrap().contains("frame 2 at byte"), "{told}");
    assert_eq!(post(service.tcp().await, "", &body).await.1["duplicates"], 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_is_told_to_come_again_when_too_much_waits() {
    let service = start(|settings| settings.limits = Limits { held_bytes: 1, ..Limits::default() }).await;
    let (status, told) = post(service.tcp().await, "", &frame(0, 1..=3)).await;
    assert_eq!((status, &told["code"]), (503, &"slow_down".into()));
    let service = start(|settings| settings.limits = Limits { memory_bytes: 0, ..Limits::default() }).await;
    let (status, told) = post(service.tcp().await, "", &frame(0, 1..=3)).await;
    assert_eq!((status, &told["code"]), (503, &"slow_down".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_tail_shows_records_of_frames_as_they_come() {
    let service = start(|_| {}).await;
    let mut tail = BufReader::new(service.unix().await);
    tail.write_all(b"GET /logs/tail?q=path:/f HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        tail.read_line(&mut line).await.unwrap();
    }
    // The first empty line of the answer says that the tail is listening.
    while line != "\n" {
        line.clear();
        tail.read_line(&mut line).await.unwrap();
    }
    post(service.tcp().await, "", &frame(3, 1..=2)).await;
    let mut seqs = Vec::new();
    while seqs.len() < 2 {
        line.clear();
        let read = tokio::time::timeout(std::time::Duration::from_secs(20), tail.read_line(&mut line));
        assert!(read.await.unwrap().unwrap() > 0);
        let row = serde_json::from_str::<Value>(&line).ok().filter(Value::is_object);
        seqs.extend(row.map(|row| (row["core"].as_u64(), row["seq"].as_u64())));
    }
    assert_eq!(seqs, [(Some(3), Some(1)), (Some(3), Some(2))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollups_are_there_at_once() {
    let service = start(|_| {}).await;
    post(service.tcp().await, "", &frame(3, 1..=40)).await;
    let told = get(&service, "/rollups?since=all&by=host,class&step=1h").await;
    assert_eq!((&told["step_s"], &told["rows"][0]["count"]), (&3600.into(), &40.into()), "{told}");
    assert_eq!(told["rows"][0]["time"], "1970-01-01T00:00:00Z");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_answered_from_what_was_just_stored() {
    let service = start(|_| {}).await;
    post(service.tcp().await, "", &[frame(3, 1..=4), frame(3, 6..=7)].concat()).await;
    let told = get(&service, "/logs/top?fields=path&q=path:/f").await;
    assert_eq!(told["report"]["missing"][0]["from"], 5, "{told}");
    assert!(told.to_string().contains("\"/f\""), "{told}");
    assert!(get(&service, "/logs/stats?nope=1").await["error"].as_str().unwrap().contains("nope"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tcp_a_token_is_asked_for_over_a_unix_socket_not() {
    let service = start(|settings| settings.tokens = Token::of_file("old\nsecret\n")).await;
    let body = frame(0, 1..=3);
    for bad in
        ["", "authorization: Bearer \r\n", "authorization: Bearer secrets\r\n", "authorization: secret\r\n"]
    {
        assert_eq!(post(service.tcp().await, bad, &body).await.0, 401, "{bad}");
    }
    for good in ["authorization: Bearer secret\r\n", "authorization: bearer old\r\n"] {
        assert_eq!(post(service.tcp().await, good, &body).await.0, 200, "{good}");
    }
    assert_eq!(post(service.unix().await, "", &body).await.0, 200);
}

/// A certificate of an authority, PEM, with its key.
pub(super) struct Issued {
    pub(super) ca: String,
    pub(super) chain: String,
    pub(super) key: String,
}

pub(super) fn issue() -> Issued {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(params, &ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["logs.test".to_owned()]).unwrap();
    let chain = leaf.signed_by(&key, &issuer).unwrap();
    Issued { ca: ca.pem(), chain: chain.pem(), key: key.serialize_pem() }
}

pub(super) fn connector(server: &Issued, client: Option<&Issued>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match client {
        Some(client) => {
            let chain = vec![CertificateDer::from_pem_slice(client.chain.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    TlsConnector::from(Arc::new(config))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_takes_only_clients_of_its_authority() {
    let (server, client, stranger) = (issue(), issue(), issue());
    let tls = Tls {
        chain: server.chain.clone().into_bytes(),
        key: server.key.clone().into_bytes(),
        client_ca: Some(client.ca.clone().into_bytes()),
    };
    let service = start(|settings| settings.tls = Some(tls)).await;
    let name = || ServerName::try_from("logs.test").unwrap();
    let stream = connector(&server, Some(&client)).connect(name(), service.tcp().await).await.unwrap();
    assert_eq!(post(stream, "", &frame(0, 1..=3)).await.0, 200);
    for other in [None, Some(&stranger)] {
        // In TLS 1.3 the client learns with the first bytes that it was refused.
        let Ok(mut stream) = connector(&server, other).connect(name(), service.tcp().await).await else {
            continue;
        };
        let _ = stream.write_all(b"GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let mut answer = Vec::new();
        assert!(stream.read_to_end(&mut answer).await.is_err() && answer.is_empty());
    }
    let mut plain = service.tcp().await;
    plain.write_all(b"GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    assert_eq!(post(service.unix().await, "", &frame(0, 1..=3)).await.1["duplicates"], 3);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_told_at_the_start() {
    let data = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(data.path().to_owned());
    settings.http = vec![Listen::Tcp(([127, 0, 0, 1], 0).into())];
    settings.tls = Some(Tls { chain: b"x".to_vec(), key: b"y".to_vec(), client_ca: None });
    let started = LogService::start(settings).await;
    assert!(matches!(started, Err(crate::log_service::ServiceError::Tls(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_connection_stops_the_scan() {
    let service = start(|settings| settings.limits.searches = 1).await;
    for first in (1..=40_000).step_by(500) {
        let (status, _) = post(service.unix().await, "", &frame(0, first..=first + 499)).await;
        assert_eq!(status, 200);
    }
    let ask = "GET /logs/search HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut first = service.unix().await;
    first.write_all(ask.as_bytes()).await.unwrap();
    // More than the socket takes: it stands still as long as nobody reads.
    let mut begin = [0; 1000];
    first.read_exact(&mut begin).await.unwrap();
    let status = async || {
        let mut other = service.unix().await;
        let ask = "GET /logs/stats HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        other.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        other.read_to_string(&mut answer).await.unwrap();
        answer[9..12].to_owned()
    };
    assert_eq!(status().await, "503", "the only place is taken");
    drop(first);
    let freed = async { while status().await != "200" {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), freed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_finds_a_file_that_was_changed() {
    let service = start(|settings| settings.limits.hot_rows = 100).await;
    for first in [1, 101, 201] {
        post(service.unix().await, "", &frame(0, first..=first + 99)).await;
        let sealed =
            async { while get(&service, VERIFY).await["chain"]["files"].as_u64() < Some(first / 100 + 1) {} };
        tokio::time::timeout(std::time::Duration::from_secs(30), sealed).await.unwrap();
    }
    let told = get(&service, VERIFY).await;
    assert_eq!((&told["chain"]["problem_count"], &told["chain"]["links"]), (&0.into(), &3.into()), "{told}");
    let head = told["chain"]["head"].as_str().unwrap();
    assert_eq!(get(&service, &format!("{VERIFY}&head={head}")).await["chain"]["has_head"], true);
    let file = files_below(&service._data.path().join("logs"))
        .into_iter()
        .find(|path| path.ends_with("00000001.l0.parquet"));
    let file = file.unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let told = get(&service, VERIFY).await;
    assert_eq!(told["chain"]["problems"], serde_json::json!(["file 1 is not what was written"]), "{told}");
}

const VERIFY: &str = "/logs/audit?verify=1";

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_cannot_follow_is_told_how_many_it_skipped() {
    const GROUPS: u64 = 300;
    let service = start(|_| {}).await;
    let mut tail = service.unix().await;
    tail.write_all(b"GET /logs/tail HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut lines = BufReader::new(tail).lines();
    // The head and the empty line that says that it is connected.
    while lines.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {}
    for group in 0..GROUPS {
        post(service.unix().await, "", &frame(0, group * 300 + 1..=group * 300 + 300)).await;
    }
    let (mut shown, mut skipped) = (0, 0);
    let all = async {
        while shown + skipped < GROUPS * 300 {
            let line = lines.next_line().await.unwrap().unwrap();
            match serde_json::from_str::<Value>(&line) {
                Ok(line) if line["kind"] == "skipped" => skipped += line["count"].as_u64().unwrap(),
                Ok(line) if line.is_object() => shown += 1,
                // Lengths of chunks.
                _ => {}
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), all).await.unwrap();
    assert!(shown > 0 && skipped > 0 && shown + skipped == GROUPS * 300, "{shown} {skipped}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_takes_entries_and_answers_no_question() {
    let input = InputSettings {
        name: "apps".into(),
        kind: InputKind::Http,
        listen: Listen::Tcp(([127, 0, 0, 1], 0).into()),
        secret: None,
        tls: None,
        trusted: false,
    };
    let service = start(|settings| settings.inputs = vec![input]).await;
    let ask = async |head: &str, body: &str| {
        let mut stream = TcpStream::connect(service.input.unwrap()).await.unwrap();
        let request = format!(
            "{head} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    assert_eq!(ask("POST /logs", r#"{"msg":"x"}"#).await, 200);
    for question in [
        "GET /status",
        "GET /logs/search",
        "GET /logs/tail",
        "GET /rollups",
        "GET /alerts",
        "POST /alerts/x/silence",
    ] {
        assert_eq!(ask(question, "").await, 404, "{question}");
    }
}
