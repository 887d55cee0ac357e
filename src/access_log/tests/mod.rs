//! The whole room: from records on cores to a scripted log service and to files.

mod block;
mod deaths;
mod fake_service;
mod harm;
pub(super) mod scripted;
mod shippers;
mod shipping;
mod silent;
mod web;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::fake_service::{Answer, FakeService};
use super::*;
use crate::record::{Kind, Record};

const GRACE: Duration = Duration::from_secs(20);

fn to_service(path: &Path) -> ServiceSettings {
    ServiceSettings {
        linger: Duration::ZERO,
        backoff: Duration::from_millis(2),
        backoff_max: Duration::from_millis(10),
        ..ServiceSettings::new(ServiceEndpoint::Unix(path.into()))
    }
}

fn settings(sinks: Vec<SinkSettings>) -> Settings {
    Settings::new("edge-1", sinks)
}

/// A spool of `bytes` in memory, and as little as can be in front of it.
fn tight(sinks: Vec<SinkSettings>, bytes: usize) -> Settings {
    let spool = SpoolSettings { memory: bytes, ..SpoolSettings::default() };
    Settings { ring_bytes: 0, spool, ..settings(sinks) }
}

/// A spool on disk.
fn on_disk(sinks: Vec<SinkSettings>, dir: &Path) -> Settings {
    let spool = SpoolSettings { dir: Some(dir.into()), ..SpoolSettings::default() };
    Settings { spool, ..settings(sinks) }
}

