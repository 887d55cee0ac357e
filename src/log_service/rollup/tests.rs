use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::files::{hours, minutes, put_within, read};
use super::hours::merge_minutes;
use super::*;
use crate::log_service::columns::Builder;
use host::{HostAsked, HostMinute, host_minutes};

fn batch(rows: &[Value]) -> arrow_array::RecordBatch {
    let mut builder = Builder::new(10_000);
    for row in rows {
        builder.push_object(row.to_string().as_bytes(), 1_763_713_443_000_000, "a").unwrap();
    }
    builder.finish().unwrap()
}

fn request(second: u32, route: &str, dur: u64) -> Value {
    json!({"kind": "request", "ts": format!("2026-11-21T09:14:{second:02}Z"), "route": route, "status": 200,
        "client_ip": format!("10.0.0.{}", dur % 7), "tx_body_b": 10, "tx_head_b": 1, "dur_us": dur, "t_wait_us": dur / 2})
}

/// 2026-11-21T10:00:00Z.
const NOW: i64 = 1_795_255_200_000_000;
const DAY_US: i64 = 86_400_000_000;

fn bounds(rows: usize) -> Bounds {
    Bounds { rows, hours: 400 * 24 }
}

/// What is told of these cells and of what a directory has of a log up to file `covered`.
fn told_at(now: i64, data: &std::path::Path, covered: u64, cells: Vec<Packed>, asked: &Asked) -> Value {
    answer(&Kept::new(covered, 0).counted(data, cells), asked, now, bounds(1000)).unwrap()
}

fn told(cells: Vec<Packed>, asked: &Asked) -> Value {
    told_at(NOW, std::path::Path::new("none"), 0, cells, asked)
}

fn counted(rows: &[Value]) -> Vec<Packed> {
    let mut counting = Counting::default();
    counting.note(&batch(rows));
    counting.packed()
}

fn asked(by: &str, step: &str) -> Asked {
    Asked::new((None, None), by, step).unwrap()
}

#[test]
fn weights_multiply_and_long_lived_exchanges_have_no_duration() {
    let mut counting = Counting::default();
    let mut sampled = request(1, "/a", 1000);
    sampled["sw"] = 9.into();
    let tunnel = json!({"kind": "close", "ts": "2026-11-21T09:14:01Z", "route": "/a", "status": 101, "dur_us": 50_000_000});
    counting.note(&batch(&[sampled, request(2, "/a", 9000), tunnel, json!({"kind": "app", "line": "x"})]));
    let told = told(counting.packed(), &asked("route,class", "1m"));
    assert_eq!(told["rows"].as_array().unwrap().len(), 2);
    let row = &told["rows"][1];
    assert_eq!((&row["count"], &row["tx_b"], &row["class"]), (&10.into(), &110.into(), &"2xx".into()));
    assert!(row["p50_us"].as_u64().unwrap().abs_diff(1000) <= 20, "{row}");
    assert_eq!((&row["clients"], row["time"].as_str()), (&2.into(), Some("2026-11-21T09:14:00Z")));
    assert!(told["rows"][0].get("p50_us").is_none());
}

#[test]
fn files_and_memory_merge_to_the_same_percentiles() {
    let data = tempfile::tempdir().unwrap();
    let rows: Vec<Value> = (1..=1000).map(|dur| request(5, "/a", dur)).collect();
    write(data.path(), 3, &counted(&rows[..500])).unwrap();
    // Belongs to rows that are in memory still.
    write(data.path(), 4, &counted(&rows[500..])).unwrap();
    let asked = asked("", "1h");
    let one = told(counted(&rows), &asked);
    assert_eq!(one, told_at(NOW, data.path(), 3, counted(&rows[500..]), &asked));
    assert!(one["rows"][0]["p99_us"].as_u64().unwrap().abs_diff(990) <= 20);
    let mut kept = Kept::new(3, usize::MAX);
    kept.add(4, counted(&rows[500..]).into());
    assert_eq!(one, answer(&kept.counted(data.path(), Vec::new()), &asked, NOW, bounds(1000)).unwrap());
    remove_unless_covered(data.path(), 2).unwrap();
    assert!(minutes(data.path()).is_empty());
}

