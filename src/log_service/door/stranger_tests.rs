//! Who is believed about whose record an entry is: every door, real sockets, a real store that is opened again.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time;

use super::tests::frame_at;
use crate::log_service::{InputKind, InputSettings, Listen, LogService, Settings};
use crate::wire::forward::Chunk;
use crate::wire::lumberjack::Window;

const PATIENCE: Duration = Duration::from_secs(20);

/// A way in: the kind of input, and what a sender writes there to bring these objects.
type Way = (&'static str, InputKind, fn(&[Value]) -> Vec<u8>);

const WAYS: [Way; 9] = [
    ("POST /logs", InputKind::Http, |objects| post("POST /logs", "", &lines(objects))),
    ("POST /_bulk", InputKind::Http, |objects| {
        let document = |object: &Value| format!("{{\"create\":{{\"_index\":\"app\"}}}}\n{object}\n");
        post("POST /_bulk", "", objects.iter().map(document).collect::<String>().as_bytes())
    }),
    ("POST /INDEX/_doc", InputKind::Http, |objects| {
        let one = |object: &Value| post("POST /app/_doc", "", object.to_string().as_bytes());
        objects.iter().flat_map(one).collect()
    }),
    ("POST /v1/logs", InputKind::Http, |objects| {
        post("POST /v1/logs", "content-type: application/json\r\n", otlp(objects).to_string().as_bytes())
    }),
    ("syslog", InputKind::Syslog, |objects| {
        objects.iter().flat_map(|object| format!("<14>1 - web shop - - - {object}\n").into_bytes()).collect()
    }),
    ("forward", InputKind::Forward, |objects| {
        let mut chunk = Chunk::default();
        objects.iter().for_each(|object| chunk.push(jiff::Timestamp::now(), object));
        chunk.message("app", "abcd", true).unwrap()
    }),
    ("lumberjack", InputKind::Lumberjack, |objects| {
        let mut window = Window::default();
        objects.iter().for_each(|object| window.push(object.to_string().as_bytes()).unwrap());
        window.bytes(true).unwrap()
    }),
    ("lines", InputKind::Lines, lines),
    ("packets", InputKind::Packets, |objects| {
        let one = |object: &Value| format!("{{\"uri\":\"/logs\",\"method\":\"POST\",\"params\":{object}}}¶");
        objects.iter().flat_map(|object| one(object).into_bytes()).collect()
    }),
];

fn post(request: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("{request} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn lines(objects: &[Value]) -> Vec<u8> {
    objects.iter().flat_map(|object| format!("{object}\n").into_bytes()).collect()
}

fn otlp(objects: &[Value]) -> Value {
    let value = |value: &Value| match value {
        Value::String(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        _ => json!({}),
    };
    let records = objects.iter().map(|object| {
        let members = object.as_object().unwrap().iter();
        json!({ "attributes": members.map(|(key, of)| json!({ "key": key, "value": value(of) })).collect::<Value>() })
    });
    json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records.collect::<Value>() }] }] })
}

struct Service {
    front: SocketAddr,
    inputs: Vec<SocketAddr>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

/// A service with these inputs, on the directory that an earlier one may have left.
async fn start(data: &Path, inputs: &[(InputKind, bool)], hot_rows: usize) -> Service {
    let mut settings = Settings::new(data.to_owned());
    let anywhere = || Listen::Tcp(([127, 0, 0, 1], 0).into());
    settings.http = vec![anywhere()];
    settings.limits.hot_rows = hot_rows;
    let input = |(place, &(kind, trusted)): (usize, &(InputKind, bool))| InputSettings {
        name: format!("in-{place}"),
        kind,
        listen: anywhere(),
        secret: None,
        tls: None,
        trusted,
    };
    settings.inputs = inputs.iter().enumerate().map(input).collect();
    let service = LogService::start(settings).await.unwrap();
    let address = |listen: &Listen| match listen {
        Listen::Tcp(address) => *address,
        Listen::Unix(path) => panic!("{}", path.display()),
    };
    let front = address(&service.http()[0]);
    let inputs = service.inputs().iter().map(|(_, listen)| address(listen)).collect();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(async { service.run(async { drop(stopped.await) }).await.unwrap() });
    Service { front, inputs, stop, ended }
}

impl Service {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap();
    }

