use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::RecordBatch;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::column::{Column, id_at};
use super::compare::compare;
use super::explain::explain;
use super::groups::{Limits, Split};
use super::show::{Shown, show};
use super::stats::stats;
use super::top::{By, top};
use super::*;
use crate::log_service::columns::Builder;
use crate::log_service::part::{Each, Extent, Part, Prune, StreamExtent};
use crate::log_service::query::{Field, Query};
use crate::log_service::read::Window;

/// 2026-11-21T09:00:00Z in microseconds.
const START: i64 = 1_795_251_600_000_000;

/// Rows in memory, in small batches; leaves out the batches that cannot match.
struct Memory {
    extent: Extent,
    batches: Vec<RecordBatch>,
}

impl Memory {
    fn new(rows: &[Value]) -> Self {
        let mut batches = Vec::new();
        for rows in rows.chunks(7) {
            let mut builder = Builder::new(100);
            for row in rows {
                builder.push_object(row.to_string().as_bytes(), START + 99_000_000_000, "127.0.0.1").unwrap();
            }
            batches.push(builder.finish().unwrap());
        }
        let mut extent = Extent { rows: rows.len() as u64, ..Extent::default() };
        for batch in &batches {
            let of = extent_of(batch);
            extent.min_ts = extent.min_ts.min(of.min_ts);
            extent.max_ts = extent.max_ts.max(of.max_ts);
            extent.min_id = extent.min_id.min(of.min_id);
            extent.max_id = extent.max_id.max(of.max_id);
        }
        Self { extent, batches }
    }
}

fn extent_of(batch: &RecordBatch) -> Extent {
    let (Some(Column::Times(times)), Some(Column::Id(ids))) =
        (Column::of(batch, "ts"), Column::of(batch, "id"))
    else {
        panic!("every batch has ts and id");
    };
    let ids = || (0..batch.num_rows()).map(|row| id_at(ids, row));
    Extent {
        rows: batch.num_rows() as u64,
        min_ts: *times.values().iter().min().unwrap(),
        max_ts: *times.values().iter().max().unwrap(),
        min_id: ids().min().unwrap(),
        max_id: ids().max().unwrap(),
        ..Extent::default()
    }
}

impl Part for Memory {
    fn extent(&self) -> &Extent {
        &self.extent
    }

