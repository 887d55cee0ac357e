//! What a record says: everything the exchange knew, nothing that is secret, in lines that no client can break.

use std::time::Duration;

use serde_json::Value;

use crate::record::house;
use crate::support::tollgate::CATCH_ALL;
use crate::support::{Findings, Origin, Setup, equal, eventually, get, get_with, post};

fn wanted_fields() -> Vec<(&'static str, Value)> {
    vec![
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
        ("tries", Value::from(1)),
        ("rx_body_b", Value::from(5)),
        ("tx_body_b", Value::from(2)),
        ("client_ip", Value::from("127.0.0.1")),
        ("listener", Value::from("https")),
        ("tls_sni", Value::from("localhost")),
        ("tls_ver", Value::from("1.3")),
        ("tls_alpn", Value::from("http/1.1")),
        ("conn_req", Value::from(1)),
    ]
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
    let origin = Value::from(house.origin.address.to_string());
    let mut findings = Findings::default();
    for (name, value) in wanted_fields() {
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
    findings.check("up_addr", equal(&record["up_addr"], &origin));
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
    // A busy machine may see the head late; what it adds to one phase it takes from the next.
    let (wait, answer) = (time("t_wait_us"), time("t_resp_us"));
    assert!(wait >= 95_000 && answer > 0 && wait + answer >= 195_000, "{record}");
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
fn a_file_that_was_moved_away_is_opened_again() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    tollgate.get("/?m=before");
    tollgate.records().wait("m=before");
    let file = tollgate.records().file;
    std::fs::rename(&file, file.with_extension("old")).unwrap();
    tollgate.signal(rustix::process::Signal::USR1);
    eventually("the file is opened again", || {
        tollgate.get("/?m=after");
        file.exists().then_some(())
    });
    tollgate.records().wait("m=after");
    let old = std::fs::read_to_string(file.with_extension("old")).unwrap();
    assert!(old.contains("m=before"));
}

#[test]
fn records_are_shipped_and_kept_until_they_are_taken() {
    let origin = Origin::start();
    // A log service that does not know frames, refuses the first batch of lines and takes the second.
    let service = Origin::with(|talk| {
        if talk.path() == "/frames" {
            talk.read_body();
            return talk.answer(404, &[], b"");
        }
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
        let taken = service.requests().into_iter().filter(|got| got.connection > 0 && got.target == "/logs");
        taken.map(|got| String::from_utf8_lossy(&got.body).into_owned()).collect::<String>()
    };
    eventually("all records are shipped", || {
        (0..20).all(|n| shipped().contains(&format!("m=ship{n}."))).then_some(())
    });
    for line in shipped().lines().filter(|line| !line.is_empty()) {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    let is_known = |target: &str| matches!(target, "/logs" | "/frames");
    assert!(service.requests().iter().all(|got| got.method == "POST" && is_known(&got.target)));
}
