//! Every exit leaves exactly one record, and it says who ended what, where and why.

use std::time::Duration;

use serde_json::Value;

use crate::support::client::{Http1, one_shot, tcp};
use crate::support::h2raw::simple;
use crate::support::tollgate::CATCH_ALL;
use crate::support::{
    DEADLINE, DeadEnd, Findings, Origin, Setup, Tollgate, Way, equal, eventually, get, get_with, post,
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

struct House {
    _dead: DeadEnd,
    origin: Origin,
    tollgate: Tollgate,
}

fn house() -> House {
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
    let before = tollgate.records().all().len();
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
            let all = tollgate.records().all();
            (all.len() > before + n).then_some(all)
        });
        findings.check(request, equal(&records.len(), &(before + n + 1)));
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
fn a_record_has_what_the_exchange_knew() {
    let house = house();
    let tollgate = &house.tollgate;
    let mut connection = tollgate.tls();
    let lines = "User-Agent: probe/1\r\nReferer: https://from.example/\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n";
    connection
        .send(format!("POST /app/full?m=full&token=hidden HTTP/1.1\r\nHost: localhost\r\n{lines}\r\nhello"));
    assert_eq!(connection.answer().status, 200);
    assert_eq!(connection.ask(get("/app/again?m=again")).status, 200);
    let record = tollgate.records().wait("m=full");
    let wanted = [
        ("v", Value::from(1)),
        ("kind", Value::from("request")),
        ("method", Value::from("POST")),
        ("scheme", Value::from("https")),
        ("host", Value::from("localhost")),
        ("path", Value::from("/app/full")),
        ("query", Value::from("m=full&token=REDACTED")),
        ("site", Value::from("localhost")),
        ("proto", Value::from("1.1")),
        ("ua", Value::from("probe/1")),
        ("referer", Value::from("https://from.example/")),
        ("req_type", Value::from("text/plain")),
        ("resp_type", Value::from("text/plain")),
        ("status", Value::from(200)),
        ("up_status", Value::from(200)),
        ("upstream", Value::from("app")),
        ("up_addr", Value::from(house.origin.address.to_string())),
        ("tries", Value::from(1)),
        ("rx_body_b", Value::from(5)),
        ("tx_body_b", Value::from(2)),
        ("client_ip", Value::from("127.0.0.1")),
        ("listener", Value::from("https")),
        ("tls_sni", Value::from("localhost")),
        ("tls_ver", Value::from("1.3")),
        ("tls_alpn", Value::from("http/1.1")),
        ("conn_req", Value::from(1)),
    ];
    let mut findings = Findings::default();
    for (name, value) in wanted {
        findings.check(name, equal(&record[name], &value));
    }
    for name in [
        "ts",
        "id",
        "proxy",
        "boot",
        "core",
        "seq",
        "conn",
        "dur_us",
        "t_head_us",
        "t_wait_us",
        "route",
        "rx_head_b",
        "tx_head_b",
        "cfg",
        "client_port",
    ] {
        findings.check(name, if record[name].is_null() { Err("absent".to_owned()) } else { Ok(()) });
    }
    let again = tollgate.records().wait("m=again");
    findings.check("the same connection", equal(&again["conn"], &record["conn"]));
    findings.check("its second request", equal(&again["conn_req"], &Value::from(2)));
    findings.check("a kept upstream connection", equal(&again["up_reused"], &Value::from(true)));
    let nulls = record.as_object().unwrap().values().filter(|value| value.is_null()).count();
    findings.check("nulls are left out", equal(&nulls, &0));
    findings.settle();
}

#[test]
fn phases_add_up() {
    let origin = Origin::with(|talk| {
        crate::support::pause(Duration::from_millis(100));
        talk.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab");
        crate::support::pause(Duration::from_millis(100));
        talk.send("cd");
    });
    let tollgate = Setup::proxy(origin.address).start();
    tollgate.get("/?m=phases");
    let record = tollgate.records().wait("m=phases");
    let time = |name: &str| record[name].as_u64().unwrap_or(0);
    assert!(time("t_wait_us") >= 95_000 && time("t_resp_us") >= 95_000, "{record}");
    let parts =
        ["t_head_us", "t_policy_us", "t_queue_us", "t_conn_us", "t_send_us", "t_wait_us", "t_resp_us"];
    let sum: u64 = parts.iter().map(|name| time(name)).sum();
    assert!(
        sum <= time("dur_us") + 2_000 && time("dur_us") <= sum + 50_000,
        "{sum} of {}: {record}",
        time("dur_us")
    );
}

#[test]
fn sequence_numbers_have_no_gap_and_ids_are_unique() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).cores(2).start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut connection = tollgate.plain();
                    for _ in 0..5 {
                        connection.ask(get("/?m=seq"));
                    }
                }
            });
        }
    });
    let records = tollgate.stop();
    let mut by_core = std::collections::BTreeMap::<u64, Vec<u64>>::new();
    for record in records.iter().filter(|record| record["seq"].is_u64() && record["core"].is_u64()) {
        by_core.entry(record["core"].as_u64().unwrap()).or_default().push(record["seq"].as_u64().unwrap());
    }
    for (core, seqs) in by_core {
        let wanted: Vec<u64> = (1..=seqs.len() as u64).collect();
        assert_eq!(seqs, wanted, "core {core}");
    }
    let mine: Vec<&Value> = records.iter().filter(|record| record["query"] == "m=seq").collect();
    let ids: std::collections::BTreeSet<&str> =
        mine.iter().filter_map(|record| record["id"].as_str()).collect();
    assert_eq!((mine.len(), ids.len()), (200, 200));
}

