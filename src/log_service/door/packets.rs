//! `¶` packets on TCP: `{"uri":"/logs","method":"POST","key":7,"params":{…}}¶`, so that the smallest service can log.
//!
//! Packets are cut at the bytes C2 B6; inside strings `¶` must be written `\u00b6`, as the frame has no other escape.
//! All packets that one read brings are stored together; then each that has a `key` other than 0 is answered
//! `{"key":7,"errorcode":0,"errormessage":"success"}¶`, in order, after its entries are durable. A packet that is bad
//! is counted and answered with an error code if its key can be read. Packets that want no answer are not sent again: they
//! wait while the disk is full, and those that came with them. A packet larger than an entry may be ends the
//! connection: where the next one begins is no longer known.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time;

use super::sockets::Stream;
use super::{Desk, Door};
use crate::log_service::batch::{self, Bounds, Shape};
use crate::log_service::entry::Entry;
use crate::log_service::store::{AppendError, Counts};
use crate::wire::packet::{END, Frames};

const READ_BYTES: usize = 16 << 10;
/// A key is sent back as it came; longer ones are no keys.
const MAX_KEY: usize = 64;

/// What a packet is answered with, as `errorcode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Stored = 0,
    BadPacket = 1,
    UnknownUri = 2,
    NotStored = 3,
}

impl Outcome {
    fn message(self) -> &'static str {
        match self {
            Self::Stored => "success",
            Self::BadPacket => "params must be a JSON object or an array of objects",
            Self::UnknownUri => "only POST /logs is served here",
            Self::NotStored => "not stored, send again later",
        }
    }
}

pub(super) async fn serve(mut stream: Stream, from: Arc<str>, desk: Arc<Desk>, door: Arc<Door>) {
    let mut frames = Frames::new(desk.limits.entry_bytes);
    loop {
        frames.buffer.reserve(READ_BYTES);
        let read = tokio::select! {
            read = time::timeout(desk.limits.idle_timeout, stream.read_buf(&mut frames.buffer)) => read,
            () = desk.stopped() => return,
        };
        if !matches!(read, Ok(Ok(1..))) {
            break;
        }
        let (packets, lost) = frames.take();
        let replies = store(&packets, &from, &desk, &door).await;
        let written = time::timeout(desk.limits.idle_timeout, stream.write_all(&replies)).await;
        if lost {
            Counts::add(&desk.counts().bad_packets, 1u64);
        }
        if lost || !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
    if !frames.buffer.iter().all(u8::is_ascii_whitespace) {
        // The sender went in the middle of a packet.
        Counts::add(&desk.counts().bad_packets, 1u64);
    }
}

/// Stores the packets of one read in one batch and returns the replies.
async fn store(packets: &[Bytes], from: &Arc<str>, desk: &Desk, door: &Door) -> Vec<u8> {
    let held: usize = packets.iter().map(Bytes::len).sum();
    let (bounds, mut entries) = (desk.bounds(door.trust), Vec::new());
    let opened: Vec<Opened> = packets.iter().map(|packet| open(packet, bounds, &mut entries)).collect();
    let only_here = opened.iter().filter(|opened| opened.key.is_none()).map(|opened| opened.entries).sum();
    let stored = keep(entries, held, only_here > 0, from, desk).await;
    if stored.is_err() {
        desk.lose(only_here, door, from);
    }
    let mut replies = Vec::new();
    for Opened { key, outcome, entries, rejected } in opened {
        // One that has good and bad comes again, with both.
        let comes_again = stored.is_err() && (entries > 0 || outcome == Outcome::Stored);
        let outcome = if comes_again { Outcome::NotStored } else { outcome };
        if matches!(outcome, Outcome::BadPacket | Outcome::UnknownUri) {
            Counts::add(&desk.counts().bad_packets, 1u64);
            Counts::add(&desk.counts().rejected, rejected);
        }
        reply(&mut replies, key.as_deref(), outcome);
    }
    replies
}

/// Stores what came with one read; if it must, it waits for the disk.
async fn keep(
    entries: Vec<Entry>,
    held: usize,
    must: bool,
    from: &Arc<str>,
    desk: &Desk,
) -> Result<(), AppendError> {
    let held = u32::try_from(held).unwrap_or(u32::MAX);
    let _room = match Arc::clone(&desk.room).try_acquire_many_owned(held) {
        Ok(room) => room,
        Err(_) if must && let Some(room) = desk.wait_for_room(held, desk.limits.body_timeout).await => room,
        Err(_) => {
            Counts::add(&desk.counts().turned_away, entries.len());
            return Err(AppendError::Closed);
        }
    };
    match must {
        true => desk.persist(&entries, from, None).await,
        false => desk.store.append(entries, Arc::clone(from)).await.map(drop),
    }
}

/// A packet before its entries are stored.
struct Opened {
    /// If it wants an answer.
    key: Option<String>,
    outcome: Outcome,
    entries: usize,
    rejected: usize,
}

#[derive(Deserialize)]
struct Packet<'a> {
    #[serde(default)]
    uri: std::borrow::Cow<'a, str>,
    #[serde(default)]
    method: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// Opens one packet; its good entries go to `all`.
fn open(packet: &Bytes, bounds: Bounds, all: &mut Vec<Entry>) -> Opened {
    let bad = |key, outcome| Opened { key, outcome, entries: 0, rejected: 0 };
    let Ok(opened) = serde_json::from_slice::<Packet<'_>>(packet) else {
        return bad(None, Outcome::BadPacket);
    };
    let key = opened.key.map(RawValue::get).filter(|key| is_key(key)).map(str::to_owned);
    let path = opened.uri.split('?').next().unwrap_or_default();
    if path != "/logs" || !opened.method.eq_ignore_ascii_case("POST") {
        return bad(key, Outcome::UnknownUri);
    }
    let Some(params) = opened.params else { return bad(key, Outcome::BadPacket) };
    let parsed = batch::parse(&packet.slice_ref(params.get().as_bytes()), Shape::Any, bounds);
    let outcome = if parsed.rejected_count > 0 { Outcome::BadPacket } else { Outcome::Stored };
    let (entries, rejected) = (parsed.entries.len(), parsed.rejected_count);
    all.extend(parsed.entries);
    Opened { key, outcome, entries, rejected }
}

/// Numbers and strings are keys; 0 and null ask for no answer.
fn is_key(key: &str) -> bool {
    let kind = key.as_bytes().first();
    key != "0" && key.len() <= MAX_KEY && kind.is_some_and(|c| c.is_ascii_digit() || matches!(c, b'-' | b'"'))
}

fn reply(replies: &mut Vec<u8>, key: Option<&str>, outcome: Outcome) {
    let Some(key) = key else { return };
    let (code, message) = (outcome as u8, outcome.message());
    let text = format!(r#"{{"key":{key},"errorcode":{code},"errormessage":"{message}"}}"#);
    replies.extend_from_slice(text.as_bytes());
    replies.extend_from_slice(END);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_ask_for_an_answer() {
        let asking = ["1", "-7", "\"a\"", "12345678901234567890"];
        let silent = ["0", "null", "true", "{}", "[1]"];
        assert!(asking.iter().all(|key| is_key(key)) && !silent.iter().any(|key| is_key(key)));
    }
}
