use super::*;

fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn check(fields: &[(&'static str, &str)], version: Version) -> Result<Framing, Refusal> {
    check_request(&map(fields), version, &Settings::default())
}

#[test]
fn decides_the_framing() {
    let (h1, h2) = (Version::HTTP_11, Version::HTTP_2);
    for (fields, version, framing) in [
        (&[("host", "a")][..], h1, Framing::Empty),
        (&[("host", "a")], Version::HTTP_10, Framing::Empty),
        (&[("content-length", "0")], h1, Framing::Length(0)),
        (&[("content-length", "18446744073709551615")], h1, Framing::Length(u64::MAX)),
        (&[("transfer-encoding", "chunked")], h1, Framing::Chunked),
        (&[("transfer-encoding", "Chunked")], h1, Framing::Chunked),
        (&[("content-length", "7")], h2, Framing::Length(7)),
        (&[("te", "trailers")], h2, Framing::Open),
        (&[("expect", "100-Continue"), ("content-length", "1")], h1, Framing::Length(1)),
        (&[("x", ""), ("connection", "keep-alive"), ("te", "gzip")], h1, Framing::Empty),
    ] {
        assert_eq!(check(fields, version), Ok(framing), "{fields:?}");
    }
}

#[test]
fn refuses_doubtful_framing_in_both_versions() {
    for value in [
        "+5",
        "0012",
        "00",
        "0x5",
        "5_0",
        "",
        "5, 5",
        "5,5",
        "-1",
        "5 5",
        "18446744073709551616",
        "1e3",
        "\u{665}",
    ] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let refused = check(&[("content-length", value)], version).unwrap_err();
            assert_eq!(refused.fault, Fault::BadRequest, "{value:?}");
        }
    }
    let both = [("content-length", "5"), ("transfer-encoding", "chunked")];
    assert!(check(&both, Version::HTTP_11).is_err());
    for version in [Version::HTTP_11, Version::HTTP_2] {
        assert!(check(&[("content-length", "5"), ("content-length", "5")], version).is_err());
    }
    assert!(check(&[("transfer-encoding", "chunked")], Version::HTTP_10).is_err());
}

#[test]
fn refuses_every_coding_but_chunked() {
    for (value, fault) in [
        ("gzip", Fault::CodingUnknown),
        ("identity", Fault::CodingUnknown),
        ("x, chunked", Fault::BadRequest),
        ("chunked, chunked", Fault::BadRequest),
        ("chunked;q=1", Fault::BadRequest),
        ("xchunked", Fault::BadRequest),
        ("chunked-x", Fault::BadRequest),
        ("\"chunked\"", Fault::BadRequest),
        ("chunked,", Fault::BadRequest),
        ("", Fault::BadRequest),
    ] {
        let refused = check(&[("transfer-encoding", value)], Version::HTTP_11).unwrap_err();
        assert_eq!(refused.fault, fault, "{value:?}");
    }
    let two = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
    assert!(check(&two, Version::HTTP_11).is_err());
}

#[test]
fn answers_417_to_unknown_expectations() {
    for value in ["200-ok", "100-continue, x", ""] {
        let refused = check(&[("expect", value)], Version::HTTP_11).unwrap_err();
        assert_eq!(refused.fault, Fault::ExpectationUnknown, "{value:?}");
    }
    let headers = map(&[("expect", "100-continue")]);
    assert!(expects_continue(&headers, Version::HTTP_11));
    assert!(!expects_continue(&headers, Version::HTTP_10));
}

#[test]
fn refuses_connection_fields_in_http2_only() {
    for (name, value) in [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ] {
        assert!(check(&[(name, value)], Version::HTTP_2).is_err(), "{name}");
        assert!(check(&[(name, value)], Version::HTTP_11).is_ok(), "{name}");
    }
    assert!(check(&[("transfer-encoding", "chunked")], Version::HTTP_2).is_err());
}

#[test]
fn refuses_white_space_around_values() {
    for value in [" a", "a ", "\ta", "a\t", " ", "\t"] {
        assert!(check(&[("x", value)], Version::HTTP_2).is_err(), "{value:?}");
    }
    assert!(check(&[("x", "a b"), ("y", "")], Version::HTTP_2).is_ok());
}

#[test]
fn limits_count_and_size() {
    let settings = Settings { max_fields: 3, max_bytes: 40 };
    let fault = |headers: &HeaderMap| {
        check_request(headers, Version::HTTP_11, &settings).err().map(|refused| refused.fault)
    };
    assert_eq!(fault(&map(&[("a", "1"), ("a", "2"), ("a", "3")])), None);
    assert_eq!(fault(&map(&[("a", "1"), ("a", "2"), ("a", "3"), ("b", "4")])), Some(Fault::HeadersTooLarge));
    assert_eq!(fault(&map(&[("a", &"x".repeat(35))])), None);
    assert_eq!(fault(&map(&[("a", &"x".repeat(36))])), Some(Fault::HeadersTooLarge));
}

#[test]
fn drops_names_with_underscores_whole() {
    let mut headers = map(&[("x_forwarded_for", "1"), ("x_forwarded_for", "2"), ("a_b", "3"), ("a-b", "4")]);
    assert_eq!(drop_underscore_names(&mut headers), 2);
    assert_eq!(headers, map(&[("a-b", "4")]));
    assert_eq!(drop_underscore_names(&mut headers), 0);
}
