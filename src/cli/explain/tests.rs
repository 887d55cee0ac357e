use http::header::HOST;

use super::ask::Ask;
use crate::cli::args::ExplainArgs;

fn arguments(method: &str, url: &str, headers: &[&str]) -> ExplainArgs {
    ExplainArgs {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: headers.iter().map(|text| (*text).to_owned()).collect(),
        from: [192, 0, 2, 1].into(),
    }
}

#[test]
fn a_url_becomes_the_request_that_a_client_would_send() {
    for (url, is_tls, authority, target) in [
        ("https://a.test/x?y=1#part", true, "a.test", "/x?y=1"),
        ("http://a.test:8080", false, "a.test:8080", "/"),
        ("HTTPS://[::1]:8443?q", true, "[::1]:8443", "/?q"),
        ("wss://a.test/a/../b", true, "a.test", "/a/../b"),
    ] {
        let ask = Ask::new(&arguments("GET", url, &[])).unwrap();
        assert_eq!((ask.is_tls, &*ask.authority, &*ask.target), (is_tls, authority, target), "{url}");
        assert_eq!(ask.headers[HOST], authority);
    }
    assert_eq!(
        Ask::new(&arguments("GET", "https://A.test.:1/", &[])).unwrap().sni().as_deref(),
        Some("a.test")
    );
    assert_eq!(Ask::new(&arguments("GET", "https://[::1]:1/", &[])).unwrap().sni(), None);
}

#[test]
fn words_that_are_no_request_are_refused() {
    for (method, url, header) in [
        ("G T", "http://a/", "a: b"),
        ("GET", "a/", "a: b"),
        ("GET", "ftp://a/", "a: b"),
        ("GET", "http:///x", "a: b"),
        ("GET", "http://a/", "no colon"),
        ("GET", "http://a/", "a: b\r\nc: d"),
        ("GET", "http://a/", "a b: c"),
    ] {
        assert!(Ask::new(&arguments(method, url, &[header])).is_err(), "{method} {url} {header}");
    }
}

#[test]
fn the_servers_own_checks_see_the_raw_head() {
    for (url, headers) in [
        ("http://a/b c", &[][..]),
        ("http://a/ä", &[]),
        ("http://a/", &["Host: a", "Host: b"]),
        ("http://a/", &["Content-Length: 1", "Content-Length: 2"]),
    ] {
        assert!(Ask::new(&arguments("GET", url, headers)).unwrap().parse().is_err(), "{url} {headers:?}");
    }
}
