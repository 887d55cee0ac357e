//! The bytes of a file on their way: copied in chunks, or as placeholders for sendfile.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::http::sendfile::{MAX_PLACEHOLDER, SendQueue};
use crate::http::{Body, BodyError};

/// Bytes that are read at a time, and the size up to which a file is answered with a single frame.
pub(super) const CHUNK: usize = 64 << 10;
/// Files from this size on go by sendfile where the connection can.
const SENDFILE_FROM: u64 = 32 << 10;

/// A piece of a response body.
#[derive(Debug)]
pub(super) enum Piece {
    Text(Bytes),
    File { offset: u64, len: u64 },
}

impl Piece {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File { len, .. } => *len,
        }
    }
}

/// Where the bytes come from, and how.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) fd: Arc<OwnedFd>,
    /// Reading may take long even when the kernel cannot say so.
    pub(super) remote: bool,
}

/// A body of one stretch of the file. A small one that is in memory is read at once.
pub(super) fn single(source: &Source, offset: u64, len: u64, queue: Option<&SendQueue>) -> Body {
    let queue = queue.filter(|_| len >= SENDFILE_FROM && !source.remote);
    if queue.is_none()
        && len <= CHUNK as u64
        && let Some(bytes) = source.read_whole(offset, len as usize)
    {
        return Body::from(bytes);
    }
    Body::stream(FileBody::new(source.clone(), VecDeque::from([Piece::File { offset, len }]), queue))
}

/// A body of several pieces.
pub(super) fn pieces(source: &Source, pieces: VecDeque<Piece>) -> Body {
    Body::stream(FileBody::new(source.clone(), pieces, None))
}

/// What a read that must not wait gives.
enum Read {
    Now(Bytes),
    /// The bytes are not in memory.
    Later,
}

impl Source {
    /// Reads what is in the page cache, at most `len` bytes, at least one.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before `offset`: it has become shorter.
    fn read_now(&self, offset: u64, len: usize) -> io::Result<Read> {
        let mut buffer = BytesMut::zeroed(len);
        let read = loop {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            match preadv2(&self.fd, &mut slices, offset, ReadWriteFlags::NOWAIT) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Read::Later),
                // The file system cannot tell (overlays cannot). A local disk is quick enough to ask it.
                Err(Errno::OPNOTSUPP) if self.remote => return Ok(Read::Later),
                Err(Errno::OPNOTSUPP) => break pread(&self.fd, &mut *buffer, offset)?,
                other => break other?,
            }
        };
        finish(buffer, read).map(Read::Now)
    }

    /// Just `len` bytes, if they are in memory.
    pub(super) fn read_whole(&self, offset: u64, len: usize) -> Option<Bytes> {
        match self.read_now(offset, len) {
            Ok(Read::Now(bytes)) if bytes.len() == len => Some(bytes),
            _ => None,
        }
    }

    /// Reads at most `len` bytes, however long it takes.
    fn read_slowly(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut buffer = BytesMut::zeroed(len);
        let read = loop {
            match pread(&self.fd, &mut *buffer, offset) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        finish(buffer, read)
    }

    /// Brings a stretch into the page cache. Ends early when the file does.
    fn warm(&self, offset: u64, len: usize) {
        let mut done = 0;
        while done < len {
            match self.read_slowly(offset + done as u64, CHUNK.min(len - done)) {
                Ok(bytes) => done += bytes.len(),
                Err(_) => return,
            }
        }
    }

    /// Whether sendfile would not wait for a disk, judged by the last byte of the stretch.
    fn is_warm(&self, offset: u64, len: usize) -> bool {
        let mut byte = [0];
        let last = offset + len as u64 - 1;
        let read = preadv2(&self.fd, &mut [IoSliceMut::new(&mut byte)], last, ReadWriteFlags::NOWAIT);
        read != Err(Errno::AGAIN)
    }
}

fn finish(mut buffer: BytesMut, read: usize) -> io::Result<Bytes> {
    if read == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file became shorter while it was sent",
        ));
    }
    buffer.truncate(read);
    Ok(buffer.freeze())
}

struct FileBody {
    source: Source,
    pieces: VecDeque<Piece>,
    remaining: u64,
    queue: Option<SendQueue>,
    /// Work on a thread that may wait.
    waiting: Option<JoinHandle<io::Result<Bytes>>>,
    /// The front stretch was brought into the page cache.
    warmed: bool,
}

