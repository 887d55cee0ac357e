use super::*;

fn asked(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn websocket() -> HeaderMap {
    asked(&[
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ])
}

#[test]
fn honours_a_whole_websocket_request() {
    let wanted = |headers: &HeaderMap, version| upgrade_wanted(&Method::GET, headers, version);
    assert_eq!(wanted(&websocket(), Version::HTTP_11), Ok(Some(Upgrade::WebSocket)));
    assert_eq!(wanted(&websocket(), Version::HTTP_10), Ok(None));
    let mut zero = websocket();
    zero.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    assert_eq!(wanted(&zero, Version::HTTP_11), Ok(Some(Upgrade::WebSocket)));
}

#[test]
fn never_honours_h2c_or_unknown_protocols() {
    for value in ["h2c", "h2c, http/1.1", "TLS/1.0", "foo", ""] {
        let headers = asked(&[("connection", "upgrade, http2-settings"), ("upgrade", value)]);
        assert_eq!(upgrade_wanted(&Method::GET, &headers, Version::HTTP_11), Ok(None), "{value}");
    }
    assert_eq!(upgrade_wanted(&Method::GET, &HeaderMap::new(), Version::HTTP_11), Ok(None));
}

#[test]
fn refuses_a_broken_websocket_request() {
    for (name, value) in [
        ("sec-websocket-version", Some("8")),
        ("sec-websocket-version", Some("13, 8")),
        ("sec-websocket-version", None),
        ("sec-websocket-key", None),
        ("sec-websocket-key", Some("short")),
        ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ==x")),
        ("connection", Some("close")),
        ("connection", None),
        ("upgrade", Some("websocket, h2c")),
        ("content-length", Some("5")),
        ("transfer-encoding", Some("chunked")),
    ] {
        let mut headers = websocket();
        headers.remove(name);
        if let Some(value) = value {
            headers.insert(name, HeaderValue::from_static(value));
        }
        assert!(upgrade_wanted(&Method::GET, &headers, Version::HTTP_11).is_err(), "{name}: {value:?}");
    }
    assert!(upgrade_wanted(&Method::POST, &websocket(), Version::HTTP_11).is_err());
    for name in ["sec-websocket-version", "sec-websocket-key", "upgrade"] {
        let mut twice = websocket();
        let value = twice[name].clone();
        twice.append(name, value);
        assert!(upgrade_wanted(&Method::GET, &twice, Version::HTTP_11).is_err(), "{name} twice");
    }
}

#[test]
fn opens_the_tunnel_only_on_a_fitting_answer() {
    let good = asked(&[
        ("connection", "Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ]);
    assert!(Upgrade::WebSocket.confirmed_by(&good));
    for (name, value) in [
        ("connection", "close"),
        ("upgrade", "h2c"),
        ("upgrade", "websocket, h2c"),
        ("sec-websocket-accept", "x"),
        ("transfer-encoding", "chunked"),
    ] {
        let mut headers = good.clone();
        headers.insert(name, HeaderValue::from_static(value));
        assert!(!Upgrade::WebSocket.confirmed_by(&headers), "{name}: {value}");
        headers.remove(name);
        assert_eq!(Upgrade::WebSocket.confirmed_by(&headers), name == "transfer-encoding", "without {name}");
    }
}

#[test]
fn writes_its_own_request_for_the_upgrade() {
    let mut headers = websocket();
    super::super::strip_hop_by_hop(&mut headers).unwrap();
    assert!(!headers.contains_key(UPGRADE));
    Upgrade::WebSocket.write(&mut headers);
    assert_eq!(
        (&headers[UPGRADE], &headers[CONNECTION]),
        (&"websocket".parse().unwrap(), &"upgrade".parse().unwrap())
    );
    assert!(headers.contains_key(SEC_WEBSOCKET_KEY));
}
