//! Every method passes as it is, but for those that a front proxy must not serve.

use crate::support::client::one_shot;
use crate::support::{Origin, Setup, Way, get};

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let origin = Origin::with(|talk| talk.answer(200, &[("ETag", "\"e\"")], b"twelve bytes"));
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    for _ in 0..3 {
        let answer = connection.ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("12")));
        assert_eq!(answer.header("etag"), Some("\"e\""));
    }
    assert_eq!(connection.ask(get("/")).text(), "twelve bytes");
    assert_eq!(origin.requests()[0].method, "HEAD");
}

#[test]
fn a_204_and_a_304_have_no_body() {
    let origin = Origin::with(|talk| {
        let status = talk.path()[1..].parse::<u16>().unwrap();
        talk.send(format!("HTTP/1.1 {status} X\r\nETag: \"e\"\r\n\r\n"));
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    for status in [204, 304, 204] {
        let answer = connection.ask(get(&format!("/{status}")));
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("transfer-encoding"), None);
    }
}

#[test]
fn odd_methods_pass_as_they_are() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    for method in ["PUT", "PATCH", "DELETE", "PROPFIND", "M-SEARCH", "get", "X!#$%&'*+.^_`|~", "REPORT"] {
        let answer =
            tollgate.plain().ask(format!("{method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(origin.last().method, method);
    }
}

#[test]
fn options_passes_in_both_forms() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    assert_eq!(tollgate.plain().ask("OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    assert_eq!(origin.last().target, "/x");
    let all = tollgate.plain().ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!([200, 204, 400, 404].contains(&all.status), "{}", all.status);
    assert_eq!(origin.dirt(), Vec::<String>::new());
}

#[test]
fn refuses_what_a_front_proxy_must_not_serve() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let cases = [
        ("TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret=1\r\n\r\n", "TRACE"),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "CONNECT"),
        ("CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254:80\r\n\r\n", "CONNECT to inside"),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT with a path"),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "asterisk with GET"),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "authority with GET"),
    ];
    for (request, case) in cases {
        let (answer, is_closed) = one_shot(tollgate.plain(), request.as_bytes(), Way::Whole);
        let answer = answer.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(is_closed, "{case}: what comes behind it must not be read");
        assert!([400, 405, 501].contains(&answer.status), "{case} was answered {}", answer.status);
        assert!(!answer.text().contains("secret"), "{case} echoed a credential");
    }
    assert_eq!(origin.count(), 0);
}
