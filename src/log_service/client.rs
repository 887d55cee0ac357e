//! Asking a running log service: what `logs --service …` does.

use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{CertificateError, ClientConfig};
use tokio::net::{TcpStream, UnixStream};
use tokio::time;

use super::door::io::Watched;
use super::outbound::{self, Wire};
use super::read::Flow;
use crate::http::client::bearer;
pub use crate::tls::CertPair;
use crate::tls::TlsError;
pub use crate::tls::client::Roots;
use crate::tls::client::{client_config, shake};

const CONNECT: Duration = Duration::from_secs(5);
/// The service sends an empty line every ten seconds when it has nothing to say.
const QUIET: Duration = Duration::from_secs(60);
/// Longest line and longest refusal.
const MAX_LINE: usize = 2 << 20;
/// Longest answer to a question.
const MAX_ANSWER: usize = 128 << 20;

/// Where a log service is reached: `unix:run/logs.sock`, `http://localhost:9600`, `https://logs.example.com:9600`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    /// Host and port.
    Http(String),
    /// Host and port; with TLS.
    Https(String),
}

/// Text that is no service address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither `unix:PATH`, `http://HOST:PORT` nor `https://HOST:PORT`")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let (rest, is_tls) = match text.strip_prefix("https://") {
            Some(rest) => (Some(rest), true),
            None => (text.strip_prefix("http://"), false),
        };
        let authority = rest.map(|rest| rest.trim_end_matches('/'));
        let authority = authority.and_then(|rest| rest.parse::<http::uri::Authority>().ok());
        let authority = authority.filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(|| AddressError(text.to_owned()))?;
        let port = match (authority.port(), is_tls) {
            (Some(_), _) => "",
            (None, false) => ":80",
            (None, true) => ":443",
        };
        let authority = format!("{authority}{port}");
        Ok(if is_tls { Self::Https(authority) } else { Self::Http(authority) })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(authority) => write!(f, "http://{authority}"),
            Self::Https(authority) => write!(f, "https://{authority}"),
        }
    }
}

/// Why a service did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach the log service at {0}")]
    Connect(Address, #[source] std::io::Error),
    #[error(
        "the certificate of the log service at {0} is of an authority that is not trusted here: name the authority's file with --ca"
    )]
    UnknownIssuer(Address),
    #[error("the log service at {0} does not speak TLS: write http:// if that is what you want")]
    NotTls(Address),
    #[error("the log service asks for a token that it knows: name the file that has it with --token-file")]
    Unauthorized,
    #[error("the token has bytes that no header field may have")]
    Token,
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the log service broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the log service says {0}: {1}")]
    Refused(StatusCode, String),
    #[error("the answer has a line longer than {0} bytes")]
    TooLong(usize),
}

/// What a client shows to a service, and what it trusts.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Over https: who vouches for the service.
    pub roots: Roots,
    /// Over https: shown to a service that asks for a certificate.
    pub identity: Option<CertPair>,
    pub token: Option<Secret>,
}

/// A token as text; never shown.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A service that can be asked.
#[derive(Clone, Debug)]
pub struct Service {
    address: Address,
    tls: Option<Arc<ClientConfig>>,
    authorization: Option<HeaderValue>,
}

impl Service {
    /// # Errors
    /// Broken PEM, a key that does not fit, a token that no header field may have.
    pub fn new(address: Address, credentials: &Credentials) -> Result<Self, ClientError> {
        let Credentials { roots, identity, token } = credentials;
        let tls = match &address {
            Address::Https(_) => Some(client_config(roots, identity.as_ref(), &[b"http/1.1"])?),
            Address::Unix(_) | Address::Http(_) => None,
        };
        let authorization =
            token.as_ref().map(|token| bearer(&token.0).ok_or(ClientError::Token)).transpose()?;
        Ok(Self { address, tls, authorization })
    }

