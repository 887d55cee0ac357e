//! One HTTP/1.1 connection to an endpoint.
//!
//! The exchange that uses it also drives it: there is no task per connection, so an answer needs no wake-up across
//! tasks, and dropping the exchange drops the connection. An idle one in the pool is polled when it is taken.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::body::RequestBody;
use super::endpoint::{Address, Endpoint};
use crate::exchange::Traffic;
use crate::process::bell::{Bell, Knock};
use crate::process::small;

/// The largest response head.
const MAX_BUFFER: usize = 128 * 1024;

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The socket of a connection, counting.
pub struct Stream {
    socket: Socket,
    traffic: Rc<Traffic>,
    /// Of reads, while a [`Connection`] drives it: nearly all that the library asks for are in vain.
    knock: Option<Rc<Knock>>,
}

/// See the module.
pub struct Connection {
    sender: http1::SendRequest<RequestBody>,
    driver: http1::Connection<TokioIo<Stream>, RequestBody>,
    is_finished: bool,
    bell: Bell,
    knock: Rc<Knock>,
    pub traffic: Rc<Traffic>,
    pub endpoint: Arc<Endpoint>,
    /// Milliseconds of the core's clock.
    pub born_ms: u64,
    pub idle_since_ms: u64,
}

/// What the library makes of a request that was handed over.
type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// Why a request got no answer.
pub enum SendError {
    /// Not a byte of it was written: it may go elsewhere.
    Unsent(Box<Request<RequestBody>>),
    Broken(hyper::Error),
}

impl Connection {
    /// Connects to `endpoint`.
    ///
    /// # Errors
    /// What `connect(2)` says.
    pub async fn open(endpoint: &Arc<Endpoint>, now_ms: u64) -> io::Result<Box<Self>> {
        let socket = match &endpoint.address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
            Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
        };
        let traffic = Rc::new(Traffic::default());
        let bell = Bell::new();
        let knock = Rc::new(Knock::new(&bell));
        let io =
            TokioIo::new(Stream { socket, traffic: Rc::clone(&traffic), knock: Some(Rc::clone(&knock)) });
        let (sender, driver) =
            http1::Builder::new().max_buf_size(MAX_BUFFER).handshake(io).await.map_err(io::Error::other)?;
        let endpoint = Arc::clone(endpoint);
        Ok(Box::new(Self {
            sender,
            driver,
            is_finished: false,
            bell,
            knock,
            traffic,
            endpoint,
            born_ms: now_ms,
            idle_since_ms: now_ms,
        }))
    }

    /// Settles what is left to do of the last exchange, or sees that the other side has closed. Wakes nobody, now or
    /// later: handing over the next request shall not wake the task that does it. Ready when the connection is over.
    pub fn settle(&mut self) -> Poll<()> {
        if self.is_finished {
            return Poll::Ready(());
        }
        self.bell.rest();
        let done = self.driver.poll_without_shutdown(&mut Context::from_waker(Waker::noop()));
        self.is_finished = done.is_ready();
        done.map(|_| ())
    }

    /// Whether nothing has come from the other side since it was settled, not even a close.
    pub fn is_quiet(&self) -> bool {
        self.knock.is_quiet()
    }

    /// Reads a frame of `incoming`, driving the connection as far as that needs.
    pub fn read(
        &mut self,
        cx: &mut Context<'_>,
        incoming: &mut Incoming,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let (driver, is_finished) = (&mut self.driver, &mut self.is_finished);
        let mut quiet = Context::from_waker(Waker::noop());
        self.bell.inside(cx, |cx| {
            if let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(&mut quiet) {
                return Poll::Ready(frame);
            }
            if !*is_finished {
                *is_finished = driver.poll_without_shutdown(cx).is_ready();
            }
            Pin::new(incoming).poll_frame(&mut quiet)
        })
    }

    /// Whether another request may be sent on it now.
    pub fn is_reusable(&self) -> bool {
        !self.is_finished && self.sender.is_ready()
    }

    /// Hands `request` over; [`Self::poll_answer`] sends it and waits for its answer.
    pub fn begin(&mut self, request: Request<RequestBody>) -> impl Future<Output = Sent> + use<> {
        self.sender.try_send_request(request)
    }

    /// Drives the connection until the head of the answer to `sent` is there.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        sent: Pin<&mut impl Future<Output = Sent>>,
    ) -> Poll<Result<Response<Incoming>, SendError>> {
        let (driver, is_finished) = (&mut self.driver, &mut self.is_finished);
        let answer = self.bell.inside(cx, |cx| {
            if !*is_finished {
                *is_finished = driver.poll_without_shutdown(cx).is_ready();
            }
            // Only driving makes the answer come, so the answer itself needs no waker at all.
            sent.poll(&mut Context::from_waker(Waker::noop()))
        });
        answer.map_err(|mut error| match error.take_message() {
            Some(request) => SendError::Unsent(Box::new(request)),
            None => SendError::Broken(error.into_error()),
        })
    }

    /// Takes the socket back after a 101 answer, with the bytes already read.
    pub fn into_tunnel(self) -> (Stream, Bytes) {
        let parts = self.driver.into_parts();
        let mut stream = parts.io.into_inner();
        // From now on it is polled by whoever reads it.
        stream.knock = None;
        (stream, parts.read_buf)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let Self { socket, traffic, knock } = &mut *self;
        let mut read = |cx: &mut Context<'_>| match socket {
            Socket::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Socket::Unix(s) => Pin::new(s).poll_read(cx, buf),
        };
        let outcome = match knock {
            Some(knock) => knock.ask(read),
            None => read(cx),
        };
        let count = (buf.filled().len() - before) as u64;
        traffic.rx.set(traffic.rx.get() + count);
        outcome
    }
}

impl Stream {
    fn wrote(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &outcome {
            self.traffic.tx.set(self.traffic.tx.get() + *count as u64);
        }
        outcome
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = match &mut self.socket {
            Socket::Tcp(s) => Pin::new(s).poll_write(cx, bytes),
            Socket::Unix(s) => Pin::new(s).poll_write(cx, bytes),
        };
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(outcome) = small::write(slices, |bytes| self.as_mut().poll_write(cx, bytes)) {
            return outcome;
        }
        let outcome = match &mut self.socket {
            Socket::Tcp(s) => Pin::new(s).poll_write_vectored(cx, slices),
            Socket::Unix(s) => Pin::new(s).poll_write_vectored(cx, slices),
        };
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(s) => Pin::new(s).poll_flush(cx),
            Socket::Unix(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Socket::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
