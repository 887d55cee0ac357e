//! One request to somebody else's HTTP server, on a connection of its own.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest answer that is read.
const MAX_ANSWER: usize = 64 << 10;
/// Nobody waits longer because a server says so.
const LONGEST_AFTER: Duration = Duration::from_secs(900);

pub(super) type Broken = Box<dyn Error + Send + Sync>;

/// What came back. The text is only for people.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    /// How long it asks to be left alone.
    pub(super) after: Option<Duration>,
    pub(super) text: String,
}

pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Connects; `host` without the brackets of an IPv6 address.
pub(super) async fn connect(
    host: &str,
    port: u16,
    tls: Option<&Arc<ClientConfig>>,
) -> io::Result<Box<dyn Wire>> {
    let stream = TcpStream::connect((host, port)).await?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
}

/// Sends a request and reads its answer.
pub(super) async fn exchange<B>(stream: Box<dyn Wire>, request: Request<B>) -> Result<Answered, Broken>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Broken>,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(Broken::from)?;
        let (status, after) = (answer.status(), retry_after(answer.headers()));
        let text = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let text = text.map(|text| text.to_bytes()).unwrap_or_default();
        Ok(Answered { status, after, text: String::from_utf8_lossy(&text).into_owned() })
    };
    let mut answered = pin!(answered);
    let ended = tokio::select! {
        biased;
        answered = answered.as_mut() => return answered,
        ended = connection => ended,
    };
    // With its last bytes the answer may have come, even if those behind them are an error.
    answered.await.map_err(|error| ended.err().map_or(error, Into::into))
}

/// Seconds or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
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
