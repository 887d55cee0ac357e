//! [`Tap`]: the I/O wrapper under each downstream connection. It counts bytes, stamps first bytes, keeps raw heads,
//! meters HTTP/2 frames and notices blocked writes; it changes nothing that passes, but for the placeholders of
//! files, whose bytes it sends instead of them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::{Cut, Phase, Wire};
use crate::http::sendfile::{SendQueue, is_placeholder};
use crate::process::small;

/// A transport that can tell when it becomes readable without reading: what a parked connection waits for.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Whether [`poll_write_files`](Self::poll_write_files) works.
    const TAKES_FILES: bool = false;

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Writes slices of which some are placeholders for the queued segments.
    ///
    /// # Errors
    /// `InvalidData` unless [`TAKES_FILES`](Self::TAKES_FILES): a placeholder must never leave as it is.
    fn poll_write_files(
        &self,
        _: &mut Context<'_>,
        _: &[IoSlice<'_>],
        _: &SendQueue,
    ) -> Poll<io::Result<usize>> {
        let error = io::Error::new(io::ErrorKind::InvalidData, "a placeholder where no file can be sent");
        Poll::Ready(Err(error))
    }
}

impl Socket for tokio::net::TcpStream {
    const TAKES_FILES: bool = true;

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn poll_write_files(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        queue: &SendQueue,
    ) -> Poll<io::Result<usize>> {
        queue.poll_write(self, cx, slices)
    }
}

impl Socket for tokio::net::UnixStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

impl<S: Socket> Socket for Box<tokio_rustls::server::TlsStream<S>> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_ref().0.poll_readable(cx)
    }
}

/// See the module.
pub struct Tap<S> {
    socket: S,
    wire: Rc<Wire>,
    /// Bytes read before this wrapper existed.
    prefix: Bytes,
    /// The last write took all it was given: a frame boundary, when HTTP/2 writes whole buffers.
    is_write_whole: bool,
}

impl<S: Socket> Tap<S> {
    pub fn new(socket: S, wire: Rc<Wire>, prefix: Bytes) -> Self {
        Self { socket, wire, prefix, is_write_whole: true }
    }

    pub fn into_socket(self) -> S {
        self.socket
    }

    fn on_read(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let wire = &self.wire;
        wire.connection.rx.set(wire.connection.rx.get() + bytes.len() as u64);
        if wire.connection.is_h2 {
            let flood = wire.frames.borrow_mut().on_read(bytes, Instant::now());
            return match flood {
                Some(name) => self.refuse_flood(cx, name),
                None => Ok(()),
            };
        }
        let begins = wire.head.borrow_mut().on_read(bytes);
        // As the error of the read it reaches whoever reads the body, who answers 400.
        let begins = begins.map_err(|refusal| io::Error::new(io::ErrorKind::InvalidData, refusal.detail))?;
        if begins && wire.first_byte.get().is_none() {
            wire.first_byte.set(Some(Instant::now()));
            if wire.phase.get() == Phase::Idle {
                wire.phase.set(Phase::Head);
                wire.deadline.set(wire.limits.header);
            }
        }
        Ok(())
    }

    /// Tells a flooding client why (GOAWAY, best effort) and breaks the connection.
    fn refuse_flood(&mut self, cx: &mut Context<'_>, name: &'static str) -> io::Result<()> {
        if self.is_write_whole {
            let goaway = self.wire.frames.borrow().goaway();
            let _ = Pin::new(&mut self.socket).poll_write(cx, &goaway);
            let _ = Pin::new(&mut self.socket).poll_flush(cx);
        }
        Err(io::Error::new(io::ErrorKind::QuotaExceeded, name))
    }

    fn write_files(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = self.socket.poll_write_files(cx, slices, &self.wire.files);
        if let Poll::Ready(Err(error)) = &written
            && error.kind() == io::ErrorKind::UnexpectedEof
        {
            self.wire.cut.set(Some(Cut::ShortFile));
        }
        written
    }

    fn on_write(&mut self, written: Poll<io::Result<usize>>, given: usize) -> Poll<io::Result<usize>> {
        let wire = &self.wire;
        match &written {
            Poll::Ready(Ok(count)) => {
                wire.connection.tx.set(wire.connection.tx.get() + *count as u64);
                self.is_write_whole = *count == given;
                if wire.write_deadline.is_set() {
                    wire.write_deadline.clear();
                }
            }
            Poll::Pending if !wire.write_deadline.is_set() => wire.write_deadline.set(wire.limits.write),
            _ => {}
        }
        written
    }
}

impl<S: Socket> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.prefix.is_empty() {
            let room = buf.remaining();
            ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
            if buf.filled().len() == before && room > 0 {
                self.wire.closed_by_peer.set(true);
                return Poll::Ready(Ok(()));
            }
        } else {
            let count = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix[..count]);
            self.prefix.advance(count);
        }
        self.on_read(cx, &buf.filled()[before..])?;
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if is_placeholder(bytes) {
            return self.poll_write_vectored(cx, &[IoSlice::new(bytes)]);
        }
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.on_write(written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match slices.iter().any(|slice| is_placeholder(slice)) {
            true => self.write_files(cx, slices),
            false => {
                let joined = small::write(slices, |bytes| Pin::new(&mut self.socket).poll_write(cx, bytes));
                joined.unwrap_or_else(|| Pin::new(&mut self.socket).poll_write_vectored(cx, slices))
            }
        };
        let given = slices.iter().map(|s| s.len()).sum();
        self.on_write(written, given)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.socket).poll_flush(cx));
        if flushed.is_ok() {
            self.wire.flush_endings(true);
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
