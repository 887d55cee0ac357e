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
    use std::task::Waker;

    use bytes::Bytes;
    use http::{Request, StatusCode};
    use http_body_util::{BodyExt as _, Full};
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;

    use super::*;

    /// Answers when it has a part of the request, and is gone at the same moment.
    struct Gone {
        takes: usize,
        answer: &'static [u8],
        reader: Option<Waker>,
    }

    impl AsyncRead for Gone {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.takes > 0 {
                self.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if self.answer.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            buffer.put_slice(std::mem::take(&mut self.answer));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Gone {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.takes == 0 {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let taken = self.takes.min(bytes.len());
            self.takes -= taken;
            if let Some(reader) = self.reader.take().filter(|_| self.takes == 0) {
                reader.wake();
            }
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn an_answer_is_read_though_the_next_write_fails() {
        let answer = b"HTTP/1.1 413 x\r\ncontent-length: 2\r\n\r\nno";
        for (answer, told) in [(&answer[..], Some((StatusCode::PAYLOAD_TOO_LARGE, "no"))), (b"", None)] {
            let gone = Gone { takes: 10_000, answer, reader: None };
            let (mut sender, connection) = http1::handshake(TokioIo::new(Early::new(gone))).await.unwrap();
            tokio::spawn(async { drop(connection.await) });
            let request = Request::post("/").body(Full::<Bytes>::from(vec![0; 1 << 20])).unwrap();
            let heard = match sender.send_request(request).await {
                Ok(answer) => Some((answer.status(), answer.into_body().collect().await.unwrap().to_bytes())),
                Err(_) => None,
            };
            assert_eq!(heard, told.map(|(status, text)| (status, Bytes::from(text))));
        }
    }
}
