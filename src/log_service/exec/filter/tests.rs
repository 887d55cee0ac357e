use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::log_service::columns::{Builder, render};

/// The moment at which all rows are received.
const RECV: i64 = 1_795_252_443_000_000;
const ID: &str = "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4";

fn batch(objects: &[Value]) -> RecordBatch {
    let mut builder = Builder::new(10_000);
    for object in objects {
        builder.push_object(object.to_string().as_bytes(), RECV, "127.0.0.1").unwrap();
    }
    builder.finish().unwrap()
}

/// Only the columns that the filter asks for.
fn projected(batch: &RecordBatch, filter: &Filter) -> RecordBatch {
    let mut columns = BTreeSet::new();
    filter.add_columns(&mut columns);
    let schema = batch.schema();
    let places: Vec<usize> =
        (0..schema.fields().len()).filter(|&at| columns.contains(schema.field(at).name())).collect();
    batch.project(&places).unwrap()
}

fn rendered(batch: &RecordBatch, row: usize) -> Value {
    let mut text = String::new();
    render(batch, row, &mut text);
    serde_json::from_str(&text).unwrap()
}

fn check(batch: &RecordBatch, text: &str) -> Result<(), String> {
    let query = Query::parse(text).map_err(|error| error.to_string())?;
    let mut filter = Filter::new(&query, Window::default());
    let found = filter.select(&projected(batch, &filter));
    let keys = filter.prune().keys.clone();
    for row in 0..batch.num_rows() {
        let object = rendered(batch, row);
        if query.matches(&object) != found.has(row) {
            return Err(format!("{text}: {} by columns, but {object}", found.has(row)));
        }
        if !found.has(row) {
            continue;
        }
        for (name, bytes) in &keys {
            let is_kept = match Column::of(batch, name) {
                Some(Column::Hex(array)) => array.value(row) == bytes,
                Some(column) => column.text(row).is_some_and(|text| text.as_bytes() == bytes),
                None => false,
            };
            if !is_kept {
                return Err(format!("{text}: would be left out for its {name}: {object}"));
            }
        }
        if let (Some((first, last)), Some(Column::Times(times))) =
            (filter.prune().ts, Column::of(batch, "ts"))
            && !(first..=last).contains(&times.value(row))
        {
            return Err(format!("{text}: would be left out for its time: {object}"));
        }
    }
    Ok(())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => prop_oneof![Just("GET"), Just("get"), Just("/api/Cart"), Just("curl/8"), Just("–"), Just("")].prop_map(Value::from),
        3 => prop_oneof![Just(0u64), Just(200), Just(504), Just(70_000), Just(u64::MAX), 0u64..700].prop_map(Value::from),
        1 => prop_oneof![Just(json!(-1)), Just(json!(1.5)), Just(json!(null)), Just(json!([1, "a"]))],
        1 => proptest::bool::ANY.prop_map(Value::from),
        1 => prop_oneof![Just(json!({"tenant": "acme", "n": 7})), Just(json!({"key": {"deep": "GET"}}))],
        2 => prop_oneof![
            Just(ID), Just("01A1FD62-5978-7CDD-9C2E-51F0B7C1A9D4"), Just("01a1fd6259787cdd9c2e51f0b7c1a9d4"),
            Just("0123456789abcdef"), Just("203.0.113.9"), Just("10.1.2.3"), Just("::ffff:10.1.2.3"), Just("12345"),
        ].prop_map(Value::from),
        2 => prop_oneof![
            Just("2026-11-21T09:14:03.512804Z"), Just("2026-11-21T09:14:03Z"), Just("2026-11-21T09:14:03.5128049Z"),
            Just("2026-11-21T10:14:03.000001+01:00"), Just("yesterday"),
        ].prop_map(Value::from),
    ]
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(
        &[
            "kind",
            "ts",
            "id",
            "rid",
            "trace_id",
            "span_id",
            "x-request-id",
            "method",
            "status",
            "dur_us",
            "path",
            "ua",
            "err",
            "client_ip",
            "up_reused",
            "tries",
            "try_log",
            "cut",
            "x",
            "body",
            "msg",
            "line",
            "level",
            "v",
            "core",
            "tx_body_b",
            "x.tenant",
            "up_addr",
            "user",
        ][..],
    )
}

