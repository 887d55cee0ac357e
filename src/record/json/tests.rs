use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::record::{EndAt, EndBy, LimitVerdict, Proto, id};

fn stamp() -> Stamp<'static> {
    Stamp { proxy: "edge-1", boot: 1_795_252_000_000, core: 3, seq: 88_213, cut: Cut::default() }
}

fn line(record: &Record<'_>) -> String {
    let mut out = Vec::new();
    write(record, &stamp(), &mut out);
    String::from_utf8(out).unwrap()
}

fn read(record: &Record<'_>) -> Value {
    serde_json::from_str(&line(record)).unwrap()
}

#[test]
fn writes_one_flat_line_and_leaves_out_what_is_absent() {
    let record = Record {
        ts_us: 1_795_252_443_512_804,
        id: id::parse(b"01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4").unwrap(),
        cfg: 0x9f31c2,
        listener: "https",
        client_ip: Some("203.0.113.9".parse().unwrap()),
        method: Some(b"GET"),
        path: Some(b"/api/cart"),
        status: 504,
        dur_us: 30_004_112,
        upstream: Some("cart"),
        end_by: EndBy::Upstream,
        end_at: EndAt::Wait,
        reason: Some("http_response_timeout"),
        try_log: &[Try {
            addr: "10.0.0.7:8080",
            conn_us: Some(4),
            reason: "connection_refused",
            ..EMPTY_TRY
        }],
        ..Record::default()
    };
    assert_eq!(
        line(&record),
        "{\"v\":1,\"kind\":\"request\",\"ts\":\"2026-11-21T09:14:03.512804Z\",\
         \"id\":\"01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4\",\"proxy\":\"edge-1\",\"boot\":1795252000000,\"core\":3,\
         \"seq\":88213,\"cfg\":\"00000000009f31c2\",\"listener\":\"https\",\"client_ip\":\"203.0.113.9\",\
         \"method\":\"GET\",\"path\":\"/api/cart\",\"status\":504,\"rx_head_b\":0,\"rx_body_b\":0,\"tx_head_b\":0,\
         \"tx_body_b\":0,\"dur_us\":30004112,\"upstream\":\"cart\",\"tries\":0,\"try_log\":[{\"addr\":\
         \"10.0.0.7:8080\",\"conn_us\":4,\"reason\":\"connection_refused\"}],\"end_by\":\"upstream\",\
         \"end_at\":\"wait\",\"reason\":\"http_response_timeout\"}\n"
    );
}

const EMPTY_TRY: Try<'static> = Try { addr: "", conn_us: None, wait_us: None, status: None, reason: "" };

#[test]
fn writes_times_around_the_epoch_and_beyond_the_calendar() {
    for (ts_us, expected) in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_000_007, "1970-01-01T00:00:01.000007Z"),
        (i64::MAX, "1970-01-01T00:00:00.775807Z"),
    ] {
        assert_eq!(read(&Record { ts_us, ..Record::default() })["ts"], expected);
    }
}

#[test]
fn keeps_the_text_of_a_second_only_for_that_second() {
    let (mut renderer, mut out) = (Renderer::default(), Vec::new());
    for ts_us in [1_000_000, 1_999_999, 2_000_000, 1_000_000] {
        renderer.record(&Record { ts_us, ..Record::default() }, &stamp(), &mut out);
    }
    let times: Vec<Value> =
        out.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let seconds: Vec<&str> = times.iter().map(|time| &time["ts"].as_str().unwrap()[17..19]).collect();
    assert_eq!(seconds, ["01", "01", "02", "01"]);
}

#[test]
fn writes_the_exact_bytes_beside_a_text_that_is_not_utf8() {
    let value = read(&Record { path: Some(b"/a\xff"), ua: Some("é".as_bytes()), ..Record::default() });
    assert_eq!(value["path"], "/a\u{fffd}");
    assert_eq!(value["path_hex"], "2f61ff");
    assert_eq!(value["ua"], "é");
    assert!(value.get("ua_hex").is_none());
}

