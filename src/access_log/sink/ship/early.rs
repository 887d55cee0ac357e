//! [`Early`]: a connection on which an answer is read that came before all was written.
//!
//! Who finds a request too large may say so after its head, and close the connection with what it has not read: the system
//! then resets it, and the next write fails, though the answer is there to be read (RFC 9112 section 9.6). So a write that
//! fails is no end: what can be read tells how it ended.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug)]
pub(super) struct Early<T> {
    wire: T,
    /// Nothing that is written arrives any more.
    is_deaf: bool,
}

impl<T: AsyncWrite + Unpin> Early<T> {
    pub(super) fn new(wire: T) -> Self {
        Self { wire, is_deaf: false }
    }

    /// Does `write`; where it fails, now or before, it is as if `instead` had come of it.
    fn poll<R>(
        &mut self,
        instead: R,
        write: impl FnOnce(Pin<&mut T>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if !self.is_deaf {
            match write(Pin::new(&mut self.wire)) {
                Poll::Ready(Err(_)) => self.is_deaf = true,
                other => return other,
            }
        }
        Poll::Ready(Ok(instead))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Early<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Early<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(bytes.len(), |wire| wire.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll((), |wire| wire.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll((), |wire| wire.poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = parts.iter().map(|part| part.len()).sum();
        self.poll(all, |wire| wire.poll_write_vectored(cx, parts))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_came_before_the_end_is_read_after_a_write_has_failed() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"HTTP/1.1 413 x").await.unwrap();
        drop(theirs);
        let mut early = Early::new(ours);
        for _ in 0..2 {
            early.write_all(&[b'x'; 1000]).await.unwrap();
            early.flush().await.unwrap();
        }
        let mut read = String::new();
        early.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "HTTP/1.1 413 x");
    }
}
