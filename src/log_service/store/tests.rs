use std::io::ErrorKind;
use std::sync::Mutex;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::log_service::query::Query;
use crate::log_service::read::{Flow, Report, Scan, Window};

fn settings(data: &Path) -> Settings {
    Settings::from_service(&crate::log_service::Settings::new(data.to_owned()))
}

fn record(seq: u64) -> Entry {
    let record =
        json!({"kind": "request", "proxy": "edge-1", "boot": 7, "core": 0, "seq": seq, "path": "/a"});
    Entry::parse(Bytes::from(record.to_string())).unwrap()
}

fn records(range: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    range.map(record).collect()
}

async fn append(running: &Running, entries: Vec<Entry>) -> Result<Appended, AppendError> {
    running.store().append(entries, "unix:1".into()).await
}

fn read(data: &Path) -> (Vec<Value>, Report) {
    let mut rows = Vec::new();
    let mut scan = Scan::new(Query::all(), Window::default());
    let _ = scan.directory(data, &mut |row| {
        rows.push(row.value.clone());
        Flow::Continue(())
    });
    (rows, scan.report())
}

fn numbers(data: &Path) -> Vec<u64> {
    read(data).0.iter().map(|row| row["seq"].as_u64().unwrap()).collect()
}

fn newest_file(data: &Path) -> PathBuf {
    crate::log_service::read::hour::list(data).unwrap().pop().unwrap().path
}

#[tokio::test]
async fn what_is_acknowledged_is_readable_with_time_and_sender() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    let appended = append(&running, records(1..=3)).await.unwrap();
    assert_eq!(appended, Appended { accepted: 3, duplicates: 0 });
    let (rows, report) = read(data.path());
    assert_eq!((rows.len(), report.is_complete()), (3, true));
    assert_eq!(rows[0]["from"], "unix:1");
    assert!(rows[0]["recv"].as_str().unwrap().parse::<Timestamp>().is_ok());
    running.close().await.unwrap();
}

#[tokio::test]
async fn a_resent_batch_is_stored_once_even_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    append(&running, records(1..=3)).await.unwrap();
    let again = append(&running, records(2..=4)).await.unwrap();
    assert_eq!(again, Appended { accepted: 1, duplicates: 2 });
    running.close().await.unwrap();
    let running = open(&settings(data.path())).unwrap();
    let again = append(&running, records(1..=5)).await.unwrap();
    assert_eq!(again, Appended { accepted: 1, duplicates: 4 });
    assert_eq!(numbers(data.path()), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_gap_record_does_not_hide_a_record() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    let gap = r#"{"kind":"gap","proxy":"edge-1","boot":7,"core":0,"seq":2,"first_seq":2,"last_seq":4,"reason":"ring_full"}"#;
    let gap = Entry::parse(Bytes::from(gap)).unwrap();
    let mut entries = records(1..=1);
    entries.extend([gap.clone(), record(5), gap]);
    assert_eq!(append(&running, entries).await.unwrap(), Appended { accepted: 3, duplicates: 1 });
    let late = append(&running, records(3..=3)).await.unwrap();
    assert_eq!(late.accepted, 1);
    let missing: Vec<_> = read(data.path()).1.missing.iter().map(|m| (m.from, m.to, m.why.clone())).collect();
    assert_eq!(missing, [(2, 2, Some("ring_full".into())), (4, 4, Some("ring_full".into()))]);
}

#[tokio::test]
async fn every_possible_torn_end_is_cut_and_nothing_acknowledged_is_lost() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    append(&running, records(1..=2)).await.unwrap();
    let path = newest_file(data.path());
    let acknowledged = fs::metadata(&path).unwrap().len();
    append(&running, records(3..=4)).await.unwrap();
    running.close().await.unwrap();
    let whole = fs::read(&path).unwrap();
    for end in acknowledged as usize..=whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let before = read(data.path()).0.len();
        let running = open(&settings(data.path())).unwrap();
        let after = numbers(data.path());
        assert!(before >= after.len() && after.len() >= 2 && after[..2] == [1, 2], "cut at {end}");
        let resent = append(&running, records(1..=4)).await.unwrap();
        assert_eq!(resent.duplicates, after.len(), "cut at {end}");
        assert_eq!(numbers(data.path()), [1, 2, 3, 4], "cut at {end}");
        running.close().await.unwrap();
    }
}

