use proptest::prelude::*;

use super::*;

const STREAM: Stream<'static> = Stream { proxy: "edge-1", boot: 1_763_713_443_512, core: 3 };

/// A frame of JSON entries with the numbers from 7 on.
fn frame(texts: &[Vec<u8>], codec: Codec) -> Vec<u8> {
    let (mut builder, mut out) = (Builder::default(), Vec::new());
    for (seq, text) in (7..).zip(texts) {
        assert!(builder.takes(Some(seq), text.len()));
        builder.push(Form::Json, Some(seq), 1000 + seq as i64, text);
    }
    builder.finish(&STREAM, codec, &mut out);
    out
}

fn texts(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut room = Vec::new();
    let frame = Frame::parse(bytes).unwrap();
    frame.entries(&mut room).unwrap().map(|entry| entry.unwrap().bytes.to_vec()).collect()
}

#[test]
fn says_whose_records_it_holds_and_which() {
    let bytes = frame(&vec![b"{}".to_vec(); 3], Codec::Raw);
    let frame = Frame::parse(&bytes).unwrap();
    assert_eq!((frame.stream, frame.count, frame.numbers), (STREAM, 3, Some((7, 9))));
    assert_eq!((frame.times, frame.len), ((1007, 1009), bytes.len()));
}

#[test]
fn takes_no_entry_that_would_leave_a_hole() {
    let mut builder = Builder::default();
    builder.push(Form::Record, Some(4), 0, b"x");
    assert!(builder.takes(Some(5), 1));
    assert!(!builder.takes(Some(4), 1) && !builder.takes(Some(6), 1));
    assert!(builder.takes(None, 1), "a gap has no number");
    assert!(!builder.takes(Some(5), MAX_PAYLOAD));
}

#[test]
fn compresses_when_that_is_worth_it() {
    let (same, short) = (vec![vec![b'a'; 4000]], vec![b"ab".to_vec()]);
    assert!(frame(&same, Codec::Lz4).len() < 300);
    assert_eq!(frame(&short, Codec::Lz4), frame(&short, Codec::Raw));
}

#[test]
fn a_lost_reader_finds_the_next_good_frame() {
    let (first, second) = (frame(&[b"{1}".to_vec()], Codec::Raw), frame(&[b"{2}".to_vec()], Codec::Raw));
    let mut bytes = [first.clone(), second.clone(), second.clone()].concat();
    bytes[first.len() + HEAD + 1] ^= 1;
    assert_eq!(find(&bytes, 0), Some(0));
    assert_eq!(find(&bytes, 1), Some(first.len() + second.len()));
    assert_eq!(find(&bytes, first.len() + second.len() + 1), None);
}

#[test]
fn a_peek_says_the_same_as_a_parse_without_asking_the_checksum() {
    let mut bytes = frame(&vec![b"{}".to_vec(); 3], Codec::Raw);
    assert_eq!(format!("{:?}", Frame::peek(&bytes)), format!("{:?}", Frame::parse(&bytes)));
    assert_eq!(Frame::peek(&bytes[..bytes.len() - 1]).unwrap_err(), FrameError::Short);
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(Frame::parse(&bytes).unwrap_err(), FrameError::Checksum);
    assert_eq!(Frame::peek(&bytes).unwrap().numbers, Some((7, 9)));
}

#[test]
fn a_long_name_is_cut_where_a_character_begins() {
    let (mut builder, mut out) = (Builder::default(), Vec::new());
    builder.push(Form::Json, None, 0, b"{}");
    builder.finish(&Stream { proxy: &"ä".repeat(200), ..STREAM }, Codec::Raw, &mut out);
    let frame = Frame::parse(&out).unwrap();
    assert_eq!((frame.stream.proxy.len(), frame.numbers), (254, None));
}

proptest! {
    #[test]
    fn gives_back_what_went_in(
        entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20),
        lz4 in any::<bool>(),
    ) {
        let bytes = frame(&entries, if lz4 { Codec::Lz4 } else { Codec::Raw });
        prop_assert_eq!(length_of(&bytes), Ok(bytes.len()));
        prop_assert_eq!(texts(&bytes), entries);
    }

    #[test]
    fn a_cut_or_changed_frame_is_never_taken(
        entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..5),
        at in any::<proptest::sample::Index>(),
        bit in 0u8..8,
    ) {
        let good = frame(&entries, Codec::Lz4);
        let at = at.index(good.len());
        prop_assert!(Frame::parse(&good[..at]).is_err());
        let mut bad = good;
        bad[at] ^= 1 << bit;
        prop_assert!(Frame::parse(&bad).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
        if magic && bytes.len() > 6 {
            bytes[..6].copy_from_slice(b"TGF1\x01\x01");
        }
        let mut room = Vec::new();
        for frame in [Frame::parse(&bytes), Frame::peek(&bytes)].into_iter().flatten() {
            let _ = frame.entries(&mut room).map(Iterator::count);
        }
        let _ = find(&bytes, 0);
    }
}
