//! What becomes of entries while the disk is full: a store that fails when the test says so, on a clock of the test's own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};

use super::sockets::Stream;
use super::{Desk, Door, serve};
use crate::log_service::store::AppendError;
use crate::log_service::{InputKind, Limits, LogService, Settings};
use crate::wire::forward::Chunk;
use crate::wire::lumberjack::Window;
use crate::wire::otlp::Form;
use crate::wire::otlp::message::{AnyValue, LogRecord, Logs, ResourceLogs, ScopeLogs};

/// Far longer than anybody is waited for.
const HOUR: Duration = Duration::from_secs(3600);

/// What the store did.
#[derive(Default)]
struct Disk {
    is_full: bool,
    tries: u64,
    /// The member `m` of each entry.
    stored: Vec<u64>,
}

struct Service {
    desk: Arc<Desk>,
    disk: Arc<Mutex<Disk>>,
    _rest: (LogService, tempfile::TempDir),
}

async fn start(change: impl FnOnce(&mut Limits)) -> Service {
    let data = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(data.path().join("logs"));
    change(&mut settings.limits);
    let mut service = LogService::start(settings).await.unwrap();
    let disk = Arc::new(Mutex::new(Disk::default()));
    let written = Arc::clone(&disk);
    let desk = Arc::get_mut(&mut service.doors.desk).unwrap();
    desk.store = desk.store.scripted(move |entries| {
        let mut disk = written.lock().unwrap();
        disk.tries += 1;
        if disk.is_full {
            return Err(AppendError::Full);
        }
        let member =
            |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap()["m"].as_u64().unwrap_or_default();
        disk.stored.extend(entries.iter().map(|entry| member(&entry.text)));
        Ok(())
    });
    Service { desk: Arc::clone(&service.doors.desk), disk, _rest: (service, data) }
}

/// A connection, and the task that serves it.
struct Sender {
    stream: UnixStream,
    served: JoinHandle<()>,
}

impl Service {
    async fn send(&self, kind: InputKind, bytes: &[u8]) -> Sender {
        let (mut stream, theirs) = UnixStream::pair().unwrap();
        let door = Arc::new(Door { name: "app".to_owned(), kind, ..Door::open() });
        let served = tokio::spawn(serve(Stream::Unix(theirs), "test".into(), Arc::clone(&self.desk), door));
        stream.write_all(bytes).await.unwrap();
        Sender { stream, served }
    }

    fn count(&self, name: &str) -> u64 {
        self.desk.counts().to_json()[name].as_u64().unwrap()
    }

    fn fill(&self, is_full: bool) {
        self.disk.lock().unwrap().is_full = is_full;
    }

