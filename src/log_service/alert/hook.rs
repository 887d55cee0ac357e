//! [`Hook`]: posts JSON to a URL that is a secret; what goes wrong is said without it.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::outbox::Outcome;
use crate::config::alert::HookUrl;
use crate::tls::TlsError;
use crate::tls::client::{Roots, client_config};

/// The longest answer that is read, and how much of it is told.
const MAX_ANSWER: usize = 64 << 10;
const TOLD: usize = 120;
/// Nobody waits longer because a server says so.
const LONGEST_AFTER: Duration = Duration::from_secs(900);

type Broken = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
pub(super) struct Hook {
    host: Arc<str>,
    port: u16,
    /// As it goes into the `Host` field.
    authority: Arc<str>,
    path: PathAndQuery,
    tls: Option<Arc<ClientConfig>>,
    authorization: Option<HeaderValue>,
}

impl Hook {
    /// # Errors
    /// Those of the authorities.
    pub(super) fn new(
        url: &HookUrl,
        token: Option<&str>,
        roots: impl FnOnce() -> Roots,
    ) -> Result<Self, TlsError> {
        let uri = url.uri();
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16();
        let authority = port.map_or_else(
            || uri.host().unwrap_or_default().to_owned(),
            |port| format!("{}:{port}", uri.host().unwrap_or_default()),
        );
        let tls = if is_tls { Some(client_config(&roots(), None, &[b"http/1.1"])?) } else { None };
        Ok(Self {
            host: host.into(),
            port: port.unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.into(),
            path: uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            tls,
            authorization: token.and_then(authorization),
        })
    }

    pub(super) async fn post(&self, body: &Value) -> Outcome {
        let stream = match self.connect().await {
            Ok(stream) => stream,
            Err(error) => return Outcome::Failed(format!("cannot reach {}: {error}", self.host), None),
        };
        match self.exchange(stream, Bytes::from(body.to_string())).await {
            Ok((status, after, text)) => judge(status, after, &self.harmless(&text)),
            Err(error) => Outcome::Failed(format!("{} broke off: {error}", self.host), None),
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.host.to_string()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
    }

    async fn exchange(
        &self,
        stream: Box<dyn Wire>,
        body: Bytes,
    ) -> Result<(StatusCode, Option<Duration>, String), Broken> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::post(self.path.as_str())
            .header(HOST, &*self.authority)
            .header(USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answered = async {
            let answer = sender.send_request(request).await?;
            let (status, after) = (answer.status(), retry_after(&answer));
            // What it says is only for people.
            let text = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let text = text.map(|text| text.to_bytes()).unwrap_or_default();
            Ok((status, after, String::from_utf8_lossy(&text).into_owned()))
        };
        let mut answered = pin!(answered);
        // Dropped when it ends: nothing can wait for it then.
        let connection = async { connection.await };
        let ended = tokio::select! {
            biased;
            answered = answered.as_mut() => return answered,
            ended = connection => ended,
        };
        // With its last bytes the answer may have come, even if those behind them are an error.
        answered.await.map_err(|error| ended.err().map_or(error, Into::into))
    }

    /// An answer may repeat what it was asked: its words are told only without the secret, short and on one line.
    fn harmless(&self, text: &str) -> String {
        let secrets = self.path.path().split('/').chain(self.path.query()).filter(|part| part.len() > 3);
        let mut told: String =
            text.chars().take(TOLD).map(|c| if c.is_control() { ' ' } else { c }).collect();
        for secret in secrets {
            if text.contains(secret) {
                told.clear();
            }
        }
        if let Some(token) = self.authorization.as_ref().and_then(|value| value.to_str().ok()?.get(7..))
            && text.contains(token)
        {
            told.clear();
        }
        told.trim().to_owned()
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

fn authorization(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What an answer means: too many, too slow and "not now" pass, other refusals do not.
fn judge(status: StatusCode, after: Option<Duration>, text: &str) -> Outcome {
    if status.is_success() {
        return Outcome::Taken;
    }
    let told =
        if text.is_empty() { format!("it answers {status}") } else { format!("it answers {status}: {text}") };
    let passes = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    if passes { Outcome::Failed(told, after) } else { Outcome::Refused(told) }
}

/// Seconds or a date (RFC 9110 section 10.2.3).
fn retry_after(answer: &Response<Incoming>) -> Option<Duration> {
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            let now = std::time::SystemTime::from(Timestamp::now());
            date.duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_AFTER))
}
