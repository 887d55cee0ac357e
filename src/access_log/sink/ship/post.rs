//! [`Post`]: one HTTP/1.1 request after the other to one of several addresses, with credentials and compression.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::Verdict;
use super::dial::Dial;
use super::early::Early;
use crate::access_log::Error;
use crate::access_log::shipping::{Credentials, ShippingSettings};
use crate::access_log::sink::service::plain;
use crate::http::client::{AGENT, authority, basic, bearer, retry_after};

/// The longest answer that is read: one with a reason for each of ten thousand records.
const ANSWER: usize = 16 << 20;
/// Records are much alike: more than this costs more than it saves.
const LEVEL: Compression = Compression::new(2);

#[derive(Debug)]
pub(super) struct Post {
    dial: Dial,
    connection: Option<SendRequest<Full<Bytes>>>,
    headers: HeaderMap,
    compress: bool,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Post {
    /// # Errors
    /// Authorities, certificate or credentials cannot be used.
    pub(super) fn new(settings: &ShippingSettings, content_type: &'static str) -> Result<Self, Error> {
        let mut headers: HeaderMap = settings.headers.iter().cloned().collect();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(authorization) = authorization(&settings.credentials)? {
            headers.insert(AUTHORIZATION, authorization);
        }
        let dial = Dial::new(settings, &[b"http/1.1"])?;
        Ok(Self { dial, connection: None, headers, compress: settings.compress })
    }

    /// Sends `body` to `path` of the address and waits for the whole answer.
    ///
    /// # Errors
    /// What follows from there being none; the next try goes to the next address.
    pub(super) async fn send(&mut self, path: &str, body: Vec<u8>) -> Result<Answer, Verdict> {
        // Back in its place only when the exchange has ended well.
        let connection = self.connection.take().filter(|connection| !connection.is_closed());
        let connection = match connection {
            Some(connection) => Ok(connection),
            None => self.connect().await,
        };
        let answer = match connection {
            Ok(connection) => self.exchange(connection, path, body).await.map_err(Verdict::HungUp),
            Err(why) => Err(Verdict::Later { why, after: None }),
        };
        if answer.is_err() {
            self.dial.turn();
        }
        answer
    }

    /// An exchange was given up in its middle.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
        self.dial.turn();
    }

    async fn exchange(
        &mut self,
        mut connection: SendRequest<Full<Bytes>>,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        let broken = |error: &dyn std::fmt::Display| format!("it broke off: {error}");
        connection.ready().await.map_err(|error| format!("it broke off: {}", plain(&error)))?;
        let request = self.request(path, body).map_err(|error| broken(&error))?;
        let answer = connection.send_request(request).await;
        let answer = answer.map_err(|error| format!("it broke off: {}", plain(&error)))?;
        let (head, body) = answer.into_parts();
        let body = match Limited::new(body, ANSWER).collect().await {
            Ok(body) => body.to_bytes(),
            // It is said, though not to the end: whoever says so hangs up while we are still writing.
            Err(_) if head.status == StatusCode::PAYLOAD_TOO_LARGE => Bytes::new(),
            Err(error) => return Err(broken(&error)),
        };
        // Who finds it too large may not read the rest of it.
        self.connection = (head.status != StatusCode::PAYLOAD_TOO_LARGE).then_some(connection);
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    fn request(&self, path: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>, http::Error> {
        let (prefix, host) = self
            .dial
            .remote()
            .map_or_else(Default::default, |to| (to.path.as_str(), authority(&to.host, to.port)));
        let body = if self.compress { gzip(&body) } else { body };
        let mut request = Request::post(joined(prefix, path)).header(HOST, host).body(Full::from(body))?;
        request.headers_mut().extend(self.headers.clone());
        if self.compress {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(request)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let wire = self.dial.reach().await?;
        let shaken = http1::handshake(TokioIo::new(Early::new(wire))).await;
        let (sender, connection) = shaken.map_err(|error| format!("cannot reach it: {}", plain(&error)))?;
        // Ends when the sender is dropped or the other side goes away; its error reaches us with the answer.
        tokio::spawn(async { drop(connection.await) });
        Ok(sender)
    }
}

impl Answer {
    /// `Retry-After`.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }

    /// What it says, for a message: the status and the beginning of the text.
    pub(super) fn words(&self) -> String {
        const LONGEST: usize = 300;
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(LONGEST)]);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("it answers {}: {}", self.status, text.escape_debug()).trim_end_matches([':', ' ']).to_owned()
    }
}

/// The path of the form behind that of the address; both may have a query. An address without a path means the root.
fn joined(prefix: &str, path: &str) -> String {
    let (prefix, query) =
        prefix.split_once('?').map_or((prefix, None), |(prefix, query)| (prefix, Some(query)));
    let (path, further) = path.split_once('?').map_or((path, None), |(path, further)| (path, Some(further)));
    let prefix = if path.is_empty() { prefix } else { prefix.trim_end_matches('/') };
    let root = if prefix.starts_with('/') || path.starts_with('/') { "" } else { "/" };
    let queries: Vec<&str> = query.into_iter().chain(further).collect();
    let mark = if queries.is_empty() { "" } else { "?" };
    format!("{root}{prefix}{path}{mark}{}", queries.join("&"))
}

fn authorization(credentials: &Credentials) -> Result<Option<HeaderValue>, Error> {
    let value = match credentials {
        Credentials::None => return Ok(None),
        Credentials::Token(token) => bearer(&token.0),
        Credentials::User { name, password } => basic(name, &password.0),
    };
    value.map(Some).ok_or(Error::Token)
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 6), LEVEL);
    // Writing to a Vec cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn the_paths_and_queries_of_address_and_form_are_joined() {
        for (prefix, path, wanted) in [
            ("", "", "/"),
            ("/in", "", "/in"),
            ("/in/?tenant=a", "", "/in/?tenant=a"),
            ("?tenant=a", "", "/?tenant=a"),
            ("", "/x/_bulk?f=1", "/x/_bulk?f=1"),
            ("/es?pipeline=p", "/x/_bulk?f=1", "/es/x/_bulk?pipeline=p&f=1"),
            ("/?database=a", "/?query=q", "/?database=a&query=q"),
            ("?database=a", "/?query=q", "/?database=a&query=q"),
        ] {
            assert_eq!(joined(prefix, path), wanted, "{prefix} {path}");
        }
    }
}
