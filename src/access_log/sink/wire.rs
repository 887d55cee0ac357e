//! The connection to a log service: a Unix or TCP socket, with TLS or without.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::access_log::ServiceEndpoint;
use crate::tls::client::{plainly, shake};

#[derive(Debug)]
pub(super) enum Wire {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Wire {
    /// `tls` is there when the endpoint wants it.
    pub(super) async fn connect(
        endpoint: &ServiceEndpoint,
        tls: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        match endpoint {
            ServiceEndpoint::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
            ServiceEndpoint::Http { host, port, .. } => Self::tcp(host, *port, tls).await,
        }
    }

    /// A connection over TCP; with TLS if it is given.
    pub(super) async fn tcp(host: &str, port: u16, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let host = host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else { return Ok(Self::Tcp(stream)) };
        Ok(Self::Tls(Box::new(shake(host, tls, stream).await.map_err(plainly)?)))
    }

    /// Breaks when what was sent is not acknowledged for so long, or nobody is there any more; and holds no more than so many
    /// bytes that are not.
    ///
    /// # Errors
    /// The system does not let it be.
    pub(super) fn guard(&self, patience: Duration, send_buffer: usize) -> io::Result<()> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Unix(_) => return Ok(()),
        };
        let socket = SockRef::from(stream);
        socket.set_send_buffer_size(send_buffer)?;
        socket.set_tcp_user_timeout(Some(patience))?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(patience).with_interval(patience))
    }
}

macro_rules! each {
    ($wire:expr, $stream:ident => $call:expr) => {
        match $wire.get_mut() {
            Wire::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Wire::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
            Wire::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, parts))
    }
}
