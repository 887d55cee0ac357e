use serde_json::json;

use super::*;
use crate::log_service::line;
use crate::log_service::query::Query;

fn stored(value: &serde_json::Value) -> Vec<u8> {
    let mut out = Vec::new();
    line::write(&mut out, "2026-11-21T09:14:03.512804Z", "unix", value.to_string().as_bytes());
    out
}

fn record(core: u64, seq: u64, second: u64) -> serde_json::Value {
    json!({"ts": format!("2026-11-21T09:14:{second:02}.000000Z"), "proxy": "e", "boot": 1, "core": core, "seq": seq})
}

fn scan(text: &[u8], query: &str, window: Window) -> (Vec<String>, Report) {
    let mut scan = Scan::new(Query::parse(query).unwrap(), window);
    let mut rows = Vec::new();
    let _ = scan
        .read(text, &mut |row| {
            rows.push(row.json.to_owned());
            Flow::Continue(())
        })
        .unwrap();
    (rows, scan.report())
}

#[test]
fn missing_numbers_are_told_per_core() {
    let text: Vec<u8> = [(0, 1), (0, 2), (1, 5), (0, 6), (1, 6)]
        .iter()
        .flat_map(|&(core, seq)| stored(&record(core, seq, 1)))
        .collect();
    let (rows, report) = scan(&text, "", Window::default());
    assert_eq!((rows.len(), report.missing_count(), report.is_complete()), (5, 3, false));
    assert_eq!((report.missing[0].core, report.missing[0].from, report.missing[0].to), (0, 3, 5));
}

#[test]
fn the_stop_record_proves_the_end_of_a_stream() {
    let mut text: Vec<u8> = (3..=4).flat_map(|seq| stored(&record(0, seq, 1))).collect();
    text.extend(stored(
        &json!({"kind": "stop", "proxy": "e", "boot": 1, "core": 9, "seq": 1, "last_seqs": [6, 99]}),
    ));
    text.extend(stored(
        &json!({"kind": "gap", "proxy": "e", "boot": 1, "core": 9, "missing": 2, "reason": "lines"}),
    ));
    let report = scan(&text, "", Window::default()).1;
    assert_eq!((report.missing.len(), report.missing[0].from, report.missing[0].to), (1, 5, 6));
    assert_eq!((report.unnumbered, report.missing_count()), (2, 4));
}

#[test]
fn a_loss_without_an_end_explains_what_is_missing_to_the_end_once_that_is_known() {
    let mut text: Vec<u8> = [1, 2, 4].into_iter().flat_map(|seq| stored(&record(0, seq, 1))).collect();
    text.extend(stored(
        &json!({"kind": "gap", "proxy": "e", "boot": 1, "core": 0, "first_seq": 4, "reason": "ring_lost"}),
    ));
    let told = |text: &[u8]| {
        let missing = scan(text, "", Window::default()).1.missing;
        Vec::from_iter(missing.into_iter().map(|missing| (missing.from, missing.to, missing.why)))
    };
    let lost = Some("ring_lost".to_owned());
    assert_eq!(told(&text), [(3, 3, None), (5, u64::MAX, lost.clone())]);
    text.extend(stored(
        &json!({"kind": "stop", "proxy": "e", "boot": 1, "core": 9, "seq": 1, "last_seqs": [6]}),
    ));
    assert_eq!(told(&text), [(3, 3, None), (5, 6, lost)]);
}

#[test]
fn rows_outside_filter_and_window_still_prove_completeness() {
    let text: Vec<u8> = (1..=4).flat_map(|seq| stored(&record(0, seq, seq))).collect();
    let window =
        Window { since: "2026-11-21T09:14:02Z".parse().ok(), until: "2026-11-21T09:14:04Z".parse().ok() };
    let (rows, report) = scan(&text, "seq:(1 3)", window);
    assert_eq!((rows.len(), report.is_complete()), (1, true));
}

#[test]
fn a_line_in_the_making_is_not_shown_and_not_damage() {
    let whole = stored(&record(0, 1, 1));
    for end in 0..whole.len() {
        let (rows, report) = scan(&whole[..end], "", Window::default());
        assert_eq!((rows.len(), report.damaged), (0, 0), "{end}");
    }
    assert_eq!(
        scan(b"{\"v\":1}", "", Window::default()).0.len(),
        1,
        "a plain file may lack the last line end"
    );
}

#[test]
fn damage_is_counted_and_what_follows_is_read() {
    let mut text = stored(&record(0, 1, 1));
    text[40] ^= 1;
    text.extend_from_slice(b"no json\n\n\xff\n[1]\n");
    text.extend(stored(&record(0, 2, 1)));
    let (rows, report) = scan(&text, "", Window::default());
    assert_eq!((rows.len(), report.damaged), (1, 4));
}

#[test]
fn sealed_files_are_read_only_as_far_as_they_are_good() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("2026-11-21")).unwrap();
    let (first, second) = (stored(&record(0, 1, 1)), stored(&record(0, 2, 1)));
    let path = data.path().join("2026-11-21/09.jsonl");
    std::fs::write(&path, [first.clone(), second].concat()).unwrap();
    std::fs::write(hour::suspect_path(&path), first.len().to_string()).unwrap();
    let newest = Newest::of(data.path(), &Query::all(), Window::default(), 10).unwrap();
    assert_eq!(newest.rows.len(), 1);
}

#[test]
fn newest_reads_back_over_files() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("2026-11-21")).unwrap();
    for hour in 1..=3u64 {
        let text: Vec<u8> = (1..=2).flat_map(|n| stored(&record(0, 2 * hour - 2 + n, 1))).collect();
        std::fs::write(data.path().join(format!("2026-11-21/0{hour}.jsonl")), text).unwrap();
    }
    let newest = Newest::of(data.path(), &Query::all(), Window::default(), 3).unwrap();
    let seqs: Vec<_> = newest
        .rows
        .iter()
        .map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!((seqs, newest.report.lines), (vec![4, 5, 6], 4));
}
