//! What the origin is told: the sender's fields off where nobody vouches for them, ours on.

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::chain::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use super::{Chain, Client, Proto};

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// One TCP connection's part of the forwarding fields, made once per connection so that a request only clones.
#[derive(Clone, Debug)]
pub struct Hop {
    ip: HeaderValue,
    sender: IpAddr,
    /// `for=…;proto=…`
    element: String,
    proto: Proto,
}

impl Hop {
    /// `sender` is the address on the TCP connection, `proto` whether that connection is TLS.
    pub fn new(sender: IpAddr, proto: Proto) -> Self {
        let sender = sender.to_canonical();
        let element = format!("{};proto={}", node(sender), proto.as_str());
        Self { ip: text(sender.to_string()), sender, element, proto }
    }

    /// The sender's address as text, to be cloned.
    pub fn ip(&self) -> &HeaderValue {
        &self.ip
    }
}

/// Which fields the origin gets besides `X-Forwarded-For`, `-Proto` and `-Host`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Send {
    /// `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// `X-Real-IP`: the client alone, without the chain.
    pub real_ip: bool,
}

/// Writes the forwarding fields of the request to the origin. `host` is the canonical Host of the request.
///
/// From a sender without trust every field of the family is dropped, underscore aliases too. From a trusted one the
/// believed chain is kept and the sender appended; scheme and host stay as the chain names them, where valid.
pub fn rewrite(headers: &mut HeaderMap, client: &Client, hop: &Hop, host: &HeaderValue, send: Send) {
    let kept = Kept::take(headers, client, hop);
    drop_family(headers);
    let forwarded_for = match &kept.forwarded_for {
        Some(chain) => append(chain, hop.ip.as_bytes()),
        None => hop.ip.clone(),
    };
    headers.insert(X_FORWARDED_FOR, forwarded_for);
    let proto = client.proto.unwrap_or(hop.proto);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto.as_str()));
    let host = client.host.as_ref().unwrap_or(host);
    if !host.is_empty() {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    if let Some(port) = kept.port {
        headers.insert(X_FORWARDED_PORT, port);
    }
    if send.forwarded {
        headers.insert(FORWARDED, forwarded(hop, kept.forwarded.as_deref(), host));
    }
    if send.real_ip {
        let same = client.ip == hop.sender;
        headers.insert(X_REAL_IP, if same { hop.ip.clone() } else { text(client.ip.to_string()) });
    }
}

/// What a trusted sender said and the origin should hear.
#[derive(Default)]
struct Kept {
    forwarded_for: Option<Vec<u8>>,
    forwarded: Option<Vec<u8>>,
    port: Option<HeaderValue>,
}

impl Kept {
    /// Only the believed field is kept as it is. The other one starts anew from what is known.
    fn take(headers: &HeaderMap, client: &Client, hop: &Hop) -> Self {
        let other = client.ip != hop.sender;
        match client.chain {
            Chain::Sender => Self::default(),
            Chain::XForwarded => Self {
                forwarded_for: joined(headers, &X_FORWARDED_FOR),
                forwarded: other.then(|| node(client.ip).into_bytes()),
                port: headers.get(X_FORWARDED_PORT).filter(|value| is_port(value)).cloned(),
            },
            Chain::Forwarded => Self {
                forwarded_for: other.then(|| client.ip.to_string().into_bytes()),
                forwarded: joined(headers, &FORWARDED),
                port: None,
            },
        }
    }
}

fn is_port(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| text.parse::<u16>().is_ok_and(|port| port > 0))
}

/// `for=…` as RFC 7239 section 6 wants it.
fn node(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("for={ip}"),
        IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
    }
}

/// All lines of a list field as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = headers.get_all(name).iter();
    let mut all = lines.next()?.as_bytes().to_vec();
    for line in lines {
        all.extend_from_slice(b", ");
        all.extend_from_slice(line.as_bytes());
    }
    (!all.is_empty()).then_some(all)
}

fn append(chain: &[u8], ours: &[u8]) -> HeaderValue {
    value([chain, b", ", ours].concat())
}

/// What is joined here was a valid value in each part.
fn value(bytes: Vec<u8>) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes::Bytes::from(bytes)).unwrap_or(HeaderValue::from_static("unknown"))
}

fn forwarded(hop: &Hop, chain: Option<&[u8]>, host: &HeaderValue) -> HeaderValue {
    let mut ours = Vec::with_capacity(hop.element.len() + host.len() + 8);
    ours.extend_from_slice(hop.element.as_bytes());
    if !host.is_empty() {
        // Always quoted: a port's colon is not a token character.
        ours.extend_from_slice(b";host=\"");
        ours.extend_from_slice(host.as_bytes());
        ours.push(b'"');
    }
    match chain {
        Some(chain) => append(chain, &ours),
        None => value(ours),
    }
}

/// One walk over the names finds that there is nothing to drop, which is so for nearly every request.
fn drop_family(headers: &mut HeaderMap) {
    while let Some(name) = headers.keys().find(|name| is_family(name.as_str())).cloned() {
        headers.remove(&name);
    }
}

/// `forwarded`, `x-forwarded`, `x-forwarded-…`, `x-real-ip` and what else tells of a client or its target, with `_` as good as `-`:
/// many origins cannot tell these apart.
fn is_family(name: &str) -> bool {
    let name = name.as_bytes();
    match name {
        [b'f', ..] => name == b"forwarded",
        [b'x', b'-' | b'_', rest @ ..] => {
            rest.starts_with(b"forwarded")
                || is_alias(rest, b"real-ip")
                || is_alias(rest, b"client-ip")
                || is_alias(rest, b"cluster-client-ip")
                || is_alias(rest, b"original-forwarded-for")
                || is_alias(rest, b"original-host")
                // Some frameworks route by these instead of the target that our routes and limits have judged.
                || is_alias(rest, b"original-url")
                || is_alias(rest, b"rewrite-url")
        }
        [b't', ..] => is_alias(name, b"true-client-ip"),
        _ => false,
    }
}

fn is_alias(name: &[u8], dashed: &[u8]) -> bool {
    name.len() == dashed.len() && name.iter().zip(dashed).all(|(a, b)| a == b || (*a == b'_' && *b == b'-'))
}

fn text(address: String) -> HeaderValue {
    value(address.into_bytes())
}
