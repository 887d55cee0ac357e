//! [`Chunk`]: entries on their way to a receiver, as one message in PackedForward mode.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde_json::Value;

use super::entry::EVENT_TIME;
use crate::wire::msgpack;

/// Entries one after the other.
#[derive(Debug, Default)]
pub struct Chunk {
    entries: Vec<u8>,
    count: usize,
}

impl Chunk {
    pub fn push(&mut self, time: Timestamp, record: &Value) {
        msgpack::array(&mut self.entries, 2);
        self.entries.extend_from_slice(&[rmp::Marker::FixExt8.to_u8(), EVENT_TIME.to_be_bytes()[0]]);
        // The form has seconds until 2106, and none before 1970.
        let seconds = u32::try_from(time.as_second()).unwrap_or_default();
        let nanos = u32::try_from(time.subsec_nanosecond()).unwrap_or_default();
        self.entries.extend_from_slice(&seconds.to_be_bytes());
        self.entries.extend_from_slice(&nanos.to_be_bytes());
        msgpack::of_json(record, &mut self.entries);
        self.count += 1;
    }

    /// The message; with `id` the receiver is asked for an acknowledgement.
    ///
    /// # Errors
    /// It could not be packed.
    pub fn message(&self, tag: &str, id: &str, compressed: bool) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(self.entries.len() + 128);
        msgpack::array(&mut out, 3);
        msgpack::string(&mut out, tag);
        if compressed {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&self.entries)?;
            msgpack::binary(&mut out, &encoder.finish()?);
        } else {
            msgpack::binary(&mut out, &self.entries);
        }
        msgpack::map(&mut out, if compressed { 3 } else { 2 });
        msgpack::string(&mut out, "size");
        msgpack::unsigned(&mut out, self.count);
        msgpack::string(&mut out, "chunk");
        msgpack::string(&mut out, id);
        if compressed {
            msgpack::string(&mut out, "compressed");
            msgpack::string(&mut out, "gzip");
        }
        Ok(out)
    }
}

/// The id that `{"ack": id}` acknowledges; `None` when it is something else.
pub fn acked(answer: &[u8]) -> Option<&[u8]> {
    let members = msgpack::members(answer)?;
    let (_, id) = members.into_iter().find(|(name, _)| *name == b"ack")?;
    msgpack::as_text(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_names_its_chunk() {
        let mut id = Vec::new();
        msgpack::string(&mut id, "YWJj");
        assert_eq!(acked(&super::super::ack(&id)), Some(&b"YWJj"[..]));
        for other in [&b"\xc0"[..], b"\x81\xa3ack\x01", b"\x80", b"\x81\xa3nak\xa1a", b""] {
            assert_eq!(acked(other), None);
        }
    }
}
