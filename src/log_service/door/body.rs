//! Bodies of requests: whole, in memory, within all bounds, unpacked when they came with gzip.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time;

use super::Desk;
use super::room::Room;
use crate::log_service::store::Counts;

/// A body with the permission to hold it in memory.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _room: Room,
}

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A coding other than gzip.
    Coding,
    /// Larger than this, packed or unpacked.
    TooLarge(usize),
    Slow,
    /// The sender went, or what it sent is no chunked body.
    BrokeOff,
    /// It says gzip and is not.
    NotGzip,
    /// Too much of others is waiting to be stored.
    Full,
}

impl Refused {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Coding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::BrokeOff | Self::NotGzip => StatusCode::BAD_REQUEST,
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coding => f.write_str("send the body with gzip or without content-encoding"),
            Self::TooLarge(bytes) => write!(f, "the body is larger than {bytes} bytes: send smaller batches"),
            Self::Slow => f.write_str("the body took too long"),
            Self::BrokeOff => f.write_str("the body broke off"),
            Self::NotGzip => f.write_str("the body is not gzip, though content-encoding says so"),
            Self::Full => f.write_str("too much is waiting to be stored"),
        }
    }
}

/// The whole body of a request.
///
/// # Errors
/// What stands against it; a body that is too large is counted.
pub(super) async fn of(request: Request<Incoming>, desk: &Desk) -> Result<Held, Refused> {
    let most = desk.limits.body_bytes;
    let taken = match is_gzip(request.headers()) {
        Some(_) if length(request.headers()).is_some_and(|length| length > most as u64) => {
            Err(Refused::TooLarge(most))
        }
        Some(is_gzip) => {
            let taking = Taking::new(is_gzip, most, Arc::clone(&desk.room));
            let taken = time::timeout(desk.limits.body_timeout, taking.all_of(request.into_body())).await;
            taken.unwrap_or(Err(Refused::Slow))
        }
        None => Err(Refused::Coding),
    };
    if matches!(taken, Err(Refused::TooLarge(_))) {
        Counts::add(&desk.counts().rejected, 1u64);
    }
    taken
}

/// `None` for a coding that is not known here.
fn is_gzip(headers: &HeaderMap) -> Option<bool> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let coding = codings.next().map(|coding| coding.as_bytes()).unwrap_or_default();
    match coding {
        _ if codings.next().is_some() => None,
        b"" => Some(false),
        _ if coding.eq_ignore_ascii_case(b"identity") => Some(false),
        _ if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") => Some(true),
        _ => None,
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Packed bytes that are unpacked at once: what becomes of them has a bound, a thousand times as much.
const STEP: usize = 4 << 10;

/// A body on its way.
struct Taking {
    bytes: Unpacked,
    room: Arc<Semaphore>,
    held: Room,
}

enum Unpacked {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

impl Taking {
    fn new(is_gzip: bool, most: usize, room: Arc<Semaphore>) -> Self {
        let bounded = Bounded { bytes: Vec::new(), most };
        let bytes = if is_gzip {
            Unpacked::Gzip(Box::new(MultiGzDecoder::new(bounded)))
        } else {
            Unpacked::Plain(bounded)
        };
        Self { bytes, room, held: Room::default() }
    }

    async fn all_of(mut self, mut body: Incoming) -> Result<Held, Refused> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refused::BrokeOff)?;
            let Ok(data) = frame.into_data() else { continue };
            for piece in data.chunks(STEP) {
                self.bytes.write(piece)?;
                self.hold()?;
            }
        }
        let bytes = self.bytes.finish()?;
        Ok(Held { bytes: bytes.into(), _room: self.held })
    }

    /// Takes the room for what has come. Not waiting: bodies that each hold a part and wait for the rest would wait for ever.
    fn hold(&mut self) -> Result<(), Refused> {
        let more = u32::try_from(self.bytes.len().saturating_sub(self.held.bytes())).unwrap_or(u32::MAX);
        if more == 0 {
            return Ok(());
        }
        let more = Arc::clone(&self.room).try_acquire_many_owned(more).map_err(|_| Refused::Full)?;
        self.held.add(more);
        Ok(())
    }
}

impl Unpacked {
    fn len(&self) -> usize {
        match self {
            Self::Plain(bounded) => bounded.bytes.len(),
            Self::Gzip(gzip) => gzip.get_ref().bytes.len(),
        }
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let (written, most) = match self {
            Self::Plain(bounded) => (bounded.write_all(piece), bounded.most),
            Self::Gzip(gzip) => (gzip.write_all(piece), gzip.get_ref().most),
        };
        written.map_err(|error| of_write(&error, most))
    }

    fn finish(self) -> Result<Vec<u8>, Refused> {
        match self {
            Self::Plain(bounded) => Ok(bounded.bytes),
            Self::Gzip(mut gzip) => {
                let most = gzip.get_ref().most;
                gzip.try_finish().map_err(|error| of_write(&error, most))?;
                Ok(std::mem::take(&mut gzip.get_mut().bytes))
            }
        }
    }
}

fn of_write(error: &io::Error, most: usize) -> Refused {
    if error.kind() == io::ErrorKind::FileTooLarge { Refused::TooLarge(most) } else { Refused::NotGzip }
}

/// Bytes that do not grow beyond a bound.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, Refused> {
        let mut taking = Taking::new(true, most, Arc::new(Semaphore::new(1 << 20)));
        for piece in packed.chunks(7) {
            taking.bytes.write(piece)?;
            taking.hold()?;
        }
        taking.bytes.finish()
    }

    #[test]
    fn members_of_gzip_are_one_body() {
        let packed = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(unpack(&packed, 7).unwrap(), b"one two");
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused_before_it_is_held() {
        let packed = gzip(&vec![0; 1 << 20]);
        assert!(packed.len() < 2000);
        assert_eq!(unpack(&packed, 1000), Err(Refused::TooLarge(1000)));
    }

    #[test]
    fn what_is_no_gzip_or_half_of_it_is_refused() {
        let packed = gzip(b"some text that is long enough to be cut");
        for end in [1, 12, packed.len() / 2, packed.len() - 1] {
            assert_eq!(unpack(&packed[..end], 1000), Err(Refused::NotGzip), "{end}");
        }
        assert_eq!(unpack(b"{\"a\":1}", 1000), Err(Refused::NotGzip));
        let mut changed = packed.clone();
        let last = changed.len() - 6;
        changed[last] ^= 1;
        assert_eq!(unpack(&changed, 1000), Err(Refused::NotGzip));
    }

    #[test]
    fn the_room_of_all_bodies_is_shared() {
        let room = Arc::new(Semaphore::new(10));
        let mut first = Taking::new(false, 100, Arc::clone(&room));
        first.bytes.write(b"12345678").unwrap();
        first.hold().unwrap();
        let mut second = Taking::new(false, 100, Arc::clone(&room));
        second.bytes.write(b"123").unwrap();
        assert_eq!(second.hold(), Err(Refused::Full));
        drop(first);
        assert_eq!(second.hold(), Ok(()));
    }
}