impl FileBody {
    fn new(source: Source, pieces: VecDeque<Piece>, queue: Option<&SendQueue>) -> Self {
        let remaining = pieces.iter().map(Piece::len).sum();
        Self { source, pieces, remaining, queue: queue.cloned(), waiting: None, warmed: false }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let done = ready!(Pin::new(waiting).poll(cx)).map_err(io::Error::other).flatten();
                self.waiting = None;
                match done {
                    // Warming up gives no bytes.
                    Ok(bytes) if bytes.is_empty() => self.warmed = true,
                    done => return Poll::Ready(Some(done)),
                }
            }
            match self.pieces.front() {
                None => return Poll::Ready(None),
                Some(Piece::Text(text)) => return Poll::Ready(Some(Ok(text.clone()))),
                Some(&Piece::File { offset, len }) => match self.step(offset, len) {
                    Ok(Some(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
            }
        }
    }

    /// The next bytes of a stretch, or `None` when a thread was sent for them.
    fn step(&mut self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        let at_most = |most: usize| usize::try_from(len).unwrap_or(most).min(most);
        if let Some(queue) = &self.queue {
            let len = at_most(MAX_PLACEHOLDER);
            if self.warmed || self.source.is_warm(offset, len) {
                self.warmed = false;
                return Ok(Some(queue.place(&self.source.fd, offset, len)));
            }
            self.send_away(move |source| {
                source.warm(offset, len);
                Ok(Bytes::new())
            });
            return Ok(None);
        }
        let len = at_most(CHUNK);
        match self.source.read_now(offset, len)? {
            Read::Now(bytes) => return Ok(Some(bytes)),
            Read::Later => self.send_away(move |source| source.read_slowly(offset, len)),
        }
        Ok(None)
    }

    fn send_away(&mut self, work: impl FnOnce(&Source) -> io::Result<Bytes> + Send + 'static) {
        let source = self.source.clone();
        self.waiting = Some(spawn_blocking(move || work(&source)));
    }

    fn took(&mut self, taken: u64) {
        self.remaining -= taken;
        if let Some(Piece::File { offset, len }) = self.pieces.front_mut()
            && *len > taken
        {
            *offset += taken;
            *len -= taken;
        } else {
            self.pieces.pop_front();
        }
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match ready!(this.poll_bytes(cx)) {
            None => Poll::Ready(None),
            Some(Ok(bytes)) => {
                this.took(bytes.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Err(error)) => {
                this.pieces.clear();
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::*;

    fn source(bytes: &[u8], remote: bool) -> Source {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Source { fd: Arc::new(file.into()), remote }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn a_large_file_comes_in_chunks_and_whole() {
        let content: Vec<u8> = (0..300_000_u32).map(|i| (i / 7) as u8).collect();
        for remote in [false, true] {
            let mut body = single(&source(&content, remote), 1, content.len() as u64 - 1, None);
            assert_eq!(body.size_hint().exact(), Some(content.len() as u64 - 1));
            let mut got = Vec::new();
            run(async {
                while let Some(frame) = body.frame().await {
                    let data = frame.unwrap().into_data().unwrap();
                    assert!(data.len() <= CHUNK);
                    got.extend_from_slice(&data);
                }
            });
            assert_eq!(got, content[1..]);
            assert!(body.is_end_stream());
        }
    }

    #[test]
    fn bytes_that_a_thread_must_fetch_are_the_same() {
        let content: Vec<u8> = (0..200_000_u32).map(|i| (i / 3) as u8).collect();
        let source = source(&content, false);
        let mut body = FileBody::new(source, VecDeque::from([Piece::File { offset: 0, len: 200_000 }]), None);
        let got = run(async {
            body.send_away(|source| source.read_slowly(0, 1000));
            body.collect().await.unwrap().to_bytes()
        });
        assert_eq!(got, content);
    }

    #[test]
    fn a_small_file_is_a_single_frame() {
        assert!(
            matches!(single(&source(b"hello", false), 0, 5, None), Body::Full(bytes) if bytes == "hello")
        );
    }

    #[test]
    fn a_file_that_became_shorter_breaks_the_body() {
        let mut body = single(&source(&[1; 100_000], false), 0, 100_001, None);
        let mut got = 0;
        let error = run(async {
            loop {
                match body.frame().await.unwrap() {
                    Ok(frame) => got += frame.into_data().unwrap().len(),
                    Err(error) => break error,
                }
            }
        });
        assert_eq!(got, 100_000);
        assert_eq!(error.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::UnexpectedEof);
        assert!(run(body.frame()).is_none());
    }

    #[test]
    fn large_files_travel_as_placeholders_and_small_ones_do_not() {
        let queue = SendQueue::default();
        let source = source(&vec![7; 3 << 20], false);
        assert!(matches!(single(&source, 0, 1000, Some(&queue)), Body::Full(_)));
        let body = single(&source, 5, (3 << 20) - 5, Some(&queue));
        let stand_ins = run(body.collect()).unwrap().to_bytes();
        assert_eq!(stand_ins.len(), (3 << 20) - 5);
        assert_eq!(queue.len(), 3);

        let (ours, theirs) = UnixStream::pair().unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            io::copy(&mut { theirs }, &mut all).map(|_| all)
        });
        for place in (0..stand_ins.len()).step_by(MAX_PLACEHOLDER) {
            let mut left = MAX_PLACEHOLDER.min(stand_ins.len() - place);
            while left > 0 {
                left -= queue.send(ours.as_fd(), left).unwrap();
            }
        }
        assert!(queue.is_empty());
        drop(ours);
        let sent = reader.join().unwrap().unwrap();
        assert_eq!(sent.len(), stand_ins.len());
        assert!(sent.iter().all(|&byte| byte == 7));
    }
}