/// Thirty parts of a log, a request every ten seconds, and late ones of the day before in each.
fn parts() -> Vec<Vec<Value>> {
    let part = |part: i64| {
        let rows = (0..30).map(move |row| {
            let second = 1_795_255_200 - 9_000 + part * 300 + row * 10;
            let mut row = request(0, ["/a", "/b"][row as usize % 2], (part * 30 + row + 1) as u64);
            let late = if row["dur_us"] == part * 30 + 1 { 86_400 } else { 0 };
            row["ts"] = jiff::Timestamp::from_second(second - late).unwrap().to_string().into();
            row
        });
        rows.collect()
    };
    (0..30).map(part).collect()
}

#[test]
fn hours_are_the_sum_of_their_minutes_however_the_log_was_cut() {
    let data = tempfile::tempdir().unwrap();
    let parts = parts();
    let all: Vec<Value> = parts.concat();
    let by = asked("route,class", "1h");
    for (number, part) in (1..).zip(&parts) {
        write(data.path(), number, &counted(part)).unwrap();
        if number % 7 == 0 {
            merge_minutes(data.path(), number, 2).unwrap();
        }
        // Two days later minutes are gone, and only hours are read.
        let rows = &all[..part.len() * number as usize];
        for now in [NOW, NOW + 2 * DAY_US] {
            let stored = told_at(now, data.path(), number, Vec::new(), &by);
            let memory = told_at(now, std::path::Path::new("none"), 0, counted(rows), &by);
            assert_eq!(stored, memory, "part {number}, {now}");
        }
    }
    assert_eq!((hours(data.path()).len(), minutes(data.path()).len()), (4, 30));
    let minutely = told_at(NOW + 2 * DAY_US, data.path(), 30, Vec::new(), &asked("", "1m"));
    assert_eq!((&minutely["rows"], &minutely["since"]), (&json!([]), &"2026-11-22T10:00:00Z".into()));
}

#[test]
fn a_merge_that_dies_counts_nothing_twice() {
    let data = tempfile::tempdir().unwrap();
    let rows = parts().concat();
    for number in 1..=60 {
        write(data.path(), number, &counted(&rows[..5])).unwrap();
        merge_minutes(data.path(), number, 1).unwrap();
    }
    let later = NOW + 2 * DAY_US;
    let count = || told_at(later, data.path(), 60, Vec::new(), &asked("", "24h"))["rows"].to_string();
    let before = count();
    let small: Vec<(std::path::PathBuf, Vec<u8>)> = hours(data.path())
        .into_iter()
        .map(|file| (file.path.clone(), std::fs::read(file.path).unwrap()))
        .collect();
    keep_house(data.path(), 60, Duration::MAX);
    assert_eq!((hours(data.path()).len(), count()), (37, before.clone()));
    // As if it had died before the old files were gone.
    for (path, bytes) in small {
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!((hours(data.path()).len(), count()), (37, before.clone()));
    keep_house(data.path(), 60, Duration::MAX);
    assert_eq!((std::fs::read_dir(data.path().join("roll/hours")).unwrap().count(), count()), (37, before));
    // By when they were written, whatever time their rows say.
    let (first, last) = (hours(data.path()).remove(0), hours(data.path()).pop().unwrap());
    let file = std::fs::File::options().write(true).open(&first.path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(7_200)).unwrap();
    keep_house(data.path(), 60, Duration::from_secs(3_600));
    let left = hours(data.path());
    assert!(!left.contains(&first) && left.contains(&last) && left.len() == 36);
}

#[test]
fn hours_of_a_log_that_is_not_known_are_put_aside() {
    let data = tempfile::tempdir().unwrap();
    write(data.path(), 1, &counted(&[request(1, "/a", 1)])).unwrap();
    merge_minutes(data.path(), 1, 1).unwrap();
    remove_unless_covered(data.path(), 0).unwrap();
    assert!(minutes(data.path()).is_empty() && hours(data.path()).is_empty());
    assert_eq!(std::fs::read_dir(data.path().join("roll/hours")).unwrap().count(), 1);
}

#[test]
fn an_answer_that_would_be_too_large_is_refused() {
    let cells = counted(&(0..20).map(|n| request(5, &format!("/{n}"), 1)).collect::<Vec<_>>());
    let counted = Kept::new(0, 0).counted(std::path::Path::new("none"), cells);
    assert!(answer(&counted, &asked("route", "1m"), NOW, bounds(20)).is_ok());
    let refused = answer(&counted, &asked("route", "1m"), NOW, bounds(19));
    assert!(matches!(refused, Err(RollupError::TooMany(19))));
}

#[test]
fn keys_are_bounded_and_nothing_is_uncounted() {
    let mut counting = Counting::default();
    let rows: Vec<Value> = (0..2000).map(|n| request(5, &format!("/{n}"), 1)).collect();
    counting.note(&batch(&rows));
    let packed = counting.packed();
    assert_eq!(packed.len(), MAX_KEYS + 1);
    assert_eq!(told(packed, &asked("", "1m"))["rows"][0]["count"], 2000);
}

#[test]
fn a_changed_file_is_not_believed() {
    let data = tempfile::tempdir().unwrap();
    let mut counting = Counting::default();
    counting.note(&batch(&[request(1, "/a", 1)]));
    write(data.path(), 1, &counting.packed()).unwrap();
    let path = minutes(data.path()).remove(0).path;
    let mut bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        bytes[at] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        assert!(read(&path).is_err(), "{at}");
        bytes[at] ^= 4;
    }
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("roll/1.tgr");
    let cells = counted(&[request(1, "/a", 1)]);
    let refused = put_within(&path, &cells, 100).unwrap_err();
    assert_eq!((refused.kind(), path.exists()), (std::io::ErrorKind::FileTooLarge, false));
}

