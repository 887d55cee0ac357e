use proptest::prelude::*;

use super::*;

fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn private(family: Family) -> Trust {
    Trust::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()], family)
}

fn client(fields: &[(&'static str, &str)], sender: &str) -> Client {
    resolve(&map(fields), ip(sender), &private(Family::Either)).unwrap()
}

fn sent(fields: &[(&'static str, &str)], sender: &str, send: Send) -> HeaderMap {
    let mut headers = map(fields);
    let client = resolve(&headers, ip(sender), &private(Family::Either)).unwrap();
    let hop = Hop::new(ip(sender), Proto::Https);
    rewrite(&mut headers, &client, &hop, &HeaderValue::from_static("site.example"), send);
    headers
}

const ALL: Send = Send { forwarded: true, real_ip: true };

#[test]
fn trusts_nobody_by_default() {
    let headers = map(&[("x-forwarded-for", "9.9.9.9"), ("x-forwarded-proto", "https")]);
    let client = resolve(&headers, ip("127.0.0.1"), &Trust::default()).unwrap();
    assert_eq!((client.ip, client.trusted, client.proto), (ip("127.0.0.1"), false, None));
}

#[test]
fn stops_at_the_first_address_without_trust() {
    for (chain, sender, found) in [
        ("9.9.9.9", "8.8.8.8", "8.8.8.8"),
        ("9.9.9.9", "10.0.0.1", "9.9.9.9"),
        ("6.6.6.6, 9.9.9.9", "10.0.0.1", "9.9.9.9"),
        ("6.6.6.6, 9.9.9.9, 10.0.0.2", "10.0.0.1", "9.9.9.9"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.1", "10.0.0.3"),
        ("9.9.9.9:1234", "10.0.0.1", "9.9.9.9"),
        ("[2001:db8::1]:5", "10.0.0.1", "2001:db8::1"),
        ("2001:db8::1", "fd00::1", "2001:db8::1"),
        ("::ffff:9.9.9.9", "::ffff:10.0.0.1", "9.9.9.9"),
        ("6.6.6.6, unknown", "10.0.0.1", "10.0.0.1"),
        ("6.6.6.6, junk, 10.0.0.2", "10.0.0.1", "10.0.0.2"),
        ("6.6.6.6,", "10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "10.0.0.1", "10.0.0.1"),
        ("", "10.0.0.1", "10.0.0.1"),
    ] {
        assert_eq!(client(&[("x-forwarded-for", chain)], sender).ip, ip(found), "{chain} from {sender}");
    }
    let lines =
        [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "10.0.0.2")];
    assert_eq!(client(&lines, "10.0.0.1").ip, ip("9.9.9.9"));
}

#[test]
fn a_long_chain_ends_somewhere() {
    let chain = vec!["10.0.0.9"; 500].join(",");
    assert_eq!(client(&[("x-forwarded-for", &chain)], "10.0.0.1").ip, ip("10.0.0.9"));
}

#[test]
fn takes_scheme_and_host_from_the_trusted_chain() {
    let fields = [
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-proto", "http, HTTPS"),
        ("x-forwarded-host", "A.b:81"),
    ];
    let found = client(&fields, "10.0.0.1");
    assert_eq!((found.proto, found.host), (Some(Proto::Https), Some(HeaderValue::from_static("a.b:81"))));
    let found = client(&[("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a/b")], "10.0.0.1");
    assert_eq!((found.proto, found.host), (None, None));
}

#[test]
fn walks_forwarded_the_same_way() {
    let fields = [
        ("forwarded", "for=6.6.6.6;proto=http"),
        ("forwarded", "for=9.9.9.9;proto=https;host=a, for=10.0.0.2"),
    ];
    let found = client(&fields, "10.0.0.1");
    assert_eq!((found.ip, found.proto, found.chain), (ip("9.9.9.9"), Some(Proto::Https), Chain::Forwarded));
    let found = client(&[("forwarded", "for=9.9.9.9, for=_hidden")], "10.0.0.1");
    assert_eq!(found.ip, ip("10.0.0.1"));
}

#[test]
fn refuses_a_broken_forwarded_from_a_trusted_sender_only() {
    let headers = map(&[("forwarded", "garbage, for=9.9.9.9")]);
    assert!(resolve(&headers, ip("10.0.0.1"), &private(Family::Either)).is_err());
    assert!(resolve(&headers, ip("8.8.8.8"), &private(Family::Either)).is_ok());
    assert!(resolve(&headers, ip("10.0.0.1"), &private(Family::XForwarded)).is_ok());
}

#[test]
fn believes_only_the_chosen_family() {
    let headers = map(&[("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=9.9.9.9")]);
    for (family, found) in
        [(Family::Either, "6.6.6.6"), (Family::XForwarded, "6.6.6.6"), (Family::Forwarded, "9.9.9.9")]
    {
        assert_eq!(resolve(&headers, ip("10.0.0.1"), &private(family)).unwrap().ip, ip(found));
    }
}

#[test]
fn drops_every_claim_of_an_untrusted_sender() {
    let claims = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "6.6.6.7"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-server", "evil"),
        ("x-forwarded-ssl", "on"),
        ("x-forwarded", "for=6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("true-client-ip", "6.6.6.6"),
        ("x-client-ip", "6.6.6.6"),
        ("x-original-host", "evil"),
        ("x-original-url", "/admin"),
        ("x_rewrite_url", "/admin"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x_real_ip", "6.6.6.6"),
        ("x-real_ip", "6.6.6.6"),
        ("x-note", "kept"),
    ];
    let ours = [
        ("x-note", "kept"),
        ("x-forwarded-for", "8.8.8.8"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "site.example"),
    ];
    assert_eq!(sent(&claims, "8.8.8.8", Send::default()), map(&ours));
}

#[test]
fn appends_to_the_chain_of_a_trusted_sender() {
    let fields = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "outer.example"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=6.6.6.6"),
    ];
    let ours = [
        ("x-forwarded-for", "6.6.6.6, 9.9.9.9, 10.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "outer.example"),
        ("x-forwarded-port", "8443"),
        ("forwarded", "for=9.9.9.9, for=10.0.0.1;proto=https;host=\"outer.example\""),
        ("x-real-ip", "9.9.9.9"),
    ];
    assert_eq!(sent(&fields, "10.0.0.1", ALL), map(&ours));
}

#[test]
fn keeps_forwarded_and_renews_the_other_family() {
    let fields = [("forwarded", "for=\"[2001:db8::1]\";proto=http"), ("x-real-ip", "6.6.6.6")];
    let ours = [
        ("x-forwarded-for", "2001:db8::1, 10.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "site.example"),
        ("forwarded", "for=\"[2001:db8::1]\";proto=http, for=10.0.0.1;proto=https;host=\"site.example\""),
        ("x-real-ip", "2001:db8::1"),
    ];
    assert_eq!(sent(&fields, "10.0.0.1", ALL), map(&ours));
}

#[test]
fn writes_ipv6_as_each_field_wants_it() {
    let headers = sent(&[], "2001:db8::1", ALL);
    assert_eq!(headers["x-forwarded-for"], "2001:db8::1");
    assert_eq!(headers["forwarded"], "for=\"[2001:db8::1]\";proto=https;host=\"site.example\"");
    assert_eq!(headers["x-real-ip"], "2001:db8::1");
}

#[test]
fn our_own_forwarded_can_be_read_again() {
    for sender in ["10.0.0.1", "fd00::1", "::ffff:10.0.0.1"] {
        let headers = sent(&[("x-forwarded-for", "2001:db8::1")], sender, ALL);
        let next = resolve(&headers, ip("10.0.0.2"), &private(Family::Forwarded)).unwrap();
        assert_eq!((next.ip, next.proto), (ip("2001:db8::1"), None), "{sender}");
    }
}

proptest! {
    #[test]
    fn nothing_that_a_client_writes_moves_its_address(junk in "[ -~]{0,40}", honest in any::<u32>()) {
        let honest = IpAddr::V4((honest | 0x8000_0000).into());
        let chain = format!("{junk}, {honest}");
        let found = client(&[("x-forwarded-for", &chain)], "10.0.0.1");
        prop_assert_eq!(found.ip, honest);
    }
}
