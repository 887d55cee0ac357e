//! TCP and Unix sockets behind one face.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;

use super::tls::Handshake;
use crate::log_service::{Listen, ServiceError};
use crate::process::directory;

/// Owner and group may write to the log; the group is how a proxy under another user is let in.
const SOCKET_MODE: u32 = 0o660;

/// After so much silence the other side is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(120);

pub(super) enum Socket {
    Tcp(TcpListener),
    /// Its file is removed when it is dropped.
    Unix(UnixListener, Box<Path>),
}

impl Socket {
    pub(super) async fn bind(listen: &Listen) -> Result<Self, ServiceError> {
        let bound = match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Listen::Unix(path) => bind_unix(path).await,
        };
        bound.map_err(|error| ServiceError::Bind(listen.to_string(), error))
    }

    pub(super) fn address(&self) -> Listen {
        match self {
            // A bound socket has an address; the unspecified one would only be shown.
            Self::Tcp(listener) => {
                Listen::Tcp(listener.local_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into()))
            }
            Self::Unix(_, path) => Listen::Unix(path.to_path_buf()),
        }
    }

    /// The next connection and what is stored as its sender's address.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Arc<str>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // Replies are small and waited for; an error here only costs time.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), from.to_string().into()))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let process = stream.peer_cred().ok().and_then(|cred| cred.pid());
                let from = process.map_or_else(|| "unix".to_owned(), |process| format!("unix:{process}"));
                Ok((Stream::Unix(stream), from.into()))
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Already gone is as good.
            let _ = fs::remove_file(path);
        }
    }
}

async fn bind_unix(path: &Path) -> io::Result<Socket> {
    directory::make_parent(path, directory::SOCKETS)?;
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        // Left by a process that died, unless somebody answers.
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(Socket::Unix(listener, path.into()))
}

pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    /// Whether only this machine can be at the other end by way of a loopback address.
    pub(super) fn is_loopback_tcp(&self) -> bool {
        let tcp = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Unix(_) => return false,
        };
        tcp.local_addr().is_ok_and(|address| address.ip().is_loopback())
    }

    /// Lets the system ask after some minutes of silence whether the other side is still there: senders that are silent for
    /// long are not given up, but one that went without a word would keep its place for ever.
    pub(super) fn keep_alive(&self) {
        let tcp = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Unix(_) => return,
        };
        let asking = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 4);
        // Without it only a place is lost.
        let _ = SockRef::from(tcp).set_tcp_keepalive(&asking);
    }

    /// Who may open a Unix socket is what its permissions say.
    pub(super) fn needs_token(&self) -> bool {
        !matches!(self, Self::Unix(_))
    }

    /// With TLS where there is any for this kind of socket.
    pub(super) async fn secured(self, tls: Option<&Handshake>, within: Duration) -> io::Result<Self> {
        match (self, tls) {
            (Self::Tcp(stream), Some(tls)) => Ok(Self::Tls(Box::new(tls.shake(stream, within).await?))),
            (stream, _) => Ok(stream),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
