//! The walk along the chain of proxies, from the nearest to the client.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::parse::{Element, Node, parse_forwarded};
use super::{Chain, Client, Proto, Trust};
use crate::http::headers::Refusal;
use crate::http::target::Host;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Longest chain that is followed; a longer one ends there.
const MAX_HOPS: usize = 32;

pub(super) fn from_x_forwarded(headers: &HeaderMap, sender: IpAddr, trust: &Trust) -> Client {
    let mut client = Client::plain(sender, true, Chain::XForwarded);
    for entry in entries_from_right(headers).take(MAX_HOPS) {
        let Some((ip, port)) = address(entry) else { break };
        (client.ip, client.port) = (ip, port);
        if !trust.contains(ip) {
            break;
        }
    }
    client.proto = last_entry(headers, &X_FORWARDED_PROTO).and_then(proto);
    client.host = last_entry(headers, &X_FORWARDED_HOST).and_then(host);
    client
}

pub(super) fn from_forwarded(headers: &HeaderMap, sender: IpAddr, trust: &Trust) -> Result<Client, Refusal> {
    let mut elements: Vec<Element<'_>> = Vec::new();
    for value in headers.get_all(FORWARDED) {
        let text = value.to_str().map_err(|_| Refusal::bad("invalid Forwarded"))?;
        parse_forwarded(text, &mut elements).ok_or(Refusal::bad("invalid Forwarded"))?;
    }
    let mut client = Client::plain(sender, true, Chain::Forwarded);
    for element in elements.iter().rev().take(MAX_HOPS) {
        let Some(Node::Address(ip, port)) = element.client else { break };
        (client.ip, client.port) = (ip, port);
        client.proto = element.proto.as_deref().and_then(|text| proto(text.as_bytes()));
        client.host = element.host.as_deref().and_then(|text| host(text.as_bytes()));
        if !trust.contains(ip) {
            break;
        }
    }
    Ok(client)
}

/// Several lines are one list (RFC 9110 section 5.3), so the last entry of the last line comes first.
fn entries_from_right(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(X_FORWARDED_FOR);
    // `ValueIter` walks from both ends.
    lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|b| *b == b',')).map(<[u8]>::trim_ascii)
}

/// The nearest proxy's word, where several proxies each added theirs.
fn last_entry<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let line = headers.get_all(name).iter().next_back()?;
    line.as_bytes().rsplit(|b| *b == b',').next().map(<[u8]>::trim_ascii)
}

/// `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:5`.
pub(super) fn address(entry: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let text = std::str::from_utf8(entry).ok()?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some((ip.to_canonical(), None));
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        // A zone belongs to the machine that wrote it and says nothing here.
        let zoned = matches!(socket, SocketAddr::V6(v6) if v6.scope_id() != 0);
        return (!zoned).then(|| (socket.ip().to_canonical(), Some(socket.port())));
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let ip = inner.parse::<std::net::Ipv6Addr>().ok()?;
    Some((IpAddr::V6(ip).to_canonical(), None))
}

fn proto(text: &[u8]) -> Option<Proto> {
    match text {
        text if text.eq_ignore_ascii_case(b"https") || text.eq_ignore_ascii_case(b"wss") => {
            Some(Proto::Https)
        }
        text if text.eq_ignore_ascii_case(b"http") || text.eq_ignore_ascii_case(b"ws") => Some(Proto::Http),
        _ => None,
    }
}

fn host(text: &[u8]) -> Option<HeaderValue> {
    let host = Host::parse(std::str::from_utf8(text).ok()?).ok()?;
    Some(host.value().clone())
}
