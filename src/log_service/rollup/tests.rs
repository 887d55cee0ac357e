use serde_json::{Value, json};

use super::*;
use crate::log_service::columns::Builder;

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
    let told = answer(counting.packed().iter(), &asked("route,class", "1m"));
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
    let (mut all, mut half) = (Counting::default(), Counting::default());
    let rows: Vec<Value> = (1..=1000).map(|dur| request(5, "/a", dur)).collect();
    all.note(&batch(&rows));
    half.note(&batch(&rows[..500]));
    write(data.path(), 3, &half.packed()).unwrap();
    let mut half = Counting::default();
    half.note(&batch(&rows[500..]));
    let mut cells = load(data.path(), 0);
    cells.extend(half.packed());
    let (one, two) = (answer(all.packed().iter(), &asked("", "1h")), answer(cells.iter(), &asked("", "1h")));
    assert_eq!(one, two);
    assert!(one["rows"][0]["p99_us"].as_u64().unwrap().abs_diff(990) <= 20);
    remove_unless_covered(data.path(), 2).unwrap();
    assert!(load(data.path(), 0).is_empty());
}

#[test]
fn keys_are_bounded_and_nothing_is_uncounted() {
    let mut counting = Counting::default();
    let rows: Vec<Value> = (0..2000).map(|n| request(5, &format!("/{n}"), 1)).collect();
    counting.note(&batch(&rows));
    let packed = counting.packed();
    assert_eq!(packed.len(), MAX_KEYS + 1);
    assert_eq!(answer(packed.iter(), &asked("", "1m"))["rows"][0]["count"], 2000);
}

#[test]
fn a_changed_file_is_not_believed() {
    let data = tempfile::tempdir().unwrap();
    let mut counting = Counting::default();
    counting.note(&batch(&[request(1, "/a", 1)]));
    write(data.path(), 1, &counting.packed()).unwrap();
    let path = data.path().join("roll/000001.tgr");
    let mut bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        bytes[at] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        assert!(load(data.path(), 0).is_empty(), "{at}");
        bytes[at] ^= 4;
    }
}

#[test]
fn only_known_fields_and_steps_are_taken() {
    for (by, step) in [("path", "1m"), ("host", "0m"), ("host", "1d"), ("host", "25h"), ("host", "m")] {
        assert!(Asked::new((None, None), by, step).is_err(), "{by} {step}");
    }
}
