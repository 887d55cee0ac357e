//! No ambiguous message framing gets through: refused here, and nothing dirty ever arrives at the origin.

use std::time::Duration;

use crate::support::client::{Http1, one_shot};
use crate::support::{Findings, Origin, Setup, Tollgate, Way, equal, eventually};

/// Refused by its head alone: the origin sees nothing at all.
const BAD_HEADS: &[(&str, &[u8])] = &[
    ("CL then TE", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE then CL", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    ("TE in HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE list with another coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n"),
    ("TE gzip, chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("TE chunked twice", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("TE chunked with parameter", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    ("TE chunked not last", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("TE identity", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("TE unknown", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("TE empty", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
    ("TE quoted", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("TE with junk", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked foo\r\n\r\n0\r\n\r\n"),
    ("TE with vertical tab", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("TE with form feed", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n"),
    ("TE with NUL", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    ("TE with tab inside", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chun\tked\r\n\r\n0\r\n\r\n"),
    ("TE folded", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("two TE lines", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two TE lines, one unknown", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("space before the colon of TE", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("space before the colon of TE, with CL", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("two CL that differ", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("two equal CL", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab"),
    ("CL list", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\nab"),
    ("CL with plus", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nab"),
    ("CL negative", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -2\r\n\r\nab"),
    ("CL hexadecimal", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\nab"),
    ("CL with underscore", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n0123456789"),
    ("CL with leading zeros", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 010\r\n\r\n0123456789"),
    ("CL empty", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    ("CL with inner space", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\nab"),
    ("CL with a comma", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2,\r\n\r\nab"),
    ("CL in words", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: two\r\n\r\nab"),
    ("CL with exponent", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1e1\r\n\r\nab"),
    ("CL beyond 64 bits", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551618\r\n\r\nab"),
    ("CL beyond 64 bits by zeros", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\nab"),
    ("bare LF ends a field", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    ("bare LF ends the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n"),
    ("bare LF ends the head", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
    ("bare CR ends a field", b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"),
    ("double CR", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    ("NUL in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n"),
    ("control byte in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n"),
    ("escape byte in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n"),
    ("DEL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n"),
    ("folded value by space", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
    ("folded value by tab", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n"),
    ("space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("space before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n"),
    ("tab before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n"),
    ("space in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n"),
    ("empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"),
    ("name with a bracket", b"GET / HTTP/1.1\r\nHost: a\r\nX[y]: b\r\n\r\n"),
    ("name beyond ASCII", b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: b\r\n\r\n"),
    ("space before the method", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two spaces in the request line", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two spaces before the version", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("tab in the request line", b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space after the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    ("no version", b"GET /\r\nHost: a\r\n\r\n"),
    ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("version in lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("version 1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("version 2.0 on HTTP/1", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("version 0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    ("version with leading zero", b"GET / HTTP/01.1\r\nHost: a\r\n\r\n"),
    ("method that is no token", b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("method with a bracket", b"GET[ / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("control byte in the target", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("PRI on HTTP/1", b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n"),
];

/// Broken in the body: the head may have gone on, the broken part never does.
const BAD_BODIES: &[(&str, &[u8])] = &[
    ("chunk size 0x", b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("chunk size negative", b"-3\r\nabc\r\n0\r\n\r\n"),
    ("chunk size with plus", b"+3\r\nabc\r\n0\r\n\r\n"),
    ("chunk size with underscore", b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    ("chunk size with space before", b" 3\r\nabc\r\n0\r\n\r\n"),
    ("chunk size with space inside", b"1 0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    ("chunk size empty", b"\r\nabc\r\n0\r\n\r\n"),
    ("chunk size overflows", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("chunk size overflows by far", b"fffffffffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    ("chunk size no number", b"zz\r\nabc\r\n0\r\n\r\n"),
    ("no CRLF after the data", b"3\r\nabc0\r\n\r\n"),
    ("data longer than the chunk", b"3\r\nabcd\r\n0\r\n\r\n"),
    ("bare LF after the size", b"3\nabc\r\n0\r\n\r\n"),
    ("bare LF after the data", b"3\r\nabc\n0\r\n\r\n"),
    ("bare CR after the size", b"3\rabc\r\n0\r\n\r\n"),
    ("bare LF after an extension", b"3;x\nabc\r\n0\r\n\r\n"),
    ("bare CR in an extension", b"3;x\rabc\r\n0\r\n\r\n"),
    ("NUL in an extension", b"3;x\0\r\nabc\r\n0\r\n\r\n"),
    ("extension without a name", b"3;\r\nabc\r\n0\r\n\r\n"),
    ("extension with a bad name", b"3;a[=b\r\nabc\r\n0\r\n\r\n"),
    ("open quote in an extension", b"3;a=\"b\r\nabc\r\n0\r\n\r\n"),
    ("space after the size", b"3 \r\nabc\r\n0\r\n\r\n"),
    ("chunk size of many zeros", b"00000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("bad chunk after a good one", b"3\r\nabc\r\n3;\r\ndef\r\n0\r\n\r\n"),
    ("bare LF ends the trailers", b"3\r\nabc\r\n0\r\n\n"),
    ("bad trailer name", b"3\r\nabc\r\n0\r\nX y: z\r\n\r\n"),
];

const GOOD: &[(&str, &[u8])] = &[
    ("plain GET", b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("POST with CL", b"POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
    ("POST with CL 0", b"POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
    ("chunked", b"POST /good HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    ("chunked in another case", b"POST /good HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    ("chunk size upper case", b"POST /good HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n"),
    ("chunk size with zeros", b"POST /good HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0003\r\nabc\r\n0\r\n\r\n"),
    ("chunk extension with a quoted value", b"POST /good HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 ; a = \"b;\\\"\";c\r\nabc\r\n0\r\n\r\n"),
    ("chunk extension", b"POST /good HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;name=value\r\nabc\r\n0\r\n\r\n"),
    ("body on GET", b"GET /good HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
    ("body on DELETE", b"DELETE /good HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    ("one empty line before", b"\r\nGET /good HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("empty value", b"GET /good HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n"),
    ("no space after the colon", b"GET /good HTTP/1.1\r\nHost:a\r\n\r\n"),
    ("space around a value", b"GET /good HTTP/1.1\r\nHost: a\r\nX:   y \t\r\n\r\n"),
    ("bytes beyond ASCII in a value", b"GET /good HTTP/1.1\r\nHost: a\r\nX: caf\xc3\xa9\r\n\r\n"),
    ("tab inside a value", b"GET /good HTTP/1.1\r\nHost: a\r\nX: a\tb\r\n\r\n"),
    ("names of odd tokens", b"GET /good HTTP/1.1\r\nHost: a\r\nX!#$%&'*+-.^`|~1: y\r\n\r\n"),
    ("HTTP/1.0", b"GET /good HTTP/1.0\r\nHost: a\r\n\r\n"),
    ("absolute form", b"GET http://a/good HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("long value", b"GET /good HTTP/1.1\r\nHost: a\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n"),
];

struct Doors {
    origin: Origin,
    tollgate: Tollgate,
}

fn doors() -> Doors {
    let origin = Origin::start();
    let setup = Setup::new(format!("[upstream.app]\nservers = [\"{}\"]\n", origin.address));
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!(
        "[site.\"localhost\"]\naliases = [\"a\"]\ntls = {tls}\nredirect_http = false\n\
         routes = [{{ path = \"/*\", proxy = \"app\" }}]\n"
    );
    Doors { origin, tollgate: setup.https().and(site).server(TIMEOUTS).start() }
}

/// Short, so that a request taken for unfinished ends the test quickly instead of hanging it.
const TIMEOUTS: &str = "timeouts = { header = \"2s\", idle = \"2s\", body = \"2s\" }";

type Dial = fn(&Tollgate) -> Http1;
const DIALS: [(&str, Dial); 2] = [("h1", Tollgate::plain), ("h1+tls", Tollgate::tls)];

fn refuses_all(cases: &[(&str, Vec<u8>)], allow_head: bool, way: Way) {
    let doors = doors();
    let mut findings = Findings::default();
    for (transport, dial) in DIALS {
        for (case, request) in cases {
            doors.origin.forget();
            let outcome = refused(&doors, dial, request, way, allow_head);
            findings.check(&format!("{case} ({transport}, {way:?})"), outcome);
        }
    }
    let alive = doors.tollgate.plain().ask("GET /alive HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(alive.status, 200);
    findings.settle();
}

fn refused(doors: &Doors, dial: Dial, request: &[u8], way: Way, allow_head: bool) -> Result<(), String> {
    let (answer, closed) = one_shot(dial(&doors.tollgate), request, way);
    let status = answer.map_or(0, |answer| answer.status);
    let dirt = doors.origin.dirt();
    let arrived = doors.origin.count();
    if !dirt.is_empty() {
        return Err(format!("DIRTY at the origin: {}", dirt.join(" | ")));
    }
    if arrived > usize::from(allow_head) {
        return Err(format!("{arrived} requests arrived at the origin (answer {status})"));
    }
    match status {
        _ if !closed => Err(format!("answered {status} and kept the connection open")),
        400 | 405 | 408 | 411 | 413 | 414 | 417 | 431 | 501 | 505 => Ok(()),
        // A line that cannot be HTTP at all may simply be hung up on.
        0 => Err("closed without an answer".to_owned()),
        other => Err(format!("answered {other}")),
    }
}

fn owned(cases: &[(&'static str, &'static [u8])]) -> Vec<(&'static str, Vec<u8>)> {
    cases.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect()
}

fn with_head(cases: &[(&'static str, &'static [u8])]) -> Vec<(&'static str, Vec<u8>)> {
    let head = b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    cases.iter().map(|(name, body)| (*name, [head.as_slice(), body].concat())).collect()
}

#[test]
fn refuses_ambiguous_heads_sent_whole() {
    refuses_all(&owned(BAD_HEADS), false, Way::Whole);
}

#[test]
fn refuses_ambiguous_heads_sent_byte_by_byte() {
    refuses_all(&owned(BAD_HEADS), false, Way::ByteByByte);
}

#[test]
fn refuses_broken_chunks_sent_whole() {
    refuses_all(&with_head(BAD_BODIES), true, Way::Whole);
}

#[test]
fn refuses_broken_chunks_sent_byte_by_byte() {
    refuses_all(&with_head(BAD_BODIES), true, Way::ByteByByte);
}

#[test]
fn never_completes_a_broken_body_at_the_origin() {
    let doors = doors();
    let mut findings = Findings::default();
    for (case, request) in with_head(BAD_BODIES) {
        doors.origin.forget();
        let _ = one_shot(doors.tollgate.plain(), &request, Way::Whole);
        eventually("the upstream connection is destroyed", || (doors.origin.open() == 0).then_some(()));
        let whole = doors.origin.requests().iter().any(|got| !got.body.is_empty());
        findings.check(case, equal(&whole, &false));
    }
    findings.settle();
}

#[test]
fn passes_everything_valid() {
    let doors = doors();
    let mut findings = Findings::default();
    for (transport, dial) in DIALS {
        for way in [Way::Whole, Way::ByteByByte] {
            for (case, request) in GOOD {
                doors.origin.forget();
                let outcome = passed(&doors, dial, request, way);
                findings.check(&format!("{case} ({transport}, {way:?})"), outcome);
            }
        }
    }
    findings.settle();
}

fn passed(doors: &Doors, dial: Dial, request: &[u8], way: Way) -> Result<(), String> {
    let mut connection = dial(&doors.tollgate);
    connection.send_way(request, way);
    let answer = connection.reader.answer(false).map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("answered {}", answer.status));
    }
    let dirt = doors.origin.dirt();
    if !dirt.is_empty() {
        return Err(format!("DIRTY at the origin: {}", dirt.join(" | ")));
    }
    let got = doors.origin.last();
    let sent_body = request.windows(3).any(|window| window == b"abc");
    if sent_body && got.body != b"abc" {
        return Err(format!("the origin got the body {:?}", got.body.escape_ascii().to_string()));
    }
    if got.target == "/good" { Ok(()) } else { Err(format!("the origin got the target {}", got.target)) }
}

#[test]
fn drops_chunk_extensions() {
    let doors = doors();
    let mut connection = doors.tollgate.plain();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.send(format!("{head}3;evil=\"0\"\r\nabc\r\n0;last\r\n\r\n"));
    assert_eq!(connection.answer().status, 200);
    assert_eq!(doors.origin.dirt(), Vec::<String>::new());
    assert_eq!(doors.origin.last().body, b"abc");
}

#[test]
fn bounds_chunk_extensions() {
    let doors = doors();
    let mut connection = doors.tollgate.plain();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;");
    let piece = [b'x'; 16 * 1024];
    let taken = (0..256).take_while(|_| connection.try_send(&piece).is_ok()).count();
    assert!(taken < 256, "4 MiB of chunk extension were taken");
}

#[test]
fn answers_pipelined_requests_in_their_order() {
    let origin = Origin::with(|talk| {
        talk.read_body();
        let target = talk.request.target.clone();
        talk.ok(&target);
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    connection.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    let answers: Vec<String> = (0..3).map(|_| connection.answer().text()).collect();
    assert_eq!(answers, ["/1", "/2", "/3"]);
}

#[test]
fn goes_on_behind_a_chunked_body_with_trailers() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    let chunked = "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-End: 1\r\n\r\n";
    connection.send(format!("{chunked}{chunked}GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"));
    let answers: Vec<u16> = (0..3).map(|_| connection.answer().status).collect();
    assert_eq!(answers, [200, 200, 200]);
    // Behind a chunked body too, a head is judged by its raw bytes.
    connection.send(format!("{chunked}GET /3 HTTP/1.1\nHost: a\r\n\r\n"));
    assert_eq!((connection.answer().status, connection.answer().status), (200, 400));
    assert_eq!(origin.dirt(), Vec::<String>::new());
}

#[test]
fn frames_the_body_by_its_headers_whatever_the_method() {
    let doors = doors();
    let mut connection = doors.tollgate.plain();
    for method in ["GET", "OPTIONS", "DELETE", "HEAD", "PROPFIND"] {
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let length = smuggled.len();
        let request =
            format!("{method} /{method} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{smuggled}");
        assert_eq!(connection.ask(request).status, 200, "{method}");
    }
    let targets: Vec<String> = doors.origin.requests().into_iter().map(|got| got.target).collect();
    assert_eq!(targets, ["/GET", "/OPTIONS", "/DELETE", "/HEAD", "/PROPFIND"]);
    assert_eq!(doors.origin.dirt(), Vec::<String>::new());
}

#[test]
fn never_reuses_an_upstream_connection_whose_body_was_not_fully_sent() {
    let origin = Origin::with(|talk| {
        if talk.path() == "/early" {
            talk.answer(200, &[], b"early");
            // The rest of the body still arrives here; whatever comes, it must not be another request.
            talk.wait_closed();
        } else {
            talk.read_body();
            talk.ok("ok");
        }
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut first = tollgate.plain();
    first.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
    assert_eq!(first.answer().status, 200);
    assert_eq!(tollgate.get("/second").status, 200);
    let got = origin.wait_for(2);
    assert_ne!(got[0].connection, got[1].connection);
    // The client's connection still owes 96 bytes: it must not be read as a request.
    first.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    first.closes_within(Duration::from_secs(1));
    assert!(origin.requests().iter().all(|got| got.target != "/smuggled"));
}

#[test]
fn refuses_ambiguous_framing_of_an_upstream_answer() {
    let origin = Origin::with(|talk| {
        let answer = match talk.path() {
            "/cl-te" => {
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            }
            "/two-cl" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            "/bad-cl" => "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
            "/bad-te" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: nonsense\r\n\r\nok",
            _ => "nonsense\r\n\r\n",
        };
        talk.send(answer);
        talk.close();
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut findings = Findings::default();
    for path in ["/two-cl", "/bad-cl", "/nonsense"] {
        let status = tollgate.get(path).status;
        let outcome = if status == 502 { Ok(()) } else { Err(format!("answered {status}")) };
        findings.check(path, outcome);
    }
    let both = tollgate.get("/cl-te");
    let unambiguous = both.status == 502 || (both.header("content-length").is_none() && both.text() == "ok");
    findings.check("/cl-te", if unambiguous { Ok(()) } else { Err(format!("{both:?}")) });
    findings.settle();
}
