//! [`Source`]: the bytes of a connection, or for a while those of a part of known length in it, unpacked as they are read.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_compression::tokio::bufread::{GzipDecoder, ZlibDecoder, ZstdDecoder};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader, ReadBuf, Take};

use super::Broken;

/// How far a part may grow: logs that repeat themselves shrink to a hundredth.
const GROWTH: u64 = 128;
/// Small parts may grow further.
const SMALL: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    None,
    Gzip,
    Zlib,
    Zstd,
}

/// Unpacked as far as the bound.
type Unpacked<D> = Box<BufReader<Take<D>>>;

/// Nothing here holds more than a few buffers, however long the part is.
pub(super) enum Source<R> {
    Whole(R),
    Part(Take<R>),
    Gzip(Unpacked<GzipDecoder<Take<R>>>),
    Zlib(Unpacked<ZlibDecoder<Take<R>>>),
    Zstd(Unpacked<ZstdDecoder<Take<R>>>),
    /// Only while it becomes another.
    Gone,
}

impl<R: AsyncBufRead + Unpin> Source<R> {
    /// From here on the next `length` bytes are all there is. Parts have no parts.
    pub(super) fn enter(&mut self, length: u64, coding: Coding) -> Result<(), Broken> {
        let Self::Whole(_) = self else { return Err(Broken::Syntax("a compressed part within another")) };
        let Self::Whole(reader) = mem::replace(self, Self::Gone) else { return Ok(()) };
        let part = reader.take(length);
        let most = length.saturating_mul(GROWTH).max(SMALL);
        *self = match coding {
            Coding::None => Self::Part(part),
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(part);
                // Fluentd appends one member to the other.
                decoder.multiple_members(true);
                Self::Gzip(unpacked(decoder, most))
            }
            Coding::Zlib => Self::Zlib(unpacked(ZlibDecoder::new(part), most)),
            Coding::Zstd => {
                let mut decoder = ZstdDecoder::new(part);
                decoder.multiple_members(true);
                Self::Zstd(unpacked(decoder, most))
            }
        };
        Ok(())
    }

    pub(super) fn is_part(&self) -> bool {
        !matches!(self, Self::Whole(_))
    }

    /// Back to the connection, behind the part.
    ///
    /// # Errors
    /// The connection ends before the part does, or the part was larger than it may be.
    pub(super) async fn leave(&mut self) -> Result<(), Broken> {
        let (part, is_bomb) = match mem::replace(self, Self::Gone) {
            Self::Part(part) => (part, false),
            Self::Gzip(unpacked) => {
                let unpacked = unpacked.into_inner();
                let is_bomb = unpacked.limit() == 0;
                (unpacked.into_inner().into_inner(), is_bomb)
            }
            Self::Zlib(unpacked) => {
                let unpacked = unpacked.into_inner();
                let is_bomb = unpacked.limit() == 0;
                (unpacked.into_inner().into_inner(), is_bomb)
            }
            Self::Zstd(unpacked) => {
                let unpacked = unpacked.into_inner();
                let is_bomb = unpacked.limit() == 0;
                (unpacked.into_inner().into_inner(), is_bomb)
            }
            whole => {
                *self = whole;
                return Ok(());
            }
        };
        let rest = part.limit();
        *self = Self::Whole(part.into_inner());
        if is_bomb {
            return Err(Broken::Bomb);
        }
        self.skip(rest).await
    }

    /// Passes over bytes without holding them.
    pub(super) async fn skip(&mut self, mut count: u64) -> Result<(), Broken> {
        while count > 0 {
            let there = self.some().await?.len();
            let step = there.min(usize::try_from(count).unwrap_or(usize::MAX));
            Pin::new(&mut *self).consume(step);
            count -= step as u64;
        }
        Ok(())
    }

    /// What is there, at least one byte.
    ///
    /// # Errors
    /// Nothing comes any more.
    pub(super) async fn some(&mut self) -> Result<&[u8], Broken> {
        let there = self.fill_buf().await?;
        if there.is_empty() {
            return Err(Broken::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(there)
    }

    /// The connection itself, if no part of it is being read.
    pub(super) fn whole(&mut self) -> Option<&mut R> {
        match self {
            Self::Whole(reader) => Some(reader),
            _ => None,
        }
    }
}

fn unpacked<D: AsyncRead>(decoder: D, most: u64) -> Unpacked<D> {
    Box::new(BufReader::new(decoder.take(most)))
}

macro_rules! each {
    ($source:expr, $reader:ident => $call:expr, $gone:expr) => {
        match $source.get_mut() {
            Source::Whole($reader) => $call,
            Source::Part($reader) => $call,
            Source::Gzip($reader) => $call,
            Source::Zlib($reader) => $call,
            Source::Zstd($reader) => $call,
            Source::Gone => $gone,
        }
    };
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Source<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, reader => Pin::new(reader).poll_read(cx, into), Poll::Ready(Ok(())))
    }
}

impl<R: AsyncBufRead + Unpin> AsyncBufRead for Source<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        each!(self, reader => Pin::new(reader).poll_fill_buf(cx), Poll::Ready(Ok(&[])))
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        each!(self, reader => Pin::new(reader).consume(count), ());
    }
}
