//! One host name decides: refused when it is missing, doubled or odd, the same for routing, origin and record.

use crate::support::client::one_shot;
use crate::support::{Findings, Origin, Setup, Tollgate, Way, equal};

const REFUSED: &[(&str, &str)] = &[
    ("no Host", "GET / HTTP/1.1\r\n\r\n"),
    ("two equal Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("two different Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("Host in a list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("Host with user", "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n"),
    ("Host with user and password", "GET / HTTP/1.1\r\nHost: user:secret@a\r\n\r\n"),
    ("Host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("Host with query", "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n"),
    ("Host with fragment", "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n"),
    ("Host with backslash", "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n"),
    ("Host with scheme", "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n"),
    ("Host with space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("port in words", "GET / HTTP/1.1\r\nHost: a:http\r\n\r\n"),
    ("port too large", "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"),
    ("port with sign", "GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n"),
    ("two ports", "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n"),
    ("open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    ("text after the bracket", "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n"),
    ("bytes beyond ASCII", "GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n"),
    ("absolute form against Host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute form with user", "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute form without Host field", "GET http://a/ HTTP/1.1\r\n\r\n"),
];

#[test]
fn refuses_a_host_that_is_missing_doubled_or_odd() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut findings = Findings::default();
    for way in [Way::Whole, Way::ByteByByte] {
        for (case, request) in REFUSED {
            let (answer, closed) = one_shot(tollgate.plain(), request.as_bytes(), way);
            let seen = (answer.map_or(0, |answer| answer.status), closed);
            findings.check(&format!("{case} ({way:?})"), equal(&seen, &(400, true)));
        }
    }
    findings.check("at the origin", equal(&origin.count(), &0));
    findings.settle();
}

fn sites() -> (Origin, Tollgate) {
    let origin = Origin::start();
    let site =
        |host: &str| format!("[site.\"{host}\"]\nroutes = [{{ path = \"/*\", respond = \"{host}\" }}]\n");
    let proxied = "[site.\"pass.example\"]\nroutes = [{ path = \"/*\", proxy = \"app\" }]\n";
    let rest = ["a.example", "*.example", "deep.b.example"].map(site).concat();
    let upstream = format!("[upstream.app]\nservers = [\"{}\"]\n{proxied}{rest}", origin.address);
    (origin, Setup::new(upstream).start())
}

#[test]
fn finds_the_site_by_its_host() {
    let (_origin, tollgate) = sites();
    let mut findings = Findings::default();
    let cases = [
        ("a.example", 200, "a.example"),
        ("A.EXAMPLE", 200, "a.example"),
        ("a.example:8080", 200, "a.example"),
        ("a.example.", 200, "a.example"),
        ("c.example", 200, "*.example"),
        ("deep.b.example", 200, "deep.b.example"),
        ("deep.B.Example.:80", 200, "deep.b.example"),
        ("deep.c.example", 200, "*.example"),
    ];
    for (host, status, text) in cases {
        let answer = tollgate.plain().ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        findings.check(host, equal(&(answer.status, answer.text()), &(status, text.to_owned())));
    }
    for host in ["example", "a.example.evil", "aexample", "[::1]", "127.0.0.1"] {
        let answer = tollgate.plain().ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let refused = [404, 421].contains(&answer.status);
        findings.check(host, if refused { Ok(()) } else { Err(format!("answered {}", answer.status)) });
    }
    findings.settle();
}

#[test]
fn gives_http_1_0_without_host_a_host_at_the_origin() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    assert_eq!(tollgate.plain().ask("GET /old HTTP/1.0\r\n\r\n").status, 200);
    assert_eq!(origin.last().all("host").len(), 1);
    assert_eq!(origin.dirt(), Vec::<String>::new());
}

#[test]
fn sends_the_host_of_an_absolute_target() {
    let (origin, tollgate) = sites();
    let answer = tollgate.plain().ask("GET http://pass.example/x?y HTTP/1.1\r\nHost: pass.example\r\n\r\n");
    assert_eq!(answer.status, 200);
    let got = origin.last();
    assert_eq!((got.target.as_str(), got.all("host")), ("/x?y", vec!["pass.example"]));
}

#[test]
fn sends_the_host_that_the_upstream_wants() {
    let origin = Origin::start();
    let text = |host: &str| {
        format!("[upstream.app]\nservers = [\"{}\"]\nhost = \"{host}\"\n", origin.address)
            + crate::support::tollgate::CATCH_ALL
    };
    let wanted = [
        ("pass", "localhost".to_owned()),
        ("upstream", origin.address.to_string()),
        ("inner.example", "inner.example".to_owned()),
    ];
    for (policy, host) in wanted {
        let tollgate = Setup::new(text(policy)).start();
        assert_eq!(tollgate.get("/").status, 200);
        assert_eq!(origin.last().all("host"), [host], "host = {policy}");
    }
}
