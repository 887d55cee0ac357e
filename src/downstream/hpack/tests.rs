use httlib_huffman::encode;
use proptest::prelude::*;

use super::class::is_padded;
use super::text::{Text, has_plain_codes};
use super::*;

type Pair<'a> = (&'a [u8], &'a [u8]);

const GET: [u8; 3] = [0x82, 0x84, 0x86];

fn text(out: &mut Vec<u8>, text: &[u8], is_huffman: bool) {
    let mut coded = Vec::new();
    let bytes = match is_huffman {
        true => {
            encode(text, &mut coded).unwrap();
            &coded
        }
        false => text,
    };
    let mut length = BytesMut::new();
    put_length(&mut length, bytes.len());
    length[0] |= if is_huffman { 0x80 } else { 0 };
    out.extend_from_slice(&length);
    out.extend_from_slice(bytes);
}

fn literal(first: u8, (name, value): Pair<'_>, is_huffman: bool) -> Vec<u8> {
    let mut out = vec![first];
    text(&mut out, name, is_huffman);
    text(&mut out, value, is_huffman);
    out
}

fn with(field: Pair<'_>, is_huffman: bool) -> Vec<u8> {
    [GET.to_vec(), literal(0, field, is_huffman)].concat()
}

fn head(block: &[u8]) -> Result<Option<&'static str>, Unreadable> {
    Follower::default().read(block, Part::Head)
}

/// What the library does with a field: whether it takes name and value without ending the connection.
fn library_takes((name, value): Pair<'_>) -> bool {
    http::HeaderName::from_lowercase(name).is_ok() && http::HeaderValue::from_bytes(value).is_ok()
}

#[test]
fn names_and_values_are_judged_as_the_library_judges_them() {
    for byte in 0..=u8::MAX {
        for is_huffman in [false, true] {
            let name = [b'a', byte, b'a'];
            // A quotation mark is no token character (RFC 9110 section 5.6.2).
            let taken = library_takes((&name, b"v")) && byte != b'"';
            assert_eq!(head(&with((&name, b"v"), is_huffman)), Ok((!taken).then_some("invalid field name")));
            let value = [b'a', byte, b'a'];
            let taken = library_takes((b"x", &value));
            assert_eq!(
                head(&with((b"x", &value), is_huffman)),
                Ok((!taken).then_some("invalid field value"))
            );
        }
    }
}

#[test]
fn undecoded_text_hides_nothing_unsound() {
    for byte in 0..=u8::MAX {
        let mut coded = Vec::new();
        encode(&[b'a', byte, b'0'], &mut coded).unwrap();
        let text = Text { bytes: &coded, is_huffman: true };
        let is_harmless = matches!(byte, b' '..=b'~');
        assert!(is_harmless || !text.is_coded_plain(false), "{byte:#x}");
        assert!((is_harmless && byte != b'#') || !text.is_coded_plain(true), "{byte:#x}");
    }
}

#[test]
fn everyday_text_is_not_decoded() {
    let everyday = [
        "/foo?x=1",
        "/api/v1/things/4711/parts?page=2&sort=name&filter=open",
        "session=abcdef0123456789; theme=dark; consent=yes",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ];
    for text in everyday {
        let mut coded = Vec::new();
        encode(text.as_bytes(), &mut coded).unwrap();
        assert!(Text { bytes: &coded, is_huffman: true }.is_coded_plain(true), "{text}");
    }
}

#[test]
fn white_space_around_a_value_is_refused() {
    for is_huffman in [false, true] {
        for value in [" a", "a ", "\ta", "a\t", " ", "aaaaaaa ", "8 ", "a, b, c "] {
            let found = head(&with((b"x", value.as_bytes()), is_huffman));
            assert_eq!(found, Ok(Some("invalid field value")), "{value:?}");
        }
        assert_eq!(head(&with((b"x", b"a b"), is_huffman)), Ok(None));
        assert_eq!(head(&with((b"x", b""), is_huffman)), Ok(None));
    }
}

