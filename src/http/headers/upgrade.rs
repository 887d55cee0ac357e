//! Whether a request may turn its connection into a tunnel.

use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::refusal::{Fault, Refusal};

/// An upgrade that may be passed on. The origin still has to agree with 101 and a fitting answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// RFC 6455, version 13.
    WebSocket,
}

impl Upgrade {
    /// Writes our own request for it, after [`super::strip_hop_by_hop`] took the client's away; on the 101 back to the
    /// client too.
    pub fn write(self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(self.token()));
    }

    /// The origin's 101 agrees to exactly this protocol. Asked before its hop-by-hop fields are stripped; only then may
    /// bytes pass. The key's digest in `Sec-WebSocket-Accept` is checked for its form, the client checks its value.
    pub fn confirmed_by(self, headers: &HeaderMap) -> bool {
        let token = self.token().as_bytes();
        single(headers, &UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case(token))
            && connection_names_upgrade(headers)
            && single(headers, &SEC_WEBSOCKET_ACCEPT).is_some_and(is_digest)
            && !headers.contains_key(TRANSFER_ENCODING)
    }

    fn token(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
        }
    }
}

/// Decides about `Upgrade`, to be asked before the hop-by-hop fields are stripped. `Ok(None)`: treat it as a plain
/// request, the strip takes the field away. That is so for `h2c`, which is never honoured, for every unknown protocol
/// (a server may ignore Upgrade, RFC 9110 section 7.8), and for HTTP/1.0 and HTTP/2, where Upgrade has no meaning.
///
/// A WebSocket request that breaks RFC 6455 section 4.1 is refused: another reader might open the tunnel.
pub fn upgrade_wanted(
    method: &Method,
    headers: &HeaderMap,
    version: Version,
) -> Result<Option<Upgrade>, Refusal> {
    if version != Version::HTTP_11 {
        return Ok(None);
    }
    let mut values = headers.get_all(UPGRADE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let several = values.next().is_some() || value.as_bytes().contains(&b',');
    if several {
        return if headers.get_all(UPGRADE).iter().any(names_websocket) {
            Err(Refusal::bad("websocket among several upgrades"))
        } else {
            Ok(None)
        };
    }
    if !value.as_bytes().eq_ignore_ascii_case(b"websocket") {
        return Ok(None);
    }
    check_websocket(method, headers).map(|()| Some(Upgrade::WebSocket))
}

fn names_websocket(value: &HeaderValue) -> bool {
    value.as_bytes().split(|b| *b == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

fn check_websocket(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    if method != Method::GET {
        return Err(Refusal::bad("websocket with a method other than GET"));
    }
    if !connection_names_upgrade(headers) {
        return Err(Refusal::bad("websocket without connection: upgrade"));
    }
    if !matches!(headers.get(CONTENT_LENGTH).map(|v| v.as_bytes()), None | Some(b"0"))
        || headers.contains_key(TRANSFER_ENCODING)
    {
        return Err(Refusal::bad("websocket with a body"));
    }
    // RFC 6455 section 4.4: the answer names the version that is spoken.
    if single(headers, &SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err(Refusal::new(Fault::UpgradeVersion, "websocket version other than 13"));
    }
    if !single(headers, &SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        return Err(Refusal::bad("invalid websocket key"));
    }
    Ok(())
}

fn connection_names_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|b| *b == b',')
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    })
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first.as_bytes())
}

/// Sixteen bytes in base64: 22 digits and two pads.
fn is_key(key: &[u8]) -> bool {
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_base64)
}

/// Twenty bytes in base64: 27 digits and one pad.
fn is_digest(digest: &[u8]) -> bool {
    digest.len() == 28 && digest.ends_with(b"=") && digest[..27].iter().all(is_base64)
}

fn is_base64(b: &u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/')
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
