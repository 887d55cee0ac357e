//! Tunnels: opened only by a matching 101 of the origin, then every byte passes in both directions.

use std::time::Duration;

use serde_json::Value;

use crate::support::{DEADLINE, Findings, Origin, Setup, Talk, get_with};

/// The example key of RFC 6455 section 1.3 and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn hello(path: &str) -> String {
    let lines = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    );
    get_with(path, &lines)
}

fn switch(talk: &mut Talk<'_>, upgrade: &str, accept: &str) {
    talk.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ));
}

fn echo(talk: &mut Talk<'_>) {
    talk.close();
    loop {
        let bytes = std::mem::take(&mut talk.reader.buffer);
        if bytes.starts_with(b"bye") || !talk.send(&bytes) {
            return;
        }
        if !matches!(talk.reader.fill(), Ok(true)) {
            return;
        }
    }
}

fn websocket() -> Origin {
    Origin::with(|talk| match talk.path() {
        "/ws" => {
            switch(talk, "websocket", ACCEPT);
            echo(talk);
        }
        "/mute" => {
            switch(talk, "websocket", ACCEPT);
            talk.wait_closed();
        }
        "/last" => {
            switch(talk, "websocket", ACCEPT);
            let _ = talk.reader.fill();
            talk.send("last words");
            talk.close();
        }
        "/wrong-protocol" => switch(talk, "chat", ACCEPT),
        "/wrong-accept" => switch(talk, "websocket", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        "/no-upgrade-field" => {
            talk.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n");
        }
        "/refused" => talk.answer(403, &[], b"no"),
        _ => talk.ok("plain"),
    })
}

#[test]
fn tunnels_bytes_in_both_directions() {
    let origin = websocket();
    let tollgate = Setup::proxy(origin.address).start();
    let mut socket = tollgate.plain();
    let answer = socket.ask(hello("/ws?m=tunnel"));
    assert_eq!((answer.status, answer.header("sec-websocket-accept")), (101, Some(ACCEPT)));
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    for size in [1, 100, 100_000, 1] {
        let bytes = vec![b'x'; size];
        socket.send(&bytes);
        assert_eq!(socket.reader.take(size).unwrap(), bytes);
    }
    let open = tollgate.records().wait_that("the tunnel's opening", |r| r["kind"] == "open");
    assert_eq!(open["status"], 101);
    socket.send("bye");
    assert!(socket.closes_within(DEADLINE));
    drop(socket);
    let close = tollgate.records().wait_that("the tunnel's end", |r| r["kind"] == "close");
    assert_eq!(close["id"], open["id"]);
    assert_eq!(close["rx_body_b"], 100_105);
    assert_eq!(close["tx_body_b"], 100_102);
    assert_eq!(close["end_at"], "tunnel");
    let of_kind = |kind: &str| tollgate.records().of("m=tunnel").iter().filter(|r| r["kind"] == kind).count();
    assert_eq!((of_kind("open"), of_kind("close"), of_kind("request")), (1, 1, 0));
}

#[test]
fn tunnels_through_tls_too() {
    let origin = websocket();
    let setup = Setup::new(format!("[upstream.app]\nservers = [\"{}\"]\n", origin.address));
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!("[site.localhost]\ntls = {tls}\nroutes = [{{ path = \"/*\", proxy = \"app\" }}]\n");
    let tollgate = setup.https().and(site).start();
    let mut socket = tollgate.tls();
    assert_eq!(socket.ask(hello("/ws")).status, 101);
    socket.send("hello");
    assert_eq!(socket.reader.take(5).unwrap(), b"hello");
}

#[test]
fn the_origin_sees_a_proper_handshake() {
    let origin = websocket();
    let tollgate = Setup::proxy(origin.address).start();
    assert_eq!(tollgate.plain().ask(hello("/ws")).status, 101);
    let got = origin.last();
    assert_eq!(got.all("upgrade"), ["websocket"]);
    assert_eq!(got.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(
        (got.header("sec-websocket-key"), got.header("sec-websocket-version")),
        (Some(KEY), Some("13"))
    );
}

#[test]
fn opens_no_tunnel_without_a_matching_101() {
    let origin = websocket();
    let tollgate = Setup::proxy(origin.address).start();
    for path in ["/wrong-protocol", "/wrong-accept", "/no-upgrade-field"] {
        let answer = tollgate.plain().ask(hello(path));
        assert_eq!(answer.status, 502, "{path}");
        assert_eq!(tollgate.records().wait(path)["reason"], "http_upgrade_failed", "{path}");
    }
    let unasked = tollgate.plain().ask(get_with("/ws", ""));
    assert_eq!(unasked.status, 502, "a 101 that nobody asked for");
}

#[test]
fn a_refused_upgrade_is_a_plain_answer() {
    let origin = websocket();
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    let refused = connection.ask(hello("/refused"));
    assert_eq!((refused.status, refused.text().as_str()), (403, "no"));
    assert_eq!(tollgate.plain().ask(hello("/plain")).text(), "plain");
}

#[test]
fn sends_nothing_before_the_101() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::with(move |talk| {
        // Whatever the client sent behind its handshake must not be here before our 101.
        let _ = wait.lock().unwrap().recv_timeout(DEADLINE);
        let _ = talk.reader.inner.stream.set_nonblocking(true);
        let _ = talk.reader.fill();
        let early = !talk.reader.buffer.is_empty();
        let _ = talk.reader.inner.stream.set_nonblocking(false);
        switch(talk, "websocket", if early { "early" } else { ACCEPT });
        echo(talk);
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut socket = tollgate.plain();
    socket.send(hello("/ws") + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for(1);
    // Time for a wrong proxy to pass the bytes on; a right one holds them (or refuses the request).
    crate::support::pause(Duration::from_millis(200));
    go.send(()).unwrap();
    let status = socket.answer().status;
    assert!([101, 400].contains(&status), "answered {status}: bytes passed before the 101");
    assert!(origin.requests().iter().all(|got| got.target != "/smuggled"));
}

#[test]
fn never_honours_h2c_upgrades() {
    let origin = websocket();
    let tollgate = Setup::proxy(origin.address).start();
    let upgrades = [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: H2C, websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
    ];
    for lines in upgrades {
        origin.forget();
        let status = tollgate.plain().ask(get_with("/plain", lines)).status;
        assert!([200, 400].contains(&status), "{lines:?} was answered {status}");
        for got in origin.requests() {
            assert_eq!((got.header("upgrade"), got.header("http2-settings")), (None, None), "{lines:?}");
        }
    }
}

#[test]
fn refuses_odd_websocket_handshakes() {
    let origin = websocket();
    let tollgate = Setup::proxy(origin.address).start();
    let mut findings = Findings::default();
    let cases = [
        ("version 8", hello("/ws").replace("Version: 13", "Version: 8")),
        ("no version", hello("/ws").replace("Sec-WebSocket-Version: 13\r\n", "")),
        ("no key", hello("/ws").replace(&format!("Sec-WebSocket-Key: {KEY}\r\n"), "")),
        ("POST", hello("/ws").replace("GET", "POST")),
        ("HTTP/1.0", hello("/ws").replace("HTTP/1.1", "HTTP/1.0")),
        ("with a body", hello("/ws").replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc")),
    ];
    for (case, request) in cases {
        origin.forget();
        let status = tollgate.plain().ask(&request).status;
        let switched = status == 101;
        findings.check(case, if switched { Err("a tunnel was opened".to_owned()) } else { Ok(()) });
    }
    findings.settle();
}

#[test]
fn names_the_websocket_version_that_it_speaks() {
    let origin = websocket();
    let tollgate = Setup::proxy(origin.address).start();
    let answer = tollgate.plain().ask(hello("/ws").replace("Version: 13", "Version: 99"));
    let fields = ["sec-websocket-version", "upgrade"].map(|name| answer.header(name));
    assert_eq!((answer.status, fields), (426, [Some("13"), Some("websocket")]));
    assert_eq!(origin.count(), 0);
}

#[test]
fn ends_a_tunnel_in_which_nothing_moves() {
    let origin = websocket();
    let tollgate = Setup::proxy(origin.address).server("timeouts = { tunnel = \"1s\" }").start();
    let mut socket = tollgate.plain();
    assert_eq!(socket.ask(hello("/mute")).status, 101);
    assert!(socket.closes_within(Duration::from_secs(6)));
    let close = tollgate.records().wait_that("the tunnel's end", |r| r["kind"] == "close");
    assert_eq!(close["end_at"], "tunnel");
    let cause = close["cause"].as_str().unwrap_or("");
    assert!(cause.starts_with("timeouts.tunnel=1s @tollgate.toml:"), "{close}");
}

#[test]
fn the_last_words_of_an_origin_reach_a_client_that_still_sends() {
    let origin = websocket();
    let tollgate = Setup::proxy(origin.address).start();
    for _ in 0..20 {
        let mut socket = tollgate.plain();
        assert_eq!(socket.ask(hello("/last")).status, 101);
        let piece = [b'x'; 4096];
        for _ in 0..50 {
            let _ = socket.try_send(&piece);
        }
        assert_eq!(socket.reader.take(10).unwrap(), b"last words");
        assert!(socket.closes_within(DEADLINE));
    }
    crate::support::eventually("the origin's side ends", || (origin.open() == 0).then_some(()));
}

#[test]
fn the_end_of_one_side_ends_the_other() {
    let origin = websocket();
    let tollgate = Setup::proxy(origin.address).start();
    let mut socket = tollgate.plain();
    assert_eq!(socket.ask(hello("/mute?m=gone")).status, 101);
    socket.reset();
    let close: Value = tollgate.records().wait_that("the tunnel's end", |r| r["kind"] == "close");
    assert_eq!(close["end_by"], "client", "{close}");
    crate::support::eventually("the origin's side ends", || (origin.open() == 0).then_some(()));
}
