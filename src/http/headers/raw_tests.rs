use proptest::prelude::*;

use super::*;
use crate::http::headers::Fault;

const GOOD: &str =
    "GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\nX-Note:\ta\tb \r\nX-Empty:\r\n\r\n";

fn detail(head: &str) -> &'static str {
    let refusal = check_raw_head(head.as_bytes()).expect_err(&format!("{head:?} passed"));
    assert_eq!(refusal.fault, Fault::BadRequest);
    refusal.detail
}

#[test]
fn passes_what_is_valid() {
    for head in [
        GOOD,
        "GET / HTTP/1.0\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost:a\r\ncontent-length:5\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "M-SEARCH * HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: caf\u{e9}: b\r\n\r\n",
    ] {
        let facts = check_raw_head(head.as_bytes()).unwrap_or_else(|refusal| panic!("{head:?}: {refusal}"));
        assert_eq!(facts.head_len, head.len());
    }
    let facts = check_raw_head(GOOD.as_bytes()).unwrap();
    assert_eq!((facts.minor, facts.fields, facts.has_host, facts.has_content_length), (1, 4, true, false));
}

#[test]
fn refuses_every_ambiguous_head_with_its_reason() {
    let table = [
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "white space before the request line"),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "white space before the request line"),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "white space before the request line"),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", "bare LF"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", "bare LF"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", "bare LF"),
        ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "bare CR"),
        ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "bare CR"),
        ("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", "control byte in the head"),
        ("GET / HTTP/1.1\r\nHost: a\x0b\r\n\r\n", "control byte in the head"),
        ("GET / HTTP/1.1\r\nX\x7f: a\r\n\r\n", "control byte in the head"),
        ("GET / HTTP/1.1\r\nHost: a\r\n", "head without an empty line at its end"),
        ("", "head without an empty line at its end"),
        ("\r\n", "head without an empty line at its end"),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "folded line or empty field name"),
        ("GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n", "folded line or empty field name"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\tb: c\r\n\r\n", "folded line or empty field name"),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", "folded line or empty field name"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "white space before the colon"),
        ("GET / HTTP/1.1\r\nTransfer-Encoding\t: chunked\r\n\r\n", "white space before the colon"),
        ("GET / HTTP/1.1\r\nHost\r\n\r\n", "field without a colon"),
        ("GET / HTTP/1.1\r\nHost: a\r\nhOST: a\r\n\r\n", "more than one Host"),
        ("GET / HTTP/1.1\r\ncontent-length: 1\r\nContent-Length: 1\r\n\r\n", "more than one Content-Length"),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: x\r\n\r\n",
            "more than one Transfer-Encoding",
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            "content-length beside transfer-encoding",
        ),
        (
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n",
            "content-length beside transfer-encoding",
        ),
        ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer-encoding in HTTP/1.0"),
        ("GET  / HTTP/1.1\r\n\r\n", "space, fragment or raw byte in the request line"),
        ("GET /  HTTP/1.1\r\n\r\n", "space, fragment or raw byte in the request line"),
        ("GET /a b HTTP/1.1\r\n\r\n", "space, fragment or raw byte in the request line"),
        ("GET\t/ HTTP/1.1\r\n\r\n", "request line without method or target"),
        ("G\tT / HTTP/1.1\r\n\r\n", "space, fragment or raw byte in the request line"),
        ("GET /#a HTTP/1.1\r\n\r\n", "space, fragment or raw byte in the request line"),
        ("GET /\u{e9} HTTP/1.1\r\n\r\n", "space, fragment or raw byte in the request line"),
        ("GET / HTTP/1.1 \r\n\r\n", "request line without HTTP/1.1 or HTTP/1.0"),
        ("GET / HTTP/1.2\r\n\r\n", "request line without HTTP/1.1 or HTTP/1.0"),
        ("GET / HTTP/2.0\r\n\r\n", "request line without HTTP/1.1 or HTTP/1.0"),
        ("GET / http/1.1\r\n\r\n", "request line without HTTP/1.1 or HTTP/1.0"),
        ("GET /\r\n\r\n", "request line without HTTP/1.1 or HTTP/1.0"),
        ("HTTP/1.1\r\n\r\n", "request line without HTTP/1.1 or HTTP/1.0"),
        (" HTTP/1.1\r\n\r\n", "white space before the request line"),
        ("GET HTTP/1.1\r\n\r\n", "request line without method or target"),
        ("PRI * HTTP/2.0\r\n\r\n", "request line without HTTP/1.1 or HTTP/1.0"),
    ];
    for (head, reason) in table {
        assert_eq!(detail(head), reason, "{head:?}");
    }
}

#[test]
fn finds_the_end_by_the_laxest_reading() {
    for (head, end) in [
        ("GET / HTTP/1.1\r\n\r\nbody", Some(18)),
        ("GET /\n\nX", Some(7)),
        ("GET /\n\r\nX", Some(8)),
        ("GET /\r\n\nX", Some(8)),
        ("\r\n\r\nGET /\r\n\r\n", Some(13)),
        ("\r\n\r\n", None),
        ("GET /\r\n\r", None),
        ("GET /\r\nHost: a\r\n", None),
        ("", None),
    ] {
        assert_eq!(find_head_end(head.as_bytes(), 0), end, "{head:?}");
    }
}

#[test]
fn tells_method_and_target_of_a_broken_head() {
    let text = |head: &'static str| {
        request_line(head.as_bytes()).map(|(method, target)| (&head[method], &head[target]))
    };
    assert_eq!(text("GET /a HTTP/1.1\r\n"), Some(("GET", "/a")));
    assert_eq!(text("\r\nGET /a b HTTP/1.1\r\n"), Some(("GET", "/a b")));
    assert_eq!(text("GET /half"), Some(("GET", "/half")));
    assert_eq!(text("GET "), Some(("GET", "")));
    assert_eq!(text("GET"), None);
    assert_eq!(text("\x16\x03\x01"), None);
}

proptest! {
    #[test]
    fn end_is_the_same_byte_by_byte(head in "(\r\n){0,2}([a: ]|\r|\n|\r\n){0,40}") {
        let bytes = head.as_bytes();
        let whole = find_head_end(bytes, 0);
        let stepwise = (1..=bytes.len()).find_map(|len| find_head_end(&bytes[..len], len - 1));
        prop_assert_eq!(whole, stepwise);
    }

    #[test]
    fn never_panics_and_never_passes_a_stray_byte(head in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut all = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        all.extend_from_slice(&head);
        all.extend_from_slice(b"\r\n\r\n");
        let _ = request_line(&head);
        let _ = check_raw_head(&head);
        if check_raw_head(&all).is_ok() {
            let text = all.iter().map(|b| char::from(*b)).collect::<String>().replace("\r\n", "");
            prop_assert!(!text.chars().any(|c| (c < ' ' && c != '\t') || c == '\x7f'));
        }
    }
}
