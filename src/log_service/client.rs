//! Asking a running log service: what `logs --service …` does.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time;

use super::door::io::Watched;
use super::read::Flow;

const CONNECT: Duration = Duration::from_secs(5);
/// The service sends an empty line every ten seconds when it has nothing to say.
const QUIET: Duration = Duration::from_secs(60);
/// Longest line and longest refusal.
const MAX_LINE: usize = 2 << 20;
/// Longest answer to a question.
const MAX_ANSWER: usize = 128 << 20;

/// Where a log service is reached: `unix:run/logs.sock` or `http://logs.example.com:9600`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    /// Host and port.
    Http(String),
}

/// Text that is no service address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither `unix:PATH` nor `http://HOST:PORT`")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let authority = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let authority = authority.and_then(|rest| rest.parse::<http::uri::Authority>().ok());
        let authority = authority.filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(|| AddressError(text.to_owned()))?;
        let port = if authority.port().is_some() { "" } else { ":80" };
        Ok(Self::Http(format!("{authority}{port}")))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(authority) => write!(f, "http://{authority}"),
        }
    }
}

/// Why a service did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach the log service at {0}")]
    Connect(Address, #[source] std::io::Error),
    #[error("the log service broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the log service says {0}: {1}")]
    Refused(StatusCode, String),
    #[error("the answer has a line longer than {0} bytes")]
    TooLong(usize),
}

/// Asks for `target` (a path with its query) and hands out each line of the answer, without its end and without the
/// empty ones. Ends with the answer, or when `on_line` breaks.
pub async fn get(
    address: &Address,
    target: &str,
    on_line: &mut dyn FnMut(&mut [u8]) -> Flow,
) -> Result<(), ClientError> {
    get_within(address, target, MAX_LINE, on_line).await
}

async fn get_within(
    address: &Address,
    target: &str,
    most: usize,
    on_line: &mut dyn FnMut(&mut [u8]) -> Flow,
) -> Result<(), ClientError> {
    let failed = |error| ClientError::Connect(address.clone(), error);
    let late = |_| failed(std::io::ErrorKind::TimedOut.into());
    match address {
        Address::Unix(path) => {
            let stream =
                time::timeout(CONNECT, UnixStream::connect(path)).await.map_err(late)?.map_err(failed)?;
            ask(stream, "localhost", target, most, on_line).await
        }
        Address::Http(authority) => {
            let stream =
                time::timeout(CONNECT, TcpStream::connect(authority)).await.map_err(late)?.map_err(failed)?;
            ask(stream, authority, target, most, on_line).await
        }
    }
}

/// Asks one of the questions that have one answer, a JSON object.
pub async fn answer(address: &Address, target: &str) -> Result<serde_json::Value, ClientError> {
    let mut told = None;
    let mut on_line = |line: &mut [u8]| {
        told = Some(serde_json::from_slice::<serde_json::Value>(line));
        Flow::Continue(())
    };
    get_within(address, target, MAX_ANSWER, &mut on_line).await?;
    let told = told.ok_or_else(|| broken("closed without an answer"))?.map_err(broken)?;
    match told.get("error").and_then(serde_json::Value::as_str) {
        // Found out after the head of the answer had left.
        Some(reason) => Err(ClientError::Refused(StatusCode::INTERNAL_SERVER_ERROR, reason.to_owned())),
        None => Ok(told),
    }
}

/// Sends a body and returns the answer's JSON; a batch of which something was refused is answered, too.
pub async fn post(
    address: &Address,
    target: &str,
    content_type: &'static str,
    body: Bytes,
) -> Result<serde_json::Value, ClientError> {
    let failed = |error| ClientError::Connect(address.clone(), error);
    let late = |_| failed(std::io::ErrorKind::TimedOut.into());
    match address {
        Address::Unix(path) => {
            let stream =
                time::timeout(CONNECT, UnixStream::connect(path)).await.map_err(late)?.map_err(failed)?;
            send(stream, "localhost", target, content_type, body).await
        }
        Address::Http(authority) => {
            let stream =
                time::timeout(CONNECT, TcpStream::connect(authority)).await.map_err(late)?.map_err(failed)?;
            send(stream, authority, target, content_type, body).await
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    target: &str,
    content_type: &'static str,
    body: Bytes,
) -> Result<serde_json::Value, ClientError> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(Watched::new(stream, QUIET))).await.map_err(broken)?;
    let request = Request::post(target).header(HOST, host).header(CONTENT_TYPE, content_type);
    let request = request.body(Full::new(body)).map_err(broken)?;
    let mut connection = std::pin::pin!(connection);
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_LINE).collect().await.map_err(broken)?.to_bytes();
        let told: serde_json::Value = serde_json::from_slice(&body).map_err(broken)?;
        match told.get("error").and_then(serde_json::Value::as_str) {
            Some(reason) => Err(ClientError::Refused(status, reason.to_owned())),
            None => Ok(told),
        }
    };
    tokio::select! {
        biased;
        answered = exchange => answered,
        ended = &mut connection => ended.map_err(broken).and_then(|()| Err(broken("closed without an answer"))),
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    target: &str,
    most: usize,
    on_line: &mut dyn FnMut(&mut [u8]) -> Flow,
) -> Result<(), ClientError> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(Watched::new(stream, QUIET))).await.map_err(broken)?;
    let request = Request::get(target).header(HOST, host).body(Empty::<Bytes>::new()).map_err(broken)?;
    let mut connection = std::pin::pin!(connection);
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        if status == StatusCode::OK {
            lines(answer.into_body(), most, on_line).await
        } else {
            refused(status, answer).await
        }
    };
    tokio::select! {
        biased;
        answered = exchange => answered,
        // hyper moves the bytes here; once the connection ends, the answer that is being read ends too.
        ended = &mut connection => ended.map_err(broken).and_then(|()| Err(broken("closed without an answer"))),
    }
}

async fn lines(
    mut body: Incoming,
    most: usize,
    on_line: &mut dyn FnMut(&mut [u8]) -> Flow,
) -> Result<(), ClientError> {
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let known = rest.len();
        rest.extend_from_slice(&data);
        let whole = memchr::memrchr(b'\n', &data).map_or(0, |at| known + at + 1);
        for line in rest[..whole].split_mut(|&byte| byte == b'\n') {
            if !line.is_empty() && on_line(line).is_break() {
                return Ok(());
            }
        }
        rest.drain(..whole);
        if rest.len() > most {
            return Err(ClientError::TooLong(most));
        }
    }
    Ok(())
}

async fn refused(status: StatusCode, answer: http::Response<Incoming>) -> Result<(), ClientError> {
    let body = Limited::new(answer.into_body(), MAX_LINE).collect().await.map_err(broken)?.to_bytes();
    let told: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let reason = told.as_ref().and_then(|told| told["error"].as_str()).unwrap_or("no reason given");
    Err(ClientError::Refused(status, reason.to_owned()))
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Broken(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!("unix:run/logs.sock".parse::<Address>().unwrap(), Address::Unix("run/logs.sock".into()));
        assert_eq!("http://[::1]:96/".parse::<Address>().unwrap(), Address::Http("[::1]:96".into()));
        assert_eq!("http://logs".parse::<Address>().unwrap(), Address::Http("logs:80".into()));
        for bad in ["", "unix:", "https://x", "http://", "http://a/b", "http://u@h", "localhost:1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
