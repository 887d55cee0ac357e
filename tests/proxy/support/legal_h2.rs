//! A legal HTTP/2 client (hyper's), behind a blocking face.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper::rt::{Executor, Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::certs;
use super::client::Answer;

pub(crate) struct LegalH2 {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

impl LegalH2 {
    #[track_caller]
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self::start(async move { TcpStream::connect(address).await })
    }

    #[track_caller]
    pub(crate) fn tls(address: SocketAddr, name: &str) -> Self {
        let name = name.to_owned();
        Self::start(async move {
            let connector = tokio_rustls::TlsConnector::from(certs::client(&["h2"]));
            let name = rustls::pki_types::ServerName::try_from(name).map_err(io::Error::other)?;
            connector.connect(name, TcpStream::connect(address).await?).await
        })
    }

    #[track_caller]
    fn start<S>(connect: impl Future<Output = io::Result<S>>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = Adapter(connect.await.expect("a connection"));
            let (sender, connection) =
                hyper::client::conn::http2::handshake(Spawn, stream).await.expect("an h2 handshake");
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// Sends one request and reads its answer with trailers.
    pub(crate) fn ask(&mut self, request: http::Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        let Self { runtime, sender } = self;
        runtime.block_on(async {
            sender.ready().await?;
            read(sender.send_request(request).await?).await
        })
    }

    /// Sends all requests at once; the answers come in the order of the requests.
    pub(crate) fn ask_all(
        &mut self,
        requests: Vec<http::Request<Full<Bytes>>>,
    ) -> Vec<Result<Answer, hyper::Error>> {
        let Self { runtime, sender } = self;
        runtime.block_on(async {
            let mut answers = Vec::new();
            for request in requests {
                let mut sender = sender.clone();
                answers.push(tokio::spawn(async move {
                    sender.ready().await?;
                    read(sender.send_request(request).await?).await
                }));
            }
            let mut done = Vec::new();
            for answer in answers {
                done.push(answer.await.unwrap());
            }
            done
        })
    }
}

async fn read(response: http::Response<hyper::body::Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().map(pairs).unwrap_or_default();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: pairs(&head.headers),
        body: body.to_bytes().to_vec(),
        trailers,
        interim: Vec::new(),
        complete: true,
    })
}

fn pairs(map: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| super::client::latin1(value.as_bytes());
    map.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// hyper spawns its own connection work on tokio.
#[derive(Clone)]
struct Spawn;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

/// Lets hyper read and write a tokio stream.
struct Adapter<S>(S);

impl<S: AsyncRead + Unpin> Read for Adapter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [0; 16 * 1024];
        let size = cursor.remaining().min(space.len());
        let mut piece = ReadBuf::new(&mut space[..size]);
        match Pin::new(&mut self.0).poll_read(cx, &mut piece) {
            Poll::Ready(Ok(())) => {
                cursor.put_slice(piece.filled());
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> Write for Adapter<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A request without a body.
pub(crate) fn get(scheme: &str, path: &str) -> http::Request<Full<Bytes>> {
    request("GET", scheme, path, "")
}

pub(crate) fn request(method: &str, scheme: &str, path: &str, body: &str) -> http::Request<Full<Bytes>> {
    let uri = format!("{scheme}://localhost{path}");
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    http::Request::builder().method(method).uri(uri).body(body).unwrap()
}
