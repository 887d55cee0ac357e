//! Any bytes as a frame: refused, or read to the end without harm. And a good frame, damaged, is never taken.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::record::frame::{Builder, Codec, Form, Frame, Stream, find, length_of};

fuzz_target!(|data: &[u8]| {
    read(data);
    let _ = find(data, 0);
    let (texts, damage) = data.split_at(data.len() / 2);
    let good = frame_of(texts);
    assert!(read(&good), "a frame of ours is read again");
    if let Some(damaged) = damaged(&good, damage) {
        assert!(Frame::parse(&damaged).is_err(), "a changed frame is never taken");
    }
});

/// A frame whose entries are cut from the input at its zero bytes.
fn frame_of(texts: &[u8]) -> Vec<u8> {
    let (mut builder, mut frame) = (Builder::default(), Vec::new());
    for (seq, text) in (1..).zip(texts.split(|byte| *byte == 0)) {
        builder.push(Form::Json, Some(seq), 0, text);
    }
    let codec = if texts.first() == Some(&1) { Codec::Lz4 } else { Codec::Raw };
    builder.finish(&Stream { proxy: "fuzz", boot: 1, core: 0 }, codec, &mut frame);
    frame
}

/// One changed byte: the checksum promises to see any.
fn damaged(good: &[u8], damage: &[u8]) -> Option<Vec<u8>> {
    let &[low, high, change, ..] = damage else { return None };
    let mut frame = good.to_vec();
    let at = usize::from(u16::from_le_bytes([low, high])) % frame.len();
    frame[at] ^= change;
    (change != 0).then_some(frame)
}

/// Whether the bytes are a frame that can be read.
fn read(bytes: &[u8]) -> bool {
    let Ok(frame) = Frame::parse(bytes) else { return false };
    assert_eq!(length_of(bytes), Ok(frame.len));
    let mut room = Vec::new();
    frame.entries(&mut room).is_ok_and(|mut entries| entries.all(|entry| entry.is_ok()))
}
