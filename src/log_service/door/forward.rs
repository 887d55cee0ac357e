//! Fluentd's forward protocol ([`crate::wire::forward`]): what has a `chunk` is acknowledged when all of it that is good is
//! durable; what has none is stored all the same. With a `token` senders must know it as the shared key.
//!
//! A message may be of any length: it is stored in portions while it comes. Entries that are bad are counted, told and
//! passed over, and their chunk is acknowledged, or it would come again for ever. When a message breaks off, its whole
//! entries are stored: a sender that asks for no acknowledgement would never send them again.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::time;

use super::portion::Portion;
use super::shipper::{self, End, Incoming};
use super::sockets::Stream;
use super::{Desk, Door};
use crate::log_service::Secret;
use crate::wire::Refused;
use crate::wire::forward::handshake;
use crate::wire::forward::{self, Piece, Reader};

/// Between two messages a sender may be silent for so long: one that asks for no acknowledgement would lose what it writes
/// to a connection that was closed.
const QUIET: Duration = Duration::from_secs(3600);
/// When nothing comes for so long in the middle of a message, what is whole is stored, and the messages before it are
/// acknowledged.
const LINGER: Duration = Duration::from_secs(1);
/// Acknowledgements that wait for the same store.
const MAX_ACKS: usize = 1024;

struct Connection {
    reader: Reader<Incoming>,
    taken: Taken,
    desk: Arc<Desk>,
    door: Arc<Door>,
}

/// What has come.
struct Taken {
    writer: WriteHalf<Stream>,
    portion: Portion,
    /// Chunks whose entries are in the portion.
    acks: Vec<Bytes>,
    within: Duration,
}

pub(super) async fn serve(stream: Stream, from: Arc<str>, desk: Arc<Desk>, door: Arc<Door>) {
    let within = desk.limits.idle_timeout;
    let (reader, writer) = shipper::halves(stream, within);
    let portion = Portion::new(Arc::clone(&desk), Arc::clone(&door), from, false);
    let mut connection = Connection {
        reader: Reader::new(reader, desk.limits.entry_bytes),
        taken: Taken { writer, portion, acks: Vec::new(), within },
        desk,
        door,
    };
    if let Err(end) = connection.run().await {
        end.tell(&connection.desk, &connection.door.name, &connection.taken.portion);
    }
    // Whoever has gone does not hear it.
    let _ = connection.taken.writer.shutdown().await;
}

impl Connection {
    async fn run(&mut self) -> Result<(), End> {
        if let Some(secret) = self.door.secret.clone() {
            let within = self.desk.limits.header_timeout;
            let greeted = time::timeout(within, self.greet(&secret)).await.map_err(|_| End::Slow)?;
            if !greeted? {
                return Ok(());
            }
        }
        loop {
            self.allow(QUIET);
            let is_there = tokio::select! {
                biased;
                () = self.desk.stopped() => false,
                // Silence, or its end: both are between messages.
                ready = self.reader.ready() => ready.unwrap_or(false),
            };
            if !is_there {
                // A message that is whole may wait for those behind it.
                return self.taken.flush().await;
            }
            self.allow(self.desk.limits.idle_timeout);
            self.message().await?;
        }
    }

    fn allow(&mut self, quiet: Duration) {
        if let Some(reader) = self.reader.whole() {
            reader.get_mut().allow(quiet);
        }
    }

    /// False when nobody wants to come in: Fluentd and balancers look every second whether the port is open.
    async fn greet(&mut self, secret: &Secret) -> Result<bool, End> {
        let nonce = handshake::nonce()?;
        self.taken.write(&handshake::helo(&nonce)).await?;
        if !self.reader.ready().await.unwrap_or(false) {
            return Ok(false);
        }
        let ping = self.reader.value(handshake::MAX_MESSAGE).await?;
        // Senders that find their own name here believe in a loop.
        let name = format!("tollgate-{}", self.door.name);
        let (pong, let_in) = handshake::pong(&ping, &nonce, &secret.0, &name);
        self.taken.write(&pong).await?;
        let_in?;
        Ok(true)
    }

    /// Reads one message; stores it, with those before it, when nothing more has come yet.
    async fn message(&mut self) -> Result<(), End> {
        loop {
            match self.piece().await {
                Ok(Piece::Entry(text)) => self.taken.portion.add(Ok::<_, Refused>(text)).await?,
                Ok(Piece::Refused(why)) => self.taken.portion.add(Err(why)).await?,
                Ok(Piece::End(chunk)) => {
                    self.taken.portion.end_message(chunk.is_some());
                    self.taken.acks.extend(chunk);
                    let is_last = !self.has_more() || *self.desk.stopping.borrow();
                    if is_last || self.taken.is_due() {
                        self.taken.flush().await?;
                    }
                    return Ok(());
                }
                Err(end) => {
                    self.taken.flush().await?;
                    return Err(end);
                }
            }
            if self.taken.portion.is_due() {
                self.taken.portion.store().await?;
            }
        }
    }

    async fn piece(&mut self) -> Result<Piece, End> {
        let Self { reader, taken, desk, .. } = self;
        let mut next = pin!(time::timeout(desk.limits.body_timeout, reader.next()));
        let next = match time::timeout(LINGER, next.as_mut()).await {
            Ok(next) => next,
            Err(_) => {
                taken.flush().await?;
                next.await
            }
        };
        Ok(next.map_err(|_| End::Slow)??)
    }

    fn has_more(&mut self) -> bool {
        self.reader.whole().is_some_and(|reader| !reader.buffer().is_empty())
    }
}

impl Taken {
    fn is_due(&self) -> bool {
        self.portion.is_due() || self.acks.len() >= MAX_ACKS
    }

    /// Makes durable what has come, then says so.
    async fn flush(&mut self) -> Result<(), End> {
        self.portion.store().await?;
        let acks: Vec<u8> = self.acks.drain(..).flat_map(|chunk| forward::ack(&chunk)).collect();
        if acks.is_empty() { Ok(()) } else { self.write(&acks).await }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        let written = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        Ok(time::timeout(self.within, written).await.map_err(io::Error::from)??)
    }
}
