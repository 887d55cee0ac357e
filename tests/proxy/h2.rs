//! HTTP/2 becomes HTTP/1.1 without becoming something else: what is malformed ends its stream, and only its stream.

use bytes::Bytes;
use http_body_util::Full;

use crate::support::h2raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Ending, Field, H2, HEADERS, PRIORITY_FLAG, block, put_frame,
    simple,
};
use crate::support::legal_h2::{LegalH2, get, request};
use crate::support::{Findings, Origin, Setup, Tollgate, equal};

type Head = Vec<Field<'static>>;

fn base() -> Head {
    simple("GET", "/bad")
}

fn with(extra: &[Field<'static>]) -> Head {
    [base(), extra.to_vec()].concat()
}

fn without(name: &str) -> Head {
    base().into_iter().filter(|(n, _)| *n != name.as_bytes()).collect()
}

fn instead(name: &'static str, value: &'static [u8]) -> Head {
    base().into_iter().map(|(n, v)| if n == name.as_bytes() { (n, value) } else { (n, v) }).collect()
}

fn post(extra: &[Field<'static>]) -> Head {
    [simple("POST", "/bad"), extra.to_vec()].concat()
}

/// Malformed heads (RFC 9113 section 8.2 and 8.3) and what no HTTP/1.1 request may be made of.
fn malformed() -> Vec<(&'static str, Head)> {
    [malformed_pseudo_fields(), malformed_fields()].concat()
}

fn malformed_pseudo_fields() -> Vec<(&'static str, Head)> {
    vec![
        ("no :method", without(":method")),
        ("no :path", without(":path")),
        ("no :scheme", without(":scheme")),
        ("no :authority and no host", without(":authority")),
        ("empty :path", instead(":path", b"")),
        ("empty :authority", instead(":authority", b"")),
        (":method twice", [vec![(b":method" as &[u8], b"GET" as &[u8])], base()].concat()),
        (":path twice", [vec![(b":path" as &[u8], b"/x" as &[u8])], base()].concat()),
        (":scheme twice", [vec![(b":scheme" as &[u8], b"http" as &[u8])], base()].concat()),
        (":authority twice", [vec![(b":authority" as &[u8], b"localhost" as &[u8])], base()].concat()),
        ("unknown pseudo field", [vec![(b":foo" as &[u8], b"x" as &[u8])], base()].concat()),
        (":status in a request", [vec![(b":status" as &[u8], b"200" as &[u8])], base()].concat()),
        ("pseudo field after a field", [vec![(b"x" as &[u8], b"y" as &[u8])], base()].concat()),
        ("CRLF in :path", instead(":path", b"/ HTTP/1.1\r\nx: y")),
        ("space in :path", instead(":path", b"/a b")),
        ("NUL in :path", instead(":path", b"/a\0b")),
        ("fragment in :path", instead(":path", b"/a#b")),
        (":path without slash", instead(":path", b"bad")),
        ("absolute :path", instead(":path", b"http://evil.example/")),
        ("asterisk :path with GET", instead(":path", b"*")),
        ("CRLF in :method", instead(":method", b"GET / HTTP/1.1\r\nx: y\r\n\r\nGET")),
        ("space in :method", instead(":method", b"GET /x")),
        ("CR in :authority", instead(":authority", b"localhost\r\nx: y")),
        ("user in :authority", instead(":authority", b"user@localhost")),
        ("path in :authority", instead(":authority", b"localhost/x")),
        ("odd :scheme", instead(":scheme", b"gopher")),
        ("CRLF in :scheme", instead(":scheme", b"http\r\nx: y")),
    ]
}

fn malformed_fields() -> Vec<(&'static str, Head)> {
    vec![
        ("upper-case name", with(&[(b"X-Upper", b"1")])),
        ("connection", with(&[(b"connection", b"close")])),
        ("keep-alive", with(&[(b"keep-alive", b"timeout=5")])),
        ("proxy-connection", with(&[(b"proxy-connection", b"keep-alive")])),
        ("transfer-encoding", with(&[(b"transfer-encoding", b"chunked")])),
        ("upgrade", with(&[(b"upgrade", b"websocket")])),
        ("te other than trailers", with(&[(b"te", b"gzip")])),
        ("CR in a value", with(&[(b"x", b"a\rb")])),
        ("LF in a value", with(&[(b"x", b"a\nb")])),
        ("NUL in a value", with(&[(b"x", b"a\0b")])),
        ("CRLF and a field in a value", with(&[(b"x", b"a\r\ntransfer-encoding: chunked")])),
        (
            "CRLF and a request in a value",
            with(&[(b"x", b"a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")]),
        ),
        ("CRLF in a name", with(&[(b"x\r\ny", b"1")])),
        ("space in a name", with(&[(b"x y", b"1")])),
        ("colon in a name", with(&[(b"x:y", b"1")])),
        ("empty name", with(&[(b"", b"1")])),
        ("tab in a name", with(&[(b"x\t", b"1")])),
        ("name beyond ASCII", with(&[(b"x\xe9", b"1")])),
        ("value with leading space", with(&[(b"x", b" y")])),
        ("value with trailing space", with(&[(b"x", b"y ")])),
        ("value with trailing tab", with(&[(b"x", b"y\t")])),
        ("host other than :authority", with(&[(b"host", b"evil.example")])),
        ("host twice", with(&[(b"host", b"localhost"), (b"host", b"localhost")])),
        (
            "host twice, without :authority",
            [without(":authority"), vec![(b"host", b"localhost"), (b"host", b"evil.example")]].concat(),
        ),
        ("content-length twice, equal", post(&[(b"content-length", b"0"), (b"content-length", b"0")])),
        ("content-length twice, different", post(&[(b"content-length", b"0"), (b"content-length", b"1")])),
        ("content-length no number", post(&[(b"content-length", b"+0")])),
        ("content-length without its data", post(&[(b"content-length", b"5")])),
        ("CONNECT with a path", instead(":method", b"CONNECT")),
        ("TRACE", instead(":method", b"TRACE")),
    ]
}

/// What may be answered to a malformed request: its stream is refused, the connection goes on.
fn refused(ending: &Ending) -> Result<(), String> {
    match ending {
        Ending::Answer(400 | 405 | 413 | 414 | 417 | 421 | 431 | 501, _) | Ending::Reset(1 | 2 | 7) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn refuses_malformed(dial: impl Fn() -> H2, origin: &Origin) {
    let mut findings = Findings::default();
    let mut h2 = dial();
    for (case, fields) in malformed() {
        origin.forget();
        let stream = h2.request(&fields, true);
        let ending = h2.ending(stream);
        let mut outcome = refused(&ending);
        let targets: Vec<String> = origin.requests().into_iter().map(|got| got.target).collect();
        if !targets.is_empty() {
            outcome = Err(format!("forwarded {targets:?} ({ending:?})"));
        }
        let next = h2.get("/good");
        let alive = h2.ending(next);
        if !matches!(alive, Ending::Answer(200, _)) {
            outcome = Err(format!("killed the connection: {ending:?}, then {alive:?}"));
            h2 = dial();
        }
        findings.check(case, outcome);
    }
    findings.settle();
}

#[test]
fn a_malformed_request_ends_its_stream_only_over_h2c() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    refuses_malformed(|| tollgate.h2c(), &origin);
}

#[test]
fn a_malformed_request_ends_its_stream_only_over_tls() {
    let (origin, tollgate) = secure();
    refuses_malformed(|| tollgate.h2(), &origin);
}

/// A site with a certificate, over https.
pub(crate) fn secure() -> (Origin, Tollgate) {
    let origin = Origin::start();
    let setup = Setup::new(format!("[upstream.app]\nservers = [\"{}\"]\n", origin.address));
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!(
        "[site.localhost]\ntls = {tls}\nredirect_http = false\nroutes = [{{ path = \"/*\", proxy = \"app\" }}]\n"
    );
    (origin, setup.https().and(site).start())
}

#[test]
fn data_that_differs_from_content_length_never_makes_a_request() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut findings = Findings::default();
    let mut h2 = tollgate.h2c();
    for (case, length, data) in
        [("more data", b"3" as &[u8], b"abcdef" as &[u8]), ("less data", b"6", b"abc")]
    {
        origin.forget();
        let stream = h2.request(&post(&[(b"content-length", length)]), false);
        h2.frame(DATA, END_STREAM, stream, data);
        let ending = h2.ending(stream);
        findings.check(case, refused(&ending));
        let whole = origin.requests().iter().any(|got| !got.body.is_empty());
        findings.check(&format!("{case}, at the origin"), equal(&whole, &false));
        findings.check(&format!("{case}, dirt"), equal(&origin.dirt(), &Vec::new()));
        let next = h2.get("/good");
        let alive = matches!(h2.ending(next), Ending::Answer(200, _));
        findings.check(&format!("{case}, the connection goes on"), equal(&alive, &true));
        if !alive {
            h2 = tollgate.h2c();
        }
    }
    findings.settle();
}

#[test]
fn trailers_with_pseudo_fields_or_bad_names_end_their_stream_only() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut findings = Findings::default();
    let trailers: [(&str, Field<'_>); 3] =
        [("pseudo field", (b":path", b"/x")), ("upper case", (b"X", b"y")), ("CRLF", (b"x", b"a\r\nb: c"))];
    for (case, field) in trailers {
        origin.forget();
        let mut h2 = tollgate.h2c();
        let stream = h2.request(&simple("POST", "/trailed"), false);
        h2.frame(DATA, 0, stream, b"abc");
        h2.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[field]));
        let ending = h2.ending(stream);
        findings.check(case, refused(&ending));
        findings.check(&format!("{case}, dirt"), equal(&origin.dirt(), &Vec::new()));
    }
    findings.settle();
}

/// A literal with incremental indexing: the field enters the dynamic table.
fn inserted((name, value): Field<'_>) -> Vec<u8> {
    let mut bytes = block(&[(name, value)]);
    bytes[0] = 0x40;
    bytes
}

#[test]
fn a_malformed_request_leaves_the_header_table_in_step() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut findings = Findings::default();
    let bad: [(&str, Field<'_>); 5] = [
        ("name", (b"X-Bad", b"1")),
        ("value", (b"x-bad", b"a\0b")),
        ("pseudo field", (b":what", b"1")),
        ("method", (b":method", b"G T")),
        ("status", (b":status", b"1")),
    ];
    for (case, field) in bad {
        let mut h2 = tollgate.h2c();
        let first = h2.open();
        let parts = [
            block(&base()),
            inserted((b"x-before", b"before")),
            inserted(field),
            inserted((b"x-after", b"after")),
        ];
        h2.frame(HEADERS, END_HEADERS | END_STREAM, first, &parts.concat());
        findings.check(case, refused(&h2.ending(first)));
        origin.forget();
        let second = h2.open();
        // The newest entry has the index 62.
        let fields = [block(&simple("GET", "/good")), vec![0x80 | 62, 0x80 | 64]].concat();
        h2.frame(HEADERS, END_HEADERS | END_STREAM, second, &fields);
        findings
            .check(&format!("{case}, then"), equal(&h2.ending(second), &Ending::Answer(200, b"ok".to_vec())));
        let got = origin.requests().pop();
        let seen = got.as_ref().map(|got| (got.all("x-before"), got.all("x-after")));
        let wanted = Some((vec!["before"], vec!["after"]));
        findings.check(&format!("{case}, its table"), equal(&seen, &wanted));
        let third = h2.open();
        let fields = [block(&base()), vec![0x80 | 63]].concat();
        h2.frame(HEADERS, END_HEADERS | END_STREAM, third, &fields);
        findings.check(&format!("{case}, by index"), refused(&h2.ending(third)));
    }
    findings.settle();
}

#[test]
fn a_malformed_head_in_pieces_ends_its_stream_only() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut h2 = tollgate.h2c();
    for split in [1, 10, 40] {
        let fields = block(&with(&[(b"connection", b"close"), (b"x-more", b"1")]));
        let stream = h2.open();
        h2.frame(HEADERS, END_STREAM, stream, &fields[..split]);
        h2.frame(CONTINUATION, END_HEADERS, stream, &fields[split..]);
        assert_eq!(refused(&h2.ending(stream)), Ok(()), "{split}");
        let next = h2.get("/good");
        assert!(matches!(h2.ending(next), Ending::Answer(200, _)), "{split}");
    }
}

