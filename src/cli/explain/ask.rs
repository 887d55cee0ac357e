//! [`Ask`]: the request of the command line, as HTTP/1.1 would bring it.

use std::net::IpAddr;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use crate::cli::args::ExplainArgs;
use crate::http::headers::{Fault, Refusal, check_raw_head};

/// Why the words of the command line are no request.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("`{}` is not a method", .0.escape_debug())]
    Method(String),
    #[error("write the URL with its scheme: http://host/path or https://host/path")]
    Scheme,
    #[error("the URL names no host")]
    Host,
    #[error("`{}` is not a field; write 'Name: value'", .0.escape_debug())]
    Field(String),
}

pub(super) struct Ask {
    pub(super) method: Method,
    /// The request comes over TLS.
    pub(super) is_tls: bool,
    /// Host and port of the URL.
    pub(super) authority: String,
    /// Path and query, as they would stand in the request line.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) from: IpAddr,
}

impl Ask {
    pub(super) fn new(arguments: &ExplainArgs) -> Result<Self, AskError> {
        let bad_method = |_| AskError::Method(arguments.method.clone());
        let method = Method::from_bytes(arguments.method.as_bytes()).map_err(bad_method)?;
        let (is_tls, rest) = scheme(&arguments.url)?;
        // A fragment never leaves the client.
        let rest = rest.split_once('#').map_or(rest, |(sent, _)| sent);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.is_empty() {
            return Err(AskError::Host);
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let headers = headers(authority, &arguments.headers)?;
        let authority = authority.to_owned();
        Ok(Self { method, is_tls, authority, target, headers, from: arguments.from })
    }

    /// What the server's parser makes of it.
    ///
    /// # Errors
    /// The check of the raw head refuses it.
    pub(super) fn parse(&self) -> Result<http::request::Parts, Refusal> {
        check_raw_head(&self.raw())?;
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.version = Version::HTTP_11;
        parts.headers = self.headers.clone();
        let unreadable = Refusal { fault: Fault::BadRequest, detail: "the parser takes no such target" };
        parts.uri = Uri::from(PathAndQuery::try_from(self.target.as_str()).map_err(|_| unreadable)?);
        Ok(parts)
    }

    /// The server name of the handshake; addresses are never sent (RFC 6066 section 3).
    pub(super) fn sni(&self) -> Option<String> {
        let name = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(name, _)| name);
        let is_address = name.starts_with('[') || name.parse::<IpAddr>().is_ok();
        (!is_address).then(|| name.trim_end_matches('.').to_ascii_lowercase())
    }

    fn raw(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

fn scheme(url: &str) -> Result<(bool, &str), AskError> {
    let (scheme, rest) = url.split_once("://").ok_or(AskError::Scheme)?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Ok((false, rest)),
        "https" | "wss" => Ok((true, rest)),
        _ => Err(AskError::Scheme),
    }
}

/// `Host` of the URL, unless a field says another, as with curl.
fn headers(authority: &str, fields: &[String]) -> Result<HeaderMap, AskError> {
    let mut headers = HeaderMap::new();
    for field in fields {
        let bad = || AskError::Field(field.clone());
        let (name, value) = field.split_once(':').ok_or_else(bad)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        headers.append(name, HeaderValue::from_str(value.trim()).map_err(|_| bad())?);
    }
    if !headers.contains_key(HOST) {
        let host = HeaderValue::from_str(authority).map_err(|_| AskError::Host)?;
        headers.insert(HOST, host);
    }
    Ok(headers)
}
