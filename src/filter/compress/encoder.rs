//! One codec at work: bytes in, compressed bytes out, never waiting.
//!
//! `async-compression` writes into a sink in memory that always has room, so its futures are always ready and we
//! drive them without a task: no copying reader, no small chunks, one buffer that is handed on as it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use async_compression::{Level, brotli, zstd};
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::{Codec, Levels};

pub(super) enum Encoder {
    Zstd(Box<ZstdEncoder<Sink>>),
    Brotli(Box<BrotliEncoder<Sink>>),
    Gzip(Box<GzipEncoder<Sink>>),
}

impl Encoder {
    /// A fresh stream. A known length keeps the window, and with it the memory, as small as the content is.
    pub(super) fn new(codec: Codec, levels: Levels, length: Option<u64>) -> Self {
        let sink = Sink::default();
        let window = window_bits(length);
        match codec {
            Codec::Zstd => {
                let parameters = [zstd::CParameter::window_log(window)];
                let level = Level::Precise(levels.zstd);
                Self::Zstd(Box::new(ZstdEncoder::with_quality_and_params(sink, level, &parameters)))
            }
            Codec::Brotli => {
                let parameters = brotli::EncoderParams::default()
                    .quality(Level::Precise(levels.brotli))
                    .window_size(i32::try_from(window).unwrap_or(MAX_WINDOW as i32));
                Self::Brotli(Box::new(BrotliEncoder::with_params(sink, parameters)))
            }
            Codec::Gzip => Self::Gzip(Box::new(GzipEncoder::with_quality(sink, Level::Precise(levels.gzip)))),
        }
    }

    /// Takes in all of the bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.drive(|writer, cx| writer.poll_write(cx, bytes))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                taken => bytes = &bytes[taken..],
            }
        }
        Ok(())
    }

    /// Makes everything that was written decodable from what comes out.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.drive(|writer, cx| writer.poll_flush(cx))
    }

    /// Ends the stream. Nothing may be written afterwards.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.drive(|writer, cx| writer.poll_shutdown(cx))
    }

    /// How many compressed bytes wait to be taken.
    pub(super) fn ready(&self) -> usize {
        match self {
            Self::Zstd(encoder) => encoder.get_ref().bytes.len(),
            Self::Brotli(encoder) => encoder.get_ref().bytes.len(),
            Self::Gzip(encoder) => encoder.get_ref().bytes.len(),
        }
    }

    /// The compressed bytes so far.
    pub(super) fn take(&mut self) -> Bytes {
        let sink = match self {
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        };
        sink.bytes.split().freeze()
    }

    fn drive<T>(
        &mut self,
        step: impl FnOnce(Pin<&mut (dyn AsyncWrite + Unpin)>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let mut cx = Context::from_waker(Waker::noop());
        let writer: &mut (dyn AsyncWrite + Unpin) = match self {
            Self::Zstd(encoder) => &mut **encoder,
            Self::Brotli(encoder) => &mut **encoder,
            Self::Gzip(encoder) => &mut **encoder,
        };
        match step(Pin::new(writer), &mut cx) {
            Poll::Ready(done) => done,
            // The sink is always ready, so a codec that waits is broken.
            Poll::Pending => Err(io::Error::other("a compressor waits for a sink that has room")),
        }
    }
}

/// 1 MiB: bounds what one stream holds, and is well below the 8 MiB that RFC 9659 allows.
const MAX_WINDOW: u32 = 20;
const MIN_WINDOW: u32 = 14;

fn window_bits(length: Option<u64>) -> u32 {
    let needed = length.map_or(MAX_WINDOW, |length| u64::BITS - length.leading_zeros());
    needed.clamp(MIN_WINDOW, MAX_WINDOW)
}

/// A buffer with room at any time.
#[derive(Default)]
pub(super) struct Sink {
    bytes: BytesMut,
}

impl AsyncWrite for Sink {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            self.bytes.reserve(bytes.len().max(SINK_BYTES));
        }
        self.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How much room a sink makes at a time: what a stream usually emits as one frame.
const SINK_BYTES: usize = 32 << 10;