#[test]
fn a_stream_that_depends_on_itself_ends_alone() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut h2 = tollgate.h2c();
    let stream = h2.open();
    let fields = [&stream.to_be_bytes()[..], &[16], &block(&base()), &inserted((b"x", b"kept"))].concat();
    h2.frame(HEADERS, END_HEADERS | END_STREAM | PRIORITY_FLAG, stream, &fields);
    assert_eq!(h2.ending(stream), Ending::Reset(1));
    let next = h2.open();
    h2.frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        next,
        &[block(&simple("GET", "/good")), vec![0x80 | 62]].concat(),
    );
    assert!(matches!(h2.ending(next), Ending::Answer(200, _)));
    assert_eq!(origin.last().all("x"), ["kept"]);
}

#[test]
fn frames_cut_anywhere_are_understood() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut h2 = tollgate.h2c();
    for size in [1, 5, 11] {
        let mut bytes = Vec::new();
        let (bad, good) = (h2.open(), h2.open());
        put_frame(&mut bytes, HEADERS, END_HEADERS | END_STREAM, bad, &block(&with(&[(b"X", b"1")])));
        put_frame(&mut bytes, HEADERS, END_HEADERS | END_STREAM, good, &block(&simple("GET", "/good")));
        for piece in bytes.chunks(size) {
            h2.write(piece);
        }
        assert!(matches!(h2.ending(good), Ending::Answer(200, _)), "{size}");
    }
    assert_eq!(origin.count(), 3);
}