fn lines_of(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes more than the log takes; until it is full no faster than it is taken, or a ring would be full before the spool.
async fn overfill(log: &CoreLog, metrics: &Metrics) {
    let deadline = Instant::now() + GRACE;
    while metrics.dropped.get(Reason::RingFull) == 0 {
        assert!(Instant::now() < deadline, "it takes more and more");
        write(log, 10);
        let is_taken = || metrics.records.load(Ordering::Relaxed) >= log.last_seq();
        until("it is taken, or there is no room", || is_taken() || metrics.step() == Step::Full).await;
    }
}

fn write(log: &CoreLog, count: usize) {
    for _ in 0..count {
        log.write(&Record { path: Some(b"/a"), ..Record::default() });
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + GRACE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn drained(metrics: &Metrics, count: u64) {
    until("the collector takes all records", || metrics.records.load(Ordering::Relaxed) >= count).await;
}

/// For each core: the sequence numbers that came, and the ranges that are declared missing, in the order of the lines.
fn accounts(lines: &[Value]) -> BTreeMap<u64, Vec<(u64, u64)>> {
    let mut accounts: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for line in lines {
        let number = |key: &str| line[key].as_u64();
        let range = match (number("seq"), number("first_seq"), number("last_seq")) {
            (Some(seq), _, _) => (seq, seq),
            (None, Some(first), Some(last)) => {
                assert_eq!(number("missing"), Some(last - first + 1), "{line}");
                (first, last)
            }
            _ => continue,
        };
        accounts.entry(number("core").unwrap()).or_default().push(range);
    }
    accounts
}

/// Every number of `core` from 1 to `last` is there exactly once, as a record or in a gap.
fn assert_complete(lines: &[Value], core: u64, last: u64) {
    let mut ranges = accounts(lines).remove(&core).unwrap_or_default();
    ranges.sort_unstable();
    let mut next = 1;
    for (first, last) in ranges {
        assert_eq!(first, next, "core {core} goes on without hole or overlap");
        next = last + 1;
    }
    assert_eq!(next, last + 1, "core {core} is complete to its end");
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

#[tokio::test]
async fn delivers_every_record_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.sock");
    let service = FakeService::listen(&path, []);
    let small = ServiceSettings { batch_bytes: 3000, ..to_service(&path) };
    let (logs, collector) = open(settings(vec![SinkSettings::Service(small)]), 2).unwrap();
    let running = collector.spawn().unwrap();
    for _ in 0..10 {
        write(&logs[0], 50);
        write(&logs[1], 30);
        drained(&running.metrics(), logs[0].last_seq() + logs[1].last_seq()).await;
    }
    let report = running.stop(GRACE).await;
    assert!(report.undelivered.is_empty());

    let lines = service.lines();
    for (core, count) in [(0, 500), (1, 300)] {
        let expected: Vec<(u64, u64)> = (1..=count).map(|seq| (seq, seq)).collect();
        assert_eq!(accounts(&lines)[&core], expected);
    }
    let stop = lines.last().unwrap();
    assert_eq!((&stop["kind"], &stop["core"], &stop["seq"]), (&"stop".into(), &2.into(), &1.into()));
    assert_eq!(stop["last_seqs"], serde_json::json!([500, 300]));
}

#[tokio::test]
async fn batches_go_side_by_side_and_the_cursor_stays_before_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let (path, spool) = (dir.path().join("logs.sock"), dir.path().join("spool"));
    let (_release, held) = mpsc::channel();
    let service = FakeService::listen(&path, [Answer::Hold(held)]);
    let wide = || ServiceSettings { window: 4, ..to_service(&path) };
    let (logs, collector) = open(on_disk(vec![SinkSettings::Service(wide())], &spool), 1).unwrap();
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    for round in 1..=6 {
        // One record is one batch.
        write(&logs[0], 1);
        drained(&metrics, round).await;
        // The first batch is in the hands of the service, which says nothing.
        until("it is answered", || service.lines().len() as u64 >= round.min(4) - 1).await;
        if round == 1 {
            until("the first batch is there", || service.script_len() == 0).await;
        }
    }
    assert_eq!(metrics.sinks[0].written.load(Ordering::Relaxed), 0, "the oldest is not acknowledged");
    assert_eq!(service.lines().len(), 3, "three are, and no more than four are under way");
    // As if it had died here: nothing was counted as delivered.
    let report = running.stop(Duration::from_millis(50)).await;
    assert!(!report.waiting.is_empty());
    drop(logs);

    let second = dir.path().join("second.sock");
    let service = FakeService::listen(&second, []);
    let sink = ServiceSettings { window: 4, ..to_service(&second) };
    let (_logs, collector) = open(on_disk(vec![SinkSettings::Service(sink)], &spool), 1).unwrap();
    let running = collector.spawn().unwrap();
    running.stop(GRACE).await;
    let lines: Vec<Value> = service.lines().into_iter().filter(|line| line["core"] == 0).collect();
    assert_complete(&lines, 0, 6);
}

#[tokio::test]
async fn sends_a_batch_again_until_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.sock");
    let script = [Answer::Status(503), Answer::DieMidBody, Answer::DieSilently, Answer::Status(429)];
    let service = FakeService::listen(&path, script);
    let (logs, collector) = open(settings(vec![SinkSettings::Service(to_service(&path))]), 1).unwrap();
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    for count in 1..=20 {
        write(&logs[0], 5);
        drained(&metrics, count * 5).await;
    }
    running.stop(GRACE).await;
    let expected: Vec<(u64, u64)> = (1..=100).map(|seq| (seq, seq)).collect();
    assert_eq!(accounts(&service.lines())[&0], expected);
    assert!(metrics.sinks[0].retries.load(Ordering::Relaxed) >= 4);
    assert_eq!(metrics.dropped_total(), 0);
    assert_eq!(metrics.sinks[0].written.load(Ordering::Relaxed), 101);
    assert_eq!(metrics.sinks[0].lag_bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_full_spool_sheds_more_and_more_then_drops_the_newest_and_declares_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.sock");
    let (logs, collector) = open(tight(vec![SinkSettings::Service(to_service(&path))], 100_000), 1).unwrap();
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    overfill(&logs[0], &metrics).await;
    assert_eq!(metrics.step(), Step::Full);
    assert!(metrics.spool_bytes.load(Ordering::Relaxed) <= 150_000);
    let service = FakeService::listen(&path, []);
    until("there is room again", || metrics.step() == Step::Whole).await;
    write(&logs[0], 3);
    let last = logs[0].last_seq();
    running.stop(GRACE).await;

    let lines = service.lines();
    assert_complete(&lines, 0, last);
    let reasons: Vec<_> = of_kind(&lines, "gap").iter().map(|gap| gap["reason"].clone()).collect();
    assert_eq!(reasons, ["spool_full"]);
    let steps: Vec<_> = of_kind(&lines, "log").iter().map(|step| step["reason"].clone()).collect();
    assert!(steps.contains(&"full".into()) && steps.last() == Some(&"none".into()), "{steps:?}");
    assert!(lines.iter().any(|line| line["detail"] == 1) && lines.iter().any(|line| line["detail"] == 2));
}

#[tokio::test]
async fn declares_what_a_full_ring_refused_even_if_nothing_follows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.sock");
    let service = FakeService::listen(&path, []);
    let tiny = Settings { ring_bytes: 0, ..settings(vec![SinkSettings::Service(to_service(&path))]) };
    let (logs, collector) = open(tiny, 1).unwrap();
    let metrics = collector.metrics();
    write(&logs[0], 1000);
    let refused = metrics.dropped.get(Reason::RingFull);
    assert!(refused > 0 && refused < 1000);
    let running = collector.spawn().unwrap();
    drained(&metrics, 1000 - refused).await;
    until("the hole at the end is declared", || !of_kind(&service.lines(), "gap").is_empty()).await;
    write(&logs[0], 3);
    running.stop(GRACE).await;

    let lines = service.lines();
    assert_complete(&lines, 0, 1003);
    let gaps = of_kind(&lines, "gap");
    assert_eq!((gaps.len(), &gaps[0]["reason"]), (1, &"ring_full".into()));
    assert_eq!(gaps[0]["missing"].as_u64(), Some(refused));
}

#[tokio::test]
async fn a_log_that_fails_closed_refuses_while_it_is_full_and_records_all_others_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.sock");
    let spool = SpoolSettings { memory: 100_000, fails_closed: true, ..SpoolSettings::default() };
    let settings = Settings { spool, ..settings(vec![SinkSettings::Service(to_service(&path))]) };
    let (logs, collector) = open(settings, 1).unwrap();
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    let deadline = Instant::now() + GRACE;
    while !logs[0].is_closed() {
        assert!(Instant::now() < deadline, "it is never full");
        write(&logs[0], 10);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let let_in = logs[0].last_seq();
    let row = crate::exchange::failure::Kind::Unrecorded.row();
    assert_eq!((row.status.as_u16(), row.reason), (503, UNRECORDED));
    for _ in 0..10 {
        logs[0].write(&Record { reason: Some(UNRECORDED), ..Record::default() });
    }
    assert_eq!(metrics.dropped.get(Reason::RingFull), 10, "the room is for those that were let in");
    let service = FakeService::listen(&path, []);
    until("there is room again", || !logs[0].is_closed()).await;
    running.stop(GRACE).await;

    let lines = service.lines();
    assert_complete(&lines, 0, let_in + 10);
    let requests = of_kind(&lines, "request");
    assert!(requests.len() as u64 == let_in && requests.iter().all(|line| line.get("detail").is_none()));
}

#[tokio::test]
async fn a_dead_service_delays_no_file_and_no_core() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("logs.sock"), dir.path().join("access.log"));
    let (release, hold) = mpsc::channel();
    let service = FakeService::listen(&path, [Answer::Hold(hold)]);
    let sinks = vec![SinkSettings::Service(to_service(&path)), SinkSettings::File(FileSettings::new(&file))];
    let (logs, collector) = open(Settings { ring_bytes: 4 << 20, ..tight(sinks, 200_000) }, 1).unwrap();
    let running = collector.spawn().unwrap();
    write(&logs[0], 3000);
    // The last line may be in the making.
    let whole = || {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["kind"] == "request").count()
    };
    until("the file has all records", || whole() == 3000).await;
    assert!(running.metrics().sinks[0].dropped.total() > 0, "the spool is smaller than that");
    release.send(()).unwrap();
    running.stop(GRACE).await;
    assert_complete(&service.lines(), 0, 3000);
    assert_complete(&lines_of(&file), 0, 3000);
}