#[test]
fn names_the_texts_that_were_cut() {
    let long = [b'a'; 5000];
    let mut bytes = Vec::new();
    crate::record::binary::encode(&Record { path: Some(&long), ..Record::default() }, 1, &mut bytes);
    let mut tries = crate::record::binary::Tries::default();
    let decoded = crate::record::binary::decode(&bytes, &mut tries).unwrap();
    let mut out = Vec::new();
    write(&decoded.record, &Stamp { cut: decoded.cut, ..stamp() }, &mut out);
    let value: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["cut"], serde_json::json!(["path"]));
}

#[test]
fn writes_tls_and_the_words_of_closed_sets() {
    let tls = Tls { version: "1.3", cipher: "c", group: None, alpn: Some("h2"), sni: None, resumed: true };
    let record = Record {
        proto: Some(Proto::Http2),
        rl: Some(LimitVerdict::DryRun),
        tls: Some(tls),
        peer_ip: Some("2001:db8::1".parse().unwrap()),
        up_reused: Some(false),
        trace_flags: Some(1),
        parent_id: Some([0xab; 8]),
        ..Record::default()
    };
    let value = read(&record);
    assert_eq!(value["proto"], "2");
    assert_eq!(value["rl"], "dry_run");
    assert_eq!(value["tls_ver"], "1.3");
    assert_eq!(value["tls_resumed"], true);
    assert_eq!(value["peer_ip"], "2001:db8::1");
    assert_eq!(value["up_reused"], false);
    assert_eq!(value["parent_id"], "abababababababab");
}

#[test]
fn a_process_event_carries_nothing_of_a_request() {
    let value = read(&Record { kind: Kind::Reload, err: Some(b"bad file"), ..Record::default() });
    assert_eq!(value["kind"], "reload");
    assert_eq!(value["err"], "bad file");
    for absent in ["status", "dur_us", "end_by", "tries", "conn"] {
        assert!(value.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn writes_gaps_app_lines_and_the_stop() {
    let (mut renderer, mut out) = (Renderer::default(), Vec::new());
    let gap = Gap {
        id: [0; 16],
        ts_us: 0,
        proxy: "e",
        boot: 1,
        core: 2,
        range: Some((5, 9)),
        missing: 5,
        reason: "ring_full",
    };
    renderer.gap(&gap, &mut out);
    renderer.gap(&Gap { range: None, ..gap }, &mut out);
    let app = AppLine { id: [0; 16], ts_us: 0, worker: "app-0", stream: "stderr", line: b"\x1b[2J\xff" };
    renderer.app_line(&app, &stamp(), &mut out);
    renderer.stop(0, &[0; 16], &[12, 0], &stamp(), &mut out);
    let values: Vec<Value> =
        out.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!((&values[0]["first_seq"], &values[0]["last_seq"]), (&5.into(), &9.into()));
    assert_eq!((&values[1]["missing"], values[1].get("first_seq")), (&5.into(), None));
    assert_eq!(values[2]["line"], "\u{1b}[2J\u{fffd}");
    assert_eq!(values[2]["line_hex"], "1b5b324aff");
    assert_eq!(values[3]["last_seqs"], serde_json::json!([12, 0]));
}

proptest! {
    #[test]
    fn is_one_line_of_valid_json_for_any_bytes(
        path in proptest::collection::vec(any::<u8>(), 0..80),
        host in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        route in proptest::option::of("\\PC{0,40}"),
        ts_us in any::<i64>(),
        status in any::<u16>(),
    ) {
        let record = Record {
            path: Some(&path), host: host.as_deref(), route: route.as_deref(), ts_us, status, ..Record::default()
        };
        let text = line(&record);
        prop_assert_eq!(text.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&text).unwrap();
        let shown = String::from_utf8_lossy(&path);
        prop_assert_eq!(value["path"].as_str(), Some(&*shown));
        prop_assert_eq!(value["status"].as_u64(), Some(u64::from(status)));
        prop_assert_eq!(value["route"].as_str(), route.as_deref());
    }
}
