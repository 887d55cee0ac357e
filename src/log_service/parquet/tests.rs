use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array as _, RecordBatch};

use super::*;
use crate::log_service::columns::{Builder, NAMES, Origin, RowWriter, samples};
use crate::log_service::part::{Extent, Part as _, Prune};
use crate::record::binary::{self, Tries};
use crate::record::{Id, Record};

const RECV: i64 = 1_795_252_500_000_001;

/// `count` records, each made by `make`, as batches of 8 192 rows in the order of `seq`.
fn batches(count: u64, make: impl Fn(u64) -> Record<'static>) -> Vec<RecordBatch> {
    let (mut builder, mut batches) = (Builder::new(8192), Vec::new());
    for at in 0..count {
        let (mut bytes, mut tries) = (Vec::with_capacity(1024), Tries::default());
        binary::encode(&make(at), at / 2 + 1, &mut bytes);
        let decoded = binary::decode(&bytes, &mut tries).unwrap();
        let origin = Origin { proxy: "edge-1", boot: 1_795_252_000_000, core: (at % 2) as u16 };
        builder.push_record(&decoded, &origin, RECV + at as i64 * 23, "unix").unwrap();
        if builder.is_full() {
            batches.push(builder.finish().unwrap());
        }
    }
    batches.push(builder.finish().unwrap());
    batches
}

/// An id as a core makes it: time, then what looks like chance.
fn id(at: u64, ts_us: i64) -> Id {
    let us = ts_us as u64;
    let high = (us / 1000) << 16 | 0x7000 | (us % 1000 * 4096 / 1000);
    let chance =
        (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at.wrapping_mul(0xd134_2543_de82_ef95).rotate_left(31);
    (u128::from(high) << 64 | u128::from(2 << 62 | chance >> 8)).to_be_bytes()
}

fn plain(at: u64) -> Record<'static> {
    let record = samples::plain(at);
    Record { id: id(at, record.ts_us), ..record }
}

fn write(path: &Path, level: Level, batches: &[RecordBatch]) -> (Extent, u64) {
    let mut writer = FileWriter::create(path, level).unwrap();
    sorted(batches).for_each(|batch| writer.write(&batch.unwrap()).unwrap());
    writer.finish().unwrap()
}

fn stored(path: &Path) -> StoredFile {
    StoredFile::open(path.to_owned(), Arc::new(Footers::new(4))).unwrap()
}

fn read(file: &StoredFile, columns: &[&str], prune: &Prune) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    let mut each = |batch| {
        batches.push(batch);
        Ok(ControlFlow::Continue(()))
    };
    file.read(columns, prune, &mut each).unwrap();
    batches
}

fn objects(batches: &[RecordBatch]) -> Vec<serde_json::Value> {
    let mut objects = Vec::new();
    for batch in batches {
        let writer = RowWriter::new(batch);
        for row in 0..batch.num_rows() {
            let mut text = Vec::new();
            writer.write(row, &mut text);
            objects.push(serde_json::from_slice(&text).unwrap());
        }
    }
    objects
}

fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[test]
fn rows_come_back_as_they_were_sorted_by_id() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let mut given = batches(20_000, |at| if at % 3 == 0 { samples::typical() } else { plain(at ^ 0xff) });
    let mut builder = Builder::new(10);
    for text in
        [r#"{"msg":"hi","x":{"y":[1,2.50]},"ts":"2026-01-01T00:00:00Z"}"#, r#"{"path":"/é","status":"200"}"#]
    {
        builder.push_object(text.as_bytes(), RECV, "10.0.0.7:1").unwrap();
    }
    given.push(builder.finish().unwrap());
    for level in [Level::L0, Level::L1] {
        let (extent, bytes) = write(&path, level, &given);
        assert_eq!((extent.rows, bytes), (20_002, std::fs::metadata(&path).unwrap().len()));
        let file = stored(&path);
        assert_eq!(*file.extent(), extent);
        let found = read(&file, NAMES, &Prune::default());
        let schema = crate::log_service::columns::schema();
        assert!(
            found[0].schema().fields().iter().all(|field| schema.fields().iter().any(|known| known == field))
        );
        assert!(found[0].num_columns() < NAMES.len(), "empty columns are not read");
        let expected: Vec<RecordBatch> = sorted(&given).collect::<Result<_, _>>().unwrap();
        assert_eq!(objects(&found), objects(&expected));
        let ids: Vec<Id> = found.iter().flat_map(ids).collect();
        assert!(ids.is_sorted());
    }
}

fn ids(batch: &RecordBatch) -> Vec<Id> {
    use arrow_array::cast::AsArray as _;
    let ids = batch.column_by_name("id").unwrap().as_fixed_size_binary().clone();
    (0..ids.len()).map(|row| ids.value(row).try_into().unwrap()).collect()
}