#[tokio::test]
async fn a_frame_that_is_never_taken_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.sock");
    // The frames of both cores together, then each alone.
    let service = FakeService::listen(&path, [Answer::Status(400), Answer::Status(400)]);
    let (logs, collector) = open(settings(vec![SinkSettings::Service(to_service(&path))]), 2).unwrap();
    write(&logs[0], 3);
    write(&logs[1], 2);
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    until("the frame is given up", || metrics.sinks[0].dropped.get(Reason::Rejected) == 3).await;
    write(&logs[0], 3);
    running.stop(GRACE).await;
    assert_complete(&service.lines(), 0, 6);
    assert_complete(&service.lines(), 1, 2);
    assert_eq!(of_kind(&service.lines(), "gap")[0]["reason"], "rejected");
}

#[tokio::test]
async fn a_service_that_does_not_know_frames_gets_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.sock");
    let service = FakeService::old(&path);
    let (logs, collector) = open(settings(vec![SinkSettings::Service(to_service(&path))]), 1).unwrap();
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    for count in 1..=3 {
        write(&logs[0], 10);
        drained(&metrics, count * 10).await;
    }
    running.stop(GRACE).await;
    assert_complete(&service.lines(), 0, 30);
    assert_eq!(metrics.dropped_total(), 0);
}

