//! Lumberjack, as Beats and Logstash send it ([`crate::wire::lumberjack`]): the events of a window are acknowledged when
//! all that are good are durable; a long window, or one that comes slowly, in parts. While the store takes its time, the
//! last acknowledgement is said again, so that the sender waits. Events that are bad are counted, told and passed over,
//! and acknowledged like the others, or they would come again for ever.
//!
//! The protocol has no secret: who may send is decided by certificates (`client_ca`), or by who reaches the address.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::time;

use super::portion::Portion;
use super::shipper::{self, End, Incoming};
use super::sockets::Stream;
use super::{Desk, Door};
use crate::wire::lumberjack::{self, Frame, Reader};

/// When nothing comes for so long in the middle of a window, what has come is stored and acknowledged.
const LINGER: Duration = Duration::from_secs(1);
/// As Logstash does; senders give up after 30 s and more.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

struct Connection {
    reader: Reader<Incoming>,
    writer: Writer,
    portion: Portion,
    /// Events of a window, and how many of the present one are to come. Senders of version 1 say it once for all.
    window: u32,
    left: u32,
    /// The last event, if it is not acknowledged: the version in which it came, and its number.
    last: Option<(u8, u32)>,
    desk: Arc<Desk>,
}

struct Writer {
    stream: WriteHalf<Stream>,
    /// The last acknowledgement in this window.
    said: [u8; lumberjack::ACK_BYTES],
    within: Duration,
}

pub(super) async fn serve(stream: Stream, from: Arc<str>, desk: Arc<Desk>, door: Arc<Door>) {
    let within = desk.limits.idle_timeout;
    let (reader, stream) = shipper::halves(stream, within);
    let mut connection = Connection {
        reader: Reader::new(reader, desk.limits.entry_bytes),
        writer: Writer { stream, said: lumberjack::ack(b'2', 0), within },
        portion: Portion::new(Arc::clone(&desk), Arc::clone(&door), from, true),
        window: 0,
        left: 0,
        last: None,
        desk,
    };
    if let Err(end) = connection.run().await {
        end.tell(&connection.desk, &door.name, &connection.portion);
    }
    // Whoever has gone does not hear it.
    let _ = connection.writer.stream.shutdown().await;
}

impl Connection {
    async fn run(&mut self) -> Result<(), End> {
        loop {
            let ready = tokio::select! {
                biased;
                () = self.desk.stopped() => return self.flush().await,
                ready = time::timeout(LINGER, self.reader.ready()) => ready,
            };
            match ready {
                // What was not acknowledged comes again on the next connection.
                Ok(Ok(false) | Err(_)) => return Ok(()),
                Ok(Ok(true)) => {
                    let next = time::timeout(self.desk.limits.body_timeout, self.reader.next()).await;
                    self.take(next.map_err(|_| End::Slow)??).await?;
                }
                Err(_) => self.flush().await?,
            }
        }
    }

    async fn take(&mut self, frame: Option<Frame>) -> Result<(), End> {
        match frame {
            None => {}
            Some(Frame::Window(count)) => {
                self.flush().await?;
                (self.window, self.left) = (count, count);
                self.writer.said = lumberjack::ack(b'2', 0);
            }
            Some(Frame::Event { version, seq, text }) => {
                self.writer.alive(self.portion.add(text)).await??;
                self.last = Some((version, seq));
                self.left = self.left.saturating_sub(1);
                if self.left == 0 {
                    self.left = self.window;
                    self.flush().await?;
                } else if self.portion.is_due() {
                    self.flush().await?;
                }
            }
        }
        Ok(())
    }

    /// Makes durable what has come, then says so.
    async fn flush(&mut self) -> Result<(), End> {
        let Some((version, seq)) = self.last.take() else { return Ok(()) };
        self.writer.alive(self.portion.store()).await??;
        self.writer.say(lumberjack::ack(version, seq)).await?;
        Ok(())
    }
}

impl Writer {
    async fn say(&mut self, ack: [u8; lumberjack::ACK_BYTES]) -> io::Result<()> {
        self.said = ack;
        let written = async {
            self.stream.write_all(&ack).await?;
            self.stream.flush().await
        };
        time::timeout(self.within, written).await?
    }

    /// Does the work, and lets the sender know meanwhile that somebody is there.
    async fn alive<F: Future>(&mut self, work: F) -> io::Result<F::Output> {
        let mut work = pin!(work);
        loop {
            match time::timeout(KEEP_ALIVE, work.as_mut()).await {
                Ok(done) => return Ok(done),
                Err(_) => self.say(self.said).await?,
            }
        }
    }
}
