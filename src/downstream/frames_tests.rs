use super::*;

const GET: [u8; 4] = [0x82, 0x84, 0x86, 0x90];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    Head { length: payload.len(), kind, flags, stream }.put(&mut out);
    out.put_slice(payload);
    out.to_vec()
}

fn inspector() -> Inspector {
    Inspector { preface_left: 0, ..Inspector::new(Arc::default()) }
}

/// Everything that goes on to the library when `bytes` come in pieces of `size`.
fn pass(inspector: &mut Inspector, bytes: &[u8], size: usize) -> Result<Vec<u8>, Fatal> {
    let mut out = Vec::new();
    for piece in bytes.chunks(size) {
        match inspector.is_holding() {
            true => inspector.on_more(piece)?,
            false => out.extend_from_slice(&piece[..inspector.on_read(piece)?]),
        }
        out.extend_from_slice(&inspector.ready().split());
    }
    Ok(out)
}

/// Three sound requests on streams from `stream` on.
fn sound_from(stream: u32) -> Vec<u8> {
    let priority = [&[0, 0, 0, 0, 9], &GET[..]].concat();
    let padded = [&[2], &GET[..], &[0, 0]].concat();
    [
        frame(4, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, stream, &GET),
        frame(0, END_STREAM, stream, b"a body, longer than a frame header"),
        frame(HEADERS, END_HEADERS | END_STREAM | PRIORITY, stream + 2, &priority),
        frame(HEADERS, END_HEADERS | END_STREAM | PADDED, stream + 4, &padded),
        frame(8, 0, 0, &[0, 0, 0, 1]),
    ]
    .concat()
}

fn sound() -> Vec<u8> {
    sound_from(1)
}

#[test]
fn what_is_sound_passes_whatever_the_read_sizes() {
    for size in [1, 2, 9, 10, 13, 50, 4096] {
        let mut inspector = inspector();
        assert_eq!(pass(&mut inspector, &sound(), size).unwrap(), sound(), "{size}");
        assert_eq!((inspector.heads(), inspector.take_malformed().len()), (3, 0));
    }
    let mut inspector = inspector();
    assert_eq!(inspector.on_read(&sound()), Ok(sound().len()), "in place, when it comes at once");
}

#[test]
fn skips_the_preface() {
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), sound()].concat();
    for size in [1, 5, 100] {
        assert_eq!(pass(&mut Inspector::new(Arc::default()), &bytes, size).unwrap(), bytes);
    }
}

fn upper_case(stream: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, flags, stream, &[&GET[..], &[0, 1, b'X', 1, b'y']].concat())
}

#[test]
fn a_malformed_head_is_mended_and_told_and_the_next_passes() {
    let bytes = [upper_case(1, END_HEADERS | END_STREAM), sound_from(3)].concat();
    for size in [1, 11, 4096] {
        let mut inspector = inspector();
        let poisoned = [&GET[..], b"\x00\x02te\x01x"].concat();
        let expected = [frame(HEADERS, END_HEADERS | END_STREAM, 1, &poisoned), sound_from(3)].concat();
        assert_eq!(pass(&mut inspector, &bytes, size).unwrap(), expected, "{size}");
        let told = inspector.take_malformed();
        assert_eq!(told, [Malformed { stream: 1, why: "invalid field name" }]);
    }
}

#[test]
fn a_stream_that_depends_on_itself_still_fills_the_table() {
    let insert = [&[0, 0, 0, 1, 9], &GET[..], b"\x40\x01a\x01b"].concat();
    let bytes = frame(HEADERS, END_HEADERS | END_STREAM | PRIORITY, 1, &insert);
    let mended = [&insert[5..], b"\x00\x02te\x01x"].concat();
    let expected = frame(HEADERS, END_HEADERS | END_STREAM, 1, &mended);
    assert_eq!(pass(&mut inspector(), &bytes, 7).unwrap(), expected);
}

#[test]
fn a_block_in_pieces_is_judged_whole() {
    let [first, second] = [&GET[..2], &GET[2..]];
    let bytes = [
        frame(HEADERS, END_STREAM, 1, first),
        frame(CONTINUATION, 0, 1, &[]),
        frame(CONTINUATION, END_HEADERS, 1, second),
        sound_from(3),
    ]
    .concat();
    for size in [1, 20, 4096] {
        let expected = [frame(HEADERS, END_STREAM | END_HEADERS, 1, &GET), sound_from(3)].concat();
        assert_eq!(pass(&mut inspector(), &bytes, size).unwrap(), expected, "{size}");
    }
}

#[test]
fn too_many_pieces_are_a_flood() {
    let mut bytes = frame(HEADERS, END_STREAM, 1, &GET);
    for _ in 0..=Limits::default().h2.max_continuations {
        bytes.extend(frame(CONTINUATION, 0, 1, &[]));
    }
    for size in [1, 4096] {
        assert_eq!(pass(&mut inspector(), &bytes, size), Err(Fatal::flood("CONTINUATION flood")));
    }
}