#[tokio::test]
async fn garbage_after_a_power_cut_is_cut() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    append(&running, records(1..=2)).await.unwrap();
    running.close().await.unwrap();
    let path = newest_file(data.path());
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(&[0; 5000]);
    text.extend_from_slice(b"\n{\"c\":\"00000000\",\"x\":1}\n\xff\xfe");
    fs::write(&path, text).unwrap();
    let running = open(&settings(data.path())).unwrap();
    assert!(running.store().counts().cut_bytes.load(std::sync::atomic::Ordering::Relaxed) > 5000);
    append(&running, records(3..=3)).await.unwrap();
    let (rows, report) = read(data.path());
    assert_eq!((rows.len(), report.damaged), (3, 0));
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let data = tempfile::tempdir().unwrap();
    let settings = settings(data.path());
    let running = open(&settings).unwrap();
    append(&running, records(1..=1)).await.unwrap();
    settings.faults.write.lock().unwrap().push(ErrorKind::StorageFull);
    assert_eq!(append(&running, records(2..=3)).await, Err(AppendError::Full));
    assert!(running.store().counts().disk_full.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(numbers(data.path()), [1], "half of the failed write is gone");
    let again = append(&running, records(2..=3)).await.unwrap();
    assert_eq!(again, Appended { accepted: 2, duplicates: 0 });
    assert_eq!(numbers(data.path()), [1, 2, 3]);
}

#[tokio::test]
async fn a_failed_sync_seals_the_file_and_acknowledges_nothing() {
    let data = tempfile::tempdir().unwrap();
    let settings = settings(data.path());
    let running = open(&settings).unwrap();
    append(&running, records(1..=1)).await.unwrap();
    settings.faults.sync.lock().unwrap().push(ErrorKind::Other);
    assert_eq!(append(&running, records(2..=2)).await, Err(AppendError::Failed));
    assert_eq!(append(&running, records(2..=2)).await.unwrap().accepted, 1);
    let files = crate::log_service::read::hour::list(data.path()).unwrap();
    assert_eq!(
        files.iter().map(|file| (file.part, file.good_bytes.is_some())).collect::<Vec<_>>(),
        [(0, true), (1, false)]
    );
    assert_eq!(numbers(data.path()), [1, 2]);
    running.close().await.unwrap();
    let running = open(&settings).unwrap();
    assert_eq!(append(&running, records(1..=3)).await.unwrap().accepted, 1);
    assert_eq!(numbers(data.path()), [1, 2, 3]);
}

#[tokio::test]
async fn two_services_cannot_share_a_directory() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    assert!(matches!(open(&settings(data.path())), Err(ServiceError::InUse(_))));
    running.close().await.unwrap();
    assert!(open(&settings(data.path())).is_ok());
}

#[tokio::test]
async fn hours_turn_and_old_ones_are_deleted() {
    let data = tempfile::tempdir().unwrap();
    let time: Arc<Mutex<Timestamp>> = Arc::new(Mutex::new("2026-11-20T23:59:59.9Z".parse().unwrap()));
    let clock = Arc::clone(&time);
    let clock = Arc::new(move || *clock.lock().unwrap());
    let running = open(&Settings { clock, keep_hours: 1, ..settings(data.path()) }).unwrap();
    append(&running, records(1..=1)).await.unwrap();
    *time.lock().unwrap() = "2026-11-21T00:00:00Z".parse().unwrap();
    append(&running, records(2..=2)).await.unwrap();
    assert_eq!(numbers(data.path()), [1, 2]);
    *time.lock().unwrap() = "2026-11-20T22:00:00Z".parse().unwrap();
    append(&running, records(3..=3)).await.unwrap();
    assert!(
        newest_file(data.path()).ends_with("2026-11-21/00.jsonl"),
        "a clock that steps back changes nothing"
    );
    *time.lock().unwrap() = "2026-11-21T01:10:00Z".parse().unwrap();
    append(&running, records(4..=4)).await.unwrap();
    assert_eq!(numbers(data.path()), [2, 3, 4]);
    assert!(!data.path().join("2026-11-20").exists());
}

#[tokio::test]
async fn the_size_bound_deletes_the_oldest() {
    let data = tempfile::tempdir().unwrap();
    let time: Arc<Mutex<Timestamp>> = Arc::new(Mutex::new("2026-11-20T01:00:00Z".parse().unwrap()));
    let clock = Arc::clone(&time);
    let clock = Arc::new(move || *clock.lock().unwrap());
    let running = open(&Settings { clock, keep_bytes: 200, ..settings(data.path()) }).unwrap();
    for (seq, hour) in [(1, "01"), (2, "02"), (3, "03")] {
        *time.lock().unwrap() = format!("2026-11-20T{hour}:00:00Z").parse().unwrap();
        append(&running, records(seq..=seq)).await.unwrap();
    }
    assert_eq!(numbers(data.path()), [2, 3]);
}

#[tokio::test]
async fn many_senders_share_a_sync() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    let senders = (0..200u64).map(|seq| append(&running, records(seq + 1..=seq + 1)));
    for appended in futures_util::future::join_all(senders).await {
        assert_eq!(appended.unwrap().accepted, 1);
    }
    let syncs = running.store().counts().syncs.load(std::sync::atomic::Ordering::Relaxed);
    assert!(syncs < 200, "{syncs} syncs");
    assert!(read(data.path()).1.is_complete());
}
