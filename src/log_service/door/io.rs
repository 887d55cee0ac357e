//! The end of connections on which nothing moves.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time;

/// A stream that fails once no byte was read or written for a while.
pub(crate) struct Watched<S> {
    stream: S,
    quiet: Duration,
    alarm: Pin<Box<time::Sleep>>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, quiet: Duration) -> Self {
        let alarm = Box::pin(time::sleep(quiet));
        Self { stream, quiet, alarm }
    }

    /// From now on silence of another length is too long.
    pub(crate) fn allow(&mut self, quiet: Duration) {
        self.quiet = quiet;
        self.alarm.as_mut().reset(time::Instant::now() + quiet);
    }

    /// Passes a result on, but turns waiting for too long into an error.
    fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            let deadline = time::Instant::now() + self.quiet;
            self.alarm.as_mut().reset(deadline);
            return polled;
        }
        self.alarm.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        self.watch(cx, polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
