//! Sinks for foreign services: every row of their retry tables, against servers that answer what the test says.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::scripted::{Asked, Reply, Scripted};
use super::*;

pub(super) fn remote(address: SocketAddr) -> Remote {
    Remote { host: address.ip().to_string(), port: address.port(), is_tls: false, path: String::new() }
}

/// A sink that is quick to try again.
pub(super) fn shipping(target: Target, address: SocketAddr, dir: &Path) -> ShippingSettings {
    ShippingSettings {
        name: "far".into(),
        target,
        to: vec![remote(address)],
        form: Form::Json,
        credentials: Credentials::None,
        headers: Vec::new(),
        roots: crate::tls::client::Roots::Public,
        identity: None,
        compress: true,
        batch_bytes: 1 << 20,
        batch_records: 10_000,
        linger: Duration::ZERO,
        timeout: Duration::from_secs(10),
        backoff: Duration::from_millis(2),
        backoff_max: Duration::from_millis(10),
        dead_letter: Some(DeadLetter { path: dir.join("dead.jsonl"), rotate_bytes: 0, keep: 0 }),
    }
}

fn search() -> Target {
    Target::Elasticsearch { index: "logs".into() }
}

pub(super) fn start(shipping: ShippingSettings) -> (CoreLog, Running) {
    let (mut logs, collector) = open(settings(vec![SinkSettings::Shipping(Box::new(shipping))]), 1).unwrap();
    (logs.remove(0), collector.spawn().unwrap())
}

/// Writes ten records to a sink that takes or refuses all of them before it is stopped.
pub(super) async fn write_ten(shipping: ShippingSettings) -> Arc<Metrics> {
    let (log, running) = start(shipping);
    write_paths(&log, 10);
    let metrics = running.metrics();
    drained(&metrics, 10).await;
    let report = running.stop(GRACE).await;
    assert!(report.undelivered.is_empty() && report.waiting.is_empty(), "{report:?}");
    metrics
}

/// Records with different ids, and paths that tell them apart.
pub(super) fn write_paths(log: &CoreLog, count: u8) {
    for number in 0..count {
        let path = format!("/{number}");
        let id = [number + 1; 16];
        log.write(&Record { id, path: Some(path.as_bytes()), status: 200, ..Record::default() });
    }
}

/// The documents of a bulk request with their `_id`s.
fn documents(asked: &Asked) -> Vec<(String, Value)> {
    let lines: Vec<Value> =
        asked.lines().into_iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let pairs =
        lines.chunks(2).map(|pair| (pair[0]["create"]["_id"].as_str().unwrap().to_owned(), pair[1].clone()));
    pairs.collect()
}

fn paths(asked: &Asked) -> Vec<String> {
    let paths = documents(asked).into_iter().filter_map(|(_, one)| Some(one["path"].as_str()?.to_owned()));
    paths.collect()
}

/// An answer with a status for each document, by its path.
fn answer(asked: &Asked, status: impl Fn(&str) -> u16) -> Reply {
    answer_each(asked, |document| document["path"].as_str().map_or(201, &status))
}

/// The same of documents that are no requests, too.
fn answer_each(asked: &Asked, status: impl Fn(&Value) -> u16) -> Reply {
    let items = documents(asked).into_iter().map(|(_, document)| match status(&document) {
        201 => serde_json::json!({"create": {"status": 201}}),
        status => {
            serde_json::json!({"create": {"status": status, "error": {"type": "why", "reason": "so"}}})
        }
    });
    let items: Vec<Value> = items.collect();
    let errors = items.iter().any(|item| item["create"]["status"] != 201);
    Reply::Full(200, Vec::new(), serde_json::json!({"took": 1, "errors": errors, "items": items}).to_string())
}

/// The dead letters of such a sink.
pub(super) fn dead(dir: &Path) -> Vec<Value> {
    let file = dir.join("dead.jsonl");
    if file.exists() { lines_of(&file) } else { Vec::new() }
}

