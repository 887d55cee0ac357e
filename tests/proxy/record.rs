//! Every exit leaves exactly one record, and it says who ended what, where and why.

use serde_json::Value;

use crate::support::client::{Http1, one_shot, tcp};
use crate::support::h2raw::simple;
use crate::support::{
    DEADLINE, DeadEnd, Findings, Origin, Setup, Tollgate, Way, equal, eventually, get, get_with,
};

fn scripted() -> Origin {
    Origin::with(|talk| match talk.path() {
        "/hang" => {
            talk.wait_closed();
        }
        "/half" => {
            talk.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
            talk.close();
        }
        "/stall" => {
            talk.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
            talk.wait_closed();
        }
        "/nonsense" => {
            talk.send("nonsense\r\n\r\n");
            talk.close();
        }
        "/silent" => talk.close(),
        "/reset" => talk.reset(),
        "/teapot" => talk.answer(418, &[], b"short and stout"),
        _ => {
            talk.read_body();
            talk.ok("ok");
        }
    })
}

/// A tollgate with one of everything that can end an exchange.
pub(crate) struct House {
    _dead: DeadEnd,
    pub(crate) origin: Origin,
    pub(crate) tollgate: Tollgate,
}

pub(crate) fn house() -> House {
    let (dead, origin) = (DeadEnd::new(), scripted());
    let setup = Setup::new(format!(
        "[limit.once]\nrate = \"1/h\"\nburst = 1\nkey = \"route\"\n\
         [upstream.app]\nservers = [\"{}\"]\neject = false\n[upstream.dead]\nservers = [\"{}\"]\neject = false\n",
        origin.address, dead.address
    ));
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!(
        "[site.\"localhost\"]\ntls = {tls}\nredirect_http = false\nroutes = [\n  {{ path = \"/app/*\", proxy = \"app\", strip_prefix = true }},\n\
         {{ path = \"/dead\", proxy = \"dead\" }},\n  {{ path = \"/once\", respond = \"once\", limit = \"once\" }},\n\
         {{ path = \"/moved\", redirect = \"/app/x\" }},\n  {{ path = \"/own\", respond = \"own\" }},\n]\n"
    );
    let timeouts = "timeouts = { upstream = \"400ms\", upstream_body = \"400ms\", header = \"1s\", body = \"1s\" }\nmax_body = \"100B\"";
    House { tollgate: setup.https().and(site).server(timeouts).start(), origin, _dead: dead }
}

/// `status, end_by, end_at, reason` of a record, with what is absent as empty.
fn outcome(record: &Value) -> (u64, String, String, String) {
    let text = |name: &str| record[name].as_str().unwrap_or("").to_owned();
    let by = if text("end_by").is_empty() { "none".to_owned() } else { text("end_by") };
    (record["status"].as_u64().unwrap_or(0), by, text("end_at"), text("reason"))
}

type Case = (&'static str, &'static str, u64, &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    ("a good answer", "/app/x", 200, "none", "done", ""),
    ("an odd answer of the origin", "/app/teapot", 418, "none", "done", ""),
    ("no route", "/nowhere", 404, "proxy", "done", "proxy_internal_response"),
    ("an answer of our own", "/own", 200, "none", "done", "proxy_internal_response"),
    ("a redirect", "/moved", 307, "none", "done", "proxy_internal_response"),
    ("no connection", "/dead", 502, "upstream", "connect", "connection_refused"),
    ("no answer in time", "/app/hang", 504, "upstream", "wait", "http_response_timeout"),
    ("closed before the answer", "/app/silent", 502, "upstream", "wait", "connection_terminated"),
    ("reset before the answer", "/app/reset", 502, "upstream", "wait", "connection_terminated"),
    ("an answer that is none", "/app/nonsense", 502, "upstream", "wait", "http_protocol_error"),
    ("half an answer", "/app/half", 200, "upstream", "resp", "http_response_incomplete"),
    ("an answer that stalls", "/app/stall", 200, "upstream", "resp", "connection_read_timeout"),
];

#[test]
fn every_end_of_an_exchange_has_its_one_record() {
    let house = house();
    for (n, (_, path, ..)) in CASES.iter().enumerate() {
        let _ = one_shot(
            house.tollgate.plain(),
            get_with(&format!("{path}?m=end{n}."), "Connection: close\r\n").as_bytes(),
            Way::Whole,
        );
        house.tollgate.records().wait(&format!("m=end{n}."));
    }
    let records = house.tollgate.stop();
    let mut findings = Findings::default();
    for (n, (case, _, status, by, at, reason)) in CASES.iter().enumerate() {
        let marker = format!("m=end{n}.");
        let mine: Vec<&Value> =
            records.iter().filter(|r| r["query"].as_str().is_some_and(|q| q.contains(&marker))).collect();
        findings.check(&format!("{case}: records"), equal(&mine.len(), &1));
        let Some(record) = mine.first() else { continue };
        // Our own answers may name their end either way: what matters is that they are told apart from the origin's.
        let (seen_status, seen_by, seen_at, seen_reason) = outcome(record);
        let by_matches = seen_by == *by
            || (*reason == "proxy_internal_response" && ["none", "proxy"].contains(&seen_by.as_str()));
        let same = seen_status == *status && by_matches && seen_at == *at && seen_reason == *reason;
        let seen = (seen_status, seen_by, seen_at, seen_reason);
        findings.check(
            case,
            if same { Ok(()) } else { Err(format!("{seen:?} instead of {:?}", (status, by, at, reason))) },
        );
    }
    findings.settle();
}