/// A file of 150 000 plain rows; it goes with its directory.
fn plain_file() -> (tempfile::TempDir, StoredFile) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write(&path, Level::L1, &batches(150_000, plain));
    let file = stored(&path);
    (directory, file)
}

#[test]
fn an_id_costs_its_own_row_only() {
    let (_directory, file) = plain_file();
    for at in [0, 1, 70_000, 131_072, 149_999] {
        let wanted = id(at, samples::plain(at).ts_us);
        let found = read(&file, NAMES, &Prune { id: Some(wanted), ..Prune::default() });
        assert_eq!(found.iter().flat_map(ids).collect::<Vec<_>>(), [wanted], "{at}");
    }
    let mut absent = id(70_000, samples::plain(70_000).ts_us);
    absent[15] ^= 1;
    assert_eq!(rows(&read(&file, &["path"], &Prune { id: Some(absent), ..Prune::default() })), 0);
}

#[test]
fn ids_that_were_found_before_cost_their_own_rows_only() {
    let (_directory, file) = plain_file();
    let mut wanted: Vec<Id> =
        [3, 4, 70_000, 131_071, 131_072].iter().map(|&at| id(at, samples::plain(at).ts_us)).collect();
    wanted.sort_unstable();
    let mut absent = wanted.clone();
    absent.iter_mut().for_each(|id| id[15] ^= 1);
    let among = |ids: &[Id]| Prune { among: Some(ids.into()), ..Prune::default() };
    for columns in [NAMES, &["id", "path"]] {
        let found = read(&file, columns, &among(&wanted));
        assert_eq!(found.iter().flat_map(ids).collect::<Vec<_>>(), wanted);
        assert_eq!(rows(&read(&file, columns, &among(&absent))), 0);
        assert_eq!(rows(&read(&file, columns, &among(&[]))), 0);
    }
}

#[test]
fn a_window_reads_the_pages_that_it_touches() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write(&path, Level::L0, &batches(150_000, plain));
    let file = stored(&path);
    let from = samples::plain(140_000).ts_us;
    let window = Prune { ts: Some((from, from)), ..Prune::default() };
    assert!((1..=8192).contains(&rows(&read(&file, &["ts"], &window))));
    let columns = ["status", "client_ip", "no_such_column", "ts"];
    let found = read(&file, &columns, &Prune { newest_first: true, ..Prune::default() });
    let names: Vec<String> = found[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["ts", "client_ip", "status"]);
    assert_eq!((rows(&found), found[0].num_rows() < 131_072), (150_000, true));
    assert!(objects(&found[..1])[0]["ts"].as_str() > objects(&found[found.len() - 1..])[0]["ts"].as_str());
    let long_ago = Prune { ts: Some((0, 1)), ..Prune::default() };
    assert_eq!(rows(&read(&file, &["ts"], &long_ago)), 0);
}

#[test]
fn a_key_that_no_row_has_reads_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let given =
        batches(9_000, |at| Record { rid: Some(b"caller-7"), trace_id: Some([at as u8; 16]), ..plain(at) });
    write(&path, Level::L0, &given);
    let file = stored(&path);
    let count = |name, key: &[u8]| {
        rows(&read(&file, &["id"], &Prune { keys: vec![(name, key.to_vec())], ..Prune::default() }))
    };
    assert_eq!((count("rid", b"caller-7"), count("rid", b"caller-8")), (9_000, 0));
    assert_eq!((count("client_ip", b"127.0.0.1"), count("client_ip", b"10.1.2.3")), (9_000, 0));
    assert_eq!((count("trace_id", &[9; 16]), count("trace_id", b"0123456789abcdef")), (9_000, 0));
}

#[test]
fn row_groups_without_any_of_the_columns_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let mut given = batches(140_000, plain);
    let mut builder = Builder::new(10);
    builder.push_object(br#"{"msg":"hi","ts":"2026-01-01T00:00:00Z"}"#, RECV, "10.0.0.7:1").unwrap();
    given.push(builder.finish().unwrap());
    write(&path, Level::L1, &given);
    let file = stored(&path);
    let read = |any_of| rows(&read(&file, &["ts"], &Prune { any_of, ..Prune::default() }));
    assert_eq!((read(&[]), read(&["path"])), (140_001, 140_001));
    assert_eq!((read(&["line"]), read(&["line", "no_such_column"])), (0, 0));
    assert!((1..140_001).contains(&read(&["line", "msg"])));
}