fn object() -> impl Strategy<Value = Value> {
    proptest::collection::vec((name(), value()), 0..9).prop_map(|members| {
        Value::Object(
            members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>(),
        )
    })
}

fn term() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        3 => name().prop_map(str::to_owned),
        1 => proptest::sample::select(&["ip", "time", "dur", "tx", "x.tenant", "x.key.deep", "try_log.tenant", "cut.n", "body.n", "recv", "from", "status.x"][..]).prop_map(str::to_owned),
    ];
    let wanted = proptest::sample::select(
        &[
            "GET",
            "get",
            "*",
            "5xx",
            "504",
            "0504",
            "200",
            "70000",
            "true",
            "1.5",
            "-1",
            "cu*",
            "/api/*",
            "acme",
            "7",
            "\"\"",
            "a*",
            ID,
            "01A1FD62-5978-7CDD-9C2E-51F0B7C1A9D4",
            "01a1fd62*",
            "01a1fd6259787cdd9c2e51f0b7c1a9d4",
            "0123456789abcdef",
            "203.0.113.9",
            "10.0.0.0/8",
            "12345",
            "(GET 504)",
            "2026-11-21*",
            "2026-11-21T09:14:03.512804Z",
            "18446744073709551615",
            "\"[1,\\\"a\\\"]\"",
            "[0 TO 504]",
            "{200 TO 70000}",
            "[* TO 504.5}",
            "{-1 TO *]",
            "[1us TO 1ms]",
            "[2026-11-21T09:14:03Z TO 2026-11-21T09:14:03.512804Z}",
            "{2026-11-20 TO 2026-11-21]",
            "2026-11-21",
            "(not 504 and not GET)",
            "(>=200 and <504 or GET)",
            "(GET or \"get\" or !true)",
            "\"GET\"",
            "\"200\"",
            "1k",
        ][..],
    );
    let sign = proptest::sample::select(&[":", "=", "!=", "~", "!~"][..]);
    let order = proptest::sample::select(&["<", "<=", ">", ">="][..]);
    let bound = proptest::sample::select(
        &["0", "200", "504", "504.5", "1ms", "2026-11-21T09:14:03.512804Z", "2026-11-21T09:14:03Z"][..],
    );
    prop_oneof![
        6 => (field.clone(), sign, wanted).prop_map(|(field, sign, value)| format!("{field}{sign}{value}")),
        2 => (field, order, bound).prop_map(|(field, order, bound)| format!("{field}{order}{bound}")),
        1 => proptest::sample::select(&["cart", "curl", "\"8\"", "GET"][..]).prop_map(str::to_owned),
    ]
}

fn query() -> impl Strategy<Value = String> {
    term().prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| format!("-({one})")),
            inner.clone().prop_map(|one| format!("not {one}")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} {other})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} AND NOT {other})")),
            (inner.clone(), inner).prop_map(|(one, other)| format!("({one} || {other})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn columns_and_objects_agree(objects in proptest::collection::vec(object(), 1..12), text in query()) {
        // Not every value goes with every field.
        if Query::parse(&text).is_ok() {
            let checked = check(&batch(&objects), &text);
            prop_assert!(checked.is_ok(), "{}", checked.unwrap_err());
        }
    }
}

#[test]
fn what_is_not_shown_of_a_row_is_not_found_either() {
    let batch = batch(&[
        json!({"msg": "no id, no time, no kind"}),
        json!({"trace_id": "01a1fd6259787cdd9c2e51f0b7c1a9d4"}),
        json!({"x-request-id": ID, "status": 200}),
        json!({"id": ID, "kind": "app", "ts": "2026-11-21T09:14:03.5Z"}),
    ]);
    for text in [
        "id:*",
        "-id:*",
        "ts:*",
        "kind:*",
        "kind:\"\"",
        "ts>2026-11-21",
        "-ts>2026-11-21",
        &format!("id:{ID}"),
        "recv:*",
        "from:127.0.0.1",
    ] {
        check(&batch, text).unwrap();
    }
}