#[test]
fn the_static_table_has_its_classes() {
    // RFC 7541 appendix A.
    let expected = |index: usize| match index {
        1 => Class::Authority,
        2 | 3 => Class::Method,
        4 | 5 => Class::Path,
        6 | 7 => Class::Scheme,
        8..=14 => Class::Status,
        28 => Class::Length,
        57 => Class::Hop,
        _ => Class::Field,
    };
    for index in 1..=STATIC {
        assert_eq!(Follower::default().entry(index).unwrap().class, expected(index), "{index}");
    }
}

#[test]
fn pseudo_fields_come_once_and_first() {
    assert_eq!(head(&GET), Ok(None));
    assert_eq!(head(&[0x82, 0x84]), Ok(Some("pseudo field missing")));
    assert_eq!(head(&[0x82, 0x84, 0x86, 0x82]), Ok(Some("pseudo field twice")));
    assert_eq!(head(&[0x82, 0x84, 0x90, 0x86]), Ok(Some("pseudo field after a field")));
    assert_eq!(head(&[0x82, 0x84, 0x86, 0x88]), Ok(Some(":status in a request")));
    let connect =
        [literal(0, (b":method", b"CONNECT"), false), literal(0, (b":authority", b"a:1"), true)].concat();
    assert_eq!(head(&connect), Ok(None));
    assert_eq!(head(&connect[..17]), Ok(Some("pseudo field missing")));
    assert_eq!(head(&[&connect[..], &[0x86]].concat()), Ok(Some("CONNECT with scheme or path")));
}

#[test]
fn trailers_have_no_pseudo_fields() {
    let mut follower = Follower::default();
    assert_eq!(follower.read(&[0x90], Part::Trailers), Ok(None));
    assert_eq!(follower.read(&[0x84], Part::Trailers), Ok(Some("pseudo field in trailers")));
}

#[test]
fn connection_fields_are_refused() {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        assert!(matches!(head(&with((name.as_bytes(), b"x"), true)), Ok(Some(_))), "{name}");
    }
    assert_eq!(head(&with((b"te", b"trailers"), true)), Ok(None));
    assert!(matches!(head(&with((b"te", b"gzip"), true)), Ok(Some(_))));
}

#[test]
fn a_fragment_is_seen_in_coded_paths_too() {
    for is_huffman in [false, true] {
        let path = |value: &[u8]| {
            let mut block = vec![0x82, 0x86, 0x04];
            text(&mut block, value, is_huffman);
            head(&block)
        };
        assert_eq!(path(b"/a?b=c"), Ok(None));
        for bad in [b"/a#b" as &[u8], b"/a\0b", b"/\x7f", b"", b"/\xff"] {
            assert!(matches!(path(bad), Ok(Some(_))), "{bad:?} {is_huffman}");
        }
    }
}

#[test]
fn remembers_what_an_inserted_entry_is() {
    let mut follower = Follower::default();
    let insert =
        [GET.to_vec(), literal(0x40, (b"te", b"gzip"), false), literal(0x40, (b"x", b"ok"), false)].concat();
    assert!(matches!(follower.read(&insert, Part::Head), Ok(Some(_))));
    assert_eq!(follower.read(&[0x82, 0x84, 0x86, 0x80 | 62], Part::Head), Ok(None));
    assert!(matches!(follower.read(&[0x82, 0x84, 0x86, 0x80 | 63], Part::Head), Ok(Some(_))));
    // The name of the same entry with another value is sound.
    let named = [&GET[..], &[0x0f, 63 - 15], b"\x08trailers"].concat();
    assert_eq!(follower.read(&named, Part::Head), Ok(None));
}