/// Writes ten records to a server that answers `script` in turn and takes everything after; returns what it was asked.
async fn talk(script: Vec<fn(&Asked) -> Reply>) -> (Vec<Asked>, Vec<Value>, Arc<Metrics>) {
    let dir = tempfile::tempdir().unwrap();
    let mut script = script.into_iter();
    let server = Scripted::start(move |asked| match script.next() {
        Some(reply) => reply(asked),
        None => answer(asked, |_| 201),
    });
    let metrics = write_ten(shipping(search(), server.address, dir.path())).await;
    (server.asked(), dead(dir.path()), metrics)
}

/// Every path that was sent, and by how many requests.
fn sent(asked: &[Asked]) -> BTreeMap<String, usize> {
    let mut sent = BTreeMap::new();
    asked.iter().flat_map(paths).for_each(|path| *sent.entry(path).or_default() += 1);
    sent
}

#[tokio::test]
async fn a_bulk_request_has_an_action_with_the_records_id_for_each_document() {
    let (asked, dead, metrics) = talk(vec![]).await;
    assert_eq!(asked[0].target, "/logs/_bulk?filter_path=took,errors,items.*.status,items.*.error");
    assert_eq!(asked[0].headers["content-type"], "application/x-ndjson");
    let documents: Vec<_> = asked.iter().flat_map(documents).collect();
    assert!(documents.iter().all(|(id, document)| document["id"] == **id), "{documents:?}");
    assert_eq!(sent(&asked).len(), 10);
    assert!(dead.is_empty());
    assert_eq!(metrics.sinks[0].name, "sink:far");
    // The stop is an entry, too.
    assert_eq!(metrics.sinks[0].written.load(Ordering::Relaxed), 11);
}

#[tokio::test]
async fn the_beginning_and_the_end_of_a_tunnel_are_two_documents() {
    let dir = tempfile::tempdir().unwrap();
    let server = Scripted::start(|asked| answer(asked, |_| 201));
    let (log, running) = start(shipping(search(), server.address, dir.path()));
    for kind in [Kind::Open, Kind::Close] {
        log.write(&Record { id: [7; 16], kind, status: 101, ..Record::default() });
    }
    drained(&running.metrics(), 2).await;
    running.stop(GRACE).await;
    let ids: BTreeMap<String, String> = server
        .asked()
        .iter()
        .flat_map(documents)
        .map(|(id, one)| (one["kind"].as_str().unwrap().to_owned(), id))
        .collect();
    let close = "07070707-0707-0707-0707-070707070707";
    assert_eq!((ids["open"].as_str(), ids["close"].as_str()), (&*format!("{close}-open"), close));
}

#[tokio::test]
async fn documents_for_which_there_is_no_right_wait_until_there_is_one() {
    let denied: fn(&Asked) -> Reply = |asked| answer_each(asked, |_| 403);
    let missing: fn(&Asked) -> Reply = |asked| answer_each(asked, |_| 404);
    let (asked, dead, metrics) = talk([vec![denied; 10], vec![missing; 10]].concat()).await;
    assert_eq!((dead.len(), sent(&asked).len()), (0, 10), "{dead:?}");
    assert!(metrics.sinks[0].retries.load(Ordering::Relaxed) >= 20);
}

#[tokio::test]
async fn who_says_to_come_back_at_once_is_not_stormed() {
    let dir = tempfile::tempdir().unwrap();
    let mut left = 5;
    let server = Scripted::start(move |asked| {
        left -= 1;
        if left < 0 {
            answer(asked, |_| 201)
        } else {
            Reply::Full(429, vec![("retry-after", "0".into())], String::new())
        }
    });
    let pause = Duration::from_millis(50);
    let far = shipping(search(), server.address, dir.path());
    let (log, running) = start(ShippingSettings { backoff: pause, backoff_max: pause, ..far });
    let begun = Instant::now();
    write_paths(&log, 1);
    until("it is taken", || running.metrics().sinks[0].written.load(Ordering::Relaxed) > 0).await;
    assert!(begun.elapsed() >= pause * 5);
    running.stop(GRACE).await;
}

#[tokio::test]
async fn only_items_that_were_turned_away_go_again() {
    let (asked, dead, _) =
        talk(vec![|asked| answer(asked, |path| if path == "/3" { 429 } else { 201 })]).await;
    let sent = sent(&asked);
    assert_eq!((sent["/3"], sent.values().sum::<usize>()), (2, 11), "{sent:?}");
    assert!(dead.is_empty());
}