    fn host(&self) -> &str {
        match &self.address {
            Address::Unix(_) => "localhost",
            Address::Http(authority) | Address::Https(authority) => authority,
        }
    }

    fn request(&self, builder: http::request::Builder) -> http::request::Builder {
        let builder = builder.header(HOST, self.host());
        match &self.authorization {
            Some(authorization) => builder.header(AUTHORIZATION, authorization.clone()),
            None => builder,
        }
    }

    async fn connect(&self) -> Result<Box<dyn Wire>, ClientError> {
        let connected = time::timeout(CONNECT, self.wire()).await;
        let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        connected.map_err(|error| self.unreachable(error))
    }

    async fn wire(&self) -> std::io::Result<Box<dyn Wire>> {
        match (&self.address, &self.tls) {
            (Address::Unix(path), _) => Ok(Box::new(UnixStream::connect(path).await?)),
            (Address::Http(authority) | Address::Https(authority), None) => {
                Ok(Box::new(TcpStream::connect(authority).await?))
            }
            (Address::Http(authority) | Address::Https(authority), Some(tls)) => {
                let stream = TcpStream::connect(authority).await?;
                let host = authority.rsplit_once(':').map_or(&**authority, |(host, _)| host);
                Ok(Box::new(shake(host, tls, stream).await?))
            }
        }
    }

    fn unreachable(&self, error: std::io::Error) -> ClientError {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => ClientError::UnknownIssuer(self.address.clone()),
            Some(rustls::Error::InvalidMessage(_)) => ClientError::NotTls(self.address.clone()),
            _ => ClientError::Connect(self.address.clone(), error),
        }
    }
}

/// Asks for `target` (a path with its query) and hands out each line of the answer, without its end and without the
/// empty ones; those that say how far a search is are among them (see [`progress`]). Ends with the answer, or when
/// `on_line` breaks.
pub async fn get(
    service: &Service,
    target: &str,
    on_line: &mut dyn FnMut(&mut [u8]) -> Flow,
) -> Result<(), ClientError> {
    get_within(service, target, MAX_LINE, on_line).await
}

async fn get_within(
    service: &Service,
    target: &str,
    most: usize,
    on_line: &mut dyn FnMut(&mut [u8]) -> Flow,
) -> Result<(), ClientError> {
    let request = service.request(Request::get(target)).header("prefer", "progress");
    ask(service.connect().await?, request, most, on_line).await
}

/// How far a scan of the service is, if that is what a line says: rows looked at, and rows to look at.
pub fn progress(line: &serde_json::Value) -> Option<(u64, u64)> {
    // Entries carry a receive time.
    let is_progress = line["kind"] == "progress" && line.get("recv").is_none();
    is_progress.then_some((line["looked"].as_u64()?, line["of"].as_u64()?))
}

/// Asks one of the questions that have one answer, a JSON object; `on_progress` is told rows looked at and to look at
/// while that takes long.
pub async fn answer(
    service: &Service,
    target: &str,
    on_progress: &mut dyn FnMut(u64, u64),
) -> Result<serde_json::Value, ClientError> {
    let mut told = None;
    let mut on_line = |line: &mut [u8]| {
        let line = serde_json::from_slice::<serde_json::Value>(line);
        match line.as_ref().ok().and_then(progress) {
            Some((looked, of)) => on_progress(looked, of),
            None => told = Some(line),
        }
        Flow::Continue(())
    };
    get_within(service, target, MAX_ANSWER, &mut on_line).await?;
    let told = told.ok_or_else(|| broken("closed without an answer"))?.map_err(broken)?;
    match told.get("error").and_then(serde_json::Value::as_str) {
        // Found out after the head of the answer had left.
        Some(reason) => Err(ClientError::Refused(StatusCode::INTERNAL_SERVER_ERROR, reason.to_owned())),
        None => Ok(told),
    }
}

