//! [`Builder`]: gathers entries of one stream and closes them into a frame.

use super::{CRC_AT, Codec, Form, HEAD, MAGIC, MAX_PAYLOAD, MAX_PROXY, PREFIX, Stream, VERSION, crc};

/// Bytes that LZ4 must save for a payload to be stored compressed: less is not worth the reader's work.
const WORTH: usize = 64;

/// A frame in the making. Keeps its memory from one frame to the next.
#[derive(Debug, Default)]
pub struct Builder {
    payload: Vec<u8>,
    count: u32,
    numbers: Option<(u64, u64)>,
    times: Option<(i64, i64)>,
}

impl Builder {
    /// Whether an entry of so many bytes with this number may stand in the frame: otherwise finish it first. An entry
    /// that is longer than any frame never fits.
    pub fn takes(&self, seq: Option<u64>, bytes: usize) -> bool {
        let follows = match (self.numbers, seq) {
            (Some((_, last)), Some(seq)) => last.checked_add(1) == Some(seq),
            _ => true,
        };
        follows && self.payload.len() + PREFIX + bytes <= MAX_PAYLOAD
    }

    /// Adds an entry that [`Self::takes`] has allowed. `seq` is absent for gaps, which have no number of their own.
    pub fn push(&mut self, form: Form, seq: Option<u64>, ts_us: i64, bytes: &[u8]) {
        debug_assert!(self.takes(seq, bytes.len()));
        self.payload.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.payload.push(form as u8);
        self.payload.extend_from_slice(bytes);
        self.count += 1;
        if let Some(seq) = seq {
            self.numbers = Some((self.numbers.map_or(seq, |(first, _)| first), seq));
        }
        let (earliest, latest) = self.times.unwrap_or((ts_us, ts_us));
        self.times = Some((earliest.min(ts_us), latest.max(ts_us)));
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the entries so far, before compression.
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// First and last number of the entries so far.
    pub fn numbers(&self) -> Option<(u64, u64)> {
        self.numbers
    }

    /// Appends the frame to `out` and begins the next one; nothing when there are no entries. A payload that does not
    /// shrink is stored raw. Names longer than [`MAX_PROXY`] are cut.
    pub fn finish(&mut self, stream: &Stream<'_>, codec: Codec, out: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        let start = out.len();
        let proxy = &stream.proxy[..stream.proxy.floor_char_boundary(MAX_PROXY)];
        out.resize(start + HEAD, 0);
        out.extend_from_slice(proxy.as_bytes());
        let payload_at = out.len();
        let codec = self.put_payload(codec, out);
        let length = out.len() - payload_at;
        if let Some((head, rest)) = out[start..].split_first_chunk_mut::<HEAD>() {
            self.put_head(head, stream, (proxy.len(), codec, length));
            let crc = crc(&head[..CRC_AT], rest);
            head[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        }
        self.clear();
    }

    fn put_payload(&self, codec: Codec, out: &mut Vec<u8>) -> Codec {
        let at = out.len();
        if codec == Codec::Lz4 {
            out.resize(at + lz4_flex::block::get_maximum_output_size(self.payload.len()), 0);
            if let Ok(length) = lz4_flex::block::compress_into(&self.payload, &mut out[at..]) {
                out.truncate(at + length);
                if length + WORTH < self.payload.len() {
                    return Codec::Lz4;
                }
            }
            out.truncate(at);
        }
        out.extend_from_slice(&self.payload);
        Codec::Raw
    }

    fn put_head(
        &self,
        head: &mut [u8; HEAD],
        stream: &Stream<'_>,
        (proxy, codec, length): (usize, Codec, usize),
    ) {
        let (first, last) = self.numbers.unwrap_or((0, 0));
        let (earliest, latest) = self.times.unwrap_or((0, 0));
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            head[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&[VERSION, codec as u8]);
        put(&(proxy as u16).to_le_bytes());
        put(&stream.boot.to_le_bytes());
        put(&stream.core.to_le_bytes());
        put(&[0; 2]);
        put(&self.count.to_le_bytes());
        put(&first.to_le_bytes());
        put(&last.to_le_bytes());
        put(&earliest.to_le_bytes());
        put(&latest.to_le_bytes());
        put(&(self.payload.len() as u32).to_le_bytes());
        put(&(length as u32).to_le_bytes());
    }

    fn clear(&mut self) {
        self.payload.clear();
        (self.count, self.numbers, self.times) = (0, None, None);
    }
}