#[tokio::test]
async fn an_item_that_is_there_already_is_taken() {
    let (asked, dead, _) = talk(vec![|asked| answer(asked, |_| 409)]).await;
    assert!(sent(&asked).values().all(|&times| times == 1));
    assert!(dead.is_empty());
}

#[tokio::test]
async fn a_refused_item_is_a_dead_letter_with_its_reason_and_blocks_nobody() {
    let (asked, dead, metrics) =
        talk(vec![|asked| answer(asked, |path| if path == "/4" { 400 } else { 201 })]).await;
    assert!(sent(&asked).values().all(|&times| times == 1));
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!((&dead[0]["status"], &dead[0]["why"]), (&400.into(), &"why: so".into()));
    assert_eq!((&dead[0]["record"]["path"], &dead[0]["sink"]), (&"/4".into(), &"sink:far".into()));
    let sink = &metrics.sinks[0];
    assert_eq!((sink.refused.load(Ordering::Relaxed), sink.dropped.total()), (1, 0));
    assert_eq!(sink.written.load(Ordering::Relaxed), 10, "nine, and the stop");
}

#[tokio::test]
async fn an_item_that_always_fails_while_others_are_taken_is_given_up() {
    let always: fn(&Asked) -> Reply = |asked| answer(asked, |path| if path == "/7" { 500 } else { 201 });
    let (asked, dead, _) = talk(vec![always; 40]).await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0]["record"]["path"], "/7");
    assert!(sent(&asked).iter().all(|(path, &times)| times == 1 || path == "/7"));
}

#[tokio::test]
async fn what_is_too_large_is_halved() {
    let few: fn(&Asked) -> Reply =
        |asked| if documents(asked).len() > 3 { Reply::Status(413) } else { answer(asked, |_| 201) };
    let (asked, dead, _) = talk(vec![few; 40]).await;
    let taken: Vec<_> = asked.iter().filter(|asked| documents(asked).len() <= 3).cloned().collect();
    assert_eq!(sent(&taken).values().copied().collect::<BTreeSet<_>>(), [1].into());
    assert_eq!((sent(&taken).len(), dead.len()), (10, 0));
}

#[tokio::test]
async fn what_is_too_much_for_the_time_or_breaks_off_again_and_again_is_halved() {
    let too_much: [fn() -> Reply; 2] = [|| Reply::Silence, || Reply::Reset];
    for reply in too_much {
        let dir = tempfile::tempdir().unwrap();
        let server = Scripted::start(move |asked| match asked.lines().len() {
            0..=40 => Reply::Status(204),
            _ => reply(),
        });
        let slow = shipping(Target::Http, server.address, dir.path());
        let wait = Duration::from_millis(200);
        let (log, running) = start(ShippingSettings { timeout: wait, linger: wait, ..slow });
        write_paths(&log, 200);
        drained(&running.metrics(), 200).await;
        let report = running.stop(GRACE).await;
        assert!(report.undelivered.is_empty() && report.waiting.is_empty(), "{report:?}");
        let asked = server.asked();
        let taken = asked.iter().map(|asked| asked.lines().len()).filter(|lines| *lines <= 40);
        assert_eq!((taken.sum::<usize>(), dead(dir.path()).len()), (201, 0));
    }
}

#[tokio::test]
async fn who_finds_a_request_too_large_before_it_is_written_is_heard() {
    const LINES: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    // The records of one core fill some 300 KiB.
    let server = Scripted::with_limit(100 << 10, |_| Reply::Status(204));
    let large = shipping(Target::Http, server.address, dir.path());
    let large = ShippingSettings { compress: false, linger: Duration::from_millis(200), ..large };
    let (log, running) = start(large);
    let path = format!("/{}", "x".repeat(1000));
    for number in 0..LINES {
        let id = (number as u128 + 1).to_be_bytes();
        log.write(&Record { id, path: Some(path.as_bytes()), status: 200, ..Record::default() });
    }
    let metrics = running.metrics();
    drained(&metrics, LINES as u64).await;
    let report = running.stop(GRACE).await;
    assert!(report.undelivered.is_empty() && report.waiting.is_empty(), "{report:?}");
    let taken: usize = server.asked().iter().map(|asked| asked.lines().len()).sum();
    assert_eq!((taken, dead(dir.path()).len()), (LINES + 1, 0));
    assert!(server.asked().len() >= 3, "it was halved");
    assert_eq!(metrics.sinks[0].retries.load(Ordering::Relaxed), 0, "each 413 was heard");
}

