//! Syslog on TCP and TLS: RFC 5424 and RFC 3164, with octet counts or in lines (see [`crate::wire::syslog`]).
//!
//! Syslog has no answer: what the sender has written may be lost when this process dies, as with every receiver. A door with
//! a token wants an element of structured data with its name, `[TOKEN@41058 …]`, in the first message of a connection at
//! least; it is never stored. A message without it ends a connection on which it was not shown.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::silent::{Intake, Reader};
use super::sockets::Stream;
use super::{Desk, Door};
use crate::log_service::Token;
use crate::log_service::batch::Parsed;
use crate::log_service::entry::Entry;
use crate::wire::syslog::{Framing, Message};

pub(super) async fn serve(stream: Stream, from: Arc<str>, desk: Arc<Desk>, door: Arc<Door>) {
    let is_admitted = door.tokens.is_empty() || !stream.needs_token();
    let most = desk.limits.entry_bytes;
    let messages = Messages { door: Arc::clone(&door), is_admitted, count: 0, most };
    Intake::new(stream, from, desk, door, Framing::new(most), Reader::Syslog(messages)).run().await;
}

pub(super) struct Messages {
    door: Arc<Door>,
    is_admitted: bool,
    count: usize,
    /// The largest entry, bytes.
    most: usize,
}

impl Messages {
    /// See [`Reader`].
    pub(super) fn take(&mut self, message: &Bytes, parsed: &mut Parsed) -> Result<(), &'static str> {
        // The RFC wants UTF-8; what is not shows as U+FFFD.
        let text = String::from_utf8_lossy(message);
        let mut message = Message::parse(&text, Timestamp::now());
        self.admit(&mut message)?;
        if message.is_empty() {
            return Ok(());
        }
        self.count += 1;
        // A text that looks like an object may be none that the store can keep.
        let entry = |with_object| Entry::of_sender(message.to_json(with_object).into(), self.door.trust);
        let entry = entry(true).or_else(|_| entry(false));
        match entry {
            Ok(entry) if entry.text.len() <= self.most => parsed.entries.push(entry),
            Ok(_) => parsed.reject(self.count, format!("larger than {} bytes", self.most)),
            Err(error) => parsed.reject(self.count, error.to_string()),
        }
        Ok(())
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.is_admitted
    }

    fn admit(&mut self, message: &mut Message<'_>) -> Result<(), &'static str> {
        if !self.door.tokens.is_empty() {
            self.is_admitted |= message.take_element(|id| self.is_token(id));
        }
        self.is_admitted.then_some(()).ok_or("it does not show the token, as an element [TOKEN@41058]")
    }

    /// With or without the number of an enterprise behind it.
    fn is_token(&self, id: &str) -> bool {
        let name = id.split_once('@').map_or(id, |(name, _)| name);
        self.door.knows(&Token::new(id)) || (name != id && self.door.knows(&Token::new(name)))
    }
}