/// Field values that break naive logs. Each must come back from the JSON byte by byte.
fn hostile() -> Vec<String> {
    let mut values: Vec<String> =
        ["\"", "\\", "\\\"", "{}", "','", "</script>", "%00", "${jndi:x}", "\u{2028}", "caf\u{e9}"]
            .iter()
            .map(ToString::to_string)
            .collect();
    values.extend((0x20..0x7f).map(|byte| char::from(byte).to_string()));
    values.push("a\tb".to_owned());
    values.push("\\u0000\\n\\".to_owned());
    values.push("\u{1f980}".to_owned());
    values
}

#[test]
fn hostile_values_survive_and_never_break_a_line() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    let values = hostile();
    for (n, value) in values.iter().enumerate() {
        assert_eq!(
            connection.ask(get_with(&format!("/?m=h{n}."), &format!("User-Agent: x{value}x\r\n"))).status,
            200
        );
    }
    // Bytes that are no UTF-8 at all.
    connection.send(
        [get_with("/?m=raw.", "").trim_end().as_bytes(), b"\r\nUser-Agent: \xff\xfe\x80\r\n\r\n"].concat(),
    );
    assert_eq!(connection.answer().status, 200);
    tollgate.records().wait("m=raw.");
    let mut findings = Findings::default();
    for (n, value) in values.iter().enumerate() {
        let mine = tollgate.records().of(&format!("m=h{n}."));
        findings.check(value, equal(&mine.len(), &1));
        let ua = mine.first().and_then(|record| record["ua"].as_str().map(str::to_owned));
        findings.check(value, equal(&ua, &Some(format!("x{value}x"))));
    }
    let raw = std::fs::read(&tollgate.records().file).unwrap();
    let clean = raw.iter().all(|byte| *byte == b'\n' || (*byte >= 0x20 && *byte != 0x7f));
    findings.check("control bytes in the file", equal(&clean, &true));
    let lines = raw.iter().filter(|byte| **byte == b'\n').count();
    findings.check("lines", equal(&lines, &tollgate.records().all().len()));
    findings.settle();
}

#[test]
fn long_values_are_cut_and_the_record_stays_small() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let long = "y".repeat(20_000);
    let answer = tollgate.plain().ask(get_with("/?m=long", &format!("User-Agent: {long}\r\n")));
    assert_eq!(answer.status, 200);
    let record = tollgate.records().wait("m=long");
    assert!(record.to_string().len() < 16 * 1024, "a record of {} bytes", record.to_string().len());
}

#[test]
fn credentials_are_never_recorded() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).log("redact = [\"query.mine\"]").start();
    let lines = "Authorization: Bearer s3cr3t-a\r\nCookie: sid=s3cr3t-b\r\nProxy-Authorization: s3cr3t-c\r\n";
    let query = "m=secret&access_token=s3cr3t-d&password=s3cr3t-e&mine=s3cr3t-f&X-Amz-Signature=s3cr3t-g&SIG=s3cr3t-h";
    assert_eq!(tollgate.plain().ask(get_with(&format!("/?{query}"), lines)).status, 200);
    assert!(origin.last().target.contains("s3cr3t-d"), "redaction is for the record only");
    tollgate.records().wait("m=secret");
    let text = std::fs::read_to_string(&tollgate.records().file).unwrap();
    assert!(!text.contains("s3cr3t"), "{text}");
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
    assert_eq!((record["proto"].as_str(), record["h2_stream"].as_u64()), (Some("2"), Some(3)));
}

#[test]
fn a_file_that_was_moved_away_is_opened_again() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    tollgate.get("/?m=before");
    tollgate.records().wait("m=before");
    let file = tollgate.records().file;
    std::fs::rename(&file, file.with_extension("old")).unwrap();
    tollgate.signal(rustix::process::Signal::USR1);
    eventually("the file is opened again", || file.exists().then_some(()));
    tollgate.get("/?m=after");
    tollgate.records().wait("m=after");
    let old = std::fs::read_to_string(file.with_extension("old")).unwrap();
    assert!(old.contains("m=before") && !old.contains("m=after"));
}

#[test]
fn records_are_shipped_and_kept_until_they_are_taken() {
    let origin = Origin::start();
    // A log service that refuses the first batch and takes the second.
    let service = Origin::with(|talk| {
        let body = talk.read_body();
        let first = talk.request.connection == 0 && !body.is_empty();
        talk.answer(
            if first { 503 } else { 200 },
            &[("content-type", "application/json")],
            b"{\"accepted\":0,\"rejected\":[]}",
        );
        if first {
            talk.close();
        }
    });
    let tollgate = Setup::new(format!("[upstream.app]\nservers = [\"{}\"]\n{CATCH_ALL}", origin.address))
        .ship_to(&format!("http://{}", service.address))
        .start();
    let start = std::time::Instant::now();
    for n in 0..20 {
        assert_eq!(tollgate.plain().ask(post(&format!("/?m=ship{n}."), "x")).status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "a refusing service slowed requests");
    let shipped = || {
        let taken = service.requests().into_iter().filter(|got| got.connection > 0);
        taken.map(|got| String::from_utf8_lossy(&got.body).into_owned()).collect::<String>()
    };
    eventually("all records are shipped", || {
        (0..20).all(|n| shipped().contains(&format!("m=ship{n}."))).then_some(())
    });
    for line in shipped().lines().filter(|line| !line.is_empty()) {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    assert!(service.requests().iter().all(|got| got.method == "POST" && got.target.starts_with("/logs")));
}
