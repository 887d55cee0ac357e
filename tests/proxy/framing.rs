//! No ambiguous message framing gets through: refused here, and nothing dirty ever arrives at the origin.

use std::time::Duration;

use crate::framing_cases::{BAD_BODIES, BAD_HEADS, GOOD};
use crate::support::client::{Http1, one_shot};
use crate::support::{DEADLINE, Findings, Origin, Setup, Tollgate, Way, equal, eventually};

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
const TIMEOUTS: &str = "timeouts = { header = \"2s\", body = \"2s\" }";

type Dial = fn(&Tollgate) -> Http1;
const DIALS: [(&str, Dial); 2] = [("h1", Tollgate::plain), ("h1+tls", Tollgate::tls)];

fn refuses_all(cases: &[(&str, Vec<u8>)], allow_head: bool, way: Way) {
    let doors = doors();
    let mut findings = Findings::default();
    for (transport, dial) in DIALS {
        for (n, (case, request)) in cases.iter().enumerate() {
            doors.origin.forget();
            let request = &with_own_target(request, &format!("/{transport}-{n}"));
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
    // What an earlier case sent on may arrive late: a case of broken bodies is known by its target.
    let target = crate::support::client::latin1(request);
    let target = target.split(' ').nth(1).unwrap_or("");
    let mine = |got: &&crate::support::origin::Got| !allow_head || got.target == target;
    let arrived = doors.origin.requests().iter().filter(mine).count();
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

/// Gives the request a target of its own where it has the one of all broken bodies.
fn with_own_target(request: &[u8], target: &str) -> Vec<u8> {
    match request.strip_prefix(b"POST /bad ") {
        Some(rest) => [b"POST ", target.as_bytes(), b" ", rest].concat(),
        None => request.to_vec(),
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

/// Where a head begins is hardest to know behind a chunked body, in one read with it.
#[test]
fn refuses_ambiguous_heads_behind_a_chunked_body() {
    let doors = doors();
    let first = b"POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let mut findings = Findings::default();
    for (case, request) in BAD_HEADS {
        doors.origin.forget();
        let mut connection = doors.tollgate.plain();
        connection.send([first.as_slice(), request].concat());
        let answers = [connection.reader.answer(false), connection.reader.answer(false)];
        let statuses = answers.map(|answer| answer.map_or(0, |answer| answer.status));
        let mut targets: Vec<String> = doors.origin.requests().into_iter().map(|got| got.target).collect();
        targets.retain(|target| target != "/first");
        findings.check(case, equal(&(statuses[0], targets), &(200, Vec::new())));
        findings.check(
            case,
            if statuses[1] < 400 && statuses[1] != 0 { Err(format!("then {}", statuses[1])) } else { Ok(()) },
        );
        findings.check(case, equal(&doors.origin.dirt(), &Vec::new()));
    }
    findings.settle();
}

/// The same behind a body of known length, and behind no body.
#[test]
fn refuses_ambiguous_heads_behind_other_requests() {
    let doors = doors();
    let firsts: [&[u8]; 2] = [
        b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let mut findings = Findings::default();
    for first in firsts {
        for (case, request) in BAD_HEADS {
            doors.origin.forget();
            let mut connection = doors.tollgate.plain();
            connection.send([first, request].concat());
            let answers = [connection.reader.answer(false), connection.reader.answer(false)];
            let statuses = answers.map(|answer| answer.map_or(0, |answer| answer.status));
            let mut targets: Vec<String> =
                doors.origin.requests().into_iter().map(|got| got.target).collect();
            targets.retain(|target| target != "/first");
            findings.check(case, equal(&(statuses[0], targets), &(200, Vec::new())));
            findings.check(case, equal(&(400..600).contains(&statuses[1]), &true));
            findings.check(case, equal(&doors.origin.dirt(), &Vec::new()));
        }
    }
    findings.settle();
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
    connection.send("x".repeat(1 << 20));
    assert_eq!(connection.answer().status, 400);
    assert!(connection.closes_within(DEADLINE));
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
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
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
    let mut connection = tollgate.plain();
    connection.send(crate::support::get("/cl-te"));
    let both = connection.reader.answer(false).map(|answer| (answer.status, answer.complete, answer.text()));
    // Either refused, or framed by what wins (RFC 9112 section 6.3) without the other.
    let unambiguous = match &both {
        Ok((502, ..)) => true,
        Ok((200, complete, text)) => *complete && text == "ok",
        _ => false,
    };
    findings.check("/cl-te", if unambiguous { Ok(()) } else { Err(format!("{both:?}")) });
    findings.settle();
}
