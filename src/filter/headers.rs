//! Header operations that a route applies to a request or a response: remove, then set, then add.
//!
//! Everything is parsed when the plan is compiled. Fields that frame a message or belong to one connection
//! cannot be named: they are made by the protocol code alone.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The operations of one route in one direction, ready to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub remove: Vec<HeaderName>,
    /// Replaces all fields of the name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Adds a field beside those that are there.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl Settings {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Runs the operations: remove, set, add.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Why a header operation cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("is not a valid header name")]
    Name,
    #[error("is not a valid header value")]
    Value,
    #[error("frames the message; only the protocol code may write it")]
    Framing,
    #[error("belongs to a single connection and is never passed on")]
    HopByHop,
    #[error("decides the routing; use the host rules of the route instead")]
    Host,
}

/// Parses a name and checks that an operation may touch it.
pub fn name(text: &str) -> Result<HeaderName, Refused> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| Refused::Name)?;
    check(&name)?;
    Ok(name)
}

/// Parses a name with its value and checks that an operation may write it.
pub fn field(name_text: &str, value: &str) -> Result<(HeaderName, HeaderValue), Refused> {
    let value = HeaderValue::from_str(value.trim()).map_err(|_| Refused::Value)?;
    Ok((name(name_text)?, value))
}

/// Whether an operation may touch this field, or the reason why not (RFC 9110 sections 7.6.1 and 8.6).
pub fn check(name: &HeaderName) -> Result<(), Refused> {
    match *name {
        header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::TRAILER => Err(Refused::Framing),
        header::CONNECTION | header::UPGRADE | header::TE => Err(Refused::HopByHop),
        header::HOST => Err(Refused::Host),
        _ if matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings") => {
            Err(Refused::HopByHop)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_then_sets_then_adds() {
        let ops = Settings {
            remove: vec![name("Server").unwrap()],
            set: vec![field("X-Frame-Options", "DENY").unwrap()],
            add: vec![field("Server", "gate").unwrap(), field("Link", "</b>").unwrap()],
        };
        let mut headers = HeaderMap::new();
        headers.append("server", HeaderValue::from_static("leaky/1.0"));
        headers.append("x-frame-options", HeaderValue::from_static("a"));
        headers.append("x-frame-options", HeaderValue::from_static("b"));
        headers.append("link", HeaderValue::from_static("</a>"));
        ops.apply(&mut headers);

        let all = |name: &str| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(all("server"), ["gate"]);
        assert_eq!(all("x-frame-options"), ["DENY"]);
        assert_eq!(all("link"), ["</a>", "</b>"]);
    }

    #[test]
    fn refuses_fields_that_frame_or_route() {
        for (text, reason) in [
            ("Content-Length", Refused::Framing),
            ("transfer-encoding", Refused::Framing),
            ("Connection", Refused::HopByHop),
            ("keep-alive", Refused::HopByHop),
            ("Host", Refused::Host),
            ("a b", Refused::Name),
            (":path", Refused::Name),
        ] {
            assert_eq!(name(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn refuses_values_that_would_start_a_new_line() {
        assert_eq!(field("X-A", "a\r\nSet-Cookie: b"), Err(Refused::Value));
    }
}