    fn read(&self, columns: &[&str], prune: &Prune, each: &mut Each<'_>) -> io::Result<()> {
        for batch in self.batches.iter().filter(|batch| prune.admits(&extent_of(batch))) {
            let schema = batch.schema();
            let places: Vec<usize> = (0..schema.fields().len())
                .filter(|&at| columns.contains(&schema.field(at).name().as_str()))
                .collect();
            if each(batch.project(&places).unwrap())?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn id_of(number: u64) -> String {
    let millis = START / 1000 + number as i64 * 250;
    let hex = format!("{millis:012x}");
    format!("{}-{}-7000-8000-{number:012x}", &hex[..8], &hex[8..])
}

/// A request each quarter of a second; of the route `cart` on the endpoint `b`, every second one fails slowly.
fn request(number: u64) -> Value {
    let time = Timestamp::from_microsecond(START + number as i64 * 250_000).unwrap();
    let endpoint = if number.is_multiple_of(3) { "b" } else { "a" };
    let fails = endpoint == "b" && number.is_multiple_of(2);
    let mut row = json!({
        "v": 1, "kind": "request", "ts": format!("{time:.6}"), "id": id_of(number), "proxy": "edge-1", "boot": 5,
        "core": number % 2, "seq": number / 2 + 1, "conn": number / 20, "client_ip": format!("10.0.0.{}", number % 50),
        "method": "GET", "host": "shop.example", "path": format!("/api/cart/{number}"),
        "route": if number.is_multiple_of(5) { "static" } else { "cart" },
        "status": if fails { 504 } else { 200 }, "tx_body_b": number * 10,
        "dur_us": if fails { 30_000_000 + number } else { 1_000 + number % 100 },
        "t_wait_us": 900, "upstream": "cart", "up_addr": endpoint, "end_by": if fails { "upstream" } else { "none" },
        "end_at": "done", "x": {"tenant": format!("t{}", number % 3)},
    });
    if fails {
        row["reason"] = "http_response_timeout".into();
        row["cause"] = "timeout.response=30s".into();
    }
    if number % 10 == 9 {
        row["rid"] = format!("cdn-{number}").into();
    }
    row
}

fn others() -> Vec<Value> {
    let ts = "2026-11-21T09:00:10.000000Z";
    vec![
        json!({"kind": "app", "ts": ts, "id": id_of(40), "msg": "carries the id"}),
        json!({"ts": ts, "msg": format!("names {} in its text", id_of(40))}),
        json!({"kind": "open", "ts": ts, "id": id_of(7_000), "route": "cart", "status": 101}),
        json!({"kind": "close", "ts": ts, "id": id_of(7_000), "route": "cart", "status": 101, "dur_us": 3_600_000_000u64, "end_at": "tunnel"}),
        json!({"kind": "start", "ts": ts, "proxy": "edge-1", "boot": 5, "core": 2}),
    ]
}

fn all_rows() -> Vec<Value> {
    (0..600).map(request).chain(others()).collect()
}

fn parts() -> Parts {
    let parts = all_rows().chunks(130).map(|rows| Arc::new(Memory::new(rows)) as Arc<dyn Part>).collect();
    Parts::new(parts)
}

fn asked(text: &str) -> Asked {
    Asked::new(Query::parse(text).unwrap(), Window::default())
}

fn fields(names: &[&str]) -> Vec<Field> {
    names.iter().map(|name| Field::named(name)).collect()
}

/// Rows as objects, without what the service adds.
fn objects(rows: &[String]) -> Vec<Value> {
    let objects = rows.iter().map(|row| {
        let mut row: Value = serde_json::from_str(row).unwrap();
        let members = row.as_object_mut().unwrap();
        members.remove("recv");
        members.remove("from");
        row
    });
    objects.collect()
}

fn naive(text: &str) -> Vec<Value> {
    let query = Query::parse(text).unwrap();
    all_rows().into_iter().filter(|row| query.matches(row)).collect()
}

#[test]
fn search_gives_the_newest_or_the_slowest_whole_rows() {
    for text in ["", "status:5xx", "x.tenant:t1 -route:static", "path:/api/cart/1*", "nothing_at_all"] {
        for count in [0, 1, 10, 1_000] {
            let mut truth = naive(text);
            truth.sort_by_key(|row| std::cmp::Reverse((row["ts"].to_string(), row["id"].to_string())));
            truth.truncate(count);
            let found = search(&parts(), &asked(text), Sort::Newest, count, &Control::default()).unwrap();
            let keys = |rows: &[Value]| rows.iter().map(|row| row["ts"].to_string()).collect::<Vec<_>>();
            assert_eq!(keys(&objects(&found.rows)), keys(&truth), "{text} {count}");
            assert_eq!(found.report.rows, truth.len() as u64);

            let mut truth = naive(text);
            truth.sort_by_key(|row| std::cmp::Reverse(row["dur_us"].as_u64()));
            truth.truncate(count);
            let found = search(&parts(), &asked(text), Sort::Slowest, count, &Control::default()).unwrap();
            let keys = |rows: &[Value]| rows.iter().map(|row| row["dur_us"].as_u64()).collect::<Vec<_>>();
            assert_eq!(keys(&objects(&found.rows)), keys(&truth), "{text} {count}");
        }
    }
    let found = search(&parts(), &asked("seq:3 core:1"), Sort::Newest, 5, &Control::default()).unwrap();
    assert_eq!(objects(&found.rows), [request(5)]);
}

#[test]
fn all_rows_come_oldest_part_first_until_the_reader_has_enough() {
    let mut found = Vec::new();
    let report = rows(&parts(), &asked("status:504"), &Control::default(), &mut |row| {
        found.push(row.to_owned());
        ControlFlow::Continue(())
    });
    assert_eq!(report.unwrap().rows, found.len() as u64);
    assert!(objects(&found) == naive("status:504"));
    let mut count = 0;
    let report = rows(&parts(), &asked(""), &Control::default(), &mut |_| {
        count += 1;
        if count == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((count, report.unwrap().rows), (3, 3));
}

#[test]
fn a_window_limits_what_is_found() {
    let time = |second: i64| Timestamp::from_microsecond(START + second * 1_000_000).ok();
    let window = Window { since: time(20), until: time(22) };
    let found =
        search(&parts(), &Asked::new(Query::all(), window), Sort::Newest, 100, &Control::default()).unwrap();
    assert_eq!(objects(&found.rows), (80..88).rev().map(request).collect::<Vec<_>>());
}

#[test]
fn an_id_finds_its_rows_and_what_is_around() {
    let find = |text: &str| show(&parts(), &WantedId::new(text).unwrap(), &Control::default()).unwrap();
    let shown = find(&id_of(40));
    assert_eq!(objects(&shown.records), [others()[0].clone(), request(40)]);
    assert_eq!(objects(&shown.lines), [others()[1].clone()]);
    let neighbours = [42, 44, 46, 48, 50, 52, 54, 56, 58].map(request);
    assert_eq!(objects(&shown.neighbours), neighbours);

    let only = |shown: Shown| objects(&shown.records).iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
    assert_eq!(only(find("cdn-129")), [id_of(129)]);
    assert_eq!(only(find(&id_of(77).replace('-', ""))), [id_of(77)]);
    let long = id_of(333);
    assert_eq!(only(find(&format!("{}…{}", &long[..8], &long[32..]))), std::slice::from_ref(&long));
    assert_eq!(only(find(&long[..13])), std::slice::from_ref(&long));
    assert_eq!(find("01a1fd62-0000").records, Vec::<String>::new());
    assert!(WantedId::new("01a").is_none());
}

#[test]
fn neighbours_are_the_nearest_on_a_busy_connection() {
    let row = |number: u64| {
        let time = Timestamp::from_microsecond(START + number as i64 * 10_000).unwrap();
        let mut row = request(number);
        (row["ts"], row["conn"], row["core"]) = (format!("{time:.6}").into(), 1.into(), 1.into());
        row
    };
    let rows: Vec<Value> = (0..3_000).map(row).collect();
    let parts: Vec<_> = rows.chunks(1_000).map(|rows| Arc::new(Memory::new(rows)) as Arc<dyn Part>).collect();
    for number in [5, 1_003, 2_990] {
        let wanted = WantedId::new(&id_of(number)).unwrap();
        let shown = show(&Parts::new(parts.clone()), &wanted, &Control::default()).unwrap();
        assert_eq!(objects(&shown.records), [row(number)]);
        let near = (number.saturating_sub(10)..(number + 11).min(3_000)).filter(|other| *other != number);
        assert_eq!(objects(&shown.neighbours), near.map(row).collect::<Vec<_>>(), "{number}");
    }
}

#[test]
fn a_request_of_others_keeps_its_lines_and_neighbours_whatever_its_id_looks_like() {
    let mut rows: Vec<Value> = (0..15).map(request).collect();
    let name = r#"job(7) "a\b""#;
    (rows[12]["id"], rows[12]["rid"]) = (name.into(), "cdn-twelve".into());
    rows.push(json!({"ts": rows[12]["ts"], "msg": format!("done with {name}")}));
    rows.push(json!({"ts": rows[12]["ts"], "msg": "done with another"}));
    let parts = Parts::new(vec![Arc::new(Memory::new(&rows)) as Arc<dyn Part>]);
    let shown = show(&parts, &WantedId::new("cdn-twelve").unwrap(), &Control::default()).unwrap();
    assert_eq!(objects(&shown.records), rows[12..13]);
    assert_eq!(objects(&shown.lines), rows[15..16]);
    let near = [0, 2, 4, 6, 8, 10, 14].map(|number| rows[number].clone());
    assert_eq!(objects(&shown.neighbours), near);
}

#[test]
fn an_id_reads_only_the_batch_that_holds_it() {
    let control = Control::default();
    let rows: Vec<Value> = (0..600).map(request).collect();
    let parts =
        Parts::new(rows.chunks(130).map(|rows| Arc::new(Memory::new(rows)) as Arc<dyn Part>).collect());
    let shown = lookup(&parts, &WantedId::new(&id_of(301)).unwrap(), &control).unwrap();
    assert_eq!((shown.records.len(), control.progress().0), (1, 7));
}

#[test]
fn top_counts_the_same_as_counting_objects() {
    let is_request = |row: &Value| row["kind"] == "request" || row["kind"] == "close";
    for (text, names) in [
        ("", vec!["route"]),
        ("", vec!["up_addr", "status"]),
        ("status:200", vec!["route", "x.tenant", "core"]),
        ("", vec!["path"]),
        ("route:cart", vec!["gone"]),
        ("", vec!["id"]),
        ("", vec!["rid"]),
        ("", vec!["x"]),
    ] {
        let names = fields(&names);
        let mut truth: BTreeMap<Vec<Option<String>>, (u64, u64, u64)> = BTreeMap::new();
        let with_lines = !names.iter().any(Field::is_of_requests);
        for row in naive(text).into_iter().filter(|row| with_lines || is_request(row)) {
            let value = |field: &Field| {
                field.of(&row).map(|value| value.as_str().map_or(value.to_string(), str::to_owned))
            };
            let group = truth.entry(names.iter().map(value).collect()).or_default();
            group.0 += 1;
            group.1 += u64::from(row["status"].as_u64() >= Some(500));
            group.2 += row["tx_body_b"].as_u64().unwrap_or(0);
        }
        let found =
            top(&parts(), &asked(text), &names, (By::Count, 10_000), Limits::default(), &Control::default())
                .unwrap();
        let told = found.rows.iter().map(|row| {
            let values = row.values.iter().map(|value| value.as_deref().map(str::to_owned)).collect();
            (values, (row.figures.count, row.figures.errors, row.figures.bytes))
        });
        assert_eq!(told.collect::<BTreeMap<_, _>>(), truth, "{names:?}");
        assert_eq!(found.total.count, truth.values().map(|group| group.0).sum::<u64>());
        assert!(found.rows.is_sorted_by_key(|row| std::cmp::Reverse(row.figures.count)));
    }
}

#[test]
fn top_orders_by_what_is_asked() {
    let first = |by: By| {
        let order = (by, 1);
        let found =
            top(&parts(), &asked(""), &fields(&["up_addr"]), order, Limits::default(), &Control::default());
        found.unwrap().rows[0].values[0].as_deref().map(str::to_owned)
    };
    let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
    assert_eq!([By::Count, By::Bytes, By::P50].map(first), [a.clone(), a, b.clone()]);
    assert_eq!(
        [By::Errors, By::ErrShare, By::P99, By::Time].map(first),
        [b.clone(), b.clone(), b.clone(), b]
    );
}

#[test]
fn groups_beyond_the_limit_are_counted_together() {
    let limits = Limits { groups: 10, ..Limits::default() };
    let found = top(
        &parts(),
        &asked("kind:request"),
        &fields(&["path"]),
        (By::Count, 100),
        limits,
        &Control::default(),
    );
    let found = found.unwrap();
    assert_eq!((found.rows.len(), found.others.unwrap().count, found.total.count), (10, 590, 600));
    let limits = Limits { bytes: 1, ..Limits::default() };
    let found = top(
        &parts(),
        &asked("kind:request"),
        &fields(&["path"]),
        (By::Count, 1_000),
        limits,
        &Control::default(),
    );
    let found = found.unwrap();
    assert!(
        found.rows.len() < 600 && found.others.is_some() && found.total.count == 600,
        "{}",
        found.rows.len()
    );
}

#[test]
fn long_lived_exchanges_are_counted_but_not_timed() {
    let found =
        stats(&parts(), &asked("status:101"), (None, None), Limits::default(), &Control::default()).unwrap();
    // The opening is the same exchange as its end.
    assert_eq!((found.whole.count, found.whole.max_us), (1, None));
}

#[test]
fn stats_tell_reasons_phases_and_spans() {
    let by_minute = Some(Split::Every(60_000_000));
    let found =
        stats(&parts(), &asked("kind:request"), (by_minute, None), Limits::default(), &Control::default())
            .unwrap();
    assert_eq!((found.whole.count, found.whole.errors, found.whole.rows), (600, 100, 600));
    assert!((found.rate - 600.0 / 149.75).abs() < 1e-6, "{}", found.rate);
    assert_eq!(found.statuses, [(200, 500), (500, 100)]);
    let [reason] = found.reasons.as_slice() else { panic!("{:?}", found.reasons) };
    assert_eq!((reason.count, reason.cause.as_deref()), (100, Some("timeout.response=30s")));
    let wait = found.phases.iter().find(|phase| phase.name == "t_wait_us").unwrap();
    assert_eq!(wait.time_us, 600 * 900);
    let spans: Vec<_> =
        found.rows.iter().map(|row| (row.values[0].clone().unwrap(), row.figures.count)).collect();
    let expected =
        [("2026-11-21T09:00:00Z", 240), ("2026-11-21T09:01:00Z", 240), ("2026-11-21T09:02:00Z", 120)];
    assert_eq!(spans, expected.map(|(name, count)| (name.into(), count)));
}

#[test]
fn rows_that_stand_for_many_count_as_many_and_say_so() {
    let rows: Vec<Value> = (0..100)
        .map(|number| {
            let mut row = request(number);
            row["sw"] = 10.into();
            row
        })
        .collect();
    let parts = Parts::new(vec![Arc::new(Memory::new(&rows))]);
    let found =
        stats(&parts, &asked(""), (None, None), Limits::default(), &Control::default()).unwrap().whole;
    // 1.96 · √(100 · 10 · 9)
    assert_eq!((found.rows, found.count, found.count_off), (100, 1_000, Some(186)));
    assert_eq!(found.time_us, rows.iter().map(|row| row["dur_us"].as_u64().unwrap() * 10).sum::<u64>());
}

#[test]
fn explain_names_what_the_failures_have_in_common() {
    let found = explain(&parts(), (&asked("status:504"), &Query::all()), 20, &Control::default()).unwrap();
    assert_eq!((found.matching, found.rest), (100, 501));
    let endpoint = found.values.iter().find(|told| told.field == "up_addr").unwrap();
    assert_eq!((endpoint.value.as_deref(), endpoint.support, endpoint.share_in), (Some("b"), 100, 1.0));
    assert!((endpoint.share_out - 100.0 / 501.0).abs() < 1e-9 && endpoint.lift.unwrap() > 5.0);
    // What was asked for explains nothing; what is spread evenly neither.
    assert!(
        found.values.iter().all(|told| !["status", "route", "method"].contains(&&*told.field)),
        "{:?}",
        found.values
    );
}

#[test]
fn compare_tells_only_what_the_data_supports() {
    let control = Control::default();
    let differ = |a: &str, b: &str| {
        compare(&parts(), (&asked(a), &asked(b)), &[Field::named("route")], Limits::default(), &control)
            .unwrap()
    };
    let found = differ("up_addr:a", "up_addr:b");
    let told: Vec<_> = found.overall.differences.iter().map(|difference| difference.of.clone()).collect();
    assert_eq!((told, found.overall.b.errors), (vec!["errors".to_owned()], 100));
    let found = differ("conn:(0 2 4 6 8 10 12 14)", "conn:(1 3 5 7 9 11 13 15)");
    assert_eq!((found.differences, found.rows.len()), (0, 2));
    let nobody = differ("up_addr:a", "up_addr:z");
    assert_eq!((nobody.differences, nobody.overall.b.count), (0, 0));
}

#[test]
fn compare_says_nothing_of_a_value_that_a_side_may_have_among_the_others() {
    let (all, carts) = (asked("kind:request"), asked("kind:request route:cart"));
    let control = Control::default();
    let limits = Limits { groups: 1, ..Limits::default() };
    let found = compare(&parts(), (&all, &carts), &[Field::named("route")], limits, &control).unwrap();
    // The first side tells `static` apart, and counts `cart` with what else there is.
    let [only] = found.rows.as_slice() else { panic!("{:?}", found.rows) };
    assert_eq!((only.values[0].as_deref(), only.a.count, only.b.count), (Some("static"), 120, 0));
    let [others] = found.others.as_slice() else { panic!("{:?}", found.others) };
    assert_eq!((&*others.field, others.a.count, others.b.count), ("route", 480, 0));
    let whole =
        compare(&parts(), (&all, &carts), &[Field::named("route")], Limits::default(), &control).unwrap();
    assert_eq!((whole.rows.len(), whole.others.len()), (2, 0));
}

#[test]
fn a_stopped_query_ends_without_an_answer() {
    let control = Control::default();
    control.stop();
    let found = top(&parts(), &asked(""), &fields(&["route"]), (By::Count, 9), Limits::default(), &control);
    assert!(matches!(found, Err(ExecError::Stopped)));
    assert!(matches!(search(&parts(), &asked(""), Sort::Newest, 9, &control), Err(ExecError::Stopped)));
}

#[test]
fn progress_reaches_all_rows() {
    let control = Control::default();
    stats(&parts(), &asked(""), (None, None), Limits::default(), &control).unwrap();
    assert_eq!(control.progress(), (605, 605));
}

#[test]
fn answers_over_http_carry_their_completeness() {
    let mut memory = Memory::new(&[request(1), request(3)]);
    let stream = StreamExtent {
        proxy: "edge-1".to_owned(),
        boot: 5,
        core: 1,
        numbers: vec![(1, 1), (3, 3)],
        ..StreamExtent::default()
    };
    memory.extent.streams = vec![stream];
    let parts = Parts::new(vec![Arc::new(memory)]);
    let now = Timestamp::from_microsecond(START + 3_600_000_000).unwrap();
    let ask = |question: &str, arguments: &[(&str, &str)]| {
        let arguments: HashMap<String, String> =
            arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        answer(
            Question::named(question).unwrap(),
            &arguments,
            now,
            &parts,
            Limits::default(),
            &Control::default(),
        )
    };
    for (question, arguments, rows) in [
        ("search", vec![("q", "status:200"), ("since", "2h"), ("sort", "dur")], 2),
        ("show", vec![("id", id_of(3).as_str())], 1),
        ("top", vec![("fields", "route,status"), ("by", "p99")], 2),
        ("stats", vec![("every", "1m"), ("since", "all")], 2),
        ("explain", vec![("q", "status:200")], 2),
    ] {
        let told = ask(question, &arguments).unwrap();
        assert_eq!(
            (&told["report"]["missing"][0]["from"], &told["report"]["rows"]),
            (&json!(2), &json!(rows)),
            "{told}"
        );
    }
    let told = ask("compare", &[("a", "2h..now"), ("b", "route:cart"), ("q", "status:200")]).unwrap();
    assert_eq!(
        (&told["overall"]["a"]["count"], &told["overall"]["b"]["count"]),
        (&json!(2), &json!(2)),
        "{told}"
    );
    for (question, arguments) in [
        ("search", vec![("sort", "size")]),
        ("search", vec![("m", "1")]),
        ("search", vec![("q", "status>")]),
        ("show", vec![("id", "x")]),
        ("top", vec![]),
        ("stats", vec![("every", "1ms")]),
        ("compare", vec![("a", "status:200")]),
    ] {
        assert!(
            matches!(ask(question, &arguments), Err(AnswerError::Question(_))),
            "{question} {arguments:?}"
        );
    }
}