/// Sends a body and returns the answer's JSON; a batch of which something was refused is answered, too.
pub async fn post(
    service: &Service,
    target: &str,
    content_type: &'static str,
    body: Bytes,
) -> Result<serde_json::Value, ClientError> {
    let request = service.request(Request::post(target)).header(CONTENT_TYPE, content_type);
    send(service.connect().await?, request, body).await
}

async fn send(
    stream: Box<dyn Wire>,
    request: http::request::Builder,
    body: Bytes,
) -> Result<serde_json::Value, ClientError> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(Watched::new(stream, QUIET))).await.map_err(broken)?;
    let request = request.body(Full::new(body)).map_err(broken)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_LINE).collect().await.map_err(broken)?.to_bytes();
        let told: serde_json::Value = serde_json::from_slice(&body).map_err(broken)?;
        match told.get("error").and_then(serde_json::Value::as_str) {
            Some(_) if status == StatusCode::UNAUTHORIZED => Err(ClientError::Unauthorized),
            Some(reason) => Err(ClientError::Refused(status, reason.to_owned())),
            None => Ok(told),
        }
    };
    along(connection, exchange).await
}

async fn ask(
    stream: Box<dyn Wire>,
    request: http::request::Builder,
    most: usize,
    on_line: &mut dyn FnMut(&mut [u8]) -> Flow,
) -> Result<(), ClientError> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(Watched::new(stream, QUIET))).await.map_err(broken)?;
    let request = request.body(Empty::<Bytes>::new()).map_err(broken)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        if status == StatusCode::OK {
            lines(answer.into_body(), most, on_line).await
        } else {
            refused(status, answer).await
        }
    };
    along(connection, exchange).await
}

/// Reads an answer while hyper moves its bytes.
async fn along<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    exchange: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match outbound::along(connection, exchange).await {
        (Err(ClientError::Broken(_)), Some(why)) => Err(broken(why)),
        (answered, _) => answered,
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
    if status == StatusCode::UNAUTHORIZED {
        return Err(ClientError::Unauthorized);
    }
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

    /// A connection that hands over what it has and ends within one poll, as one does whose other end closes with its answer.
    #[tokio::test]
    async fn an_answer_that_comes_with_the_end_of_its_connection_is_read() {
        let reset = || {
            let (client, mut server) = tokio::io::duplex(4096);
            (client, async move {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                let mut room = [0; 4096];
                let _ = server.read(&mut room).await.unwrap();
                let body = "{\"accepted\":1}\n";
                let head =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                server.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            })
        };
        let address = "http://localhost:1".parse().unwrap();
        let credentials = Credentials { roots: Roots::Public, identity: None, token: None };
        let service = Service::new(address, &credentials).unwrap();
        for _ in 0..20 {
            let (client, serving) = reset();
            let request = service.request(Request::post("/logs"));
            let (told, ()) = tokio::join!(send(Box::new(client), request, Bytes::new()), serving);
            assert_eq!(told.unwrap()["accepted"], 1);
            let (client, serving) = reset();
            let mut told = Vec::new();
            let mut on_line = |line: &mut [u8]| {
                told.push(line.to_vec());
                Flow::Continue(())
            };
            let request = service.request(Request::get("/logs/search"));
            let (asked, ()) = tokio::join!(ask(Box::new(client), request, 1000, &mut on_line), serving);
            assert_eq!((asked.unwrap(), told.len()), ((), 1));
        }
    }

    #[test]
    fn addresses() {
        assert_eq!("unix:run/logs.sock".parse::<Address>().unwrap(), Address::Unix("run/logs.sock".into()));
        assert_eq!("http://[::1]:96/".parse::<Address>().unwrap(), Address::Http("[::1]:96".into()));
        assert_eq!("http://logs".parse::<Address>().unwrap(), Address::Http("logs:80".into()));
        assert_eq!("https://logs:1/".parse::<Address>().unwrap(), Address::Https("logs:1".into()));
        for bad in ["", "unix:", "https://", "http://", "http://a/b", "http://u@h", "localhost:1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