#[test]
fn a_block_without_end_is_a_flood() {
    let piece = frame(CONTINUATION, 0, 1, &[0x90; SMALLEST_MAX_FRAME]);
    let bytes = [frame(HEADERS, 0, 1, &GET), piece.repeat(12)].concat();
    assert_eq!(pass(&mut inspector(), &bytes, 4096), Err(Fatal::flood("header block too large")));
}

#[test]
fn malformed_requests_without_end_are_a_flood() {
    let bytes: Vec<u8> = (0..200).flat_map(|n| upper_case(2 * n + 1, END_HEADERS | END_STREAM)).collect();
    assert_eq!(pass(&mut inspector(), &bytes, 4096), Err(Fatal::flood("flood of malformed requests")));
}

#[test]
fn steps_aside_from_what_is_no_protocol() {
    let broken: [Vec<u8>; 4] = [
        [frame(HEADERS, 0, 1, &GET), frame(0, 0, 1, b"data")].concat(),
        [frame(HEADERS, 0, 1, &GET), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
        frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 0x82]),
        frame(HEADERS, END_HEADERS, 1, &[0; SMALLEST_MAX_FRAME + 1]),
    ];
    for bytes in broken {
        for size in [1, 4096] {
            let mut inspector = inspector();
            assert_eq!(pass(&mut inspector, &bytes, size).unwrap(), bytes);
            assert_eq!(
                pass(&mut inspector, &upper_case(7, END_HEADERS), size).unwrap(),
                upper_case(7, END_HEADERS)
            );
        }
    }
}

#[test]
fn ends_the_connection_with_the_right_code() {
    let wrong = [
        (frame(HEADERS, END_HEADERS, 1, &[0x80]), Code::Compression),
        (frame(2, 0, 1, &[0; 4]), Code::FrameSize),
        (frame(RST_STREAM, 0, 1, &[0; 5]), Code::FrameSize),
        (frame(SETTINGS, 0, 0, &[0; 7]), Code::FrameSize),
        (frame(SETTINGS, 1, 0, &[0; 6]), Code::FrameSize),
        (frame(6, 0, 0, &[0; 7]), Code::FrameSize),
        (frame(8, 0, 0, &[0; 3]), Code::FrameSize),
        (frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 4, 0x80, 0, 0, 0]), Code::FlowControl),
    ];
    for (bytes, code) in wrong {
        for size in [1, 4096] {
            let found = pass(&mut inspector(), &bytes, size).map_err(|fatal| fatal.code);
            assert_eq!(found, Err(code), "{bytes:?}");
        }
    }
}

#[test]
fn trailers_belong_to_a_stream_that_is_open() {
    let head = frame(HEADERS, END_HEADERS, 1, &GET);
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &GET);
    let mut open = inspector();
    pass(&mut open, &head, 4096).unwrap();
    assert_ne!(pass(&mut open, &trailers, 4096).unwrap(), trailers, "they hold pseudo fields");
    for end in [frame(DATA, END_STREAM, 1, b""), frame(RST_STREAM, 0, 1, &[0; 4])] {
        for late in [&trailers, &frame(DATA, 0, 1, b"late")] {
            let bytes = [&head[..], &end, late].concat();
            assert_eq!(pass(&mut inspector(), &bytes, 4096), Err(ENDED));
        }
    }
}

#[test]
fn a_stream_that_was_never_open_has_not_ended() {
    let late = frame(HEADERS, END_HEADERS | END_STREAM, 3, &GET);
    let bytes = [sound_from(5), late].concat();
    assert_eq!(pass(&mut inspector(), &bytes, 4096).unwrap(), bytes, "the library refuses it");
}

#[test]
fn streams_that_were_forgotten_are_left_to_the_library() {
    let mut inspector = inspector();
    for n in 0..1_000 {
        let bytes = frame(HEADERS, END_HEADERS, 2 * n + 1, &GET);
        assert_eq!(pass(&mut inspector, &bytes, 4096).unwrap(), bytes);
    }
    assert!(inspector.open.len() < 1_000);
    let late = frame(DATA, 0, 1, b"late");
    assert_eq!(pass(&mut inspector, &late, 4096).unwrap(), late);
}

#[test]
fn hands_on_what_it_holds_when_the_client_closes() {
    let mut inspector = inspector();
    assert_eq!(inspector.on_read(&sound()[..12]), Ok(9));
    inspector.on_close();
    assert_eq!(inspector.ready().split(), sound()[9..12]);
}

proptest::proptest! {
    #[test]
    fn any_frames_pass_alike_whatever_the_read_sizes(
        frames in proptest::collection::vec((0_u8..11, 0_u8..64, 0_u32..6, proptest::collection::vec(proptest::prelude::any::<u8>(), 0..20)), 0..8),
        size in 1_usize..40,
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|(kind, flags, stream, load)| frame(*kind, *flags, *stream, load)).collect();
        let whole = pass(&mut inspector(), &bytes, bytes.len().max(1));
        proptest::prop_assert_eq!(pass(&mut inspector(), &bytes, size), whole);
    }
}