#[test]
fn a_file_that_cannot_be_read_is_counted_and_ends_nothing() {
    let data = tempfile::tempdir().unwrap();
    for number in 1..=13 {
        write(data.path(), number, &counted(&[request(1, "/a", 1)])).unwrap();
    }
    let path = minutes(data.path()).remove(3).path;
    std::fs::write(&path, "no rollups").unwrap();
    let told = told_at(NOW, data.path(), 13, Vec::new(), &asked("", "1m"));
    assert_eq!(
        (&told["complete"], &told["unread"], &told["rows"][0]["count"]),
        (&false.into(), &1.into(), &12.into())
    );
    // A directory in the place of an old file cannot be deleted as one.
    let left = data.path().join("roll/hours/000001-000001_1-1.tgr");
    std::fs::create_dir_all(&left).unwrap();
    keep_house(data.path(), 13, Duration::ZERO);
    assert!(hours(data.path()).iter().any(|file| file.numbers == (2, 13)), "{:?}", hours(data.path()));
    assert!(left.exists());
}

#[test]
fn files_of_other_minutes_are_not_read_and_names_of_earlier_versions_are() {
    let data = tempfile::tempdir().unwrap();
    write(data.path(), 1, &counted(&[request(1, "/a", 1)])).unwrap();
    let path = minutes(data.path()).remove(0).path;
    let minute: i64 = NOW / 60_000_000 - 46;
    assert_eq!(path.file_name().unwrap().to_str(), Some(&*format!("000001_{minute}-{minute}.tgr")));
    let by = |from: &str| Asked::new((Some(from.parse().unwrap()), None), "", "1m").unwrap();
    let count = |from: &str| told_at(NOW, data.path(), 1, Vec::new(), &by(from));
    assert_eq!(count("2026-11-21T09:14:00Z")["rows"][0]["count"], 1);
    std::fs::write(&path, "no rollups").unwrap();
    assert_eq!(count("2026-11-21T11:14:00Z")["complete"], true);
    assert_eq!(count("2026-11-21T09:14:00Z")["complete"], false);
    // With other rows, and under a name without minutes.
    write(data.path(), 1, &counted(&[request(1, "/a", 1), request(2, "/a", 1)])).unwrap();
    std::fs::rename(&minutes(data.path()).remove(0).path, data.path().join("roll/000001.tgr")).unwrap();
    assert_eq!(minutes(data.path())[0].minutes, None);
    assert_eq!(count("2026-11-21T09:14:00Z")["rows"][0]["count"], 2);
    write(data.path(), 1, &counted(&[request(1, "/a", 1)])).unwrap();
    assert_eq!(
        (minutes(data.path()).len(), count("2026-11-21T09:14:00Z")["rows"][0]["count"].clone()),
        (1, 1.into())
    );
}

#[test]
fn an_answer_by_the_hour_says_from_when_on_there_are_any() {
    let asked = Asked::new((Some("2024-01-01T00:00:00Z".parse().unwrap()), None), "", "1h").unwrap();
    assert_eq!(told(Vec::new(), &asked)["since"], "2025-10-17T10:00:00Z");
    let asked = Asked::new((Some("2026-11-01T00:00:00Z".parse().unwrap()), None), "", "1h").unwrap();
    assert!(told(Vec::new(), &asked).get("since").is_none());
}

