//! Forwarding fields of strangers: nobody who is not trusted moves the client's address.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tollgate::http::forwarded::{Family, Trust, resolve};

const SENDER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const NAMES: [&str; 4] = ["x-forwarded-for", "forwarded", "x-forwarded-proto", "x-forwarded-host"];

fuzz_target!(|data: &[u8]| {
    let headers = fields(data);
    for family in [Family::Either, Family::XForwarded, Family::Forwarded] {
        let trust = Trust::new(vec!["10.0.0.0/8".parse().expect("a net")], family);
        let untrusted = resolve(&headers, STRANGER, &trust).expect("strangers are not even read");
        assert!(
            untrusted.ip == STRANGER
                && !untrusted.trusted
                && untrusted.host.is_none()
                && untrusted.proto.is_none()
        );
        if let Ok(client) = resolve(&headers, SENDER, &trust) {
            assert!(client.trusted);
            assert!(client.ip == SENDER || contains_fields(&headers), "an address out of nothing");
        }
    }
});

/// Each line of the input is a field; its first byte chooses the name.
fn fields(data: &[u8]) -> HeaderMap {
    data.split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let (first, value) = line.split_first()?;
            let name = HeaderName::from_static(NAMES[usize::from(*first) % NAMES.len()]);
            Some((name, HeaderValue::from_bytes(value).ok()?))
        })
        .take(20)
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
}

fn contains_fields(headers: &HeaderMap) -> bool {
    headers.contains_key("x-forwarded-for") || headers.contains_key("forwarded")
}
