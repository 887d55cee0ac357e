//! TLS: the right certificate for each name, nothing old, and sites that do not answer for each other.

use std::io::{Read, Write};

use rustls::version::{TLS12, TLS13};

use crate::support::certs::{client, client_with};
use crate::support::client::{Http1, tcp, tls};
use crate::support::{DEADLINE, Setup, Tollgate, eventually, get};

fn two_sites() -> Tollgate {
    let setup = Setup::new("");
    let one = setup.certificate("one", &["one.example"]);
    let two = setup.certificate("two", &["two.example", "*.two.example"]);
    let shared = setup.certificate("shared", &["three.example", "four.example"]);
    let site = |host: &str, tls: &str| {
        format!("[site.\"{host}\"]\ntls = {tls}\nroutes = [{{ path = \"/*\", respond = \"{host}\" }}]\n")
    };
    let text = site("one.example", &one)
        + &site("two.example", &two)
        + &site("*.two.example", &two)
        + &site("three.example", &shared)
        + &site("four.example", &shared);
    setup.https().and(text).start()
}

fn ask(tollgate: &Tollgate, sni: &str, host: &str) -> Result<(u16, String), std::io::Error> {
    let mut connection = tollgate.tls_with(sni, &client(&["http/1.1"]))?;
    let answer = connection.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    Ok((answer.status, answer.text()))
}

#[test]
fn shows_each_name_its_own_certificate() {
    let tollgate = two_sites();
    for (name, site) in [
        ("one.example", "one.example"),
        ("ONE.example", "one.example"),
        ("two.example", "two.example"),
        ("sub.two.example", "*.two.example"),
        ("four.example", "four.example"),
    ] {
        assert_eq!(ask(&tollgate, name, name).unwrap(), (200, site.to_owned()), "{name}");
    }
    assert!(ask(&tollgate, "stranger.example", "stranger.example").is_err(), "a certificate was made up");
}

#[test]
fn a_host_outside_of_the_connections_certificate_is_421() {
    let tollgate = two_sites();
    assert_eq!(ask(&tollgate, "one.example", "two.example").unwrap().0, 421);
    assert_eq!(ask(&tollgate, "two.example", "one.example").unwrap().0, 421);
    assert_eq!(ask(&tollgate, "three.example", "four.example").unwrap(), (200, "four.example".to_owned()));
    let record = tollgate.records().wait_that("a misdirected request", |record| record["status"] == 421);
    assert_eq!(record["tls_sni"], "one.example");
}

#[test]
fn a_misdirected_h2_stream_leaves_its_connection_alone() {
    let setup = Setup::new("");
    let one = setup.certificate("one", &["localhost"]);
    let two = setup.certificate("two", &["two.example"]);
    let text = format!(
        "[site.\"localhost\"]\ntls = {one}\nroutes = [{{ path = \"/*\", respond = \"one\" }}]\n\
         [site.\"two.example\"]\ntls = {two}\nroutes = [{{ path = \"/*\", respond = \"two\" }}]\n"
    );
    let tollgate = setup.https().and(text).start();
    let mut h2 = tollgate.h2();
    let fields: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"two.example"), (b":path", b"/")];
    let stream = h2.request(&fields, true);
    assert!(matches!(h2.ending(stream), crate::support::h2raw::Ending::Answer(421, _)));
    let stream = h2.get("/");
    assert!(matches!(h2.ending(stream), crate::support::h2raw::Ending::Answer(200, _)));
}

#[test]
fn redirects_plain_http_to_https() {
    let tollgate = two_sites();
    let answer = tollgate.plain().ask("GET /a/b?c=d HTTP/1.1\r\nHost: one.example\r\n\r\n");
    assert_eq!(answer.status, 308);
    let location = answer.header("location").expect("Location").to_owned();
    let port = tollgate.https().port();
    assert!(
        location == format!("https://one.example:{port}/a/b?c=d")
            || location == "https://one.example/a/b?c=d",
        "{location}"
    );
    let stranger = tollgate.plain().ask("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert!(stranger.header("location").is_none(), "an open redirect: {stranger:?}");
}

#[test]
fn speaks_1_2_and_1_3() {
    let tollgate = two_sites();
    for (versions, name) in [(&[&TLS12] as &[_], "1.2"), (&[&TLS13], "1.3")] {
        let mut connection = tollgate.tls_with("one.example", &client_with(&["http/1.1"], versions)).unwrap();
        assert_eq!(
            connection.ask(format!("GET /?m=v{name} HTTP/1.1\r\nHost: one.example\r\n\r\n")).status,
            200
        );
        let record = tollgate.records().wait(&format!("m=v{name}"));
        assert_eq!(
            (record["tls_ver"].as_str(), record["tls_sni"].as_str()),
            (Some(name), Some("one.example"))
        );
        assert!(record["tls_cipher"].is_string() && record["t_tls_us"].is_u64(), "{record}");
    }
}

/// A ClientHello of TLS 1.0 or 1.1: no library here would send it.
fn old_hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0]);
    let name = b"one.example";
    let size = u8::try_from(name.len()).unwrap();
    let mut extension = vec![0, 0, 0, size + 5, 0, size + 3, 0, 0, size];
    extension.extend_from_slice(name);
    extension.extend_from_slice(&[0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]);
    body.extend_from_slice(&[0, u8::try_from(extension.len()).unwrap()]);
    body.extend_from_slice(&extension);
    let length = u8::try_from(body.len()).unwrap();
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend_from_slice(&body);
    hello
}