    fn stored(&self) -> Vec<u64> {
        self.disk.lock().unwrap().stored.clone()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Disk) -> bool) {
        let begun = Instant::now();
        while !holds(&self.disk.lock().unwrap()) {
            assert!(begun.elapsed() < HOUR, "never: {what}");
            time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Sender {
    /// What the service says until it hangs up.
    async fn answer(mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        let read = self.stream.read_to_end(&mut answer);
        time::timeout(HOUR, read).await.expect("it hangs up").unwrap();
        answer
    }
}

fn forward(members: &[u64], chunk: &str) -> Vec<u8> {
    let mut sent = Chunk::default();
    members.iter().for_each(|m| sent.push(jiff::Timestamp::UNIX_EPOCH, &json!({ "m": m })));
    sent.message("app", chunk, true).unwrap()
}

/// The same without the options, which ask for an acknowledgement.
fn forward_unasked(members: &[u64]) -> Vec<u8> {
    let entry = |m: &u64| [&b"\x92\xce\0\0\0\0\x81\xa1m"[..], &[u8::try_from(*m).unwrap()]].concat();
    let entries: Vec<u8> = members.iter().flat_map(entry).collect();
    let count = 0x90 + u8::try_from(members.len()).unwrap();
    [&b"\x92\xa3app"[..], &[count], &entries].concat()
}

fn window(texts: &[&str]) -> Vec<u8> {
    let mut window = Window::default();
    texts.iter().for_each(|text| window.push(text.as_bytes()).unwrap());
    window.bytes(false).unwrap()
}

/// Two entries of a sender that is not answered, in each of the forms that have such senders.
fn unanswered() -> [(InputKind, Vec<u8>); 4] {
    let packet = |m| json!({ "uri": "/logs", "method": "POST", "key": 0, "params": { "m": m } }).to_string();
    [
        (InputKind::Syslog, b"<14>@cee: {\"m\":1}\n<14>@cee: {\"m\":2}\n".to_vec()),
        (InputKind::Lines, b"{\"m\":1}\n{\"m\":2}\n".to_vec()),
        (InputKind::Forward, forward_unasked(&[1, 2])),
        (InputKind::Packets, format!("{}¶{}¶", packet(1), packet(2)).into_bytes()),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_nobody_sends_again_waits_as_long_as_the_disk_is_full() {
    for (kind, bytes) in unanswered() {
        let service = start(|_| {}).await;
        service.fill(true);
        let sender = service.send(kind, &bytes).await;
        time::sleep(HOUR).await;
        let tries = service.disk.lock().unwrap().tries;
        // Every two seconds.
        assert!((1700..4000).contains(&tries) && !sender.served.is_finished(), "{kind:?}: {tries} tries");
        service.fill(false);
        service.until("it is stored", |disk| disk.stored == [1, 2]).await;
        assert_eq!((service.count("lost"), service.count("rejected")), (0, 0), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn others_wait_for_the_memory_of_those_who_wait_for_the_disk() {
    for (kind, bytes) in unanswered() {
        // Of the long line nothing else remains; half of it would do for the next, but not the other half.
        let padding = 2000;
        let service = start(|limits| limits.held_bytes = 5000).await;
        service.fill(true);
        let long = format!("{{\"m\":7,\"x\":\"{}\"}}\n", "x".repeat(padding));
        let _first = service.send(InputKind::Lines, long.as_bytes()).await;
        service.until("it is tried", |disk| disk.tries > 0).await;
        assert!(service.desk.room.available_permits() < 1000);
        let filler = vec![b' '; padding];
        // Spaces between the packets and lines; of forward two entries take their room as they are.
        let bytes = match kind {
            InputKind::Forward => forward_unasked(&[1, 2]),
            InputKind::Packets => [&filler[..], &bytes].concat(),
            _ => [&bytes[..], &filler, b"\n"].concat(),
        };
        let taken = service.desk.room.available_permits();
        let _hoard = matches!(kind, InputKind::Forward)
            .then(|| Arc::clone(&service.desk.room).try_acquire_many_owned(taken as u32).unwrap());
        let second = service.send(kind, &bytes).await;
        time::sleep(HOUR).await;
        assert!(!second.served.is_finished(), "{kind:?} is hung up on");
        service.fill(false);
        service.until("all is stored", |disk| disk.stored.len() >= 3).await;
        let mut stored = service.stored();
        stored.sort_unstable();
        stored.retain(|m| *m > 0);
        assert_eq!((stored, service.count("lost")), (vec![1, 2, 7], 0), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_disk_has_not_taken_at_the_stop_is_counted() {
    for (kind, bytes) in unanswered() {
        let service = start(|_| {}).await;
        service.fill(true);
        let sender = service.send(kind, &bytes).await;
        service.until("it is tried", |disk| disk.tries > 2).await;
        assert_eq!(service.count("lost"), 0);
        service.desk.stop.send(true).unwrap();
        time::timeout(Duration::from_secs(5), sender.served).await.expect("it ends").unwrap();
        assert_eq!((service.count("lost"), service.stored().len()), (2, 0), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_acknowledgements_is_hung_up_on_and_sends_again() {
    let asked = [
        (InputKind::Forward, forward(&[1, 2], "abcd")),
        (InputKind::Lumberjack, window(&["{\"m\":1}", "nonsense", "{\"m\":2}"])),
    ];
    for (kind, bytes) in asked {
        let service = start(|_| {}).await;
        service.fill(true);
        let begun = Instant::now();
        let answer = service.send(kind, &bytes).await.answer().await;
        let waited = begun.elapsed();
        // As long as a body may take; Lumberjack says meanwhile that nothing is acknowledged yet.
        assert!((58..=62).contains(&waited.as_secs()), "{kind:?}: {waited:?}");
        assert!(answer.chunks(6).all(|ack| ack == b"2A\0\0\0\0"), "{kind:?}: {answer:?}");
        assert_eq!((service.count("lost"), service.count("rejected")), (0, 0), "{kind:?}");
        service.fill(false);
        let mut again = service.send(kind, &bytes).await;
        let mut answer = [0; 6];
        again.stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(service.stored(), [1, 2], "{kind:?}");
        let bad = u64::from(kind == InputKind::Lumberjack);
        assert_eq!(service.count("rejected"), bad, "what is bad counts when it is acknowledged");
    }
}

/// A chunk that is acknowledged does not take with it what came before it and is not.
#[tokio::test(start_paused = true)]
async fn a_message_that_asks_for_nothing_is_waited_for_with_those_that_do() {
    let service = start(|_| {}).await;
    service.fill(true);
    let mut sender =
        service.send(InputKind::Forward, &[forward_unasked(&[1]), forward(&[2], "abcd")].concat()).await;
    time::sleep(HOUR).await;
    service.fill(false);
    let mut ack = [0; 10];
    sender.stream.read_exact(&mut ack).await.unwrap();
    assert_eq!(crate::wire::forward::acked(&ack), Some(&b"abcd"[..]));
    assert_eq!(service.stored(), [1, 2]);
    // From now on it is known to ask: what is under way when the disk is full comes again.
    service.fill(true);
    let long: Vec<u64> = (0..20_000).collect();
    let message = forward(&long, "efgh");
    sender.stream.write_all(&message[..message.len() - 20]).await.unwrap();
    assert!(sender.answer().await.is_empty());
    assert_eq!(service.count("lost"), 0);
}

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn otlp() -> Vec<u8> {
    let record = |text: &str| LogRecord { body: Some(AnyValue::text(text)), ..LogRecord::default() };
    let log_records = vec![record("a"), record(&"x".repeat(2000))];
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    Form::Protobuf
        .write(&Logs { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] })
}

/// One good and one bad frame.
fn frames() -> Vec<u8> {
    use crate::record::frame::{Builder, Codec, Form, Stream};
    use crate::record::{Record, binary};
    let frame = |seq| {
        let (mut builder, mut bytes, mut out) = (Builder::default(), Vec::new(), Vec::new());
        binary::encode(&Record { ts_us: 1, path: Some(b"/f"), ..Record::default() }, seq, &mut bytes);
        builder.push(Form::Record, Some(seq), 1, &bytes);
        builder.finish(&Stream { proxy: "edge", boot: 7, core: 0 }, Codec::Lz4, &mut out);
        out
    };
    let mut bad = frame(2);
    bad[80] ^= 1;
    [frame(1), bad].concat()
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_counts_once_however_often_it_comes() {
    let bulk = b"{\"create\":{\"_index\":\"a\"}}\n{\"m\":1}\n{\"create\":{\"_index\":\"a\"}}\nnonsense\n";
    let packet = json!({ "uri": "/logs", "method": "POST", "key": 5, "params": [{ "m": 1 }, 7] }).to_string();
    let http = InputKind::Http;
    let ndjson = "content-type: application/x-ndjson\r\n";
    let cases = [
        (http, "rejected", post("/logs", ndjson, b"{\"m\":1}\nnonsense\n")),
        (http, "rejected", post("/v1/logs", "content-type: application/x-protobuf\r\n", &otlp())),
        (http, "rejected", post("/_bulk", "", bulk)),
        (http, "bad_frames", post("/frames", "", &frames())),
        (InputKind::Packets, "rejected", format!("{packet}¶").into_bytes()),
        (InputKind::Packets, "bad_packets", format!("{packet}¶").into_bytes()),
    ];
    for (kind, name, bytes) in cases {
        let service = start(|limits| limits.entry_bytes = 1000).await;
        for (is_full, count) in [(true, 0), (true, 0), (false, 1)] {
            service.fill(is_full);
            let mut sender = service.send(kind, &bytes).await;
            if kind == InputKind::Packets {
                sender.stream.shutdown().await.unwrap();
            }
            let answer = sender.answer().await;
            let told = String::from_utf8_lossy(&answer);
            let is_turned_away = ["HTTP/1.1 503", "HTTP/1.1 429", "\"errorcode\":3"];
            assert_eq!(is_turned_away.iter().any(|turned| told.contains(turned)), is_full, "{name}: {told}");
            assert_eq!(service.count(name), count, "{name} {kind:?} full: {is_full}");
        }
        assert_eq!(service.disk.lock().unwrap().tries, 3);
    }
}
