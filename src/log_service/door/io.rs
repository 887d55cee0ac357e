//! Between tokio's sockets and hyper: the I/O traits, a timer, and the end of connections on which nothing moves.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{ReadBufCursor, Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time;

/// A stream that fails once no byte was read or written for a while.
pub(crate) struct Watched<S> {
    stream: S,
    quiet: Duration,
    alarm: Pin<Box<time::Sleep>>,
    /// hyper's buffer may be uninitialised; reading by way of our own costs a copy and no unsafe code.
    scratch: Box<[u8]>,
}

const SCRATCH: usize = 16 << 10;

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, quiet: Duration) -> Self {
        let alarm = Box::pin(time::sleep(quiet));
        Self { stream, quiet, alarm, scratch: vec![0; SCRATCH].into() }
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

impl<S: AsyncRead + Unpin> hyper::rt::Read for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let room = into.remaining().min(this.scratch.len());
        let mut buffer = ReadBuf::new(&mut this.scratch[..room]);
        let polled = Pin::new(&mut this.stream).poll_read(cx, &mut buffer);
        if let Poll::Ready(Ok(())) = &polled {
            into.put_slice(buffer.filled());
        }
        this.watch(cx, polled)
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for Watched<S> {
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

/// hyper's timer on tokio's clock.
#[derive(Clone, Copy)]
pub(super) struct Clock;

pin_project_lite::pin_project! {
    struct Until {
        #[pin]
        sleep: time::Sleep,
    }
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}

impl Sleep for Until {}

impl Timer for Clock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until { sleep: time::sleep(duration) })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until { sleep: time::sleep_until(deadline.into()) })
    }
}
