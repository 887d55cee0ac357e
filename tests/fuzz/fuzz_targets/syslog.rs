//! Any bytes as a connection of syslog: cut the same way however they arrive, bounded, and each message an object.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::wire::syslog::{Framing, Message, Unframed};

const MOST: usize = 512;

fuzz_target!(|data: &[u8]| {
    let Some((piece, bytes)) = data.split_first() else { return };
    let whole = cut(bytes, bytes.len().max(1));
    assert_eq!(whole, cut(bytes, usize::from(*piece) + 1), "it depends on how the bytes arrive");
    for message in whole.into_iter().flatten() {
        let text = String::from_utf8_lossy(&message);
        let now = "2026-01-03T10:00:00Z".parse().expect("a time");
        for is_merged in [false, true] {
            let object = Message::parse(&text, now).to_json(is_merged);
            assert!(object.starts_with(b"{") && object.ends_with(b"}"));
            if !is_merged {
                serde_json::from_slice::<serde_json::Value>(&object).expect("an object");
            }
        }
    }
});

fn cut(bytes: &[u8], piece: usize) -> Vec<Result<Vec<u8>, Unframed>> {
    let mut framing = Framing::new(MOST);
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        framing.buffer.extend_from_slice(piece);
        while let Some(next) = framing.message().transpose() {
            found.push(next.map(|message| message.to_vec()));
            if found.last() == Some(&Err(Unframed::NoCount)) {
                return found;
            }
        }
        assert!(framing.buffer.len() <= MOST + 10, "more is held than a message may have");
    }
    found.extend(framing.end().transpose().map(|rest| rest.map(|message| message.to_vec())));
    found
}
