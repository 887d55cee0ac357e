use proptest::prelude::*;

use super::*;
use crate::record::{Record, Tls, Try};

fn encoded(record: &Record<'_>, seq: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(record, seq, &mut bytes);
    bytes
}

/// Everything is there, and nothing as it is by default.
pub(crate) fn full() -> Record<'static> {
    const TRIES: &[Try<'static>] = &[
        Try {
            addr: "10.0.0.7:8080",
            conn_us: Some(388),
            wait_us: None,
            status: None,
            reason: "connection_refused",
        },
        Try { addr: "unix:/run/b", conn_us: None, wait_us: Some(9), status: Some(503), reason: "" },
    ];
    Record {
        kind: Kind::Close,
        ts_us: -5,
        id: [7; 16],
        rid: Some(b"caller-1"),
        rid_in: Some(b""),
        trace_id: Some([1; 16]),
        span_id: Some([2; 8]),
        parent_id: Some([3; 8]),
        trace_flags: Some(3),
        cfg: 0x9f31_c200_0000_0001,
        conn: u64::MAX,
        conn_req: 12,
        h2_stream: Some(0),
        listener: "https",
        client_ip: Some("203.0.113.9".parse().unwrap()),
        client_port: Some(51_000),
        peer_ip: Some("2001:db8::1".parse().unwrap()),
        method: Some(b"GET"),
        scheme: Some("https"),
        host: Some(b"shop.example"),
        path: Some(b"/a\xff\0b"),
        query: Some(b"sig=REDACTED"),
        site: Some("shop.example"),
        route: Some("/a/*"),
        proto: Some(Proto::Http2),
        referer: Some(b"https://a.example/"),
        ua: Some(b"curl/8"),
        req_type: Some(b"text/plain"),
        status: 504,
        up_status: Some(503),
        resp_type: Some(b"text/html"),
        enc: Some("zstd"),
        rx_head_b: 1,
        rx_body_b: 2,
        tx_head_b: 3,
        tx_body_b: 4,
        up_tx_b: Some(5),
        up_rx_b: Some(6),
        dur_us: 7,
        t_tls_us: Some(8),
        t_idle_us: Some(9),
        t_head_us: Some(10),
        t_policy_us: Some(11),
        t_queue_us: Some(12),
        t_conn_us: Some(13),
        t_send_us: Some(14),
        t_wait_us: Some(15),
        t_resp_us: Some(16),
        t_self_us: Some(17),
        upstream: Some("cart"),
        up_addr: Some("10.0.0.7:8080"),
        worker: Some("cart-0"),
        up_reused: Some(true),
        pick: Some("least"),
        tries: 3,
        try_log: TRIES,
        end_by: EndBy::Upstream,
        end_at: EndAt::Wait,
        reason: Some("http_response_timeout"),
        cause: Some("timeouts.upstream=60s @tollgate.toml:12"),
        err: Some(b"late"),
        rl: Some(LimitVerdict::DryRun),
        rl_rule: Some("per-client"),
        tls: Some(Tls {
            version: "1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            group: Some("X25519MLKEM768"),
            alpn: Some("h2"),
            sni: Some("shop.example"),
            resumed: true,
        }),
        n_conn: Some(18),
        n_req: Some(19),
        up_req: Some(20),
        missing: Some(21),
        sw: 22,
        detail: 1,
    }
}

/// Two records are equal when they print equally: every field is in the derived form.
fn shown(record: &Record<'_>) -> String {
    format!("{record:?}")
}

#[test]
fn brings_every_field_back() {
    let record = full();
    let bytes = encoded(&record, 88_213);
    let mut tries = Tries::default();
    let decoded = decode(&bytes, &mut tries).unwrap();
    assert_eq!((decoded.seq, decoded.cut), (88_213, Cut::default()));
    assert_eq!(shown(&decoded.record), shown(&record));
}

#[test]
fn keeps_absent_apart_from_zero_and_empty() {
    let absent = Record::default();
    let empty = Record {
        query: Some(b""),
        h2_stream: Some(0),
        up_reused: Some(false),
        t_wait_us: Some(0),
        tls: Some(Tls::default()),
        ..absent
    };
    for record in [absent, empty] {
        let bytes = encoded(&record, 1);
        assert_eq!(shown(&decode(&bytes, &mut Tries::default()).unwrap().record), shown(&record));
    }
}

#[test]
fn knows_every_value_of_the_closed_sets() {
    fn stands_at_its_number<T: Copy>(all: &[T], number: impl Fn(T) -> u8) {
        for (index, value) in all.iter().enumerate() {
            assert_eq!(usize::from(number(*value)), index);
        }
    }
    stands_at_its_number(&KINDS, |value| value as u8);
    stands_at_its_number(&PROTOS, |value| value as u8);
    stands_at_its_number(&VERDICTS, |value| value as u8);
    stands_at_its_number(&END_BY, |value| value as u8);
    stands_at_its_number(&END_AT, |value| value as u8);
    assert_eq!(*KINDS.last().unwrap(), Kind::Reload);
    assert_eq!(*END_BY.last().unwrap(), EndBy::Admin);
    assert_eq!(*END_AT.last().unwrap(), EndAt::Done);
}