#[test]
fn only_known_fields_and_steps_are_taken() {
    for (by, step) in [("path", "1m"), ("host", "0m"), ("host", "1d"), ("host", "25h"), ("host", "m")] {
        assert!(Asked::new((None, None), by, step).is_err(), "{by} {step}");
    }
}

fn host_record(second: u32, proxy: &str, cpu: f64) -> Value {
    json!({"kind": "host", "ts": format!("2026-11-21T09:14:{second:02}Z"), "proxy": proxy, "boot": 1, "core": 2,
        "cpu_pct": cpu, "fds": 10.0 + cpu, "restarts_new": 1, "cert_days": 30, "workers": [{"worker": "app-0"}]})
}

fn hosts(now: i64, counted: &Counted, step: i64) -> Vec<HostMinute> {
    let asked = HostAsked { since: i64::MIN, until: i64::MAX, step };
    host_minutes(counted, asked, now).unwrap().0
}

#[test]
fn host_facts_are_kept_by_proxy_and_minute_and_are_no_requests() {
    let mut counting = Counting::default();
    let rows = [
        host_record(1, "a", 10.0),
        host_record(11, "a", 30.0),
        host_record(1, "b", 5.5),
        request(1, "/a", 7),
    ];
    counting.note(&batch(&rows));
    let packed = counting.packed();
    assert_eq!(told(packed.clone(), &asked("", "1m"))["rows"].as_array().unwrap().len(), 1);
    let counted = Kept::new(0, 0).counted(std::path::Path::new("none"), packed);
    let told = hosts(NOW, &counted, 1);
    assert_eq!(told.iter().map(|host| &*host.proxy).collect::<Vec<_>>(), ["a", "b"]);
    let (first, sums) = (&told[0], told[0].sums);
    assert_eq!((first.minute * 60_000_000, first.records), (NOW - 46 * 60_000_000, 2));
    assert_eq!((sums.cpu_pct_mean, sums.cpu_pct_max, sums.fds_max), (Some(20.0), Some(30.0), Some(40.0)));
    assert_eq!((sums.restarts, sums.cert_days_min, sums.spool_age_s_max), (Some(2.0), Some(30.0), None));
}

#[test]
fn the_facts_that_are_counted_are_those_of_the_record() {
    assert_eq!(host::NAMES, crate::record::host::FACTS);
}

#[test]
fn host_facts_go_to_files_and_to_hours_as_they_are() {
    let data = tempfile::tempdir().unwrap();
    for number in 1..=4 {
        write(
            data.path(),
            number,
            &counted(&[host_record(5, "a", f64::from(number as u32)), request(1, "/a", 7)]),
        )
        .unwrap();
    }
    let of_files = |now| hosts(now, &Kept::new(4, 0).counted(data.path(), Vec::new()), 60);
    let before = of_files(NOW);
    assert_eq!((before.len(), before[0].records, before[0].sums.cpu_pct_max), (1, 4, Some(4.0)));
    merge_minutes(data.path(), 4, 4).unwrap();
    assert_eq!(of_files(NOW), before);
    assert_eq!(of_files(NOW + 2 * DAY_US), before, "by hours");
    assert_eq!(
        told_at(NOW + 2 * DAY_US, data.path(), 4, Vec::new(), &asked("", "1h"))["rows"][0]["count"],
        4
    );
}

#[test]
fn host_facts_are_bounded_and_absurd_numbers_are_none() {
    let mut all = host::Hosts::default();
    for proxy in 0..300 {
        all.note(1, &format!("p{proxy}"), r#"{"cpu_pct":1e300,"fds":"many","load1":1}"#);
    }
    assert_eq!(all.len(), host::MAX_PROXIES + 1);
    for minute in 0..20_000 {
        all.note(minute, "p", "no object");
    }
    assert!(all.len() <= (1 << 14) + 1);
    let packed: Vec<Packed> = all.packed(1).collect();
    let told = hosts(NOW, &Kept::new(0, 0).counted(std::path::Path::new("none"), packed), 60 * 1_000_000);
    assert_eq!((told[0].sums.cpu_pct_max, told[0].sums.fds_max), (None, None));
}
