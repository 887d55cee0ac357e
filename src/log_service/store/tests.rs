use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde_json::{Value, json};

use super::files::tests::three_flushes_and_a_drop;
use super::*;
use crate::log_service::frames;
use crate::log_service::query::Query;
use crate::log_service::read::{Flow, Follow, Report, Scan, Window};
use crate::record::frame::{self, Codec, Form};
use crate::record::{Record, binary};

/// Nothing is dropped by age: rows of tests have fixed times, which lie further back each day.
pub(super) fn settings(data: &Path) -> Settings {
    let settings = Settings::from_service(&crate::log_service::Settings::new(data.to_owned()));
    let keep_hours = 24 * 36_500;
    Settings { keep_hours, keep_error_hours: keep_hours, keep_rollup_hours: keep_hours, ..settings }
}

fn record(seq: u64) -> Entry {
    let record =
        json!({"kind": "request", "proxy": "edge-1", "boot": 7, "core": 0, "seq": seq, "path": "/a"});
    Entry::parse(Bytes::from(record.to_string())).unwrap()
}

pub(super) fn records(range: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    range.map(record).collect()
}

pub(super) async fn append(running: &Running, entries: Vec<Entry>) -> Result<Appended, AppendError> {
    running.store().append(entries, "unix:1".into()).await
}

pub(super) fn read(data: &Path) -> (Vec<Value>, Report) {
    let mut rows = Vec::new();
    let mut scan = Scan::new(Query::all(), Window::default());
    let _ = scan.directory(data, &mut |row| {
        rows.push(row.value.clone());
        Flow::Continue(())
    });
    (rows, scan.report())
}

pub(super) fn numbers(data: &Path) -> Vec<u64> {
    read(data).0.iter().map(|row| row["seq"].as_u64().unwrap()).collect()
}

fn newest_file(data: &Path) -> PathBuf {
    wal_files::list(data).unwrap().pop().unwrap().path
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
async fn a_gap_without_an_end_is_never_called_complete_and_hides_nothing_that_comes_later() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    let lost = r#"{"kind":"gap","proxy":"edge-1","boot":7,"core":0,"first_seq":3,"reason":"ring_lost"}"#;
    let full = r#"{"kind":"gap","proxy":"edge-1","boot":7,"core":0,"first_seq":5,"last_seq":5,"reason":"spool_damaged"}"#;
    let parse = |text: &'static str| Entry::parse(Bytes::from_static(text.as_bytes())).unwrap();
    let entries = [record(1), record(2), parse(lost), record(3), record(4), parse(full), record(6)];
    assert_eq!(append(&running, entries.into()).await.unwrap(), Appended { accepted: 7, duplicates: 0 });
    let told = |report: &Report| -> Vec<_> {
        report.missing.iter().map(|m| (m.from, m.is_open(), m.why.clone().unwrap_or_default())).collect()
    };
    let wanted = [(5, false, "spool_damaged".to_owned()), (7, true, "ring_lost".to_owned())];
    let parts = crate::log_service::exec::Parts::new(running.store().parts());
    assert_eq!(told(&crate::log_service::exec::report(&parts, None)), wanted);
    let mut walked = told(&read(data.path()).1);
    walked.iter_mut().for_each(|(_, _, why)| *why = why.replace("declared", ""));
    assert_eq!((walked.len(), walked[1].1, read(data.path()).1.is_complete()), (2, true, false));
    running.close().await.unwrap();
}

/// Starts and stops; then what is missing, with the reason, and how many rows declare it.
async fn declared_at_a_start(data: &Path) -> (Vec<(u64, u64, Option<String>)>, usize) {
    open(&settings(data)).unwrap().close().await.unwrap();
    let (rows, report) = read(data);
    let missing = report.missing.into_iter().map(|missing| (missing.from, missing.to, missing.why));
    (missing.collect(), rows.iter().filter(|row| row["kind"] == "gap").count())
}

