use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::builder::PushError;
use super::*;
use crate::record::binary::tests::full;
use crate::record::binary::{self, Tries};
use crate::record::json::{Renderer, Stamp};
use crate::record::{EndAt, EndBy, Kind, LimitVerdict, Proto, Record, Tls, Try};

const RECV: i64 = 1_795_252_500_000_001;
const ORIGIN: Origin<'static> = Origin { proxy: "edge-1", boot: 1_795_252_000_000, core: 3 };

type Object = Map<String, Value>;

/// What the store makes of objects: each as it comes out again, without what the service adds.
fn through(push: impl FnOnce(&mut Builder)) -> Vec<Object> {
    let mut builder = Builder::new(1000);
    push(&mut builder);
    let batch = builder.finish().unwrap();
    (0..batch.num_rows())
        .map(|row| {
            let mut text = String::new();
            render(&batch, row, &mut text);
            let mut object: Object =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(object.remove("from"), Some("unix".into()));
            assert!(object.remove("recv").is_some());
            object
        })
        .collect()
}

fn assert_same_as_json(record: &Record<'_>) {
    let (mut bytes, mut line) = (Vec::new(), Vec::new());
    binary::encode(record, 88_213, &mut bytes);
    let mut tries = Tries::default();
    let decoded = binary::decode(&bytes, &mut tries).unwrap();
    let Origin { proxy, boot, core } = ORIGIN;
    let stamp = Stamp { proxy, boot, core, seq: decoded.seq, cut: decoded.cut };
    Renderer::default().decoded(&decoded, &stamp, &mut line);
    let expected: Object = serde_json::from_slice(&line).unwrap();
    let rows = through(|builder| {
        builder.push_record(&decoded, &ORIGIN, RECV, "unix").unwrap();
        builder.push_object(&line, RECV, "unix").unwrap();
    });
    assert_eq!(rows, [expected.clone(), expected]);
}

/// But for a `level` that is written otherwise than filters ask for it: what was written stands beside it.
fn assert_kept(text: &str) {
    let expected: Object = serde_json::from_str(text).unwrap();
    let mut rows = through(|builder| builder.push_object(text.as_bytes(), RECV, "unix").unwrap());
    if let Some(written) = rows[0].get("level_in").cloned().filter(|_| !expected.contains_key("level_in")) {
        rows[0].remove("level_in");
        rows[0].insert("level".to_owned(), written);
    }
    assert_eq!(rows, [expected], "{text}");
}

#[test]
fn a_record_comes_out_as_its_json_form() {
    assert_same_as_json(&samples::plain(7));
    assert_same_as_json(&samples::typical());
    assert_same_as_json(&Record::default());
    assert_same_as_json(&full());
    for kind in [Kind::Open, Kind::Close, Kind::Conn, Kind::Gap, Kind::Start, Kind::Stop, Kind::Reload] {
        assert_same_as_json(&Record { kind, missing: Some(3), reason: Some("full"), ..samples::typical() });
    }
}