#[test]
fn refused_heads_and_failed_connections_leave_a_record_each() {
    let house = house();
    let tollgate = &house.tollgate;
    let ended = || -> Vec<Value> {
        let counts = |record: &Value| record["kind"] == "request" || record["kind"] == "conn";
        tollgate.records().all().into_iter().filter(counts).collect()
    };
    let bad = [
        ("GET /bad1 HTTP/1.1\r\n\r\n", 400),
        ("GET /bad2 HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET /bad3\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        (
            "POST /bad5 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("POST /app/bad6 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 101\r\n\r\n", 413),
        ("GET /bad7 HTTP/1.1\r\nHost: localhost\r\nX: ", 408),
    ];
    let mut findings = Findings::default();
    for (n, (request, status)) in bad.iter().enumerate() {
        let (answer, _) = one_shot(tollgate.plain(), request.as_bytes(), Way::Whole);
        findings.check(request, equal(&answer.map_or(0, |answer| answer.status), status));
        let records = eventually("its record", || {
            let all = ended();
            (all.len() > n).then_some(all)
        });
        findings.check(request, equal(&records.len(), &(n + 1)));
        let last = records.last().unwrap();
        findings.check(request, equal(&last["status"].as_u64(), &Some(u64::from(*status))));
        let said = ["http_request_error", "client_timeout"].contains(&last["reason"].as_str().unwrap_or(""));
        findings.check(request, if said { Ok(()) } else { Err(last.to_string()) });
        findings.check(request, equal(&last["client_ip"].as_str(), &Some("127.0.0.1")));
    }
    findings.settle();
}

#[test]
fn a_failed_handshake_is_a_record_of_a_connection() {
    let house = house();
    let mut connection = Http1::over(Box::new(tcp(house.tollgate.https())));
    connection.send("\x16\x03\x01\x00\x05nonsense that is no hello");
    assert!(connection.closes_within(DEADLINE));
    let record = house.tollgate.records().wait_that("the failed handshake", |r| r["kind"] == "conn");
    assert_eq!(
        (record["end_at"].as_str(), record["listener"].as_str()),
        (Some("tls"), Some("https")),
        "{record}"
    );
    assert!(record["reason"].is_string(), "{record}");
}

#[test]
fn an_abort_is_the_clients_doing_in_every_phase() {
    let house = house();
    let tollgate = &house.tollgate;
    // While the origin is waited for.
    let mut waiting = tollgate.plain();
    waiting.send(get("/app/hang?m=abort-wait"));
    house.origin.wait_for(1);
    waiting.reset();
    let record = tollgate.records().wait("m=abort-wait");
    assert_eq!(outcome(&record).1, "client", "{record}");
    assert_eq!(
        (outcome(&record).2.as_str(), outcome(&record).3.as_str()),
        ("wait", "client_abort"),
        "{record}"
    );
    // While the body is on its way in.
    let mut sending = tollgate.plain();
    sending.send("POST /app/x?m=abort-body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf");
    house.origin.wait_for(2);
    sending.reset();
    let record = tollgate.records().wait("m=abort-body");
    assert_eq!(
        (outcome(&record).1.as_str(), outcome(&record).3.as_str()),
        ("client", "client_abort"),
        "{record}"
    );
    assert!(["body", "send"].contains(&outcome(&record).2.as_str()), "{record}");
    // While the answer is on its way out.
    let mut reading = tollgate.plain();
    reading.send(get("/app/stall?m=abort-resp"));
    reading.reader.answer_start().unwrap();
    reading.reset();
    let record = tollgate.records().wait("m=abort-resp");
    assert_eq!(
        (outcome(&record).1.as_str(), outcome(&record).3.as_str()),
        ("client", "client_abort"),
        "{record}"
    );
    assert_eq!((outcome(&record).0, outcome(&record).2.as_str()), (200, "resp"), "{record}");
    // A reset stream.
    let mut h2 = tollgate.h2c();
    let stream = h2.request(&simple("GET", "/app/hang?m=abort-h2"), true);
    house.origin.wait_for(4);
    h2.frame(crate::support::h2raw::RST_STREAM, 0, stream, &8u32.to_be_bytes());
    let record = tollgate.records().wait("m=abort-h2");
    assert_eq!(
        (outcome(&record).1.as_str(), outcome(&record).3.as_str()),
        ("client", "client_abort"),
        "{record}"
    );
}

#[test]
fn posts_and_limits_are_recorded_over_h2_too() {
    let house = house();
    let mut h2 = house.tollgate.h2();
    for (path, status) in [("/once?m=first", 200), ("/once?m=second", 429)] {
        let stream = h2.get(path);
        let ending = h2.ending(stream);
        assert!(
            matches!(ending, crate::support::h2raw::Ending::Answer(seen, _) if seen == status),
            "{ending:?}"
        );
    }
    let record = house.tollgate.records().wait("m=second");
    assert_eq!(outcome(&record), (429, "rule".to_owned(), "policy".to_owned(), "rate_limited".to_owned()));
    assert_eq!(record["proto"], "2");
}