#[test]
fn a_file_tells_its_streams_gaps_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let mut given = batches(10, plain);
    let mut builder = Builder::new(10);
    for text in [
        r#"{"kind":"gap","proxy":"edge-1","boot":1795252000000,"core":1,"first_seq":6,"last_seq":9,"missing":4,"reason":"ring_full"}"#,
        r#"{"kind":"gap","proxy":"edge-1","boot":1795252000000,"core":1,"missing":3}"#,
        r#"{"kind":"stop","proxy":"edge-1","boot":1795252000000,"core":2,"seq":2,"last_seqs":[5,9]}"#,
    ] {
        builder.push_object(text.as_bytes(), RECV, "unix").unwrap();
    }
    given.push(builder.finish().unwrap());
    let (extent, _) = write(&path, Level::L0, &given);
    let file = stored(&path);
    assert_eq!(*file.extent(), extent);
    assert_eq!((extent.rows, extent.unnumbered), (13, 3));
    let streams: Vec<_> =
        extent.streams.iter().map(|s| (s.core, s.numbers.clone(), s.gaps.len(), s.last)).collect();
    assert_eq!(streams, [(0, vec![(1, 5)], 0, 5), (1, vec![(1, 5)], 1, 9), (2, vec![(2, 2)], 0, 0)]);
    assert_eq!(extent.streams[1].gaps, [(6, 9, "ring_full".to_owned())]);
    let first = samples::plain(0);
    assert_eq!((extent.min_ts, extent.min_end), (first.ts_us, first.ts_us + first.dur_us as i64));
}

#[test]
fn files_merge_into_one_order() {
    let directory = tempfile::tempdir().unwrap();
    let all = batches(40_000, |at| plain(at.wrapping_mul(7) % 40_000));
    let files: Vec<Arc<StoredFile>> = all
        .chunks(2)
        .enumerate()
        .map(|(number, batches)| {
            let path = directory.path().join(format!("{number}.parquet"));
            write(&path, Level::L0, batches);
            Arc::new(stored(&path))
        })
        .collect();
    let merged: Vec<RecordBatch> = Merge::of_files(&files).unwrap().collect::<Result<_, _>>().unwrap();
    let expected: Vec<RecordBatch> = sorted(&all).collect::<Result<_, _>>().unwrap();
    assert_eq!(rows(&merged), 40_000);
    assert_eq!(
        merged.iter().flat_map(ids).collect::<Vec<_>>(),
        expected.iter().flat_map(ids).collect::<Vec<_>>()
    );
    assert_eq!(objects(&merged[..1]), objects(&expected[..1]));
}

#[test]
fn a_removed_file_goes_when_its_last_reader_has_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write(&path, Level::L0, &batches(10, plain));
    let file = Arc::new(stored(&path));
    let reader = Arc::clone(&file);
    file.remove();
    drop(file);
    assert_eq!(rows(&read(&reader, &["id"], &Prune::default())), 10);
    drop(reader);
    assert!(!path.exists());
}

#[test]
fn an_unfinished_file_leaves_nothing_and_a_damaged_one_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let given = batches(10, plain);
    let mut writer = FileWriter::create(&path, Level::L0).unwrap();
    writer.write(&given[0]).unwrap();
    drop(writer);
    assert!(!path.exists());
    write(&path, Level::L0, &given);
    let bytes = std::fs::read(&path).unwrap();
    for end in [0, 4, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..end]).unwrap();
        assert!(StoredFile::open(path.clone(), Arc::new(Footers::new(1))).is_err(), "{end}");
    }
}

#[test]
fn a_row_is_small() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let given = batches(131_072, plain);
    let size = |level| write(&path, level, &given).1 as f64 / 131_072.0;
    let (l0, l1) = (size(Level::L0), size(Level::L1));
    println!("plain: L0 {l0:.1}, L1 {l1:.1} bytes a row");
    assert!(l1 < l0 && l0 < 80.0 && l1 < 60.0, "L0 {l0}, L1 {l1}");
}

/// Prints what each column costs.
#[test]
#[ignore = "a measurement; TOLLGATE_ACCESS_LOG names a file in the combined format, TOLLGATE_KEEP a folder for the files"]
fn sizes_by_column() {
    let directory = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("TOLLGATE_KEEP").map_or(directory.path().to_owned(), Into::into);
    let typical = |at: u64| {
        let (plain, typical) = (plain(at), samples::typical());
        let (ts_us, id, dur_us) = (plain.ts_us, plain.id, plain.dur_us);
        Record {
            ts_us,
            id,
            dur_us,
            conn: plain.conn,
            tx_body_b: plain.tx_body_b,
            up_rx_b: plain.up_rx_b,
            t_wait_us: plain.t_wait_us,
            ..typical
        }
    };
    let count = 500_000;
    for (name, given) in
        [("plain", batches(count, plain)), ("typical", batches(count, typical)), ("real", real_lines())]
    {
        for level in [Level::L0, Level::L1] {
            let path = folder.join(format!("{name}.{level:?}.parquet"));
            let started = cpu_us();
            let (extent, bytes) = write(&path, level, &given);
            let us = (cpu_us() - started) as f64 / extent.rows.max(1) as f64;
            println!(
                "{name} {level:?}: {:.1} bytes, {us:.2} us a row, {} rows",
                bytes as f64 / extent.rows.max(1) as f64,
                extent.rows
            );
            if level == Level::L1 {
                println!("{}", file::column_sizes(&path, 0.2));
            }
        }
    }
}