    /// Sends through the first input, and waits until so many more entries are stored.
    async fn send(&self, bytes: &[u8], count: u64) -> TcpStream {
        let before = self.count("accepted").await;
        let mut stream = TcpStream::connect(self.inputs[0]).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let stored = async { while self.count("accepted").await < before + count {} };
        time::timeout(PATIENCE, stored).await.expect("all are stored");
        stream
    }

    async fn count(&self, name: &str) -> u64 {
        self.get("/status").await[name].as_u64().unwrap()
    }

    async fn get(&self, target: &str) -> Value {
        let told = ask(self.front, &format!("GET {target}"), "", b"").await.1;
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
    }

    async fn frames(&self, range: std::ops::RangeInclusive<u64>) -> (Value, Value) {
        let told: Value =
            serde_json::from_str(&ask(self.front, "POST /frames", "", &frame(range)).await.1).unwrap();
        (told["accepted"].clone(), told["duplicates"].clone())
    }

    async fn rows(&self) -> Vec<Value> {
        let told = ask(self.front, "GET /logs/search?since=all&n=1000", "", b"").await.1;
        let rows = told.lines().filter_map(|line| serde_json::from_str(line).ok());
        rows.filter(|row: &Value| row["from"].is_string()).collect()
    }

    /// Of each stream its proxy, what is stored and the last number; what is missing, and how many without a number.
    async fn completeness(&self) -> (Vec<(Value, Value, Value)>, Value, Value) {
        let told = self.get("/logs/audit?since=all").await;
        let streams = told["streams"].as_array().unwrap().iter();
        let streams =
            streams.map(|stream| (stream["proxy"].clone(), stream["stored"].clone(), stream["last"].clone()));
        (streams.collect(), told["report"]["missing"].clone(), told["report"]["unnumbered"].clone())
    }
}