/// Rows by their places: each form that users of Kibana know, by columns and by objects.
#[test]
fn both_ways_to_look_find_the_same_rows() {
    let row = |status: u64, path: &str, dur_us: u64, ts: &str| json!({"kind": "request", "status": status, "path": path, "dur_us": dur_us, "ts": ts, "up_reused": status == 200});
    let batch = batch(&[
        row(200, "/", 900, "2026-11-20T23:59:59Z"),
        row(404, "/bad1", 20_000, "2026-11-21T00:00:00Z"),
        row(500, "/bad1", 800_000, "2026-11-21T09:14:03.512804Z"),
        row(599, "/x", 2_000_000, "2026-11-22T00:00:00Z"),
        json!({"msg": "this and that", "status": "failed", "level": "error"}),
    ]);
    for (text, rows) in [
        ("status:500 AND path:/bad1", &[2][..]),
        ("status:500 and path:/bad1", &[2]),
        ("status:404 && path:/bad1", &[1]),
        ("status:200 OR status:404 AND path:/x", &[0]),
        ("status:200 || status:599", &[0, 3]),
        ("NOT status:200", &[1, 2, 3, 4]),
        ("not status:200 and not status:404", &[2, 3, 4]),
        ("!status:200 kind:request", &[1, 2, 3]),
        ("not (status:200 or status:404) status:*", &[2, 3, 4]),
        ("status:[500 TO 599]", &[2, 3]),
        ("status:{500 TO 599}", &[]),
        ("status:[500 TO 599}", &[2]),
        ("status:{500 TO 599]", &[3]),
        ("status:[404 TO *]", &[1, 2, 3]),
        ("status:{* TO 404}", &[0]),
        ("status:(200 or 404)", &[0, 1]),
        ("status:(>=404 and not 500)", &[1, 3]),
        ("status:5* or status:2xx", &[0, 2, 3]),
        ("status:\"failed\"", &[4]),
        ("dur:[20ms TO 800ms]", &[1, 2]),
        ("dur_us:{900 TO 2000000}", &[1, 2]),
        ("ts:[2026-11-21 TO 2026-11-21] kind:*", &[1, 2]),
        ("ts:2026-11-21 kind:*", &[1, 2]),
        ("ts:{2026-11-21T00:00:00Z TO 2026-11-22}", &[2]),
        ("up_reused:true", &[0]),
        ("\"and\"", &[4]),
        ("this AND that", &[4]),
    ] {
        check(&batch, text).unwrap();
        let query = Query::parse(text).unwrap();
        let found = Filter::new(&query, Window::default()).select(&batch);
        assert_eq!(found.rows().collect::<Vec<_>>(), rows, "{text}");
    }
}

#[test]
fn a_null_is_no_value_in_whatever_column_it_would_stand() {
    let nulls =
        json!({"try_log": null, "cut": null, "last_seqs": null, "status": null, "path": null, "ts": null});
    let batch = batch(&[nulls, json!({"try_log": [1], "cut": {"n": null}, "status": 200, "path": ""})]);
    for name in ["try_log", "cut", "last_seqs", "status", "path", "ts", "cut.n"] {
        check(&batch, &format!("{name}:*")).unwrap();
        check(&batch, &format!("-{name}:*")).unwrap();
        check(&batch, &format!("{name}!=\"x\"")).unwrap();
    }
}

#[test]
fn a_window_is_by_the_time_of_the_row() {
    let time = |micros: i64| Timestamp::from_microsecond(micros).unwrap();
    let rows: Vec<Value> = (0..5).map(|at| json!({"ts": format!("{:.6}", time(RECV + at))})).collect();
    let batch = batch(&rows);
    let window = Window { since: Some(time(RECV + 1)), until: Some(time(RECV + 3)) };
    let found = Filter::new(&Query::all(), window).select(&batch);
    assert_eq!(found.rows().collect::<Vec<_>>(), [1, 2]);
    let finer = Timestamp::from_nanosecond(i128::from(RECV) * 1000 + 1).unwrap();
    let window = Window { since: Some(finer), until: Some(finer) };
    assert!(Filter::new(&Query::all(), window).select(&batch).is_empty());
}

#[test]
fn a_part_of_a_text_is_found_in_its_row_and_never_across_two() {
    let paths = ["/ab", "cd/ab", "", "CD", "xcdcdx", "/ab/c", "d", "ſcd", "é/aB/Cd"];
    let mut objects: Vec<Value> = paths.iter().map(|path| json!({"path": path})).collect();
    objects.insert(3, json!({"msg": "b/c"}));
    let batch = batch(&objects);
    for text in ["b/c", "abcd", "cd", "/", "/ab/c", "dc", "é/ab", "s", "cdcd", "\"b/c\"", "-cd", "*"] {
        check(&batch, text).unwrap();
    }
}
