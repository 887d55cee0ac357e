//! Rows become files: whenever the process ends, nothing is lost and nothing doubled.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::tests::{append, numbers, read, records, settings};
use super::*;
use crate::log_service::rollup;

/// Makes files at once.
fn eager(data: &Path) -> Settings {
    Settings { hot_rows: 1, ..settings(data) }
}

async fn until_files(running: &Running, count: u64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while running.store().counts().files.load(Ordering::Relaxed) < count {
        assert!(tokio::time::Instant::now() < deadline, "no file was written");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn sorted_numbers(data: &Path) -> Vec<u64> {
    let mut numbers = numbers(data);
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn rows_become_files_while_more_come_and_the_log_goes() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&eager(data.path())).unwrap();
    for seq in 1..=20 {
        append(&running, records(seq..=seq)).await.unwrap();
        let rows: u64 = running.store().parts().iter().map(|part| part.extent().rows).sum();
        assert_eq!(rows, seq, "no query misses a row or sees it twice while rows move");
    }
    until_files(&running, 2).await;
    running.close().await.unwrap();
    assert_eq!(sorted_numbers(data.path()), (1..=20).collect::<Vec<_>>());
    assert!(read(data.path()).1.is_complete());
    let running = open(&settings(data.path())).unwrap();
    let again = append(&running, records(1..=21)).await.unwrap();
    assert_eq!(again, Appended { accepted: 1, duplicates: 20 });
    assert_eq!(sorted_numbers(data.path()), (1..=21).collect::<Vec<_>>());
}

/// Requests in all rollups.
fn counted(running: &Running) -> u64 {
    let asked = rollup::Asked::new((None, None), "", "24h").unwrap();
    let now = Timestamp::now().as_microsecond();
    let bounds = rollup::Bounds { rows: 1000, hours: 24 };
    let told = rollup::answer(&running.store().rollups(), &asked, now, bounds).unwrap();
    told["rows"].as_array().unwrap().iter().map(|row| row["count"].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn an_end_between_any_two_steps_loses_nothing_and_doubles_nothing() {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = open(&settings(before.path())).unwrap();
    append(&running, records(1..=3)).await.unwrap();
    running.close().await.unwrap();
    copy(before.path(), after.path());
    let running = open(&eager(after.path())).unwrap();
    append(&running, records(1..=3)).await.unwrap();
    until_files(&running, 1).await;
    running.close().await.unwrap();
    assert!(wal_files::list(after.path()).unwrap().iter().all(|file| file.size == 0), "the log is gone");

    // Rollups and file are written, the manifest does not say so.
    let early = tempfile::tempdir().unwrap();
    copy(after.path(), early.path());
    copy(before.path(), early.path());
    // The manifest says so, the log is still there.
    let late = tempfile::tempdir().unwrap();
    copy(before.path(), late.path());
    copy(after.path(), late.path());
    for (what, data) in [("early", early.path()), ("late", late.path()), ("after", after.path())] {
        assert_eq!(sorted_numbers(data), [1, 2, 3], "a reader, {what}");
        let running = open(&settings(data)).unwrap();
        let again = append(&running, records(1..=4)).await.unwrap();
        assert_eq!(again, Appended { accepted: 1, duplicates: 3 }, "{what}");
        let counted = counted(&running);
        assert_eq!((sorted_numbers(data), counted), (vec![1, 2, 3, 4], 4), "{what}");
        running.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_start_with_a_long_log_holds_no_more_rows_than_the_work_before() {
    let data = tempfile::tempdir().unwrap();
    for part in 0..4 {
        // Each run begins a file of the log.
        let running = open(&settings(data.path())).unwrap();
        append(&running, records(part * 50 + 1..=part * 50 + 50)).await.unwrap();
        running.close().await.unwrap();
    }
    let running = open(&Settings { hot_bytes: 1, ..settings(data.path()) }).unwrap();
    assert_eq!(running.store.hot.lock().bytes(), 0);
    let again = append(&running, records(1..=201)).await.unwrap();
    assert_eq!(again, Appended { accepted: 1, duplicates: 200 });
    assert_eq!((counted(&running), sorted_numbers(data.path()).len()), (201, 201));
    running.close().await.unwrap();
}

#[tokio::test]
async fn a_start_that_cannot_make_files_counts_nothing_twice() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    append(&running, records(1..=20)).await.unwrap();
    running.close().await.unwrap();
    // Files stand where folders of these days should be.
    let day = |hours: i64| Timestamp::now().as_second() + hours * 3600;
    let days = [-24, 0, 24]
        .map(|hours| Timestamp::from_second(day(hours)).unwrap().strftime("d=%Y-%m-%d").to_string());
    days.iter().for_each(|day| fs::write(data.path().join(day), "").unwrap());
    let running = open(&Settings { hot_bytes: 1, ..settings(data.path()) }).unwrap();
    assert!(running.store.hot.lock().bytes() > 0);
    days.iter().for_each(|day| fs::remove_file(data.path().join(day)).unwrap());
    until_files(&running, 1).await;
    assert_eq!((counted(&running), sorted_numbers(data.path()).len()), (20, 20));
    running.close().await.unwrap();
}

#[tokio::test]
async fn rows_that_are_in_no_file_become_one_for_other_engines() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = open(&settings(data.path())).unwrap();
    append(&running, records(1..=3)).await.unwrap();
    let newest = folder.path().join("newest.parquet");
    assert_eq!(View::of(data.path()).unwrap().files(None).unwrap(), (Vec::new(), 3));
    assert_eq!(View::of(data.path()).unwrap().files(Some(&newest)).unwrap(), (vec![newest.clone()], 3));
    let footers = Arc::new(crate::log_service::parquet::Footers::new(0));
    let file = crate::log_service::parquet::StoredFile::open(newest, footers).unwrap();
    assert_eq!(file.extent().rows, 3);
    running.close().await.unwrap();
}

#[tokio::test]
async fn rows_that_cannot_become_a_file_stay_and_senders_are_told() {
    let data = tempfile::tempdir().unwrap();
    // A file stands where the directory of rollups should be.
    fs::write(data.path().join("roll"), "").unwrap();
    let running = open(&Settings { memory_bytes: 1, ..eager(data.path()) }).unwrap();
    assert_eq!(append(&running, records(1..=2)).await.unwrap().accepted, 2);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while running.store().counts().failed_files.load(Ordering::Relaxed) == 0 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(append(&running, records(3..=3)).await, Err(AppendError::Failed));
    assert_eq!(sorted_numbers(data.path()), [1, 2]);
    assert_eq!(running.store().parts().iter().map(|part| part.extent().rows).sum::<u64>(), 2);
    fs::remove_file(data.path().join("roll")).unwrap();
    until_files(&running, 1).await;
    assert_eq!(append(&running, records(3..=3)).await.unwrap().accepted, 1);
    running.close().await.unwrap();
    assert_eq!(sorted_numbers(data.path()), [1, 2, 3]);
}
