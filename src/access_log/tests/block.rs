//! `on_full = "block"`: requests wait for room, and not for long.

use super::*;

fn blocking(path: &Path, most: Duration) -> Settings {
    let spool = SpoolSettings { memory: 100_000, blocks_for: Some(most), ..SpoolSettings::default() };
    Settings { spool, ..settings(vec![SinkSettings::Service(to_service(path))]) }
}

/// Writes until records would lose something.
async fn press(log: &CoreLog, metrics: &Metrics) {
    let deadline = Instant::now() + GRACE;
    while metrics.step() == Step::Whole {
        assert!(Instant::now() < deadline, "the spool never fills");
        write(log, 10);
        drained(metrics, log.last_seq()).await;
    }
}

/// As a core does it with each new request.
async fn admit(log: &CoreLog, metrics: &Arc<Metrics>) -> Duration {
    let begun = Instant::now();
    if let Some(room) = metrics.delay() {
        room.await;
    }
    write(log, 1);
    begun.elapsed()
}

#[tokio::test]
async fn a_request_waits_while_the_spool_fills_then_goes_on_and_nothing_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.sock");
    let most = Duration::from_millis(100);
    let (logs, collector) = open(blocking(&path, most), 1).unwrap();
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    assert!(metrics.delay().is_none(), "with room nobody waits");
    press(&logs[0], &metrics).await;
    for count in 1..=3 {
        let took = admit(&logs[0], &metrics).await;
        assert!(took >= most && took < GRACE, "{took:?}");
        let room = &metrics.room;
        assert_eq!(
            (room.waited.load(Ordering::Relaxed), room.in_vain.load(Ordering::Relaxed)),
            (count, count)
        );
    }
    assert_eq!(metrics.dropped_total(), 0);
    let service = FakeService::listen(&path, []);
    let last = logs[0].last_seq();
    running.stop(GRACE).await;
    let lines = service.lines();
    assert_complete(&lines, 0, last);
    assert_eq!(of_kind(&lines, "gap").len(), 0);
    assert_eq!(of_kind(&lines, "request").len() as u64, last);
}

#[tokio::test]
async fn whoever_waits_goes_on_as_soon_as_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.sock");
    let (logs, collector) = open(blocking(&path, 10 * GRACE), 1).unwrap();
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    press(&logs[0], &metrics).await;
    let waiting: Vec<_> =
        (0..20).map(|_| tokio::spawn(metrics.delay().expect("the spool is filling"))).collect();
    until("all wait", || metrics.room.waited.load(Ordering::Relaxed) == 20).await;
    // Until the collector would rest, were it not for them.
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(waiting.iter().all(|one| !one.is_finished()));
    let _service = FakeService::listen(&path, []);
    let begun = Instant::now();
    for one in waiting {
        one.await.unwrap();
    }
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed());
    assert_eq!(metrics.room.in_vain.load(Ordering::Relaxed), 0);
    assert_eq!((metrics.step(), metrics.dropped_total()), (Step::Whole, 0));
    assert!(admit(&logs[0], &metrics).await < GRACE);
    running.stop(GRACE).await;
}

#[tokio::test]
async fn without_it_nobody_waits_however_full_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.sock");
    let (logs, collector) = open(tight(vec![SinkSettings::Service(to_service(&path))], 100_000), 1).unwrap();
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    press(&logs[0], &metrics).await;
    assert!(metrics.delay().is_none());
    running.stop(Duration::ZERO).await;
}