#[tokio::test]
async fn what_was_not_delivered_waits_on_disk_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (path, spool) = (dir.path().join("logs.sock"), dir.path().join("spool"));
    let sinks = || vec![SinkSettings::Service(to_service(&path))];
    for count in [7, 5] {
        let (logs, collector) = open(on_disk(sinks(), &spool), 1).unwrap();
        let running = collector.spawn().unwrap();
        write(&logs[0], count);
        let report = running.stop(Duration::from_millis(50)).await;
        assert_eq!((report.undelivered.len(), report.waiting.len()), (0, 1));
    }
    let service = FakeService::listen(&path, []);
    let (logs, collector) = open(on_disk(sinks(), &spool), 1).unwrap();
    let running = collector.spawn().unwrap();
    write(&logs[0], 2);
    assert!(running.stop(GRACE).await.waiting.is_empty());

    let lines = service.lines();
    let mut by_boot: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for line in lines {
        by_boot.entry(line["boot"].as_u64().unwrap()).or_default().push(line);
    }
    let counts: Vec<u64> = by_boot.values().map(|lines| of_kind(lines, "request").len() as u64).collect();
    assert_eq!(counts, [7, 5, 2]);
    by_boot.values().zip(counts).for_each(|(lines, count)| assert_complete(lines, 0, count));
}

#[tokio::test]
async fn sampling_keeps_failures_and_says_what_it_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    let sample = Some(Sample { one_in: 10, slow: Duration::from_secs(1) });
    let sinks = vec![SinkSettings::File(FileSettings::new(&file))];
    let (logs, collector) = open(Settings { sample, ..settings(sinks) }, 1).unwrap();
    for at in 0..1000 {
        logs[0].write(&Record { status: if at % 100 == 0 { 502 } else { 200 }, ..Record::default() });
    }
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    running.stop(GRACE).await;
    let lines = lines_of(&file);
    let (requests, gaps) = (of_kind(&lines, "request"), of_kind(&lines, "gap"));
    assert_eq!(requests.iter().filter(|line| line["status"] == 502).count(), 10);
    let missing: u64 = gaps.iter().map(|gap| gap["missing"].as_u64().unwrap()).sum();
    assert_eq!((requests.len() as u64 + missing, missing), (1000, metrics.sampled.load(Ordering::Relaxed)));
    assert!(gaps.iter().all(|gap| gap["reason"] == "sampled"));
    let weights: u64 = requests.iter().map(|line| line["sw"].as_u64().unwrap_or(1)).sum();
    assert!((500..1500).contains(&weights), "{weights}");
    assert_eq!(metrics.dropped_total(), 0, "nothing is lost");
}

#[tokio::test]
async fn tells_at_the_end_what_could_not_be_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.sock");
    let (logs, collector) = open(settings(vec![SinkSettings::Service(to_service(&path))]), 1).unwrap();
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    write(&logs[0], 7);
    let report = running.stop(Duration::from_millis(50)).await;
    // The record of the stop is the eighth.
    assert_eq!(report.undelivered, [(format!("unix:{}", path.display()), 8)]);
    assert_eq!(metrics.sinks[0].dropped.total(), 8);
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the disk hangs until the test ends")]
async fn a_disk_that_hangs_at_the_end_takes_no_time_from_the_sinks() {
    let dir = tempfile::tempdir().unwrap();
    let (path, spool) = (dir.path().join("logs.sock"), dir.path().join("spool"));
    let service = FakeService::listen(&path, []);
    let (logs, collector) = open(on_disk(vec![SinkSettings::Service(to_service(&path))], &spool), 1).unwrap();
    let spool = collector.spool();
    let syncs = spool.hold_syncs();
    let running = collector.spawn().unwrap();
    write(&logs[0], 7);
    let report = running.stop(Duration::from_secs(1)).await;
    assert_eq!((report.undelivered, report.waiting), (vec![], vec![]));
    assert_complete(&service.lines(), 0, logs[0].last_seq());
    drop(syncs);
}

