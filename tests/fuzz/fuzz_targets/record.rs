//! Any bytes as a frame: refused, or a record that survives its own encoding and renders as one line of JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::record::frame::{Tries, decode, encode};
use tollgate::record::json::{Stamp, write};

fuzz_target!(|data: &[u8]| {
    let mut tries = Tries::default();
    let Ok(decoded) = decode(data, &mut tries) else { return };
    let stamp = Stamp { proxy: "fuzz", boot: 1, core: 0, seq: decoded.seq, cut: decoded.cut };
    let mut line = Vec::new();
    write(&decoded.record, &stamp, &mut line);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    let value: serde_json::Value = serde_json::from_slice(&line).expect("a record is JSON");
    assert_eq!(value["seq"], decoded.seq);
    let mut again = Vec::new();
    encode(&decoded.record, decoded.seq, &mut again);
    let mut tries = Tries::default();
    let second = decode(&again, &mut tries).expect("what was encoded is a frame");
    assert_eq!(format!("{:?}", second.record), format!("{:?}", decoded.record));
});