#[tokio::test]
async fn what_is_gone_from_the_log_is_declared_at_the_next_start() {
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let cut =
        |path: &Path, len: u64| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
    /// Its name, what it does to the files, and what is gone then.
    type Harm<'h> = (&'h str, &'h dyn Fn(&[PathBuf]), &'h [(u64, u64)]);
    let harms: [Harm<'_>; 6] = [
        ("no harm", &|_| (), &[]),
        ("the first removed", &|files| remove(&files[0]), &[(1, 5)]),
        ("the last removed", &|files| remove(&files[1]), &[(6, 9)]),
        ("the last emptied", &|files| cut(&files[1], 0), &[(6, 9)]),
        ("the last cut", &|files| cut(&files[1], fs::metadata(&files[1]).unwrap().len() - 1), &[(6, 9)]),
        ("all removed", &|files| files.iter().for_each(|file| remove(file)), &[(1, 9)]),
    ];
    for (name, harm, expected) in harms {
        let data = tempfile::tempdir().unwrap();
        for range in [1..=5, 6..=9] {
            let running = open(&settings(data.path())).unwrap();
            append(&running, records(range)).await.unwrap();
            running.close().await.unwrap();
        }
        let files: Vec<PathBuf> =
            wal_files::list(data.path()).unwrap().into_iter().map(|file| file.path).collect();
        harm(&files);
        // The second start must not tell it again.
        let expected = expected.iter().map(|&(from, to)| (from, to, Some("wal_damaged".to_owned())));
        let expected: Vec<_> = expected.collect();
        for _ in 0..2 {
            assert_eq!(declared_at_a_start(data.path()).await, (expected.clone(), expected.len()), "{name}");
        }
    }
}

#[tokio::test]
async fn what_a_file_held_that_is_gone_is_declared_at_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    // Two files of five records.
    three_flushes_and_a_drop(data.path());
    let state = manifest::read_state(data.path()).unwrap();
    fs::remove_file(state.files.values().last().unwrap().path(data.path())).unwrap();
    // The second start must not tell it again.
    for _ in 0..2 {
        let expected = vec![(11, 15, Some("file_gone".to_owned()))];
        assert_eq!(declared_at_a_start(data.path()).await, (expected, 1));
    }
}

#[tokio::test]
async fn a_start_that_dies_does_not_forget_what_a_damaged_log_has_lost() {
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    /// What it does to the files, and what is gone then.
    type Harm<'h> = (&'h dyn Fn(&[PathBuf]), &'h [(u64, u64)]);
    let harms: [Harm<'_>; 3] = [
        (&|files| fs::remove_file(&files[0]).unwrap(), &[(1, 5)]),
        (&|files| fs::remove_file(&files[1]).unwrap(), &[(6, 10)]),
        (&|files| flip(&files[1]), &[(6, 10)]),
    ];
    for (harm, expected) in harms {
        let data = tempfile::tempdir().unwrap();
        for range in [1..=5, 6..=10, 11..=15] {
            let running = open(&settings(data.path())).unwrap();
            append(&running, records(range)).await.unwrap();
            running.close().await.unwrap();
        }
        let files: Vec<PathBuf> =
            wal_files::list(data.path()).unwrap().into_iter().map(|file| file.path).collect();
        harm(&files);
        // Each file of the log would become one of the store. It dies before anything is declared.
        let settings = Settings { hot_bytes: 1, ..settings(data.path()) };
        {
            let files = Files::open(data.path(), Disk::default()).unwrap();
            let mut known = Streams::of(files.streams());
            let recovered = recover(&settings, &files, &mut known, &Counts::default()).unwrap();
            assert!(!recovered.lost.is_empty());
        }
        let running = open(&settings).unwrap();
        running.close().await.unwrap();
        let missing: Vec<(u64, u64)> =
            read(data.path()).1.missing.iter().map(|missing| (missing.from, missing.to)).collect();
        assert_eq!(missing, expected);
    }
}

