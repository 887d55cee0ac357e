//! Which host a request is for: one answer, out of Host, `:authority` and the absolute target.

use std::net::Ipv6Addr;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri, Version};

use crate::http::headers::Refusal;

/// The canonical host of a request: lower case, no trailing dot, IPv6 in its shortest form within brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `name` or `name:port`, canonical.
    value: HeaderValue,
    /// Length of the name in `value`.
    name: usize,
    port: Option<u16>,
}

impl Host {
    /// Parses `name[:port]` strictly: a name of letters, digits, `-`, `_` and dots, an IPv4 address, or `[IPv6]`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let shape = shape(text.as_bytes())?;
        let value = HeaderValue::from_str(text).map_err(|_| Refusal::bad("invalid host"))?;
        Self::from_shape(value, shape)
    }

    /// Name without port; empty when an HTTP/1.0 request named none.
    pub fn name(&self) -> &str {
        self.value.to_str().ok().and_then(|text| text.get(..self.name)).unwrap_or("")
    }

    /// The port that the client named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The canonical `name[:port]`, ready to be sent as Host. A clone of it costs a reference count.
    pub fn value(&self) -> &HeaderValue {
        &self.value
    }

    pub fn is_empty(&self) -> bool {
        self.name == 0
    }

    fn none() -> Self {
        Self { value: HeaderValue::from_static(""), name: 0, port: None }
    }

    fn from_shape(value: HeaderValue, shape: Shape) -> Result<Self, Refusal> {
        if shape.canonical {
            return Ok(Self { value, name: shape.name, port: shape.port });
        }
        let text = value.to_str().map_err(|_| Refusal::bad("invalid host"))?;
        let mut name = canonical_name(&text[..shape.name])?;
        let len = name.len();
        name.push_str(&text[shape.name + usize::from(shape.trailing_dot)..]);
        let value = HeaderValue::try_from(name).map_err(|_| Refusal::bad("invalid host"))?;
        Ok(Self { value, name: len, port: shape.port })
    }
}

/// Decides the host (RFC 9112 section 3.2, RFC 9113 section 8.3.1). Where two places name one, they must agree.
pub(super) fn decide(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<Host, Refusal> {
    if let Some(scheme) = uri.scheme_str()
        && !matches!(scheme, "http" | "https")
    {
        return Err(Refusal::bad("scheme other than http and https"));
    }
    let field = host_field(headers)?;
    match (uri.authority(), field) {
        (None, Some(field)) => Host::from_shape(field.clone(), shape(field.as_bytes())?),
        (None, None) if version == Version::HTTP_10 || version == Version::HTTP_09 => Ok(Host::none()),
        (None, None) => Err(Refusal::bad("no Host")),
        // RFC 9112 section 3.2: 400 even where the absolute target names one.
        (Some(_), None) if version == Version::HTTP_11 => Err(Refusal::bad("no Host")),
        (Some(authority), None) => Host::parse(authority.as_str()),
        (Some(authority), Some(field)) => agreed(uri, authority.as_str(), field),
    }
}

fn host_field(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Refusal> {
    let mut fields = headers.get_all(HOST).iter();
    let first = fields.next();
    if fields.next().is_some() {
        return Err(Refusal::bad("more than one Host"));
    }
    Ok(first)
}

fn agreed(uri: &Uri, authority: &str, field: &HeaderValue) -> Result<Host, Refusal> {
    let host = Host::from_shape(field.clone(), shape(field.as_bytes())?)?;
    if authority.as_bytes() == host.value.as_bytes() {
        return Ok(host);
    }
    let other = Host::parse(authority)?;
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = |host: &Host| host.port.unwrap_or(default);
    if other.name() != host.name() || port(&other) != port(&host) {
        return Err(Refusal::bad("Host and target name different hosts"));
    }
    Ok(host)
}

#[derive(Clone, Copy)]
struct Shape {
    /// Length of the name, brackets in, trailing dot out.
    name: usize,
    port: Option<u16>,
    trailing_dot: bool,
    canonical: bool,
}

/// RFC 1123 limits a name to 253 characters; anything longer is not a host.
const MAX_NAME: usize = 253;

fn shape(text: &[u8]) -> Result<Shape, Refusal> {
    if text.first() == Some(&b'[') {
        return ipv6_shape(text);
    }
    let (mut upper, mut label) = (false, 0_usize);
    let mut end = text.len();
    for (at, &b) in text.iter().enumerate() {
        match b {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'.' if label > 0 => label = 0,
            b'A'..=b'Z' => (upper, label) = (true, label + 1),
            b':' => {
                end = at;
                break;
            }
            b'@' => return Err(Refusal::bad("user information in the host")),
            _ => return Err(Refusal::bad("invalid character in the host")),
        }
    }
    // A name that ends in a dot has an empty last label; so has the empty one.
    let trailing_dot = label == 0 && end > 1;
    let name = end - usize::from(trailing_dot);
    if name == 0 || (label == 0 && !trailing_dot) || name > MAX_NAME {
        return Err(Refusal::bad("empty or too long host"));
    }
    Ok(Shape { name, port: port(&text[end..])?, trailing_dot, canonical: !upper && !trailing_dot })
}

fn ipv6_shape(text: &[u8]) -> Result<Shape, Refusal> {
    let bad = Refusal::bad("invalid IPv6 host");
    let end = text.iter().position(|&b| b == b']').ok_or(bad)?;
    let inner = std::str::from_utf8(&text[1..end]).map_err(|_| bad)?;
    inner.parse::<Ipv6Addr>().map_err(|_| bad)?;
    // IPv6 is rare here: always rewritten instead of a comparison with its shortest form.
    Ok(Shape { name: end + 1, port: port(&text[end + 1..])?, trailing_dot: false, canonical: false })
}

fn canonical_name(name: &str) -> Result<String, Refusal> {
    let Some(inner) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return Ok(name.to_ascii_lowercase());
    };
    let address: Ipv6Addr = inner.parse().map_err(|_| Refusal::bad("invalid IPv6 host"))?;
    Ok(format!("[{address}]"))
}

/// Empty, or `:` and one to five digits up to 65535.
fn port(text: &[u8]) -> Result<Option<u16>, Refusal> {
    let digits = match text {
        [] => return Ok(None),
        [b':', digits @ ..] => digits,
        _ => return Err(Refusal::bad("invalid character in the host")),
    };
    if digits.is_empty() || digits.len() > 5 {
        return Err(Refusal::bad("invalid port in the host"));
    }
    let number = digits
        .iter()
        .try_fold(0_u32, |number, b| b.is_ascii_digit().then(|| number * 10 + u32::from(b - b'0')));
    match number.map(u16::try_from) {
        Some(Ok(port)) if port > 0 => Ok(Some(port)),
        _ => Err(Refusal::bad("invalid port in the host")),
    }
}
