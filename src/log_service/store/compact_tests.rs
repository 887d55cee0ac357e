use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::compact::{Compactor, Settings, plan, run, work_once};
use super::files::{Disk, Files};
use super::manifest::{FileKind, WalPosition};
use super::*;
use crate::log_service::columns::Builder;
use crate::log_service::part::{Part as _, Prune};

/// 09:00:00 UTC.
const NINE: i64 = 1_795_251_600_000_000;
const HOUR: i64 = 3_600_000_000;

fn open(data: &Path) -> Arc<Files> {
    Arc::new(Files::open(data, Disk::default()).unwrap())
}

/// Rows `numbers`, received one per second from nine o'clock; every tenth is an error.
fn flush(files: &Files, numbers: std::ops::Range<u64>) {
    let mut builder = Builder::new(1 << 20);
    for seq in numbers {
        let status = if seq % 10 == 0 { 502 } else { 200 };
        let recv = NINE + seq as i64 * 1_000_000;
        // Ids fall while numbers rise.
        let id = format!("01a1fd62-5978-7cdd-9c2e-{:012x}", 1_000_000 - seq);
        let text = format!(
            r#"{{"id":"{id}","proxy":"e","boot":1,"core":0,"seq":{seq},"status":{status},"dur_us":7}}"#
        );
        builder.push_object(text.as_bytes(), recv, "unix").unwrap();
    }
    let batch = builder.finish().unwrap();
    files.flush(&[batch], WalPosition::default(), Vec::new(), || ()).unwrap();
}

fn settings(now: i64) -> Settings {
    let clock: Arc<dyn Fn() -> Timestamp + Send + Sync> =
        Arc::new(move || Timestamp::from_microsecond(now).unwrap());
    let mut settings = Settings { clock, work_percent: 100, ..Settings::default() };
    settings.retention.free_bytes = 0;
    settings
}

fn kinds(files: &Files) -> Vec<(FileKind, u64)> {
    let mut kinds: Vec<_> =
        files.list().iter().map(|live| (live.entry.kind, live.file.extent().rows)).collect();
    kinds.sort();
    kinds
}

fn ids(file: &crate::log_service::parquet::StoredFile) -> Vec<Vec<u8>> {
    use arrow_array::cast::AsArray as _;
    let mut ids = Vec::new();
    let mut each = |batch: arrow_array::RecordBatch| {
        let column = batch.column(0).as_fixed_size_binary();
        ids.extend(column.iter().map(|id| id.unwrap().to_vec()));
        Ok(std::ops::ControlFlow::Continue(()))
    };
    file.read(&["id"], &Prune::default(), &mut each).unwrap();
    ids
}

#[test]
fn a_closed_hour_becomes_one_file_of_normal_rows_and_one_of_errors() {
    let data = tempfile::tempdir().unwrap();
    let files = open(data.path());
    for from in [1, 201, 101] {
        flush(&files, from..from + 100);
    }
    let never = AtomicBool::new(false);
    work_once(&files, &settings(NINE + HOUR), &never).unwrap();
    assert_eq!(kinds(&files).len(), 3, "rows may still be on their way");
    work_once(&files, &settings(NINE + HOUR + 600_000_000), &never).unwrap();
    assert_eq!(kinds(&files), [(FileKind::L1, 270), (FileKind::Err, 30)]);
    for live in files.list() {
        assert!(ids(&live.file).is_sorted());
        let streams = &live.file.extent().streams;
        match live.entry.kind {
            FileKind::Err => assert_eq!(streams.len(), 0),
            _ => assert_eq!(streams[0].numbers, [(1, 300)]),
        }
    }
    let again = open(data.path());
    assert_eq!((kinds(&again), files::tests::stored(&again)), (kinds(&files), (1..=300).collect()));
}

#[test]
fn an_open_hour_with_many_files_is_merged_in_between() {
    let data = tempfile::tempdir().unwrap();
    let files = open(data.path());
    (0..40).for_each(|number| flush(&files, number * 10 + 1..number * 10 + 11));
    work_once(&files, &settings(NINE + HOUR / 2), &AtomicBool::new(false)).unwrap();
    assert!(files.list().len() < 16);
    assert!(files.list().iter().all(|live| live.entry.kind == FileKind::L0));
    assert_eq!(files::tests::stored(&files), (1..=400).collect::<Vec<_>>());
    work_once(&files, &settings(NINE + 2 * HOUR), &AtomicBool::new(false)).unwrap();
    assert_eq!(kinds(&files), [(FileKind::L1, 360), (FileKind::Err, 40)]);
}