/// A frame with records of these numbers of stream (edge-1, 7, 0), and in front a gap, if one is given.
fn frame_of(range: std::ops::RangeInclusive<u64>, gap: Option<&str>) -> Vec<u8> {
    let (mut builder, mut out) = (frame::Builder::default(), Vec::new());
    gap.iter().for_each(|gap| builder.push(Form::Json, None, 5, gap.as_bytes()));
    for seq in range {
        let mut bytes = Vec::new();
        let record =
            Record { ts_us: 1_763_713_443_000_000 + seq as i64, path: Some(b"/f"), ..Record::default() };
        binary::encode(&record, seq, &mut bytes);
        builder.push(Form::Record, Some(seq), record.ts_us, &bytes);
    }
    builder.finish(&frame::Stream { proxy: "edge-1", boot: 7, core: 0 }, Codec::Lz4, &mut out);
    out
}

async fn append_frames(running: &Running, frames: &[Vec<u8>]) -> Result<Appended, AppendError> {
    let split = frames::split(&Bytes::from(frames.concat()), 1 << 20);
    assert_eq!(split.bad_count, 0);
    running.store().append_frames(split.frames, "unix:1".into()).await
}

#[tokio::test]
async fn overlapping_frames_are_stored_once_each_number_even_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    let first = append_frames(&running, &[frame_of(1..=5, None), frame_of(8..=9, None)]).await;
    assert_eq!(first.unwrap(), Appended { accepted: 7, duplicates: 0 });
    // The same way around, and as JSON: the same numbers are the same records.
    let again = append_frames(&running, &[frame_of(3..=10, None), frame_of(8..=9, None)]).await;
    assert_eq!(again.unwrap(), Appended { accepted: 3, duplicates: 7 });
    assert_eq!(append(&running, records(9..=11)).await.unwrap(), Appended { accepted: 1, duplicates: 2 });
    running.close().await.unwrap();
    let running = open(&settings(data.path())).unwrap();
    let again = append_frames(&running, &[frame_of(1..=12, None)]).await;
    assert_eq!(again.unwrap(), Appended { accepted: 1, duplicates: 11 });
    let mut seqs = numbers(data.path());
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=12).collect::<Vec<u64>>());
    assert!(read(data.path()).1.is_complete());
}

#[tokio::test]
async fn what_a_frame_says_without_a_number_is_stored_once_too() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    let lost = r#"{"kind":"gap","proxy":"edge-1","boot":7,"core":0,"first_seq":3,"last_seq":4,"reason":"ring_full"}"#;
    let unnumbered = r#"{"kind":"gap","proxy":"edge-1","boot":7,"core":0,"missing":2,"reason":"lines"}"#;
    let frames = [frame_of(1..=2, None), frame_of(5..=6, Some(lost)), frame_of(7..=7, Some(unnumbered))];
    let alone = {
        let (mut builder, mut out) = (frame::Builder::default(), Vec::new());
        builder.push(Form::Json, None, 5, unnumbered.as_bytes());
        builder.finish(&frame::Stream { proxy: "edge-1", boot: 7, core: 1 }, Codec::Raw, &mut out);
        out
    };
    let frames = [frames.as_slice(), &[alone]].concat();
    assert_eq!(append_frames(&running, &frames).await.unwrap(), Appended { accepted: 8, duplicates: 0 });
    assert_eq!(append_frames(&running, &frames).await.unwrap(), Appended { accepted: 0, duplicates: 8 });
    let report = read(data.path()).1;
    assert_eq!((report.lines, report.unnumbered), (8, 4));
    let told: Vec<_> = report.missing.iter().map(|m| (m.from, m.to, m.why.as_deref())).collect();
    assert_eq!(told, [(3, 4, Some("ring_full"))]);
}

