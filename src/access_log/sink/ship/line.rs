//! [`Line`]: a connection to a receiver that says nothing about what it has.
//!
//! What it has is guessed, on the safe side. Bytes count as taken when the socket has them and the connection is there. The
//! last of them are kept: when the connection breaks they are sent again over the next one, so that a receiver that is killed
//! gets some records twice rather than not at all. A connection that the receiver ends in order has been read to its end, as
//! the system resets one that was not: then only what was sent within the last moments is sent again.
//!
//! What remains: both sides die within the same moment, or more than [`MOST`] bytes lie unread in a receiver that dies.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::dial::Dial;
use crate::access_log::shipping::Remote;
use crate::access_log::sink::wire::Wire;

/// Bytes that are kept of what was sent.
const MOST: usize = 2 << 20;
/// A receiver that ends in order may have read what came within this time without having kept it.
const MOMENT: Duration = Duration::from_secs(2);
/// What the system may hold for us: less than what we keep.
const SEND_BUFFER: usize = 256 << 10;
const READ_BYTES: usize = 4 << 10;
/// What came back, until it is looked at.
const ANSWERS: usize = 256;

#[derive(Debug)]
pub(super) struct Line {
    dial: Dial,
    open: Option<Open>,
    sent: Sent,
    /// Unacknowledged bytes break the connection after so long.
    patience: Duration,
}

#[derive(Debug)]
struct Open {
    writer: WriteHalf<Wire>,
    end: watch::Receiver<Option<End>>,
    answers: mpsc::Receiver<Bytes>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The receiver has ended it.
    InOrder(Instant),
    Broken,
}

/// What was sent lately.
#[derive(Debug, Default)]
struct Sent {
    parts: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    /// So many of the first parts are to be sent again.
    again: usize,
}

impl Line {
    pub(super) fn new(dial: Dial, patience: Duration) -> Self {
        Self { dial, open: None, sent: Sent::default(), patience }
    }

    /// Another way to the receiver.
    pub(super) fn redirect(&mut self, to: Vec<Remote>) {
        if self.open.take().is_some() {
            self.sent.break_off(End::Broken);
        }
        self.dial = self.dial.toward(to);
    }

    /// Connects if there is no connection, and sends again what was lost with the last one. Tells whether it is a new one.
    ///
    /// # Errors
    /// Why it cannot be reached, in words that may be shown.
    pub(super) async fn connect(&mut self) -> Result<bool, String> {
        if let Some(end) = self.open.as_ref().and_then(|open| *open.end.borrow()) {
            self.lose(end);
        }
        if self.open.is_some() {
            return Ok(false);
        }
        match self.dial.reach().await {
            Ok(wire) => {
                // Without these it is only noticed later.
                let _ = wire.guard(self.patience, SEND_BUFFER);
                self.open = Some(Open::new(wire));
            }
            Err(why) => {
                self.dial.turn();
                return Err(why);
            }
        }
        while let Some(part) = self.sent.next_again() {
            self.put(std::slice::from_ref(&part)).await?;
            self.sent.went_again();
        }
        Ok(true)
    }

    /// Sends the parts, each with a write of its own.
    ///
    /// # Errors
    /// The connection broke: all of them are to be sent again, what was sent before is by itself.
    pub(super) async fn send(&mut self, parts: &[Bytes]) -> Result<(), String> {
        self.connect().await?;
        self.put(parts).await?;
        parts.iter().for_each(|part| self.sent.push(part.clone()));
        Ok(())
    }

    async fn put(&mut self, parts: &[Bytes]) -> Result<(), String> {
        let Some(open) = &mut self.open else { return Err("there is no connection".to_owned()) };
        let error = match open.put(parts).await {
            Ok(()) => match *open.end.borrow() {
                None => return Ok(()),
                Some(_) => io::ErrorKind::ConnectionReset.into(),
            },
            Err(error) => error,
        };
        self.lose(End::Broken);
        Err(format!("it broke off: {error}"))
    }

    /// The receiver has said what it has: nothing of it is sent again.
    pub(super) fn settle(&mut self) {
        self.sent = Sent::default();
    }