#[test]
fn a_cancelled_job_leaves_everything_as_it_was() {
    let data = tempfile::tempdir().unwrap();
    let files = open(data.path());
    flush(&files, 1..101);
    let job = plan(&files.list(), &settings(0), NINE + 2 * HOUR).unwrap();
    let outcome = run(&files, &job, 1, &mut || Err(io::ErrorKind::Interrupted.into()));
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::Interrupted);
    assert_eq!(kinds(&files), [(FileKind::L0, 100)]);
    let folder = files.list()[0].file.path().parent().unwrap().to_owned();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}

#[test]
fn a_job_that_dies_at_any_step_loses_and_doubles_nothing() {
    for once in [true, false] {
        let mut step = 0;
        loop {
            let data = tempfile::tempdir().unwrap();
            let disk = Disk::default();
            let files = Files::open(data.path(), disk.clone()).unwrap();
            flush(&files, 1..51);
            flush(&files, 51..101);
            let job = plan(&files.list(), &settings(0), NINE + 2 * HOUR).unwrap();
            if once {
                disk.faults.fail_at(step)
            } else {
                disk.faults.die_at(step)
            }
            let outcome = run(&files, &job, 1_000_000, &mut || Ok(()));
            let reached = disk.faults.end() > step;
            assert_eq!(outcome.is_err(), reached);
            assert_eq!(files::tests::stored(&files), (1..=100).collect::<Vec<_>>(), "{once} {step}");
            // As after a kill: nobody takes files away.
            let again = Files::open(data.path(), Disk::default()).unwrap();
            assert_eq!(files::tests::stored(&again), (1..=100).collect::<Vec<_>>(), "{once} {step}");
            if !reached {
                break;
            }
            step += 1;
        }
        assert!(step >= 8, "{step}");
    }
}

#[test]
fn the_thread_compacts_and_stops_when_told() {
    let data = tempfile::tempdir().unwrap();
    let files = open(data.path());
    flush(&files, 1..101);
    let compactor = Compactor::spawn(Arc::clone(&files), settings(NINE + 2 * HOUR)).unwrap();
    while files.list().len() != 2 || kinds(&files)[0].0 == FileKind::L0 {
        std::thread::yield_now();
    }
    compactor.stop();
    assert_eq!(kinds(&files), [(FileKind::L1, 90), (FileKind::Err, 10)]);
}

#[test]
fn old_hours_go_and_errors_stay() {
    let data = tempfile::tempdir().unwrap();
    let files = open(data.path());
    flush(&files, 1..101);
    let mut later = settings(NINE + 20 * 24 * HOUR);
    later.retention.keep_hours = 100 * 24;
    work_once(&files, &later, &AtomicBool::new(false)).unwrap();
    assert_eq!(kinds(&files).len(), 2);
    later.retention.keep_hours = 14 * 24;
    work_once(&files, &later, &AtomicBool::new(false)).unwrap();
    assert_eq!(kinds(&files), [(FileKind::Err, 10)]);
}

#[test]
fn never_more_files_are_merged_at_a_time_than_memory_allows() {
    let data = tempfile::tempdir().unwrap();
    let files = open(data.path());
    for from in 0..9 {
        flush(&files, from * 100 + 1..from * 100 + 101);
    }
    for most_files in [2, 3] {
        let settings = Settings { most_files, ..settings(NINE + HOUR + 600_000_000) };
        let job = plan(&files.list(), &settings, NINE + HOUR + 600_000_000).unwrap();
        assert_eq!((job.inputs.len(), job.is_last), (most_files, false));
    }
    let settings = Settings { most_files: 2, ..settings(NINE + HOUR + 600_000_000) };
    work_once(&files, &settings, &AtomicBool::new(false)).unwrap();
    assert_eq!(kinds(&files), [(FileKind::L1, 810), (FileKind::Err, 90)]);
    assert_eq!(files::tests::stored(&files), (1..=900).collect::<Vec<u64>>());
}