#[test]
fn a_mended_block_is_sound_but_for_its_poison_and_keeps_the_sizes() {
    let mut follower = Follower::default();
    let block = [
        GET.to_vec(),
        literal(0x40, (b"X-Upper", b"abc"), true),
        literal(0, (b"drop", b"me\r\n"), false),
        literal(0x40, (b"keeps-its-name", b"a\0b"), false),
        literal(0x40, (b":status", b"1"), false),
    ]
    .concat();
    assert!(matches!(follower.read(&block, Part::Head), Ok(Some(_))));
    let mut mended = BytesMut::new();
    follower.mend(&block, Part::Head, &mut mended);
    let expected = [
        GET.to_vec(),
        literal(0x40, (b"xxxxxxx", b"xxx"), false),
        literal(0x40, (b"keeps-its-name", b"xxx"), false),
        literal(0x40, (b"xxxxxxx", b"x"), false),
        POISON.to_vec(),
    ]
    .concat();
    assert_eq!(mended, expected);
    // References to the stand-ins stay malformed for the client's later messages.
    assert!(matches!(follower.read(&[0x82, 0x84, 0x86, 0x80 | 63], Part::Head), Ok(Some(_))));
}

#[test]
fn broken_coding_is_unreadable() {
    for block in [&[0x80_u8] as &[u8], &[0x40], &[0, 1], &[0, 0x7f, 0xff, 0xff, 0xff, 0xff, 1], &[0xff, 0xff]]
    {
        assert_eq!(head(block), Err(Unreadable), "{block:?}");
    }
}

#[test]
fn an_entry_that_was_never_inserted_is_unreadable() {
    let mut follower = Follower::default();
    let insert = [&GET[..], &literal(0x40, (b"a", b"b"), false)].concat();
    assert_eq!(follower.read(&insert, Part::Head), Ok(None));
    assert_eq!(follower.read(&[&GET[..], &[0x80_u8 | 62]].concat(), Part::Head), Ok(None));
    for reference in [&[0x80_u8 | 63] as &[u8], &[0x7f, 0, 1, b'x']] {
        assert_eq!(
            follower.read(&[&GET[..], reference].concat(), Part::Head),
            Err(Unreadable),
            "{reference:?}"
        );
    }
}

#[test]
fn the_table_is_resized_at_the_start_of_a_block_and_within_its_limit() {
    let (none, most, more) = ([0x20_u8], [0x3f, 0xe1, 0x1f], [0x3f, 0xe2, 0x1f]);
    assert_eq!(head(&[&none[..], &most, &GET].concat()), Ok(None));
    assert_eq!(head(&[&more[..], &GET].concat()), Err(Unreadable));
    assert_eq!(head(&[&GET[..], &none].concat()), Err(Unreadable));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(block in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut follower = Follower::default();
        if let Ok(Some(_)) = follower.read(&block, Part::Head) {
            let mut mended = BytesMut::new();
            follower.mend(&block, Part::Head, &mut mended);
            // What was mended once needs no second repair.
            let mut again = Follower::default();
            prop_assert!(again.read(&mended, Part::Head).is_ok());
            prop_assert!(again.repairs.is_empty());
        }
    }

    #[test]
    fn undecoded_text_is_plain(value in "[ -~\t\r\u{80}]{0,20}") {
        let mut coded = Vec::new();
        encode(value.as_bytes(), &mut coded).unwrap();
        let text = Text { bytes: &coded, is_huffman: true };
        let is_plain = value.bytes().all(|b| matches!(b, b' '..=b'~')) && !is_padded(value.as_bytes());
        prop_assert!(is_plain || !text.is_coded_plain(false));
        prop_assert!((is_plain && !value.contains('#')) || !text.is_coded_plain(true));
    }

    #[test]
    fn any_bytes_are_walked_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
        has_plain_codes(&bytes, true);
    }

    #[test]
    fn coded_and_plain_text_are_judged_alike(
        name in "[a-z:]{0,12}", value in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let field = (name.as_bytes(), &value[..]);
        prop_assert_eq!(head(&with(field, false)), head(&with(field, true)));
    }
}