    /// What came back next; `None` when the connection has ended.
    pub(super) async fn answer(&mut self) -> Option<Bytes> {
        self.open.as_mut()?.answers.recv().await
    }

    /// Nobody knows what has become of what was under way.
    pub(super) fn disconnect(&mut self) {
        self.lose(End::Broken);
        self.dial.turn();
    }

    fn lose(&mut self, end: End) {
        if self.open.take().is_some() {
            self.sent.break_off(end);
        }
    }
}

impl Open {
    fn new(wire: Wire) -> Self {
        let (reader, writer) = tokio::io::split(wire);
        let ((tell, end), (give, answers)) = (watch::channel(None), mpsc::channel(ANSWERS));
        // Ends with the connection, or when nobody holds the other half any more.
        tokio::spawn(read(reader, tell, give));
        Self { writer, end, answers }
    }

    async fn put(&mut self, parts: &[Bytes]) -> io::Result<()> {
        for part in parts {
            self.writer.write_all(part).await?;
            self.writer.flush().await?;
        }
        Ok(())
    }
}

/// Reads to the end and hands on what came; when nobody takes it, it is thrown away.
async fn read(mut reader: ReadHalf<Wire>, end: watch::Sender<Option<End>>, answers: mpsc::Sender<Bytes>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES);
        let read = tokio::select! {
            read = reader.read_buf(&mut buffer) => read,
            () = end.closed() => return,
        };
        let ended = match read {
            Ok(0) => End::InOrder(Instant::now()),
            Ok(_) => {
                // Nobody waits for it, or too much of it came.
                let _ = answers.try_send(buffer.split().freeze());
                continue;
            }
            Err(_) => End::Broken,
        };
        // Nobody may want to know any more.
        let _ = end.send(Some(ended));
        return;
    }
}

impl Sent {
    fn push(&mut self, part: Bytes) {
        self.bytes += part.len();
        self.parts.push_back((Instant::now(), part));
        while self.bytes > MOST && self.parts.len() > 1 {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.bytes -= self.parts.pop_front().map_or(0, |(_, part)| part.len());
    }

    /// The connection on which all of it went is gone.
    fn break_off(&mut self, end: End) {
        if let End::InOrder(at) = end {
            while self.parts.front().is_some_and(|(sent, _)| *sent + MOMENT < at) {
                self.forget();
            }
        }
        self.again = self.parts.len();
    }

    fn next_again(&self) -> Option<Bytes> {
        self.parts.front().filter(|_| self.again > 0).map(|(_, part)| part.clone())
    }

    /// The first part went over the new connection: it is the last now.
    fn went_again(&mut self) {
        self.again -= 1;
        if let Some((_, part)) = self.parts.pop_front() {
            self.parts.push_back((Instant::now(), part));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(ages: &[u64], now: Instant) -> Sent {
        let parts = ages.iter().map(|age| (now - Duration::from_secs(*age), Bytes::from_static(b"part")));
        let parts: VecDeque<_> = parts.collect();
        Sent { bytes: parts.len() * 4, parts, again: 0 }
    }

    #[test]
    fn after_an_end_in_order_only_the_last_moments_are_sent_again() {
        let now = Instant::now() + Duration::from_secs(100);
        let mut ordered = sent(&[60, 3, 1, 0], now);
        ordered.break_off(End::InOrder(now));
        assert_eq!((ordered.again, ordered.bytes), (2, 8));
        let mut broken = sent(&[60, 3, 1, 0], now);
        broken.break_off(End::Broken);
        assert_eq!((broken.again, broken.bytes), (4, 16));
        while broken.next_again().is_some() {
            broken.went_again();
        }
        assert_eq!((broken.parts.len(), broken.bytes), (4, 16), "they may have to go once more");
    }

    #[test]
    fn no_more_is_kept_than_the_most() {
        let mut sent = Sent::default();
        for _ in 0..20 {
            sent.push(Bytes::from(vec![0; MOST / 8]));
        }
        assert!(sent.bytes <= MOST && sent.parts.len() == 8);
    }
}
