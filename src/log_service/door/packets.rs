//! `¶` packets on TCP: `{"uri":"/logs","method":"POST","key":7,"params":{…}}¶`, so that the smallest service can log.
//!
//! Packets are cut at the bytes C2 B6; inside strings `¶` must be written `\u00b6`, as the frame has no other escape.
//! All packets that one read brings are stored together; then each that has a `key` other than 0 is answered
//! `{"key":7,"errorcode":0,"errormessage":"success"}¶`, in order, after its entries are durable. A packet that is bad
//! is counted and answered with an error code if its key can be read. A packet larger than an entry may be ends the
//! connection: where the next one begins is no longer known.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time;

use super::sockets::Stream;
use super::{Desk, Door};
use crate::log_service::batch::{self, Bounds, Parsed, Shape};
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
    let bounds = desk.bounds(door.trust);
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
        let replies = store(&packets, bounds, &from, &desk).await;
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
async fn store(packets: &[Bytes], bounds: Bounds, from: &Arc<str>, desk: &Desk) -> Vec<u8> {
    let held: usize = packets.iter().map(Bytes::len).sum();
    let room = u32::try_from(held).ok().and_then(|held| desk.room.try_acquire_many(held).ok());
    let mut all = Parsed::default();
    let mut outcomes = Vec::with_capacity(packets.len());
    for packet in packets {
        let (key, outcome) = open(packet, bounds, &mut all);
        if matches!(outcome, Outcome::BadPacket | Outcome::UnknownUri) {
            Counts::add(&desk.counts().bad_packets, 1u64);
        }
        outcomes.push((key, outcome));
    }
    let stored = match room {
        Some(_) => desk.store(&mut all, from).await.map(drop),
        None => {
            Counts::add(&desk.counts().turned_away, all.entries.len());
            Err(AppendError::Closed)
        }
    };
    let mut replies = Vec::new();
    for (key, outcome) in outcomes {
        let failed = stored.is_err() && outcome == Outcome::Stored;
        reply(&mut replies, key.as_deref(), if failed { Outcome::NotStored } else { outcome });
    }
    replies
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

/// Opens one packet: its key, if it wants an answer, and what became of it so far.
fn open(packet: &Bytes, bounds: Bounds, all: &mut Parsed) -> (Option<String>, Outcome) {
    let Ok(opened) = serde_json::from_slice::<Packet<'_>>(packet) else { return (None, Outcome::BadPacket) };
    let key = opened.key.map(RawValue::get).filter(|key| is_key(key)).map(str::to_owned);
    let path = opened.uri.split('?').next().unwrap_or_default();
    if path != "/logs" || !opened.method.eq_ignore_ascii_case("POST") {
        return (key, Outcome::UnknownUri);
    }
    let Some(params) = opened.params else { return (key, Outcome::BadPacket) };
    let parsed = batch::parse(&packet.slice_ref(params.get().as_bytes()), Shape::Any, bounds);
    let outcome = if parsed.rejected_count > 0 { Outcome::BadPacket } else { Outcome::Stored };
    all.rejected_count += parsed.rejected_count;
    all.entries.extend(parsed.entries);
    (key, outcome)
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
