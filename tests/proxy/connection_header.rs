//! What belongs to one connection ends at that connection, and `Connection` cannot take away what matters.

use crate::support::{Findings, Origin, Setup, get, get_with};

#[test]
fn strips_headers_named_by_connection() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let lines = "Connection: x-secret, X-Other\r\nConnection: x-third\r\nX-Secret: 1\r\nx-other: 2\r\nX-THIRD: 3\r\nX-Kept: 4\r\n";
    assert_eq!(tollgate.plain().ask(get_with("/", lines)).status, 200);
    let got = origin.last();
    for name in ["x-secret", "x-other", "x-third"] {
        assert_eq!(got.header(name), None, "{name}");
    }
    assert_eq!(got.header("x-kept"), Some("4"));
}

#[test]
fn strips_what_belongs_to_one_connection() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let lines = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: foo/1\r\n\
        Proxy-Authorization: Basic eDp5\r\nProxy-Authenticate: Basic\r\nHTTP2-Settings: AAAA\r\nTrailer: x\r\n";
    assert_eq!(tollgate.plain().ask(get_with("/", lines)).status, 200);
    let got = origin.last();
    for name in ["keep-alive", "proxy-connection", "te", "upgrade", "proxy-authorization", "http2-settings"] {
        assert_eq!(got.header(name), None, "{name}");
    }
}

#[test]
fn cannot_nominate_what_security_rests_on() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut findings = Findings::default();
    let names = [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Authorization",
        "Cookie",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
        "X-Real-IP",
        "X-Request-Id",
    ];
    for name in names {
        origin.forget();
        let lines = format!(
            "Connection: {name}\r\nAuthorization: Basic eDp5\r\nCookie: a=b\r\nContent-Length: 2\r\n"
        );
        let mut connection = tollgate.plain();
        let answer = connection.ask(get_with("/", &lines) + "ab");
        let outcome = match answer.status {
            400 if origin.count() == 0 => Ok(()),
            200 => kept(&origin),
            status => Err(format!("answered {status}, {} at the origin", origin.count())),
        };
        findings.check(name, outcome);
    }
    findings.settle();
}

fn kept(origin: &Origin) -> Result<(), String> {
    let got = origin.last();
    for name in ["host", "authorization", "cookie", "x-forwarded-for", "x-forwarded-proto", "x-request-id"] {
        if got.header(name).is_none() {
            return Err(format!("{name} was taken away"));
        }
    }
    if got.body == b"ab" { Ok(()) } else { Err("the framing was taken away".to_owned()) }
}

#[test]
fn strips_connection_headers_of_answers() {
    let origin = Origin::with(|talk| {
        talk.answer(
            200,
            &[
                ("Connection", "X-Inner, keep-alive"),
                ("X-Inner", "1"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Authenticate", "Basic"),
                ("Upgrade", "h2c"),
                ("X-Kept", "2"),
            ],
            b"ok",
        );
    });
    let tollgate = Setup::proxy(origin.address).start();
    let answer = tollgate.plain().ask(get("/"));
    for name in ["x-inner", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-kept"), Some("2"));
}

#[test]
fn keeps_a_connection_for_the_next_request() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    for _ in 0..5 {
        assert_eq!(connection.ask(get("/")).status, 200);
    }
    assert_eq!(origin.connections(), 1, "the upstream connection is kept too");
}

#[test]
fn closes_when_the_client_says_so() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let closing = [
        get_with("/", "Connection: close\r\n"),
        get_with("/", "Connection: x, CLOSE\r\n"),
        "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n".to_owned(),
    ];
    for request in closing {
        let mut connection = tollgate.plain();
        assert_eq!(connection.ask(&request).status, 200);
        assert!(connection.closes_within(crate::support::DEADLINE), "{request:?}");
    }
    let mut old = tollgate.plain();
    for _ in 0..2 {
        let answer = old.ask("GET / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn parks_an_idle_connection_and_serves_it_again() {
    let origin = Origin::start();
    let setup = Setup::new(format!("[upstream.app]\nservers = [\"{}\"]\n", origin.address));
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!(
        "[site.localhost]\ntls = {tls}\nredirect_http = false\nroutes = [{{ path = \"/*\", proxy = \"app\" }}]\n"
    );
    let tollgate = setup.https().and(site).start();
    let mut connections = [tollgate.plain(), tollgate.tls()];
    for _ in 0..2 {
        for connection in &mut connections {
            assert_eq!(connection.ask(get("/")).status, 200);
        }
        // Long enough to be parked; what is tested is the request after it.
        crate::support::pause(std::time::Duration::from_millis(2_500));
    }
    for connection in &mut connections {
        connection.send("GET /b HTT");
        connection.send("P/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(connection.answer().status, 200);
    }
}
