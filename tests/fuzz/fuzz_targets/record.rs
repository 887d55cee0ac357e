//! Any bytes as a record: refused, or one that survives its own encoding and renders as one line of JSON.
//!
//! Random bytes are rarely a record, so the input is also read as texts of a good record and as damage to it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::record::binary::{Tries, decode, encode};
use tollgate::record::json::{Stamp, write};
use tollgate::record::{Kind, Proto, Record, Try};

fuzz_target!(|data: &[u8]| {
    check(data);
    let (texts, damage) = data.split_at(data.len() / 2);
    let good = record_of(texts);
    assert!(check(&good), "a record of ours is read again");
    check(&damaged(good, damage));
});

/// A record whose texts are cut from the input at its zero bytes.
fn record_of(texts: &[u8]) -> Vec<u8> {
    let mut texts = texts.split(|byte| *byte == 0);
    let tries =
        [Try { addr: "10.0.0.7:8080", status: Some(502), reason: "connection_refused", ..Try::default() }];
    let record = Record {
        kind: Kind::Request,
        ts_us: 1_795_252_443_512_804,
        status: 200,
        proto: Some(Proto::Http2),
        client_ip: Some([203, 0, 113, 9].into()),
        path: texts.next(),
        query: texts.next(),
        ua: texts.next(),
        host: texts.next(),
        tries: 2,
        try_log: if texts.next().is_some() { &tries } else { &[] },
        ..Record::default()
    };
    let mut bytes = Vec::new();
    encode(&record, 7, &mut bytes);
    bytes
}

/// Sets single bytes of the record: two bytes say where, the third is the new value.
fn damaged(mut bytes: Vec<u8>, damage: &[u8]) -> Vec<u8> {
    for spot in damage.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([spot[0], spot[1]])) % bytes.len();
        bytes[at] = spot[2];
    }
    bytes
}

/// Whether the bytes are a record; panics when a record that was read does not keep its promises.
fn check(bytes: &[u8]) -> bool {
    let mut tries = Tries::default();
    let Ok(decoded) = decode(bytes, &mut tries) else { return false };
    let stamp = Stamp { proxy: "fuzz", boot: 1, core: 0, seq: decoded.seq, cut: decoded.cut };
    let mut line = Vec::new();
    write(&decoded.record, &stamp, &mut line);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    let value: serde_json::Value = serde_json::from_slice(&line).expect("a record is JSON");
    assert_eq!(value["seq"], decoded.seq);
    let mut again = Vec::new();
    encode(&decoded.record, decoded.seq, &mut again);
    let mut tries = Tries::default();
    let second = decode(&again, &mut tries).expect("what was encoded is a record");
    assert_eq!(format!("{:?}", second.record), format!("{:?}", decoded.record));
    true
}