#[tokio::test]
async fn every_possible_torn_end_is_passed_over_and_nothing_acknowledged_is_lost() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    append(&running, records(1..=2)).await.unwrap();
    let path = newest_file(data.path());
    let acknowledged = fs::metadata(&path).unwrap().len() as usize;
    append_frames(&running, &[frame_of(3..=4, None)]).await.unwrap();
    running.close().await.unwrap();
    let whole = fs::read(&path).unwrap();
    for end in acknowledged..=whole.len() {
        let data = tempfile::tempdir().unwrap();
        make_directory(&wal_files::directory(data.path())).unwrap();
        fs::write(wal_files::directory(data.path()).join("000001.tgw"), &whole[..end]).unwrap();
        let expected: &[u64] = if end < whole.len() { &[1, 2] } else { &[1, 2, 3, 4] };
        assert_eq!(numbers(data.path()), expected, "a reader, cut at {end}");
        let running = open(&settings(data.path())).unwrap();
        assert_eq!(numbers(data.path()), expected, "cut at {end}");
        let resent = append_frames(&running, &[frame_of(1..=4, None)]).await.unwrap();
        assert_eq!(resent.duplicates, expected.len(), "cut at {end}");
        assert_eq!(numbers(data.path()), [1, 2, 3, 4], "cut at {end}");
        running.close().await.unwrap();
    }
}

#[tokio::test]
async fn garbage_after_a_power_cut_is_passed_over() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    append(&running, records(1..=2)).await.unwrap();
    running.close().await.unwrap();
    let path = newest_file(data.path());
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(&[0; 5000]);
    text.extend_from_slice(b"TGB1\x01\0\0\0\xff\xfe");
    fs::write(&path, text).unwrap();
    let running = open(&settings(data.path())).unwrap();
    assert!(running.store().counts().cut_bytes.load(Ordering::Relaxed) > 5000);
    append(&running, records(3..=3)).await.unwrap();
    let (rows, report) = read(data.path());
    assert_eq!((rows.len(), report.damaged), (3, 0));
}

