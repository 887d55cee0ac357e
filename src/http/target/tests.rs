use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn hosts(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(http::header::HOST, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn of(
    method: &str,
    uri: &str,
    version: Version,
    values: &[&str],
) -> Result<(String, Option<u16>, String), Refusal> {
    let uri: Uri = uri.parse().unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let canonical = Canonical::of(&method, &uri, version, &hosts(values), 8192)?;
    let text = canonical.host.value().to_str().unwrap();
    assert!(text.starts_with(canonical.host.name()));
    Ok((text.to_owned(), canonical.host.port(), canonical.path.into_owned()))
}

#[test]
fn names_the_host_in_one_form() {
    for (host, canonical, port) in [
        ("example.com", "example.com", None),
        ("Example.COM", "example.com", None),
        ("example.com.", "example.com", None),
        ("Example.com.:8080", "example.com:8080", Some(8080)),
        ("example.com:443", "example.com:443", Some(443)),
        ("127.0.0.1:80", "127.0.0.1:80", Some(80)),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("a_b-c", "a_b-c", None),
        ("[::1]", "[::1]", None),
        ("[0:0::1]:8443", "[::1]:8443", Some(8443)),
        ("[2001:DB8::A]", "[2001:db8::a]", None),
    ] {
        let made =
            of("GET", "/", Version::HTTP_11, &[host]).unwrap_or_else(|refusal| panic!("{host}: {refusal}"));
        assert_eq!(made, (canonical.to_owned(), port, "/".to_owned()), "{host}");
    }
}

#[test]
fn refuses_every_doubtful_host() {
    let long = format!("{}.com", "a.".repeat(130));
    for host in [
        "",
        ".",
        "..",
        ".a",
        "a..b",
        "a..",
        "user@a",
        "a/b",
        "a,b",
        "a b",
        "a:",
        "a:0",
        "a:x",
        "a:80x",
        "a:65536",
        "a:080000",
        "a:80:80",
        "a:-1",
        ":80",
        "a?b",
        "a#b",
        "a%2e",
        "a\\b",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:",
        "[::g]",
        "[fe80::1%25eth0]",
        "[v1.a]",
        "caf\u{e9}",
        "a*",
        long.as_str(),
    ] {
        assert!(of("GET", "/", Version::HTTP_11, &[host]).is_err(), "{host} passed");
        assert!(of("GET", "/", Version::HTTP_2, &[host]).is_err(), "{host} passed");
    }
}

#[test]
fn wants_exactly_one_host() {
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        assert!(of("GET", "/", version, &["a", "a"]).is_err());
        assert!(of("GET", "/", version, &["a", "b"]).is_err());
    }
    assert!(of("GET", "/", Version::HTTP_11, &[]).is_err());
    assert!(of("GET", "http://a/", Version::HTTP_11, &[]).is_err());
    assert!(of("GET", "/", Version::HTTP_2, &[]).is_err());
    let (host, port, _) = of("GET", "/", Version::HTTP_10, &[]).unwrap();
    assert_eq!((host.as_str(), port), ("", None));
}

#[test]
fn authority_and_host_must_agree() {
    for (uri, host, version, right) in [
        ("http://a/x", "a", Version::HTTP_11, true),
        ("http://A/x", "a.", Version::HTTP_11, true),
        ("http://a:80/x", "a", Version::HTTP_11, true),
        ("https://a/x", "a:443", Version::HTTP_2, true),
        ("https://a:8443/x", "a:8443", Version::HTTP_2, true),
        ("http://a/x", "b", Version::HTTP_11, false),
        ("https://a/x", "evil.example", Version::HTTP_2, false),
        ("https://a:8443/x", "a", Version::HTTP_2, false),
        ("http://user@a/x", "a", Version::HTTP_11, false),
        ("ftp://a/x", "a", Version::HTTP_11, false),
    ] {
        let made = of("GET", uri, version, &[host]);
        assert_eq!(made.is_ok(), right, "{uri} with {host}: {made:?}");
    }
    assert!(of("GET", "https://user@a/x", Version::HTTP_2, &[]).is_err());
    assert_eq!(of("GET", "https://A:8443/x", Version::HTTP_2, &[]).unwrap().0, "a:8443");
}

#[test]
fn refuses_methods_and_forms_that_are_not_ours() {
    let fault = |method, uri| of(method, uri, Version::HTTP_11, &["a"]).err().map(|refused| refused.fault);
    assert_eq!(fault("CONNECT", "a:443"), Some(Fault::MethodRefused));
    assert_eq!(fault("TRACE", "/"), Some(Fault::MethodRefused));
    assert_eq!(fault("PRI", "*"), Some(Fault::BadRequest));
    assert_eq!(fault("GET", "*"), Some(Fault::BadRequest));
    assert_eq!(fault("GET", "a:443"), Some(Fault::BadRequest));
    assert_eq!(fault("OPTIONS", "*"), None);
    assert_eq!(fault("PROPFIND", "/"), None);
    assert_eq!(fault("M-SEARCH", "/"), None);
}

#[test]
fn limits_the_target() {
    let uri: Uri = format!("/{}?{}", "a".repeat(10), "b".repeat(10)).parse().unwrap();
    let of = |max| Canonical::of(&Method::GET, &uri, Version::HTTP_11, &hosts(&["a"]), max);
    assert!(of(22).is_ok());
    assert_eq!(of(21).unwrap_err().fault, Fault::TargetTooLong);
}

#[test]
fn leaves_the_encoded_slash_to_the_route() {
    let uri: Uri = "/a%2fb?q=%2f".parse().unwrap();
    let made = Canonical::of(&Method::GET, &uri, Version::HTTP_11, &hosts(&["a"]), 99).unwrap();
    assert!(made.permit(EncodedSlash::Refuse).is_err());
    assert!(made.permit(EncodedSlash::Pass).is_ok());
    assert_eq!(made.path_and_query(&uri).unwrap(), "/a%2Fb?q=%2f");
    let plain: Uri = "/a?q=%2f".parse().unwrap();
    let made = Canonical::of(&Method::GET, &plain, Version::HTTP_11, &hosts(&["a"]), 99).unwrap();
    assert!(made.permit(EncodedSlash::Refuse).is_ok());
}

#[test]
fn sends_on_the_canonical_target() {
    for (sent, on) in [("/a/../b?x=/../y", "/b?x=/../y"), ("/a?", "/a?"), ("/a//b?", "/a/b?"), ("/a", "/a")] {
        let uri: Uri = sent.parse().unwrap();
        let made = Canonical::of(&Method::GET, &uri, Version::HTTP_11, &hosts(&["a"]), 99).unwrap();
        assert_eq!(made.path_and_query(&uri).unwrap(), on);
        assert_eq!(made.changed, sent != on);
    }
    assert_eq!(join("/a", None).unwrap(), "/a");
}

proptest! {
    #[test]
    fn canonical_host_is_a_fixed_point(text in "[a-cA-C0-9.\\-_]{1,12}\\.?(:[0-9]{1,5})?") {
        if let Ok(host) = Host::parse(&text) {
            let again = Host::parse(host.value().to_str().unwrap()).unwrap();
            prop_assert_eq!(again.value(), host.value());
            prop_assert_eq!(host.name(), host.name().to_ascii_lowercase());
            prop_assert!(!host.name().ends_with('.'));
        }
    }

    #[test]
    fn host_never_panics(text in "\\PC{0,20}") {
        let _ = Host::parse(&text);
        let _ = Host::parse(&format!("[{text}"));
    }
}
