use std::ops::ControlFlow;

use super::*;
use crate::log_service::columns::Builder;
use crate::log_service::part::{Part as _, Prune};

/// 09:59:59.999990 UTC.
const RECV: i64 = 1_795_255_199_999_990;

fn rows(from: u64, count: u64) -> RecordBatch {
    let mut builder = Builder::new(1 << 20);
    for seq in from..from + count {
        let text = format!(r#"{{"proxy":"e","boot":1,"core":0,"seq":{seq},"status":200,"path":"/{seq}"}}"#);
        builder.push_object(text.as_bytes(), RECV + (seq - from) as i64, "unix").unwrap();
    }
    builder.finish().unwrap()
}

fn wal(offset: u64) -> WalPosition {
    WalPosition { segment: 1, offset }
}

/// Leaves two files in a directory.
pub(in crate::log_service::store) fn three_flushes_and_a_drop(data: &Path) {
    let files = Files::open(data, Disk::default()).unwrap();
    for (offset, from) in [(1, 1), (2, 6), (3, 11)] {
        files.flush(&[rows(from, 5)], wal(offset), Vec::new(), || ()).unwrap();
    }
    files.replace(&files.list()[..1], Vec::new()).unwrap();
}

/// The numbers that all files together hold, sorted.
pub(in crate::log_service::store) fn stored(files: &Files) -> Vec<u64> {
    let mut numbers = Vec::new();
    for file in files.view(|| ()).0 {
        let mut each = |batch: RecordBatch| {
            let seqs =
                batch.column_by_name("seq").unwrap().as_primitive::<arrow_array::types::UInt64Type>().clone();
            numbers.extend(seqs.values().iter().copied());
            Ok(ControlFlow::Continue(()))
        };
        file.read(&["seq"], &Prune::default(), &mut each).unwrap();
    }
    numbers.sort_unstable();
    numbers
}

fn on_disk(data: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for day in fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for hour in fs::read_dir(day).unwrap() {
            for file in fs::read_dir(hour.unwrap().path()).unwrap() {
                names.push(file.unwrap().file_name().into_string().unwrap());
            }
        }
    }
    names.sort();
    names
}

#[test]
fn a_flush_makes_a_file_per_hour_and_moves_the_write_ahead_log() {
    let data = tempfile::tempdir().unwrap();
    let files = Files::open(data.path(), Disk::default()).unwrap();
    let mut swapped = false;
    let known = KnownStream { proxy: "e".into(), boot: 1, numbers: vec![(1, 20)], ..KnownStream::default() };
    files.flush(&[rows(1, 20)], wal(9), vec![known.clone()], || swapped = true).unwrap();
    assert!(swapped);
    assert_eq!(on_disk(data.path()), ["00000000.l0.parquet", "00000001.l0.parquet"]);
    assert!(data.path().join("d=2026-11-21/h=09").is_dir() && data.path().join("d=2026-11-21/h=10").is_dir());
    drop(files);
    let files = Files::open(data.path(), Disk::default()).unwrap();
    assert_eq!((stored(&files), files.wal(), files.streams()), ((1..=20).collect(), wal(9), vec![known]));
    let state = crate::log_service::store::manifest::read_state(data.path()).unwrap();
    assert_eq!(read_only(data.path(), &state).len(), 2);
}

#[test]
fn a_flush_is_whole_or_not_there_at_whichever_step_it_dies() {
    for once in [true, false] {
        let mut step = 0;
        loop {
            let data = tempfile::tempdir().unwrap();
            let disk = Disk::default();
            let files = Files::open(data.path(), disk.clone()).unwrap();
            files.flush(&[rows(1, 5)], wal(1), Vec::new(), || ()).unwrap();
            if once {
                disk.faults.fail_at(step)
            } else {
                disk.faults.die_at(step)
            }
            let outcome = files.flush(&[rows(6, 20)], wal(2), Vec::new(), || ());
            let reached = disk.faults.end() > step;
            assert_eq!(outcome.is_err(), reached);
            let expected: Vec<u64> = (1..=if reached { 5 } else { 25 }).collect();
            assert_eq!(stored(&files), expected, "{once} {step}");
            drop(files);
            let files = Files::open(data.path(), Disk::default()).unwrap();
            // What the write-ahead log must give again is just what is not stored.
            match files.wal() {
                position if position == wal(1) => {
                    assert_eq!(stored(&files), (1..=5).collect::<Vec<_>>(), "{once} {step}")
                }
                position => {
                    assert_eq!((position, stored(&files)), (wal(2), (1..=25).collect()), "{once} {step}")
                }
            }
            let listed = files.list().len();
            assert_eq!(on_disk(data.path()).len(), listed, "{once} {step}: nothing else is left");
            if !reached {
                break;
            }
            step += 1;
        }
        assert!(step > 8, "{step}");
    }
}

#[test]
fn files_that_a_lost_manifest_listed_are_kept() {
    let data = tempfile::tempdir().unwrap();
    let files = Files::open(data.path(), Disk::default()).unwrap();
    files.flush(&[rows(1, 5)], wal(1), Vec::new(), || ()).unwrap();
    drop(files);
    fs::remove_file(data.path().join("MANIFEST")).unwrap();
    let files = Files::open(data.path(), Disk::default()).unwrap();
    assert_eq!(
        (stored(&files).len(), on_disk(data.path())),
        (0, vec!["00000000.l0.parquet.orphan".to_owned()])
    );
}

#[test]
fn a_file_that_has_gone_is_taken_out_of_the_manifest() {
    let data = tempfile::tempdir().unwrap();
    let files = Files::open(data.path(), Disk::default()).unwrap();
    files.flush(&[rows(1, 20)], wal(1), Vec::new(), || ()).unwrap();
    fs::remove_file(files.list()[0].file.path()).unwrap();
    drop(files);
    let files = Files::open(data.path(), Disk::default()).unwrap();
    assert_eq!((files.list().len(), stored(&files)), (1, (11..=20).collect()));
}

#[test]
fn a_reader_keeps_the_files_that_it_began_with() {
    let data = tempfile::tempdir().unwrap();
    let files = Files::open(data.path(), Disk::default()).unwrap();
    files.flush(&[rows(1, 5)], wal(1), Vec::new(), || ()).unwrap();
    let (reader, ()) = files.view(|| ());
    files.replace(&files.list(), Vec::new()).unwrap();
    assert_eq!(files.list().len(), 0);
    let mut count = 0;
    let mut each = |batch: RecordBatch| {
        count += batch.num_rows();
        Ok(ControlFlow::Continue(()))
    };
    reader[0].read(&["id"], &Prune::default(), &mut each).unwrap();
    assert_eq!((count, on_disk(data.path()).len()), (5, 1));
    drop(reader);
    assert_eq!(on_disk(data.path()).len(), 0);
}