#[tokio::test]
async fn a_flipped_bit_costs_one_block_and_is_told() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    append(&running, records(1..=1)).await.unwrap();
    let first = fs::metadata(newest_file(data.path())).unwrap().len() as usize;
    append(&running, records(2..=2)).await.unwrap();
    append(&running, records(3..=3)).await.unwrap();
    running.close().await.unwrap();
    let path = newest_file(data.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[first + 40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = read(data.path()).1;
    assert_eq!((report.lines, report.damaged, report.missing.len()), (2, 1, 1));
    let running = open(&settings(data.path())).unwrap();
    assert_eq!(append(&running, records(1..=3)).await.unwrap(), Appended { accepted: 1, duplicates: 2 });
}

#[tokio::test]
async fn an_entry_of_an_application_joins_its_request() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    let id = "019aa5c2-5978-7cdd-9c2e-51f0b7c1a9d4";
    let texts = [
        format!(r#"{{"msg":"a","x-request-id":"{id}"}}"#),
        format!(r#"{{"msg":"b","id":"{id}"}}"#),
        format!(r#"{{"msg":"c","trace_id":"{}"}}"#, id.replace('-', "")),
        r#"{"msg":"d"}"#.to_owned(),
    ];
    let entries = texts.iter().map(|text| Entry::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap());
    append(&running, entries.collect()).await.unwrap();
    let mut ids = Vec::new();
    for part in running.store().parts() {
        part.read(&["id"], &crate::log_service::part::Prune::default(), &mut |batch| {
            use arrow_array::cast::AsArray;
            let column = batch.column(0).as_fixed_size_binary();
            ids.extend((0..batch.num_rows()).map(|row| column.value(row).to_vec()));
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .unwrap();
    }
    let wanted = crate::record::id::parse(id.as_bytes()).unwrap().to_vec();
    assert_eq!(ids.iter().filter(|id| **id == wanted).count(), 3);
    let shown: Vec<Value> = read(data.path()).0;
    for (shown, text) in shown.iter().zip(&texts) {
        let mut sent: Value = serde_json::from_str(text).unwrap();
        if let Some(rid) = sent.get("x-request-id").cloned() {
            sent["rid"] = rid;
        }
        (sent["recv"], sent["from"]) = (shown["recv"].clone(), shown["from"].clone());
        assert_eq!(*shown, sent, "shown as it came");
    }
}

#[tokio::test]
async fn following_sees_every_row_once_across_files_and_restarts() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    append(&running, records(1..=1)).await.unwrap();
    let mut follow = Follow::from_end(data.path()).unwrap();
    let mut scan = Scan::new(Query::all(), Window::default());
    let mut seen = Vec::new();
    let mut look = |seen: &mut Vec<u64>| {
        let mut on_row = |row: &crate::log_service::read::Row<'_>| {
            seen.push(row.value["seq"].as_u64().unwrap());
            Flow::Continue(())
        };
        while follow.advance(&mut scan, &mut on_row).unwrap() {}
    };
    append(&running, records(2..=2)).await.unwrap();
    append_frames(&running, &[frame_of(1..=3, None)]).await.unwrap();
    look(&mut seen);
    running.close().await.unwrap();
    let running = open(&settings(data.path())).unwrap();
    append_frames(&running, &[frame_of(3..=4, None)]).await.unwrap();
    look(&mut seen);
    append(&running, records(5..=5)).await.unwrap();
    look(&mut seen);
    assert_eq!(seen, [2, 3, 4, 5]);
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let data = tempfile::tempdir().unwrap();
    let settings = settings(data.path());
    let running = open(&settings).unwrap();
    append(&running, records(1..=1)).await.unwrap();
    settings.faults.write.lock().unwrap().push(ErrorKind::StorageFull);
    assert_eq!(append(&running, records(2..=3)).await, Err(AppendError::Full));
    assert!(running.store().counts().disk_full.load(Ordering::Relaxed));
    assert_eq!(numbers(data.path()), [1], "half of the failed write is gone");
    let again = append(&running, records(2..=3)).await.unwrap();
    assert_eq!(again, Appended { accepted: 2, duplicates: 0 });
    assert_eq!(numbers(data.path()), [1, 2, 3]);
    let gap = r#"{"kind":"gap","proxy":"edge-1","boot":7,"core":0,"first_seq":4,"last_seq":4,"reason":"ring_full"}"#;
    let gap = Entry::parse(Bytes::from(gap)).unwrap();
    settings.faults.write.lock().unwrap().push(ErrorKind::StorageFull);
    assert_eq!(append(&running, vec![gap.clone()]).await, Err(AppendError::Full));
    assert_eq!(append(&running, vec![gap]).await.unwrap().accepted, 1);
    settings.faults.write.lock().unwrap().push(ErrorKind::StorageFull);
    assert_eq!(append_frames(&running, &[frame_of(2..=6, None)]).await, Err(AppendError::Full));
    let again = append_frames(&running, &[frame_of(2..=6, None)]).await.unwrap();
    assert_eq!(again, Appended { accepted: 3, duplicates: 2 }, "only what was new is taken back");
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
    let files = wal_files::list(data.path()).unwrap();
    assert_eq!(
        files.iter().map(|file| (file.number, file.good_bytes.is_some())).collect::<Vec<_>>(),
        [(1, true), (2, false)]
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
async fn many_senders_share_a_sync() {
    let data = tempfile::tempdir().unwrap();
    let running = open(&settings(data.path())).unwrap();
    let senders = (0..200u64).map(|seq| append(&running, records(seq + 1..=seq + 1)));
    for appended in futures_util::future::join_all(senders).await {
        assert_eq!(appended.unwrap().accepted, 1);
    }
    let syncs = running.store().counts().syncs.load(Ordering::Relaxed);
    assert!(syncs < 200, "{syncs} syncs");
    assert!(read(data.path()).1.is_complete());
}
