//! One request to somebody else's HTTP server, on a connection of its own.

use std::error::Error;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::http::client::retry_after;
use crate::tls::client::{plainly, shake};

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
    Ok(Box::new(shake(host, tls, stream).await.map_err(plainly)?))
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
        let (status, after) =
            (answer.status(), retry_after(answer.headers()).map(|wait| wait.min(LONGEST_AFTER)));
        let text = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let text = text.map(|text| text.to_bytes()).unwrap_or_default();
        Ok(Answered { status, after, text: String::from_utf8_lossy(&text).into_owned() })
    };
    let (answered, ended) = along(connection, answered).await;
    answered.map_err(|error| ended.map_or(error, Into::into))
}

/// What becomes of an exchange, and why its connection ended if it did so first. With the last bytes of the connection the
/// answer may have come, even if those behind them are an error: it is read all the same.
pub(super) async fn along<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    exchange: impl Future<Output = T>,
) -> (T, Option<hyper::Error>) {
    let mut exchange = pin!(exchange);
    let ended = tokio::select! {
        biased;
        answered = exchange.as_mut() => return (answered, None),
        // Dropped here: nothing can wait for it any more.
        ended = connection => ended,
    };
    (exchange.await, ended.err())
}

/// 0 to 1, another one each time, by which those who come again are spread: the seed of a hash map.
pub(super) fn chance() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}