#[test]
fn a_refused_head_leaves_a_record() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut h2 = tollgate.h2c();
    let bad = h2.request(&with(&[(b"X", b"1")]), true);
    assert_eq!(h2.ending(bad), Ending::Reset(1));
    // Sound by its fields, and refused by the library for its target.
    let odd = h2.request(&instead(":path", b"bad"), true);
    assert_eq!(refused(&h2.ending(odd)), Ok(()));
    let good = h2.get("/good");
    assert!(matches!(h2.ending(good), Ending::Answer(200, _)));
    drop(h2);
    let records = tollgate.stop();
    let told =
        |why: &str| records.iter().filter(|r| r["err"].as_str().is_some_and(|err| err.contains(why))).count();
    assert_eq!(told("HTTP/2 stream 1: invalid field name"), 1, "{records:#?}");
    assert_eq!(told("1 HTTP/2 requests ended before"), 1, "{records:#?}");
}

fn legal() -> Vec<(&'static str, Head, Option<&'static [u8]>)> {
    vec![
        ("plain GET", simple("GET", "/good"), None),
        ("te: trailers", [simple("GET", "/good"), vec![(b"te", b"trailers")]].concat(), None),
        ("empty value", [simple("GET", "/good"), vec![(b"x", b"")]].concat(), None),
        ("bytes beyond ASCII", [simple("GET", "/good"), vec![(b"x", b"caf\xc3\xa9")]].concat(), None),
        ("host equal to :authority", [simple("GET", "/good"), vec![(b"host", b"localhost")]].concat(), None),
        (
            "host instead of :authority",
            vec![(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/good"), (b"host", b"localhost")],
            None,
        ),
        (
            "POST with content-length",
            [simple("POST", "/good"), vec![(b"content-length", b"3")]].concat(),
            Some(b"abc"),
        ),
        ("POST without content-length", simple("POST", "/good"), Some(b"abc")),
        ("odd method", simple("PROPFIND", "/good"), None),
        ("GET with a body", simple("GET", "/good"), Some(b"abc")),
    ]
}

#[test]
fn legal_requests_pass() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut findings = Findings::default();
    let mut h2 = tollgate.h2c();
    for (case, fields, body) in legal() {
        origin.forget();
        let stream = h2.request(&fields, body.is_none());
        if let Some(body) = body {
            h2.frame(DATA, END_STREAM, stream, body);
        }
        let ending = h2.ending(stream);
        findings.check(case, equal(&ending, &Ending::Answer(200, b"ok".to_vec())));
        let got = origin.requests().pop();
        let seen = got.map(|got| (got.target, got.body));
        let wanted = Some(("/good".to_owned(), body.unwrap_or_default().to_vec()));
        findings.check(&format!("{case}, at the origin"), equal(&seen, &wanted));
        findings.check(&format!("{case}, dirt"), equal(&origin.dirt(), &Vec::new()));
    }
    findings.settle();
}

#[test]
fn joins_cookie_crumbs_into_one_field() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut h2 = tollgate.h2c();
    let crumbs: [Field<'_>; 3] = [(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"cookie", b"c=3")];
    let stream = h2.request(&[simple("GET", "/"), crumbs.to_vec()].concat(), true);
    assert_eq!(h2.ending(stream), Ending::Answer(200, b"ok".to_vec()));
    assert_eq!(origin.last().all("cookie"), ["a=1; b=2; c=3"]);
}

#[test]
fn the_origin_gets_host_and_scheme_of_the_request() {
    let (origin, tollgate) = secure();
    let mut client = LegalH2::tls(tollgate.https(), "localhost");
    assert_eq!(client.ask(get("https", "/a?b")).unwrap().status, 200);
    let got = origin.last();
    assert_eq!((got.method.as_str(), got.target.as_str(), got.version.as_str()), ("GET", "/a?b", "HTTP/1.1"));
    assert_eq!(got.all("host"), ["localhost"]);
    assert_eq!(got.all("x-forwarded-proto"), ["https"]);
    let answer = client.ask(request("POST", "https", "/up", "body")).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(origin.last().body, b"body");
    for name in ["connection", "keep-alive", "transfer-encoding", "upgrade"] {
        assert_eq!(answer.header(name), None, "{name} in an h2 answer");
    }
}

#[test]
fn many_streams_share_one_connection() {
    let origin = Origin::with(|talk| {
        talk.read_body();
        let target = talk.request.target.clone();
        talk.ok(&target);
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut client = LegalH2::plain(tollgate.http);
    let requests: Vec<http::Request<Full<Bytes>>> = (0..100).map(|n| get("http", &format!("/{n}"))).collect();
    for (n, answer) in client.ask_all(requests).into_iter().enumerate() {
        assert_eq!(answer.unwrap().text(), format!("/{n}"));
    }
    let records = tollgate.records().wait("/99");
    assert_eq!(records["proto"], "2");
}

#[test]
fn refuses_h2c_where_it_is_not_allowed() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).without_h2c().start();
    let mut h2 = tollgate.h2c();
    let stream = h2.get("/");
    assert!(!matches!(h2.ending(stream), Ending::Answer(200, _)));
    assert_eq!(origin.count(), 0);
}