#[tokio::test]
async fn a_record_that_spoils_a_whole_request_is_found() {
    let spoilt: fn(&Asked) -> Reply = |asked| {
        if paths(asked).contains(&"/5".to_owned()) { Reply::Status(400) } else { answer(asked, |_| 201) }
    };
    let (asked, dead, _) = talk(vec![spoilt; 40]).await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0]["record"]["path"], "/5");
    let taken: Vec<_> = asked.into_iter().filter(|asked| !paths(asked).contains(&"/5".to_owned())).collect();
    assert_eq!(sent(&taken).len(), 9);
}

#[tokio::test]
async fn whatever_is_no_answer_is_asked_again() {
    let script: Vec<fn(&Asked) -> Reply> = vec![
        |_| Reply::Status(429),
        |_| Reply::Status(502),
        |_| Reply::Status(503),
        |_| Reply::Status(401),
        |_| Reply::Status(404),
        |_| Reply::Half,
        |_| Reply::Reset,
        |_| Reply::Full(200, Vec::new(), "<html>".into()),
        |_| Reply::Full(200, Vec::new(), r#"{"took":1,"errors":true,"items":[]}"#.into()),
    ];
    let (asked, dead, metrics) = talk(script).await;
    assert_eq!((dead.len(), sent(&asked).len()), (0, 10));
    assert!(metrics.sinks[0].retries.load(Ordering::Relaxed) >= 9);
}

#[tokio::test]
async fn the_other_side_says_how_long_to_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = true;
    let server = Scripted::start(move |asked| match std::mem::take(&mut first) {
        true => Reply::Full(503, vec![("retry-after", "1".into())], String::new()),
        false => answer(asked, |_| 201),
    });
    let patient = ShippingSettings {
        backoff_max: Duration::from_secs(5),
        ..shipping(search(), server.address, dir.path())
    };
    let (log, running) = start(patient);
    let begun = Instant::now();
    write_paths(&log, 1);
    until("it is taken", || running.metrics().sinks[0].written.load(Ordering::Relaxed) > 0).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    running.stop(GRACE).await;
}

#[tokio::test]
async fn a_silent_address_is_left_for_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let silent = Scripted::start(|_| Reply::Silence);
    let server = Scripted::start(|asked| answer(asked, |_| 201));
    let two = ShippingSettings {
        to: vec![remote(silent.address), remote(server.address)],
        timeout: Duration::from_millis(50),
        ..shipping(search(), silent.address, dir.path())
    };
    let (log, running) = start(two);
    write_paths(&log, 10);
    let metrics = running.metrics();
    until("the second takes them", || metrics.sinks[0].written.load(Ordering::Relaxed) >= 10).await;
    assert!(!silent.asked().is_empty());
    running.stop(GRACE).await;
}

#[tokio::test]
async fn lines_are_posted_with_credentials_to_the_path_of_the_address() {
    let dir = tempfile::tempdir().unwrap();
    let server = Scripted::start(|_| Reply::Status(204));
    let mut http = ShippingSettings {
        credentials: Credentials::User { name: "me".into(), password: Token("pass".into()) },
        form: Form::Ecs,
        compress: false,
        ..shipping(Target::Http, server.address, dir.path())
    };
    http.to[0].path = "/in?tenant=a".into();
    let (log, running) = start(http);
    write_paths(&log, 3);
    drained(&running.metrics(), 3).await;
    running.stop(GRACE).await;
    let asked = server.asked();
    assert_eq!(asked[0].target, "/in?tenant=a");
    assert_eq!(asked[0].headers["authorization"], "Basic bWU6cGFzcw==");
    let lines: Vec<Value> =
        asked.iter().flat_map(Asked::lines).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["url.path"] == "/2" && line["http.response.status_code"] == 200));
}