fn cpu_us() -> i64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<i64>().unwrap() / 1000
}

/// Lines of an Apache access log as rows.
fn real_lines() -> Vec<RecordBatch> {
    let Some(path) = std::env::var_os("TOLLGATE_ACCESS_LOG") else { return Vec::new() };
    let text = std::fs::read(path).unwrap();
    let mut builder = Builder::new(1 << 20);
    for (at, line) in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
        let line = String::from_utf8_lossy(line);
        let quoted: Vec<&str> = line.split('"').collect();
        let (Some(ip), Some(request)) = (line.split(' ').next(), quoted.get(1)) else { continue };
        let numbers: Vec<&str> = quoted.get(2).unwrap_or(&"").split(' ').collect();
        let mut words = request.split(' ');
        let ts_us = 1_795_252_443_512_804 + at as i64 * 8_123_457;
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let (referer, ua) = (quoted.get(3).copied(), quoted.get(5).copied());
        let record = Record {
            client_ip: ip.parse().ok(),
            path: Some(path.as_bytes()),
            query: query.map(str::as_bytes),
            method: Some(method.as_bytes()),
            status: numbers.get(1).and_then(|n| n.parse().ok()).unwrap_or(0),
            tx_body_b: numbers.get(2).and_then(|n| n.parse().ok()).unwrap_or(0),
            referer: referer.map(str::as_bytes),
            ua: ua.map(str::as_bytes),
            ts_us,
            id: id(at as u64, ts_us),
            ..plain(at as u64)
        };
        let mut bytes = Vec::new();
        binary::encode(&record, at as u64 + 1, &mut bytes);
        let mut tries = Tries::default();
        let decoded = binary::decode(&bytes, &mut tries).unwrap();
        let origin = Origin { proxy: "edge-1", boot: 1_795_252_000_000, core: 0 };
        builder.push_record(&decoded, &origin, ts_us + 5000, "unix").unwrap();
    }
    vec![builder.finish().unwrap()]
}

#[test]
fn footers_stay_within_their_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..4).map(|at| directory.path().join(at.to_string())).collect();
    paths.iter().for_each(|path| drop(write(path, Level::L0, &batches(10, plain))));
    let open = |most: usize| {
        let footers = Arc::new(Footers::new(most));
        paths.iter().for_each(|path| drop(StoredFile::open(path.clone(), Arc::clone(&footers)).unwrap()));
        footers.size()
    };
    let (count, bytes) = open(usize::MAX);
    assert_eq!((count, open(bytes / 2).0, open(0).0), (4, 2, 1));
}

/// Prints what finding one id costs in a file of half a million rows.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_an_id() {
    let directory = tempfile::tempdir().unwrap();
    for (name, level) in [("L0", Level::L0), ("L1", Level::L1)] {
        let path = directory.path().join(name);
        write(&path, level, &batches(500_000, plain));
        let file = StoredFile::open(path.clone(), Arc::new(Footers::new(1))).unwrap();
        let find = |at: u64| {
            let prune = Prune { id: Some(id(at, samples::plain(at).ts_us)), ..Prune::default() };
            let (started, before) = (cpu_us(), bytes_read());
            assert_eq!(rows(&read(&file, NAMES, &prune)), 1);
            (cpu_us() - started, bytes_read() - before)
        };
        let cold = {
            let started = cpu_us();
            StoredFile::open(path, Arc::new(Footers::new(1))).unwrap();
            cpu_us() - started
        };
        let costs: Vec<(i64, u64)> = (0..50).map(|number| find(number * 9_973)).collect();
        let us = costs.iter().map(|cost| cost.0).sum::<i64>() / 50;
        println!(
            "{name}: footer {cold} us; an id {us} us and {} bytes read of {}",
            costs.iter().map(|cost| cost.1).sum::<u64>() / 50,
            std::fs::metadata(file.path()).unwrap().len()
        );
    }
}

/// Bytes that this process has read from files.
fn bytes_read() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}