async fn ask(address: SocketAddr, request: &str, headers: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers = format!("{headers}connection: close\r\n");
    stream.write_all(&post(request, &headers, body)).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    // A search is streamed: lengths of chunks stand on lines of their own, which are no objects.
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn frame(range: std::ops::RangeInclusive<u64>) -> Vec<u8> {
    frame_at(jiff::Timestamp::now().as_microsecond(), 1, range)
}

/// What a tollgate `edge` writes; its real records are those of [`frame`].
fn records() -> Vec<Value> {
    let of_edge = |more: Value| {
        let mut record = json!({ "proxy": "edge", "boot": 7, "core": 1 });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record
    };
    vec![
        of_edge(json!({ "kind": "request", "seq": 1, "status": 200, "id": ID })),
        of_edge(json!({ "kind": "request", "seq": 2, "status": 500 })),
        of_edge(json!({ "kind": "gap", "missing": 4, "first_seq": 3, "last_seq": 6, "reason": "ring_full" })),
        json!({ "kind": "gap", "missing": 1000, "reason": "ring_full" }),
        of_edge(json!({ "kind": "stop", "seq": 7, "last_seqs": [0, 500] })),
        json!({ "kind": "host", "proxy": "edge", "cpu_pct": 99 }),
    ]
}

const ID: &str = "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_cannot_claim_the_numbers_of_a_proxy() {
    for (way, kind, written) in WAYS {
        let data = tempfile::tempdir().unwrap();
        let inputs = [(kind, false)];
        let long = json!({ "proxy": "e".repeat(300), "boot": 7, "core": 1, "seq": 5 });
        let own = json!({ "proxy": "corporate", "core": 3, "seq": 9, "kind": "stop", "msg": "mine" });
        let sent = [records(), vec![long, own]].concat();
        let service = start(data.path(), &inputs, 1).await;
        drop(service.send(&written(&sent), 8).await);
        assert_eq!(service.frames(1..=4).await, (4.into(), 0.into()), "{way}: the real ones");
        service.stop().await;
        // Once as the log tells, once as a file does.
        for accepted in [1, 0] {
            let service = start(data.path(), &inputs, 1).await;
            assert_eq!(service.frames(1..=5).await, (accepted.into(), (5 - accepted).into()), "{way}");
            let whole = (vec![("edge".into(), 5.into(), 5.into())], json!([]), 0.into());
            assert_eq!(service.completeness().await, whole, "{way}");
            assert_eq!(service.count("declared_lost").await, 0, "{way}");
            let machines = service.get("/rollups?of=host&since=1h").await["rows"].clone();
            assert_eq!(machines, json!([]), "{way}: nobody's machine");
            let rows = service.rows().await;
            assert_eq!(rows.len(), 8 + 5, "{way}: nothing is thrown away");
            let find = |name: &str, value: Value| rows.iter().filter(|row| row[name] == value).count();
            let renamed =
                [find("proxy_in", "edge".into()), find("boot_in", 7.into()), find("core_in", 1.into())];
            assert_eq!(renamed, [5, 5, 5], "{way}: {rows:?}");
            assert_eq!([find("seq_in", 1.into()), find("seq_in", 2.into())], [1, 1], "{way}");
            assert_eq!([find("kind_in", "gap".into()), find("kind", "gap".into())], [2, 0], "{way}");
            let own = rows.iter().find(|row| row["msg"] == "mine").unwrap();
            let own = ["proxy", "core", "seq", "kind"].map(|name| own[name].clone());
            assert_eq!(json!(own), json!(["corporate", 3, 9, "stop"]), "{way}");
            let shown = service.get(&format!("/logs/show?id={ID}")).await;
            let shown = &shown["records"][0];
            assert_eq!((&shown["kind"], &shown["status"]), (&"request".into(), &200.into()), "{way}");
            service.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_stored_once_by_however_many_trusted_ways_it_comes() {
    let data = tempfile::tempdir().unwrap();
    for (place, (way, kind, written)) in WAYS.into_iter().enumerate() {
        let service = start(data.path(), &[(kind, true)], 1).await;
        let marker = json!({ "msg": way });
        let entries = [&records()[..3], &records()[4..5], &[marker]].concat();
        // Of the first way everything is new, of all others only what is of nobody.
        let _stream = service.send(&written(&entries), if place == 0 { 5 } else { 1 }).await;
        assert_eq!(service.rows().await.len(), 5 + place, "{way}");
        let (streams, missing, unnumbered) = service.completeness().await;
        assert_eq!((streams, unnumbered), (vec![("edge".into(), 3.into(), 500.into())], 0.into()), "{way}");
        let declared = &missing[0];
        assert_eq!(
            [&declared["from"], &declared["to"], &declared["why"]],
            [&json!(3), &json!(6), &json!("ring_full")],
            "{way}"
        );
        service.stop().await;
    }
    let service = start(data.path(), &[], 1).await;
    assert_eq!(service.frames(1..=2).await, (0.into(), 2.into()));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_taken_at_trusted_inputs_only() {
    let data = tempfile::tempdir().unwrap();
    let service = start(data.path(), &[(InputKind::Http, false), (InputKind::Http, true)], 1000).await;
    let mut told = Vec::new();
    for input in &service.inputs {
        told.push(ask(*input, "POST /frames", "", &frame(1..=3)).await);
    }
    assert_eq!((told[0].0, told[1].0), (403, 200), "{told:?}");
    assert!(told[0].1.contains("trusted") && told[1].1.contains("\"accepted\":3"), "{told:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_cannot_take_the_id_of_a_document() {
    let data = tempfile::tempdir().unwrap();
    let service = start(data.path(), &[(InputKind::Http, false), (InputKind::Http, true)], 1000).await;
    let bulk = |entry: &Value| format!("{{\"create\":{{\"_index\":\"logs\",\"_id\":\"{ID}\"}}}}\n{entry}\n");
    let create = async |at: SocketAddr, entry: &Value| {
        let told = ask(at, "POST /_bulk", "", bulk(entry).as_bytes()).await.1;
        serde_json::from_str::<Value>(&told).unwrap()["items"][0]["create"]["status"].as_u64()
    };
    let (stranger, trusted) = (service.inputs[0], service.inputs[1]);
    let foreign = json!({ "event": "one of another form, without numbers" });
    for (at, entry, status) in [
        (stranger, &json!({ "msg": "mine" }), 201),
        (trusted, &foreign, 201),
        (service.front, &foreign, 409),
        (trusted, &records()[0], 201),
        (service.front, &records()[0], 409),
        (stranger, &records()[0], 409),
    ] {
        assert_eq!(create(at, entry).await, Some(status), "{at} {entry}");
    }
    assert_eq!(service.rows().await.len(), 3);
    service.stop().await;
    let service = start(data.path(), &[(InputKind::Http, false), (InputKind::Http, true)], 1000).await;
    for at in [service.front, service.inputs[0], service.inputs[1]] {
        assert_eq!(create(at, &json!({ "msg": "mine" })).await, Some(409), "what was created is known");
    }
    assert_eq!(create(service.front, &records()[1]).await, Some(201), "and is no record of a proxy");
    service.stop().await;
}
