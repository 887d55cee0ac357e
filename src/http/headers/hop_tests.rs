use super::*;

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn strips_the_hop_by_hop_set() {
    for name in FIXED.iter().chain(&["connection", "te"]) {
        let mut request = map(&[("host", "a"), (name, "gzip"), (name, "b")]);
        strip_hop_by_hop(&mut request).unwrap();
        assert_eq!(request, map(&[("host", "a")]), "{name}");
        let mut response = map(&[("date", "a"), (name, "gzip"), (name, "b")]);
        strip_response_hop_by_hop(&mut response);
        assert_eq!(response, map(&[("date", "a")]), "{name}");
    }
}

#[test]
fn strips_headers_named_by_connection() {
    for (value, more) in [("x-a, X-B", "close"), ("close", "x-a,,x-b,"), ("X-A", "x-b , keep-alive")] {
        let mut headers =
            map(&[("connection", value), ("connection", more), ("x-a", "1"), ("x-b", "2"), ("x-c", "3")]);
        let mut response = headers.clone();
        strip_hop_by_hop(&mut headers).unwrap();
        assert_eq!(headers, map(&[("x-c", "3")]), "{value}");
        strip_response_hop_by_hop(&mut response);
        assert_eq!(response, map(&[("x-c", "3")]), "{value}");
    }
}

#[test]
fn refuses_a_connection_that_names_a_protected_field() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "authorization",
        "Cookie",
        "forwarded",
        "X-Forwarded-For",
        "x-forwarded-anything",
        "X_Forwarded_For",
        "x-real-ip",
        "x-request-id",
        "traceparent",
        "date",
        "cache-control",
        "sec-websocket-key",
        "not a token",
        "x\u{7f}",
    ] {
        let Ok(value) = HeaderValue::from_str(&format!("close, {name}")) else { continue };
        let mut headers = map(&[("host", "a"), ("cookie", "b")]);
        headers.insert(CONNECTION, value);
        assert!(strip_hop_by_hop(&mut headers).is_err(), "{name}");
    }
}

#[test]
fn keeps_protected_fields_of_responses() {
    let mut headers =
        map(&[("connection", "set-cookie, content-length"), ("set-cookie", "a"), ("content-length", "1")]);
    strip_response_hop_by_hop(&mut headers);
    assert_eq!(headers, map(&[("set-cookie", "a"), ("content-length", "1")]));
}

#[test]
fn te_goes_on_as_trailers_or_not_at_all() {
    for (value, kept) in
        [("trailers", true), ("gzip, Trailers", true), ("gzip;q=0.5", false), ("xtrailers", false)]
    {
        let mut headers = map(&[("te", value), ("connection", "TE")]);
        strip_hop_by_hop(&mut headers).unwrap();
        assert_eq!(headers.get(TE).map(HeaderValue::as_bytes), kept.then_some(&b"trailers"[..]), "{value}");
        assert!(!headers.contains_key(CONNECTION));
    }
}

#[test]
fn announces_only_trailers_that_travel() {
    let mut headers = map(&[("trailer", "Grpc-Status, Authorization"), ("trailer", "digest")]);
    strip_hop_by_hop(&mut headers).unwrap();
    assert_eq!(headers, map(&[("trailer", "grpc-status, digest")]));
    let mut headers = map(&[("trailer", "content-length")]);
    strip_response_hop_by_hop(&mut headers);
    assert!(headers.is_empty());
}