#[test]
fn refuses_1_0_and_1_1_with_an_alert() {
    let tollgate = two_sites();
    for minor in [1, 2] {
        let mut socket = tcp(tollgate.https());
        socket.write_all(&old_hello(minor)).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert_eq!(answer.first(), Some(&21), "no alert but {answer:?}");
        // Fatal: handshake_failure or protocol_version.
        assert!(answer[5] == 2 && [40, 70].contains(&answer[6]), "alert {answer:?}");
    }
    let record = tollgate.records().wait_that("a failed handshake", |record| record["kind"] == "conn");
    assert_eq!(record["end_at"], "tls", "{record}");
}

#[test]
fn plain_bytes_on_the_tls_port_are_refused_and_recorded() {
    let tollgate = two_sites();
    let mut connection = Http1::over(Box::new(tcp(tollgate.https())));
    connection.send("GET / HTTP/1.1\r\nHost: one.example\r\n\r\n");
    assert!(connection.closes_within(DEADLINE));
    let record = tollgate.records().wait_that("a failed handshake", |record| record["end_at"] == "tls");
    assert_eq!((record["kind"].as_str(), record["status"].as_u64().unwrap_or(0)), (Some("conn"), 0));
}

#[test]
fn agrees_on_the_application_protocol() {
    let tollgate = two_sites();
    let protocol = |offer: &[&str]| {
        let stream = tls(tollgate.https(), "one.example", &client(offer)).ok()?;
        Some(stream.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()))
    };
    assert_eq!(protocol(&["h2", "http/1.1"]), Some(Some("h2".to_owned())));
    assert_eq!(protocol(&["http/1.1"]), Some(Some("http/1.1".to_owned())));
    assert_eq!(protocol(&[]), Some(None));
    assert_eq!(protocol(&["spdy/3"]), None, "no common protocol is a refusal (RFC 7301 section 3.2)");
}

#[test]
fn resumes_sessions_but_never_across_sites() {
    let tollgate = two_sites();
    let config = client(&["http/1.1"]);
    let kind = |name: &str| {
        let mut connection = Http1::over(Box::new(tls(tollgate.https(), name, &config).unwrap()));
        let request = format!("GET /?m=resume HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        assert_eq!(connection.ask(request).status, 200);
        // Reading to the end takes in the tickets too.
        connection.closes_within(DEADLINE);
    };
    kind("one.example");
    kind("one.example");
    eventually("a resumed session is recorded", || {
        tollgate.records().of("m=resume").iter().any(|record| record["tls_resumed"] == true).then_some(())
    });
    kind("two.example");
    eventually("the third record", || (tollgate.records().of("m=resume").len() == 3).then_some(()));
    let other = tollgate.records().of("m=resume").into_iter().find(|r| r["host"] == "two.example").unwrap();
    assert_ne!(other["tls_resumed"], true);
}

#[test]
fn swaps_certificates_on_reload_without_touching_connections() {
    let setup = Setup::new("");
    let tls_value = setup.certificate("site", &["localhost"]);
    let text = format!(
        "[site.\"localhost\"]\ntls = {tls_value}\nroutes = [{{ path = \"/*\", respond = \"ok\" }}]\n"
    );
    let mut tollgate = setup.https().and(&text).start();
    let mut kept = tollgate.tls();
    assert_eq!(kept.ask(get("/")).status, 200);
    tollgate.setup.certificate("site", &["localhost", "second.example"]);
    let text =
        text.replace("[site.\"localhost\"]\n", "[site.\"localhost\"]\naliases = [\"second.example\"]\n");
    let said = tollgate.reload(text);
    assert!(said.status.success(), "{said:?}");
    eventually("the new certificate is shown", || {
        tollgate.tls_with("second.example", &client(&["http/1.1"])).ok().map(drop)
    });
    assert_eq!(kept.ask(get("/")).status, 200, "the old connection goes on");
}

#[test]
fn makes_a_local_authority_and_certificate_on_first_start() {
    let setup =
        Setup::new("[site.\"localhost\"]\ntls = \"local\"\nroutes = [{ path = \"/*\", respond = \"ok\" }]\n");
    let tollgate = setup.https().start();
    let made = tollgate.setup.dir().join("certs/local");
    assert!(made.join("ca.pem").is_file(), "no CA in {}", made.display());
    let mode = std::fs::metadata(made.join("ca.key"))
        .map(|meta| std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777);
    assert_eq!(mode.unwrap(), 0o600);
    assert!(tollgate.tls_with("localhost", &client(&[])).is_err(), "the test CA did not sign this one");
}
