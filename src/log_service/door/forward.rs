//! Fluentd's forward protocol ([`crate::wire::forward`]): what has a `chunk` is acknowledged when all of it that is good is
//! durable; what has none is stored all the same. With a `token` senders must know it as the shared key.
//!
//! A message may be of any length: it is stored in portions while it comes. Entries that are bad are counted, told and
//! passed over, and their chunk is acknowledged, or it would come again for ever. When a message breaks off, its whole
//! entries are stored: a sender that asks for no acknowledgement would never send them again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::time;

use super::io::Watched;
use super::portion::{NotStored, Portion};
use super::sockets::Stream;
use super::{Desk, Door};
use crate::log_service::Secret;
use crate::log_service::store::Counts;
use crate::wire::forward::handshake::{self, Denied};
use crate::wire::forward::{self, Piece, Reader};
use crate::wire::{Broken, Refused};

const BUFFER: usize = 16 << 10;
/// Between two messages a sender may be silent for so long: one that asks for no acknowledgement would lose what it writes
/// to a connection that was closed.
const QUIET: Duration = Duration::from_secs(3600);
/// Acknowledgements that wait for the same store.
const MAX_ACKS: usize = 1024;

/// Why a connection ended before its sender ended it.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the rest of a message cannot be read: {0}")]
    Broken(#[from] Broken),
    #[error("a message takes too long")]
    Slow,
    #[error("the sender is not let in: {0}")]
    Denied(#[from] Denied),
    #[error("it is not stored: {0}")]
    NotStored(#[from] NotStored),
    #[error("cannot answer: {0}")]
    Io(#[from] io::Error),
}

struct Connection {
    reader: Reader<BufReader<Watched<ReadHalf<Stream>>>>,
    writer: WriteHalf<Stream>,
    portion: Portion,
    /// Chunks whose entries are in the portion.
    acks: Vec<Bytes>,
    desk: Arc<Desk>,
    door: Arc<Door>,
}

pub(super) async fn serve(stream: Stream, from: Arc<str>, desk: Arc<Desk>, door: Arc<Door>) {
    let (reader, writer) = tokio::io::split(stream);
    let reader = BufReader::with_capacity(BUFFER, Watched::new(reader, desk.limits.idle_timeout));
    let mut connection = Connection {
        reader: Reader::new(reader, desk.limits.entry_bytes),
        writer,
        portion: Portion::new(Arc::clone(&desk), Arc::clone(&door), from),
        acks: Vec::new(),
        desk,
        door,
    };
    if let Err(end) = connection.run().await {
        connection.tell(&end);
    }
    // Whoever has gone does not hear it.
    let _ = connection.writer.shutdown().await;
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
                return Ok(());
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
        self.write(&handshake::helo(&nonce)).await?;
        if !self.reader.ready().await.unwrap_or(false) {
            return Ok(false);
        }
        let ping = self.reader.value(handshake::MAX_MESSAGE).await?;
        // Senders that find their own name here believe in a loop.
        let name = format!("tollgate-{}", self.door.name);
        let (pong, let_in) = handshake::pong(&ping, &nonce, &secret.0, &name);
        self.write(&pong).await?;
        let_in?;
        Ok(true)
    }

    /// Reads one message; stores it, with those before it, when nothing more has come yet.
    async fn message(&mut self) -> Result<(), End> {
        loop {
            let next = time::timeout(self.desk.limits.body_timeout, self.reader.next()).await;
            match next.map_err(|_| End::Slow).and_then(|next| Ok(next?)) {
                Ok(Piece::Entry(text)) => self.portion.add(Ok::<_, Refused>(text)).await?,
                Ok(Piece::Refused(why)) => self.portion.add(Err(why)).await?,
                Ok(Piece::End(chunk)) => {
                    self.acks.extend(chunk);
                    let is_last = !self.has_more() || *self.desk.stopping.borrow();
                    if is_last || self.portion.is_due() || self.acks.len() >= MAX_ACKS {
                        self.flush().await?;
                    }
                    return Ok(());
                }
                Err(end) => {
                    self.flush().await?;
                    return Err(end);
                }
            }
            if self.portion.is_due() {
                self.portion.store().await?;
            }
        }
    }

    fn has_more(&mut self) -> bool {
        self.reader.whole().is_some_and(|reader| !reader.buffer().is_empty())
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
        Ok(time::timeout(self.desk.limits.idle_timeout, written).await.map_err(io::Error::from)??)
    }

    fn tell(&self, end: &End) {
        match end {
            End::Broken(_) | End::Slow => Counts::add(&self.desk.counts().bad_messages, 1u64),
            End::Denied(_) => Counts::add(&self.desk.counts().denied, 1u64),
            End::NotStored(_) => {}
            // It has gone; what it was not told, it sends again.
            End::Io(_) => return tracing::debug!(input = self.door.name, %end, "a sender has gone"),
        }
        self.portion.complain(&end.to_string());
    }
}