#[test]
fn cuts_long_texts_and_says_which() {
    let long = "é".repeat(40_000);
    let tries = [Try::default(); MAX_TRIES + 1];
    let record = Record {
        path: Some(long.as_bytes()),
        cause: Some(&long),
        ua: Some(b"short"),
        try_log: &tries,
        ..Record::default()
    };
    let bytes = encoded(&record, 1);
    let mut tries = Tries::default();
    let decoded = decode(&bytes, &mut tries).unwrap();
    assert_eq!(decoded.cut.names().collect::<Vec<_>>(), ["path", "cause", "try_log"]);
    assert_eq!(decoded.record.path.unwrap().len(), 4096);
    assert_eq!(decoded.record.cause.unwrap().len(), 512);
    assert_eq!(decoded.record.try_log.len(), MAX_TRIES);
}

#[test]
fn never_exceeds_the_longest_record() {
    let long = "x".repeat(70_000);
    let (text, bytes) = (Some(long.as_str()), Some(long.as_bytes()));
    let attempt = Try { addr: &long, reason: &long, ..Try::default() };
    let tls = Tls { version: &long, cipher: &long, group: text, alpn: text, sni: text, resumed: false };
    let request = Record {
        listener: &long,
        rid: bytes,
        rid_in: bytes,
        method: bytes,
        scheme: text,
        host: bytes,
        path: bytes,
        query: bytes,
        site: text,
        route: text,
        referer: bytes,
        ua: bytes,
        req_type: bytes,
        ..Record::default()
    };
    let record = Record {
        resp_type: bytes,
        enc: text,
        upstream: text,
        up_addr: text,
        worker: text,
        pick: text,
        reason: text,
        cause: text,
        err: bytes,
        rl_rule: text,
        tls: Some(tls),
        try_log: &[attempt; 300],
        ..request
    };
    let bytes = encoded(&record, 1);
    assert!(bytes.len() <= MAX_LEN, "{}", bytes.len());
    let mut tries = Tries::default();
    assert_eq!(decode(&bytes, &mut tries).unwrap().cut.names().count(), TEXTS + 1);
}

#[test]
fn refuses_a_record_that_is_cut_short_or_too_long() {
    let mut bytes = encoded(&full(), 1);
    for end in 0..bytes.len() {
        assert_eq!(decode(&bytes[..end], &mut Tries::default()).unwrap_err(), BinaryError::Short, "{end}");
    }
    bytes.push(0);
    assert_eq!(decode(&bytes, &mut Tries::default()).unwrap_err(), BinaryError::Rest);
}

#[test]
fn refuses_another_version() {
    assert_eq!(decode(&[9], &mut Tries::default()).unwrap_err(), BinaryError::Version(9));
}

proptest! {
    #[test]
    fn survives_any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        let _ = decode(&bytes, &mut Tries::default());
    }

    #[test]
    fn survives_a_damaged_record(at in 0usize..700, value in any::<u8>()) {
        let mut bytes = encoded(&full(), 1);
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(decoded) = decode(&bytes, &mut Tries::default()) {
            let seq = decoded.seq;
            let again = encoded(&decoded.record, seq);
            let mut tries = Tries::default();
            prop_assert_eq!(decode(&again, &mut tries).unwrap().seq, seq);
        }
    }

    #[test]
    fn brings_any_texts_back(
        path in proptest::collection::vec(any::<u8>(), 0..4096),
        ua in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..512)),
        route in proptest::option::of("\\PC{0,60}"),
        dur_us in any::<u64>(),
        seq in any::<u64>(),
    ) {
        let record = Record {
            path: Some(&path), ua: ua.as_deref(), route: route.as_deref(), dur_us, ..Record::default()
        };
        let bytes = encoded(&record, seq);
        let mut tries = Tries::default();
        let decoded = decode(&bytes, &mut tries).unwrap();
        prop_assert_eq!(decoded.seq, seq);
        prop_assert_eq!(shown(&decoded.record), shown(&record));
    }
}

#[test]
fn tells_the_outcome_without_decoding() {
    let bytes = encoded(&full(), 88_213);
    assert_eq!(heading(&bytes), Some((88_213, -5)));
    let told = outcome(&bytes).unwrap();
    let expected = Outcome {
        kind: Kind::Close,
        status: 504,
        dur_us: 7,
        tries: 3,
        end_by: EndBy::Upstream,
        end_at: EndAt::Wait,
        is_limited: false,
        has_reason: true,
    };
    assert_eq!(told, expected);
    let limited = Record { rl: Some(LimitVerdict::Limited), ..Record::default() };
    let told = outcome(&encoded(&limited, 1)).unwrap();
    assert_eq!((told.is_limited, told.has_reason, told.kind), (true, false, Kind::Request));
    assert_eq!((heading(&bytes[..100]), outcome(b"")), (None, None));
}

#[test]
fn a_weight_can_be_set_in_the_binary_form() {
    let mut bytes = encoded(&Record { ua: Some(b"curl/8"), ..Record::default() }, 1);
    set_weight(&mut bytes, 10);
    let mut tries = Tries::default();
    let decoded = decode(&bytes, &mut tries).unwrap();
    assert_eq!((decoded.record.sw, decoded.record.ua), (10, Some(&b"curl/8"[..])));
    set_weight(&mut [], 10);
}