#[tokio::test]
async fn records_process_events_and_worker_lines_in_a_stream_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    let sinks = vec![SinkSettings::File(FileSettings::new(&file))];
    let few = Settings { line_queue: 3, ..settings(sinks) };
    let (_logs, collector) = open(few, 1).unwrap();
    let handle = collector.handle();
    handle.event(Kind::Start, 0xabc, Some("version 1".into()));
    handle.line(&"app-0".into(), Stream::Stderr, b"oh \xff no");
    handle.line(&"app-0".into(), Stream::Stdout, &[b'x'; 10_000]);
    handle.line(&"app-0".into(), Stream::Stdout, b"one too many");
    collector.spawn().unwrap().stop(GRACE).await;

    let lines = lines_of(&file);
    assert_eq!(accounts(&lines)[&1], [(1, 1), (2, 2), (3, 3), (4, 4)]);
    assert_eq!((&lines[0]["kind"], &lines[0]["err"]), (&"start".into(), &"version 1".into()));
    assert_eq!(lines[0]["cfg"], "0000000000000abc");
    assert_eq!((&lines[1]["worker"], &lines[1]["stream"]), (&"app-0".into(), &"stderr".into()));
    assert_eq!(lines[2]["line"].as_str().unwrap().len(), 8192);
    let gap = of_kind(&lines, "gap")[0];
    assert_eq!(
        (&gap["missing"], &gap["reason"], gap.get("first_seq")),
        (&1.into(), &"lines_full".into(), None)
    );
}

#[tokio::test]
async fn waits_for_room_on_a_full_disk_and_declares_what_did_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    std::os::unix::fs::symlink("/dev/full", &file).unwrap();
    let full = FileSettings { rotate_bytes: 0, ..FileSettings::new(&file) };
    let (logs, collector) = open(tight(vec![SinkSettings::File(full)], 20_000), 1).unwrap();
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    overfill(&logs[0], &metrics).await;
    // Room again, at the same name.
    std::fs::remove_file(&file).unwrap();
    running.handle().reopen();
    let last = logs[0].last_seq();
    running.stop(GRACE).await;

    let lines = lines_of(&file);
    assert_complete(&lines, 0, last);
    assert!(of_kind(&lines, "gap").iter().any(|gap| gap["reason"] == "spool_full"));
}

#[tokio::test]
async fn writes_each_sink_in_its_form() {
    let dir = tempfile::tempdir().unwrap();
    let (json, combined) = (dir.path().join("a.json"), dir.path().join("a.log"));
    let sinks = vec![
        SinkSettings::File(FileSettings::new(&json)),
        SinkSettings::File(FileSettings { form: Form::Combined, ..FileSettings::new(&combined) }),
    ];
    let (logs, collector) = open(settings(sinks), 1).unwrap();
    let running = collector.spawn().unwrap();
    write(&logs[0], 2);
    running.stop(GRACE).await;
    assert_eq!(std::fs::read_to_string(&json).unwrap().lines().count(), 3);
    assert_eq!(std::fs::read_to_string(&combined).unwrap().lines().count(), 2);
}

#[tokio::test]
async fn ends_in_order_when_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    let (logs, collector) = open(settings(vec![SinkSettings::File(FileSettings::new(&file))]), 1).unwrap();
    let running = collector.spawn().unwrap();
    write(&logs[0], 1);
    drop(running);
    until("the stop is written", || std::fs::read_to_string(&file).unwrap().contains("\"stop\"")).await;
}

#[test]
fn a_log_without_sinks_records_nothing() {
    let (logs, collector) = open(settings(vec![]), 1).unwrap();
    write(&logs[0], 10);
    assert_eq!((logs[0].last_seq(), collector.metrics().dropped_total()), (0, 0));
}

#[test]
fn wakes_a_sleeping_collector_once() {
    let wake = Arc::new(handle::Wake::default());
    wake.set_sleeper();
    wake.if_idle();
    wake.set_idle(true);
    let core = Arc::clone(&wake);
    let begun = Instant::now();
    std::thread::spawn(move || core.if_idle()).join().unwrap();
    std::thread::park_timeout(GRACE);
    assert!(begun.elapsed() < GRACE, "the call is not lost");
    assert!(!wake.is_idle(), "whoever woke has to say again that it sleeps: cores call once");
}

#[tokio::test]
async fn a_record_reaches_a_log_at_rest_within_50_ms() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.sock");
    let _service = FakeService::listen(&path, []);
    let (logs, collector) = open(settings(vec![SinkSettings::Service(to_service(&path))]), 1).unwrap();
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    let mut best = GRACE;
    // The best of some: whatever else the machine does may hold up one.
    for count in 1..=5 {
        // Long enough for the deepest sleep.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let begun = Instant::now();
        write(&logs[0], 1);
        drained(&metrics, count).await;
        best = best.min(begun.elapsed());
    }
    assert!(best < Duration::from_millis(50), "{best:?}");
    running.stop(GRACE).await;
}
