//! A body that compresses another one while it passes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use tokio::time::{Instant, Sleep, sleep};

use super::encoder::Encoder;
use crate::http::{Body, BodyError, sendfile};

/// Compressed bytes that make a frame.
const FRAME: usize = 32 << 10;
/// Plain bytes that are compressed at a time.
const PIECE: usize = 64 << 10;
/// Plain bytes that are compressed before other tasks of the core get their turn.
const TURN: usize = 256 << 10;
/// How long the upstream may pause before what it has sent so far is flushed to the client. Flushing at every
/// short pause would cost compression and time; a reader does not notice five milliseconds.
const PAUSE: Duration = Duration::from_millis(5);

/// The compressed form of a body. Holds at most one chunk of the upstream, the codec's window and one frame.
pub(super) struct Encoded {
    source: Body,
    chunk: Bytes,
    encoder: Encoder,
    /// Bytes went in since the last flush.
    dirty: bool,
    /// Flush at any pause, however short.
    live: bool,
    pause: Option<Pin<Box<Sleep>>>,
    paused: bool,
    stage: Stage,
}

enum Stage {
    Reading,
    Tail(Option<HeaderMap>),
    Done,
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl Encoded {
    pub(super) fn new(source: Body, encoder: Encoder, live: bool) -> Self {
        Self {
            source,
            chunk: Bytes::new(),
            encoder,
            dirty: false,
            live,
            pause: None,
            paused: false,
            stage: Stage::Reading,
        }
    }

    /// Compresses until a frame is full, the source pauses, or the turn is over.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let mut turn = TURN;
        while self.encoder.ready() < FRAME && matches!(self.stage, Stage::Reading) {
            if self.chunk.is_empty() {
                match Pin::new(&mut self.source).poll_frame(cx) {
                    Poll::Ready(frame) => self.accept(frame)?,
                    Poll::Pending => return self.on_pause(cx),
                }
            } else if turn == 0 {
                cx.waker().wake_by_ref();
                return if self.encoder.ready() > 0 { Poll::Ready(Ok(())) } else { Poll::Pending };
            } else {
                let piece = self.chunk.split_to(self.chunk.len().min(PIECE));
                turn = turn.saturating_sub(piece.len());
                self.encoder.write(&piece)?;
                self.dirty = true;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn accept(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) -> Result<(), BodyError> {
        self.paused = false;
        match frame.transpose()?.map(Frame::into_data) {
            Some(Ok(data)) if sendfile::is_placeholder(&data) => Err(misplaced()),
            Some(Ok(data)) => {
                self.chunk = data;
                Ok(())
            }
            Some(Err(other)) => self.end(other.into_trailers().ok()),
            None => self.end(None),
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), BodyError> {
        self.encoder.finish()?;
        self.stage = Stage::Tail(trailers);
        Ok(())
    }

    /// Nothing may be held back for longer than [`PAUSE`].
    fn on_pause(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if !self.dirty {
            return Poll::Pending;
        }
        if !self.live {
            std::task::ready!(self.poll_pause(cx));
        }
        self.encoder.flush()?;
        self.dirty = false;
        if self.encoder.ready() > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(PAUSE)));
        if !self.paused {
            self.paused = true;
            pause.as_mut().reset(Instant::now() + PAUSE);
        }
        pause.as_mut().poll(cx)
    }
}

impl http_body::Body for Encoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if let Stage::Reading = this.stage
            && let Err(error) = std::task::ready!(this.read(cx))
        {
            this.stage = Stage::Done;
            return Poll::Ready(Some(Err(error)));
        }
        if this.encoder.ready() > 0 && !matches!(this.stage, Stage::Done) {
            return Poll::Ready(Some(Ok(Frame::data(this.encoder.take()))));
        }
        match std::mem::replace(&mut this.stage, Stage::Done) {
            Stage::Tail(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }
}

/// File placeholders hold no file bytes; compressing them would send zeros to the client.
fn misplaced() -> BodyError {
    io::Error::other("a sendfile placeholder reached the compressor").into()
}
