//! File bytes that travel as placeholders and are sent by `sendfile(2)`.
//!
//! A body cannot hand a file descriptor through hyper, only `Bytes`. So it hands a slice of one fixed region
//! of zeros ([`placeholder`]) and puts the real source, a [`Segment`], into the connection's [`SendQueue`].
//! The writer under hyper recognises such slices by their address ([`is_placeholder`]) and sends from the front
//! segment instead ([`SendQueue::poll_write`]).
//!
//! Invariant: placeholders leave a connection in the order in which their segments were queued, and every
//! placeholder byte has exactly one segment byte. Only a plain-text HTTP/1 connection may have a queue: anything
//! that looks at the bytes (TLS, HTTP/2 frames, compression) would see zeros.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The longest placeholder, in bytes: one body frame.
pub const MAX_PLACEHOLDER: usize = 1 << 20;

/// What placeholders point into. A constant with one address; never read nor written, so it costs no memory.
static REGION: [u8; MAX_PLACEHOLDER] = [0; MAX_PLACEHOLDER];

/// A slice that stands for `len` file bytes, at most [`MAX_PLACEHOLDER`] of them.
pub fn placeholder(len: usize) -> Bytes {
    Bytes::from_static(&REGION[..len.min(MAX_PLACEHOLDER)])
}

/// Whether these bytes stand for a segment's. An empty slice never does.
pub fn is_placeholder(bytes: &[u8]) -> bool {
    !bytes.is_empty() && REGION.as_ptr_range().contains(&bytes.as_ptr())
}

/// A stretch of an open file, waiting to be sent.
#[derive(Debug)]
pub struct Segment {
    pub file: Arc<OwnedFd>,
    pub offset: u64,
    pub len: usize,
}

impl Segment {
    /// Sends at most `max` bytes into the socket and moves on by what was sent.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full, `UnexpectedEof` when the file has become shorter than promised.
    pub fn send_to(&mut self, socket: BorrowedFd<'_>, max: usize) -> io::Result<usize> {
        let want = self.len.min(max);
        if want == 0 {
            return Ok(0);
        }
        let sent = loop {
            match sendfile(socket, &*self.file, Some(&mut self.offset), want) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.len -= sent;
        Ok(sent)
    }
}

/// The segments of one connection, in the order of their placeholders. Bounded by what hyper buffers: a body
/// queues a segment only when hyper takes its frame.
#[derive(Clone, Debug, Default)]
pub struct SendQueue {
    segments: Rc<RefCell<VecDeque<Segment>>>,
}

impl SendQueue {
    /// Queues a segment and gives the bytes that stand for it. `len` must not exceed [`MAX_PLACEHOLDER`]; more
    /// is cut off, and the body must go on from what was taken.
    pub fn place(&self, file: &Arc<OwnedFd>, offset: u64, len: usize) -> Bytes {
        let bytes = placeholder(len);
        let segment = Segment { file: Arc::clone(file), offset, len: bytes.len() };
        self.segments.borrow_mut().push_back(segment);
        bytes
    }

    /// Sends from the front segment; call it when the next slice to write is a placeholder, with the length of
    /// that slice.
    ///
    /// # Errors
    /// Those of [`Segment::send_to`], and `InvalidData` when the front segment has not just this length left:
    /// something cut or dropped a placeholder, and what would be sent belongs to another answer. The connection
    /// must be closed after any of them but `WouldBlock`.
    pub fn send(&self, socket: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
        let mut segments = self.segments.borrow_mut();
        let Some(front) = segments.front_mut().filter(|front| front.len == len) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a placeholder without its segment"));
        };
        let sent = front.send_to(socket, len)?;
        if front.len == 0 {
            segments.pop_front();
        }
        Ok(sent)
    }

    /// Writes what hyper gives, as far as the socket takes it: plain slices as they are, placeholders as file
    /// bytes. For use inside of `poll_write_vectored` whenever the queue is not empty.
    ///
    /// The head before a file is written without `MSG_MORE` and uncorked on purpose: a head in the same packet as
    /// file pages spoils their alignment, and was measured to cost more than twice the CPU for large files.
    ///
    /// # Errors
    /// Those of [`send`](Self::send) and of the socket.
    pub fn poll_write(
        &self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let plain = slices.iter().take_while(|slice| !is_placeholder(slice)).count();
        loop {
            ready!(socket.poll_write_ready(cx))?;
            let written = socket.try_io(Interest::WRITABLE, || match slices.get(plain) {
                Some(stand_in) if plain == 0 => self.send(socket.as_fd(), stand_in.len()),
                _ => write_plain(socket.as_fd(), &slices[..plain]),
            });
            match written {
                // The readiness was out of date; it is cleared now, and the next look registers us.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    /// How many segments wait.
    pub fn len(&self) -> usize {
        self.segments.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn write_plain(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        match sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn file(bytes: &[u8]) -> Arc<OwnedFd> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file.into())
    }

    #[test]
    fn knows_placeholders_by_address_and_nothing_else() {
        let stand_in = placeholder(100);
        assert!(is_placeholder(&stand_in));
        assert!(is_placeholder(&stand_in[99..]));
        assert!(!is_placeholder(&stand_in[100..]));
        assert!(!is_placeholder(&[0; 100]));
        assert_eq!(placeholder(usize::MAX).len(), MAX_PLACEHOLDER);
    }

    #[test]
    fn sends_segments_in_order_and_forgets_them() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let queue = SendQueue::default();
        let first = queue.place(&file(b"0123456789"), 2, 5);
        let second = queue.place(&file(b"abc"), 0, 3);
        assert_eq!((first.len(), second.len(), queue.len()), (5, 3, 2));

        assert_eq!(queue.send(ours.as_fd(), 5).unwrap(), 5);
        assert_eq!(queue.send(ours.as_fd(), 3).unwrap(), 3);
        assert!(queue.is_empty());

        let mut got = [0; 8];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"23456abc");
    }

    #[test]
    fn refuses_to_pad_a_file_that_became_shorter() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let queue = SendQueue::default();
        queue.place(&file(b"short"), 5, 10);
        assert_eq!(queue.send(ours.as_fd(), 10).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn refuses_a_placeholder_that_is_not_the_front_segments() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let queue = SendQueue::default();
        let refused = |len| queue.send(ours.as_fd(), len).unwrap_err().kind();
        assert_eq!(refused(1), io::ErrorKind::InvalidData);
        queue.place(&file(b"0123456789"), 0, 10);
        assert_eq!((refused(9), refused(11)), (io::ErrorKind::InvalidData, io::ErrorKind::InvalidData));
        assert_eq!(queue.send(ours.as_fd(), 10).unwrap(), 10);
    }
}
