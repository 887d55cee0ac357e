//! Bodies of any size pass in constant memory, unchanged, at the pace of the slower side.

use std::time::Duration;

use crate::support::client::Http1;
use crate::support::{Origin, Setup, Tollgate, get};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 1_024 * MIB;

fn gate() -> (Origin, Tollgate) {
    let origin = Origin::with(|talk| {
        if talk.path() == "/up" {
            let size = talk.swallow_body();
            talk.ok(&size.to_string());
            return;
        }
        let mib: u64 = talk.query("mib").and_then(|n| n.parse().ok()).unwrap_or(1);
        let piece = pattern();
        talk.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", mib * MIB));
        (0..mib).all(|_| talk.send(&piece));
    });
    let setup = Setup::new(format!("[upstream.app]\nservers = [\"{}\"]\n", origin.address));
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!(
        "[site.localhost]\ntls = {tls}\nredirect_http = false\nmax_body = \"20GiB\"\nroutes = [{{ path = \"/*\", proxy = \"app\" }}]\n"
    );
    let tollgate = setup.https().and(site).start();
    assert_eq!(tollgate.get("/?mib=1").body.len() as u64, MIB);
    (origin, tollgate)
}

fn pattern() -> Vec<u8> {
    (0..MIB).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// Reads `size` bytes of a body that repeats the pattern; false when one differs.
fn reads_pattern(connection: &mut Http1, size: u64) -> bool {
    let pattern = pattern();
    let mut left = size;
    let mut at = 0;
    while left > 0 {
        if connection.reader.buffer.is_empty() && !connection.reader.fill().unwrap_or(false) {
            return false;
        }
        let buffer = &mut connection.reader.buffer;
        let have = buffer.len().min(pattern.len() - at).min(usize::try_from(left).unwrap());
        if buffer[..have] != pattern[at..at + have] {
            return false;
        }
        buffer.drain(..have);
        at = (at + have) % pattern.len();
        left -= have as u64;
    }
    true
}

#[test]
fn a_gibibyte_comes_down_in_constant_memory() {
    let (_origin, tollgate) = gate();
    let before = tollgate.memory_kib();
    let mut connection = tollgate.plain();
    connection.send(get("/?mib=1024"));
    connection.reader.answer_start().unwrap();
    assert!(reads_pattern(&mut connection, SIZE), "the body arrived changed");
    let grown = tollgate.memory_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "memory grew by {grown} KiB");
}

#[test]
fn a_gibibyte_goes_up_in_constant_memory() {
    let (_origin, tollgate) = gate();
    let before = tollgate.memory_kib();
    let mut connection = tollgate.plain();
    connection.send(format!("POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SIZE}\r\n\r\n"));
    let piece = pattern();
    let mut most = 0;
    for n in 0..SIZE / MIB {
        connection.try_send(&piece).expect("the body is taken");
        if n % 128 == 0 {
            most = most.max(tollgate.memory_kib());
        }
    }
    assert_eq!(connection.answer().text(), SIZE.to_string());
    let grown = most.saturating_sub(before);
    assert!(grown < 16 * 1024, "memory grew by {grown} KiB");
}

#[test]
fn large_bodies_pass_unchanged_over_tls() {
    let (_origin, tollgate) = gate();
    let mut connection = tollgate.tls();
    connection.send(get("/?mib=64"));
    connection.reader.answer_start().unwrap();
    assert!(reads_pattern(&mut connection, 64 * MIB), "the body arrived changed");
}

#[test]
fn an_origin_is_read_no_faster_than_its_client() {
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = std::sync::Arc::clone(&sent);
    let origin = Origin::with(move |talk| {
        let piece = vec![b'x'; 1 << 20];
        talk.send("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n");
        for _ in 0..1_024 {
            if !talk.send(&piece) {
                return;
            }
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    connection.send(get("/"));
    connection.reader.answer_start().unwrap();
    // The client reads no further: the origin must come to a halt within what sockets hold.
    let mut last = 0;
    let halted = crate::support::eventually("the origin halts", || {
        crate::support::pause(Duration::from_millis(300));
        let now = sent.load(std::sync::atomic::Ordering::SeqCst);
        let same = now == last;
        last = now;
        same.then_some(now)
    });
    assert!(halted < 64, "{halted} MiB were taken from the origin");
}

#[test]
fn bodies_that_end_with_the_connection_pass() {
    let origin = Origin::with(|talk| {
        talk.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
        talk.close();
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    for _ in 0..2 {
        let answer = connection.ask(get("/"));
        assert_eq!((answer.status, answer.text().as_str(), answer.complete), (200, "until the end", true));
    }
    let old = tollgate.plain().ask("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert_eq!((old.text().as_str(), old.header("transfer-encoding")), ("until the end", None));
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let origin = Origin::with(|talk| {
        talk.answer(413, &[], b"too much");
        talk.wait_closed();
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    connection.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n");
    let piece = [b'x'; 64 * 1024];
    for _ in 0..20 {
        if connection.try_send(&piece).is_err() {
            break;
        }
    }
    let answer = connection.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "too much"));
}

#[test]
fn many_large_bodies_at_once_stay_within_bounds() {
    let (_origin, tollgate) = gate();
    let before = tollgate.memory_kib();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut connection = tollgate.plain();
                connection.send(get("/?mib=8"));
                connection.reader.answer_start().unwrap();
                assert!(reads_pattern(&mut connection, 8 * MIB));
            });
        }
    });
    let grown = tollgate.memory_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "memory grew by {grown} KiB");
}

#[test]
fn a_head_reaches_the_client_even_when_its_body_breaks_off_at_once() {
    let origin = Origin::with(|talk| {
        let more = if talk.path() == "/half" { "half" } else { "" };
        let framing = match talk.query("as") {
            Some("chunked") => "transfer-encoding: chunked\r\n\r\n4;\r\n",
            _ => "content-length: 100\r\n\r\n",
        };
        talk.send(format!("HTTP/1.1 200 OK\r\nx-mark: here\r\n{framing}{more}"));
        talk.close();
    });
    let tollgate = Setup::proxy(origin.address).start();
    for n in 0..60 {
        for path in ["/none", "/half", "/none?as=chunked"] {
            let mut connection = tollgate.plain();
            connection.send(get(path));
            let answer = connection.reader.answer(false);
            let answer = answer.unwrap_or_else(|error| panic!("{path}, request {n}: no head ({error})"));
            assert_eq!((answer.status, answer.header("x-mark"), answer.complete), (200, Some("here"), false));
        }
    }
}