#[test]
fn a_part_that_only_declares_has_no_numbered_rows() {
    let gap = |more: &str| format!(r#"{{"kind":"gap","proxy":"e","boot":1,"core":0,{more}}}"#);
    let extent = |gaps: &[&str]| {
        let texts: Vec<String> = gaps.iter().map(|more| gap(more)).collect();
        ExtentBuilder::of_objects(&texts.iter().map(|text| text.as_bytes()).collect::<Vec<_>>())
    };
    let sampled = r#""first_seq":1,"last_seq":10,"missing":7,"reason":"sampled""#;
    let lost = r#""first_seq":11,"reason":"ring_lost""#;
    let one = extent(&[sampled, lost]);
    let both = union_of_streams(
        [&one, &extent(&[r#""first_seq":20,"last_seq":21,"missing":2,"reason":"ring_full""#])].into_iter(),
    );
    for (stream, rows, sampled) in [(&one.streams[0], 2, 7), (&both.0[0], 3, 7)] {
        assert_eq!((stream.numbered_rows(), stream.declaring_rows(), stream.sampled), (0, rows, sampled));
    }
}

#[test]
fn bytes_that_are_not_utf8_are_kept_exactly() {
    let record = Record { path: Some(b"/a\xff"), ua: Some(b"\xfe"), err: Some(b"\xc3"), ..samples::plain(1) };
    assert_same_as_json(&record);
}

#[test]
fn times_and_ids_that_a_rule_would_hide_are_shown_when_the_record_has_them() {
    for ts_us in [RECV, 0, -1, i64::MAX, i64::MIN] {
        assert_same_as_json(&Record { ts_us, ..samples::plain(1) });
    }
    let made = made();
    assert_same_as_json(&Record { id: made, ..samples::plain(1) });
    assert_same_as_json(&Record { id: [7; 16], trace_id: Some([7; 16]), ..samples::plain(1) });
}

fn made() -> Id {
    let mut id = [1; 16];
    id[6] = 0x80;
    id
}

#[test]
fn what_is_cut_is_named() {
    let long = "é".repeat(9000);
    let tries = [Try { addr: "a\"b", status: Some(503), reason: "x", ..Try::default() }; 12];
    let record = Record { path: Some(long.as_bytes()), try_log: &tries, ..samples::plain(1) };
    assert_same_as_json(&record);
}

#[test]
fn members_without_a_column_and_values_that_do_not_fit_are_kept() {
    for text in [
        "{}",
        r#"{"msg":"hi","level":"warn","x":{"a":[1,2.50,null]},"body":7,"c":"z"}"#,
        r#"{"status":"200","dur_us":1.5,"conn":-1,"core":70000,"seq":18446744073709551616,"tries":1e0}"#,
        r#"{"status":null,"path":null,"kind":null,"ts":null,"id":null,"up_reused":null,"cut":null}"#,
        r#"{"kind":"","ts":"2026-11-21T10:14:03+01:00","id":"x"}"#,
        r#"{"kind":7,"ts":1795252443,"id":"01A1FD62-5978-7cdd-9c2e-51f0b7c1a9d4"}"#,
        r#"{"ts":"2026-11-21T09:14:03.512804Z","id":"01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4","v":1,"v2":2}"#,
        r#"{"ts":"2026-11-21T09:15:00.000001Z","id":"01a1fd62-5978-8cdd-9c2e-51f0b7c1a9d4"}"#,
        r#"{"trace_id":"01a1fd6259787cdd9c2e51f0b7c1a9d4"}"#,
        r#"{"trace_id":"01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4","span_id":"0123","parent_id":"0123456789abcdef"}"#,
        r#"{"id":"01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4","trace_id":"01a1fd6259787cdd9c2e51f0b7c1a9d4"}"#,
        r#"{"try_log":[{"addr":"a"}],"last_seqs":[1,2],"cut":"no list","host":"a\"\u00e9\n"}"#,
        r#"{"a":1,"a":2,"status":200,"status":500,"id":"x","id":"y","kind":"a","kind":"b"}"#,
        r#"{"a\"b":1,"":2,"tls_resumed":true,"up_reused":"true","boot":007}"#.replace("007", "7").as_str(),
    ] {
        assert_kept(text);
    }
}

proptest! {
    #[test]
    fn no_alias_takes_anything_away(
        names in proptest::collection::hash_set(0..ALIASES.len(), 0..8),
        values in proptest::collection::vec((0..8u8, "[a-fA-F0-9:TZ. -]{0,36}", any::<i32>().prop_map(|number| f64::from(number) * 1000.25)), 8),
    ) {
        let value = |(kind, text, number): &(u8, String, f64)| match kind {
            0 => json!(number),
            1 => json!(*number as i64),
            2 => json!({"id": text, "level": text, "request": {"id": text}}),
            3 => json!("ERROR"),
            4 => json!("01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4"),
            5 => json!("01a1fd6259787cdd9c2e51f0b7c1a9d4"),
            6 => Value::Null,
            _ => json!(text),
        };
        let said: Object = names.iter().zip(&values).map(|(name, one)| (ALIASES[*name].to_owned(), value(one))).collect();
        let text = Value::from(said.clone()).to_string();
        let rows = through(|builder| builder.push_object(text.as_bytes(), RECV, "unix").unwrap());
        for (name, value) in said {
            let is_kept = rows[0].get(&name) == Some(&value) || name == "level" && rows[0].get("level_in") == Some(&value);
            prop_assert!(is_kept, "{name} of {text}");
        }
    }
}

/// All names that mean something.
const ALIASES: &[&str] = &[
    "id",
    "kind",
    "ts",
    "@timestamp",
    "timestamp",
    "time",
    "level",
    "level_in",
    "severity",
    "log.level",
    "log",
    "rid",
    "x-request-id",
    "request_id",
    "http",
    "http.request.id",
    "trace_id",
    "traceId",
    "trace",
    "trace.id",
    "span_id",
    "span",
];

/// What the store adds to an object, which keeps all that it says.
fn added_to(text: &str) -> Value {
    let said: Object = serde_json::from_str(text).unwrap();
    let rows = through(|builder| builder.push_object(text.as_bytes(), RECV, "unix").unwrap());
    let mut row = rows[0].clone();
    for (name, value) in said {
        assert_eq!(row.remove(&name), Some(value), "{name} of {text}");
    }
    row.into()
}

#[test]
fn what_loggers_call_otherwise_stands_in_the_column_besides() {
    let uuid = "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4";
    let trace = "01a1fd6259787cdd9c2e51f0b7c1a9d4";
    for (said, added) in [
        (json!({"severity": "ERROR", "message": "x", "user": {"id": 42}}), json!({"level": "error"})),
        (json!({"log.level": "Warning"}), json!({"level": "warn"})),
        (
            json!({"log": {"level": "INFO", "logger": "a.b"}, "http": {"request": {"id": "r1"}}}),
            json!({"level": "info", "rid": "r1"}),
        ),
        (json!({"levelname": "DEBUG", "requestId": "r-7"}), json!({"level": "debug", "rid": "r-7"})),
        (json!({"x-request-id": uuid}), json!({"rid": uuid})),
        (json!({"id": uuid, "request_id": uuid}), json!({"rid": uuid})),
        (
            json!({"traceId": trace, "spanId": "00F067AA0BA902B7"}),
            json!({"trace_id": trace, "span_id": "00f067aa0ba902b7"}),
        ),
        (
            json!({"trace.id": trace, "span": {"id": "00f067aa0ba902b7"}}),
            json!({"trace_id": trace, "span_id": "00f067aa0ba902b7"}),
        ),
        (json!({"@timestamp": "2026-11-21T10:14:03.5+01:00"}), json!({"ts": "2026-11-21T09:14:03.500000Z"})),
        (json!({"time": 1_795_252_443_512_u64, "v": 1}), json!({"ts": "2026-11-21T09:14:03.512000Z"})),
        (json!({"timestamp": "1795252443"}), json!({"ts": "2026-11-21T09:14:03.000000Z"})),
        // A duration, a text, something of our own name: nothing is guessed.
        (json!({"time": 0.25, "severity": "not a level", "rid": "mine", "requestId": "other"}), json!({})),
        (json!({"ts": 1_795_252_443, "level": 7, "trace_id": "short", "traceId": trace}), json!({})),
        (json!({"log": "a text", "http": 7, "trace": {"id": 9}, "request_id": ""}), json!({})),
    ] {
        assert_eq!(added_to(&said.to_string()), added, "{said}");
    }
}

#[test]
fn a_level_is_one_word_and_what_was_written_is_kept() {
    let row = |text: &str| {
        let rows = through(|builder| builder.push_object(text.as_bytes(), RECV, "unix").unwrap());
        Value::from(rows[0].clone())
    };
    assert_eq!(row(r#"{"level":"ERROR"}"#), json!({"level": "error", "level_in": "ERROR"}));
    assert_eq!(row(r#"{"level":30,"x":1}"#), json!({"level": "info", "level_in": 30, "x": 1}));
    assert_kept(r#"{"level":"ERROR","level_in":"x"}"#);
    assert_kept(r#"{"level":{"name":"x"}}"#);
}

#[test]
fn times_of_other_names_are_those_of_the_row() {
    use arrow_array::cast::AsArray as _;
    let mut builder = Builder::new(10);
    for text in [
        r#"{"@timestamp":"2026-11-21T09:14:03Z"}"#,
        r#"{"ts":1795252443.0}"#,
        r#"{"time":1795252443000000000}"#,
    ] {
        builder.push_object(text.as_bytes(), RECV, "unix").unwrap();
    }
    let batch = builder.finish().unwrap();
    let times =
        batch.column_by_name("ts").unwrap().as_primitive::<arrow_array::types::TimestampMicrosecondType>();
    assert!(times.values().iter().all(|time| *time == 1_795_252_443_000_000), "{times:?}");
}

#[test]
fn the_service_s_own_names_are_not_the_sender_s() {
    let text = br#"{"recv":1,"from":"evil"}"#;
    let rows = through(|builder| builder.push_object(text, RECV, "unix").unwrap());
    assert_eq!(Value::from(rows[0].clone()), json!({"recv_in": 1, "from_in": "evil"}));
}

#[test]
fn a_line_of_an_application_joins_the_request_that_it_names() {
    use arrow_array::cast::AsArray as _;
    let id = *b"\x01\xa1\xfd\x62\x59\x78\x7c\xdd\x9c\x2e\x51\xf0\xb7\xc1\xa9\xd4";
    let mut builder = Builder::new(10);
    for text in [
        r#"{"id":"01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4"}"#,
        r#"{"id":"none","trace_id":"01a1fd6259787cdd9c2e51f0b7c1a9d4"}"#,
        r#"{"x-request-id":"01A1FD62-5978-7CDD-9C2E-51F0B7C1A9D4"}"#,
        r#"{"msg":"x"}"#,
        r#"{"msg":"x"}"#,
    ] {
        builder.push_object(text.as_bytes(), RECV, "unix").unwrap();
    }
    let batch = builder.finish().unwrap();
    let ids = batch.column_by_name("id").unwrap().as_fixed_size_binary();
    assert!((0..3).all(|row| ids.value(row) == id));
    assert!(is_made(ids.value(3).try_into().unwrap()));
    assert_eq!(ids.value(3), ids.value(4), "the same after a replay");
}

#[test]
fn what_is_no_object_leaves_no_row() {
    let mut builder = Builder::new(1);
    for text in ["[]", "1", "{", "{} {}", "{\"a\":}"] {
        assert!(builder.push_object(text.as_bytes(), 0, "").is_err(), "{text}");
    }
    assert!(builder.is_empty());
    builder.push_object(b"{}", 0, "").unwrap();
    assert!(matches!(builder.push_object(b"{}", 0, ""), Err(PushError::Full)));
    assert_eq!(builder.finish().unwrap().num_rows(), 1);
    assert_eq!((builder.len(), builder.finish().unwrap().num_rows()), (0, 0));
}

#[test]
fn a_builder_starts_afresh_after_each_batch() {
    let mut builder = Builder::new(10);
    for path in ["/a", "/b"] {
        let text = format!(r#"{{"path":"{path}","host":"h{path}","x":1,"status":200}}"#);
        builder.push_object(text.as_bytes(), RECV, "unix").unwrap();
        let batch = builder.finish().unwrap();
        let mut out = String::from("> ");
        render(&batch, 0, &mut out);
        let object: Object = serde_json::from_str(out.strip_prefix("> ").unwrap()).unwrap();
        assert_eq!(object["path"], path);
        assert_eq!(batch.schema(), schema());
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof!["\\PC{0,40}".prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..40)]
}

fn json_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        (0u64..300).prop_map(|number| number.to_string()),
        any::<f32>().prop_filter("finite", |number| number.is_finite()).prop_map(|number| number.to_string()),
        "\\PC{0,12}".prop_map(|text| json!(text).to_string()),
        "[0-9a-f]{16}|[0-9a-f]{32}".prop_map(|text| json!(text).to_string()),
        Just("[{\"a\":[1]}]".to_owned()),
    ]
}

proptest! {
    #[test]
    fn any_record_comes_out_as_its_json_form(
        texts in proptest::collection::vec(proptest::option::of(text()), 8),
        words in proptest::collection::vec(proptest::option::of("\\PC{0,12}"), 8),
        numbers in any::<[u64; 6]>(),
        ids in any::<([u8; 16], Option<[u8; 16]>, Option<[u8; 8]>)>(),
        flags in any::<(bool, Option<bool>)>(),
        ts_us in any::<i64>(),
    ) {
        let text = |at: usize| texts[at].as_deref();
        let word = |at: usize| words[at].as_deref();
        let [dur_us, conn, rx_head_b, up_rx_b, cfg, missing] = numbers;
        let tls = Tls { version: "1.3", cipher: word(0).unwrap_or_default(), group: word(1), alpn: None, sni: word(2), resumed: flags.0 };
        let record = Record {
            ts_us, id: ids.0, trace_id: ids.1, span_id: ids.2, path: text(0), query: text(1), host: text(2), ua: text(3),
            rid: text(4), err: text(5), referer: text(6), method: text(7), site: word(3), route: word(4), cause: word(5),
            upstream: word(6), reason: word(7), dur_us, conn, rx_head_b, up_rx_b: Some(up_rx_b), cfg,
            missing: flags.0.then_some(missing), tls: flags.1.map(|_| tls), up_reused: flags.1, proto: Some(Proto::Http10),
            rl: flags.1.map(|_| LimitVerdict::Limited), end_by: EndBy::Rule, end_at: EndAt::Uptls, status: conn as u16,
            client_ip: Some(std::net::IpAddr::from(ids.0)), peer_ip: ids.2.map(|[a, b, c, d, ..]| [a, b, c, d].into()),
            ..Record::default()
        };
        assert_same_as_json(&record);
    }

    #[test]
    fn any_object_comes_out_as_it_came(
        members in proptest::collection::vec((proptest::sample::select(NAMES), json_value()), 0..12),
        others in proptest::collection::vec(("[a-z\"\\\\é_-]{0,6}", json_value()), 0..4),
    ) {
        let named = members.iter().filter(|(name, _)| !matches!(*name, "from" | "recv")).map(|(name, value)| (*name, value));
        let members = named.chain(others.iter().map(|(name, value)| (name.as_str(), value)));
        let members: Vec<String> = members.map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        assert_kept(&format!("{{{}}}", members.join(",")));
    }
}

/// Prints the processor time per row.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_row() {
    let cpu_ns = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    const ROWS: usize = 1 << 20;
    for (name, typical) in [("plain", false), ("typical", true)] {
        let records: Vec<Vec<u8>> = (0..8192u64)
            .map(|at| {
                let mut bytes = Vec::new();
                let record = if typical { samples::typical() } else { samples::plain(at) };
                let id = (u128::from(at) << 64 | 7).to_be_bytes();
                binary::encode(&Record { id, ts_us: RECV - at as i64, ..record }, at, &mut bytes);
                bytes
            })
            .collect();
        let decode = |push: &mut dyn FnMut(&binary::Decoded<'_>)| {
            for bytes in records.iter().cycle().take(ROWS) {
                let mut tries = Tries::default();
                push(&binary::decode(bytes, &mut tries).unwrap());
            }
        };
        let started = cpu_ns();
        decode(&mut |decoded| assert!(decoded.seq < 8192));
        let decoding = cpu_ns() - started;
        let (mut builder, started) = (Builder::new(8192), cpu_ns());
        decode(&mut |decoded| {
            builder.push_record(decoded, &ORIGIN, RECV + 1, "unix").unwrap();
            if builder.is_full() {
                assert_eq!(builder.finish().unwrap().num_rows(), 8192);
            }
        });
        let pushing = cpu_ns() - started - decoding;
        println!(
            "{name}: decode {} ns, push and finish {} ns a row",
            decoding / ROWS as u64,
            pushing / ROWS as u64
        );
    }
}
