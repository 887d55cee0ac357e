//! [`Reader`]: messages of a sender, entry by entry. A message may be of any length; one entry of it is held at a time.

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::entry;
use crate::wire::msgpack::{self, Scan, Token};
use crate::wire::source::{Coding, Source};
use crate::wire::{Broken, Refused};

/// Longest tag that is taken, bytes.
const MAX_TAG: usize = 1024;
/// Longest options.
const MAX_OPTIONS: usize = 4096;
/// Longest chunk id that is sent back, with its head. Fluentd's have 24 bytes.
const MAX_CHUNK: usize = 256;

/// What an idle connection keeps of its buffer, bytes.
const KEPT: usize = 16 << 10;

const NOT_MSGPACK: Broken = Broken::Syntax("it is not MessagePack");

/// What comes out of a message, in order.
#[derive(Debug)]
pub enum Piece {
    /// A JSON object.
    Entry(Bytes),
    Refused(Refused),
    /// The message is over. The sender waits for [`super::ack`] of this, if it is there.
    End(Option<Bytes>),
}

/// Where in a message it is.
enum Stage {
    Between,
    /// So many entries of an array are to come.
    Entries(u32),
    Packed,
    Options,
}

pub struct Reader<R> {
    source: Source<R>,
    stage: Stage,
    has_options: bool,
    tag: String,
    value: Vec<u8>,
    /// Largest entry, bytes.
    max: usize,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// A value that was read.
#[derive(PartialEq, Eq)]
enum Gathered {
    Whole,
    /// Passed over.
    Large,
}

impl<R: AsyncBufRead + Unpin> Reader<R> {
    /// `max`: the largest entry that is taken, bytes, both as it comes and as JSON.
    pub fn new(reader: R, max: usize) -> Self {
        let (source, stage) = (Source::Whole(reader), Stage::Between);
        Self { source, stage, has_options: false, tag: String::new(), value: Vec::new(), max }
    }

    /// Where the bytes come from, between messages.
    pub fn whole(&mut self) -> Option<&mut R> {
        self.source.whole()
    }

    /// Waits until something has come; false when nothing will. May be dropped while it waits.
    pub async fn ready(&mut self) -> Result<bool, Broken> {
        Ok(!self.source.fill_buf().await?.is_empty())
    }

    /// One value as it came, for the handshake.
    pub async fn value(&mut self, max: usize) -> Result<Bytes, Broken> {
        self.value.clear();
        match self.gather(max).await? {
            Gathered::Whole => Ok(Bytes::copy_from_slice(&self.value)),
            Gathered::Large => Err(Broken::Syntax("too large")),
        }
    }

    /// The next piece. After an error nothing further can be read.
    pub async fn next(&mut self) -> Result<Piece, Broken> {
        loop {
            match self.stage {
                Stage::Between => {
                    self.value.shrink_to(KEPT);
                    if let Some(piece) = self.begin().await? {
                        return Ok(piece);
                    }
                }
                Stage::Entries(0) => self.stage = Stage::Options,
                Stage::Entries(left) => {
                    self.stage = Stage::Entries(left - 1);
                    self.value.clear();
                    let gathered = self.gather(self.max).await?;
                    return Ok(self.entry(&gathered));
                }
                Stage::Packed => {
                    if let Some(piece) = self.packed().await? {
                        return Ok(piece);
                    }
                }
                Stage::Options => {
                    self.stage = Stage::Between;
                    let chunk = if self.has_options { self.options().await? } else { None };
                    return Ok(Piece::End(chunk));
                }
            }
        }
    }

    /// Reads a message up to its entries; in Message mode with its only entry.
    async fn begin(&mut self) -> Result<Option<Piece>, Broken> {
        let fields = match self.head().await? {
            // Sent by some to see whether the connection lives.
            Token::Nil => return Ok(None),
            Token::Array(fields @ 2..=4) => fields,
            _ => return Err(Broken::Syntax("it is no message of the forward protocol")),
        };
        self.tag = self.tag().await?;
        let marker = self.source.some().await?[0];
        let mut used = 2;
        let piece = match rmp::Marker::from_u8(marker) {
            rmp::Marker::FixArray(_) | rmp::Marker::Array16 | rmp::Marker::Array32 => {
                let Token::Array(count) = self.head().await? else { return Err(NOT_MSGPACK) };
                self.stage = Stage::Entries(count);
                None
            }
            marker if is_bytes(marker) => {
                let length = self.length().await?;
                let coding = match length {
                    0 => Coding::None,
                    _ => coding_of(self.source.some().await?[0]),
                };
                self.source.enter(length, coding)?;
                self.stage = Stage::Packed;
                None
            }
            _ => {
                used = 3;
                self.value.clear();
                self.value.push(rmp::Marker::FixArray(2).to_u8());
                let time = self.gather(self.max).await?;
                let record = self.gather(self.max).await?;
                self.stage = Stage::Options;
                Some(self.entry(if time == Gathered::Large { &time } else { &record }))
            }
        };
        self.has_options = match fields.checked_sub(used) {
            Some(rest @ 0..=1) => rest == 1,
            _ => return Err(Broken::Syntax("a message with a field too few or too many")),
        };
        Ok(piece)
    }

    /// The next entry of a packed part; `None` at its end.
    async fn packed(&mut self) -> Result<Option<Piece>, Broken> {
        // What is wrong with the part costs its rest, and no more: where it ends is known.
        let refusal = match self.source.fill_buf().await {
            Ok([]) => None,
            Ok(_) => {
                self.value.clear();
                match self.gather(self.max).await {
                    Ok(gathered) if gathered == Gathered::Large || is_pair(&self.value) => {
                        return Ok(Some(self.entry(&gathered)));
                    }
                    Ok(_) => Some("what is packed is no `[time, record]`: its rest is passed over"),
                    Err(_) => Some("what is packed is cut or damaged: its rest is passed over"),
                }
            }
            Err(_) => Some("what is packed cannot be unpacked: its rest is passed over"),
        };
        self.stage = Stage::Options;
        self.source.leave().await?;
        Ok(refusal.map(|why| Piece::Refused(Refused::Form(why))))
    }

    fn entry(&self, gathered: &Gathered) -> Piece {
        let written = match gathered {
            Gathered::Whole => entry::to_json(&self.tag, &self.value, self.max),
            Gathered::Large => Err(Refused::Large(self.max)),
        };
        written.map_or_else(Piece::Refused, |text| Piece::Entry(text.into()))
    }

    async fn options(&mut self) -> Result<Option<Bytes>, Broken> {
        let value = self.value(MAX_OPTIONS).await?;
        let members = msgpack::members(&value).unwrap_or_default();
        let chunk = members.into_iter().find(|(name, _)| *name == b"chunk").map(|(_, chunk)| chunk);
        let Some(chunk) = chunk.filter(|chunk| msgpack::as_text(chunk).is_some()) else { return Ok(None) };
        if chunk.len() > MAX_CHUNK {
            return Err(Broken::Syntax("the chunk's id is too long"));
        }
        Ok(Some(value.slice_ref(chunk)))
    }

    /// Reads one value behind those in `value`; one with more than `max` bytes is passed over.
    async fn gather(&mut self, max: usize) -> Result<Gathered, Broken> {
        let (begin, mut scan, mut is_large) = (self.value.len(), Scan::new(), false);
        while !scan.is_done() {
            let there = self.source.some().await?;
            let used = scan.feed(there).map_err(|_| NOT_MSGPACK)?;
            is_large |= self.value.len() - begin + used > max;
            if !is_large {
                self.value.extend_from_slice(&there[..used]);
            }
            std::pin::Pin::new(&mut self.source).consume(used);
        }
        Ok(if is_large { Gathered::Large } else { Gathered::Whole })
    }

    /// The head of an array, or nil.
    async fn head(&mut self) -> Result<Token<'static>, Broken> {
        Ok(match rmp::Marker::from_u8(self.source.read_u8().await?) {
            rmp::Marker::Null => Token::Nil,
            rmp::Marker::FixArray(count) => Token::Array(count.into()),
            rmp::Marker::Array16 => Token::Array(self.source.read_u16().await?.into()),
            rmp::Marker::Array32 => Token::Array(self.source.read_u32().await?),
            _ => return Err(Broken::Syntax("it is no message of the forward protocol")),
        })
    }

    /// The length of the bytes that follow.
    async fn length(&mut self) -> Result<u64, Broken> {
        use rmp::Marker::{Bin8, Bin16, Bin32, FixStr, Str8, Str16, Str32};
        Ok(match rmp::Marker::from_u8(self.source.read_u8().await?) {
            FixStr(length) => length.into(),
            Str8 | Bin8 => self.source.read_u8().await?.into(),
            Str16 | Bin16 => self.source.read_u16().await?.into(),
            Str32 | Bin32 => self.source.read_u32().await?.into(),
            _ => return Err(Broken::Syntax("the tag is no text")),
        })
    }

    async fn tag(&mut self) -> Result<String, Broken> {
        let length = usize::try_from(self.length().await?).unwrap_or(usize::MAX);
        if length > MAX_TAG {
            return Err(Broken::Syntax("the tag is too long"));
        }
        let mut tag = vec![0; length];
        self.source.read_exact(&mut tag).await?;
        Ok(String::from_utf8_lossy(&tag).into_owned())
    }
}

fn is_bytes(marker: rmp::Marker) -> bool {
    use rmp::Marker::{Bin8, Bin16, Bin32, FixStr, Str8, Str16, Str32};
    matches!(marker, FixStr(_) | Str8 | Str16 | Str32 | Bin8 | Bin16 | Bin32)
}

fn is_pair(value: &[u8]) -> bool {
    msgpack::token(&mut &*value) == Some(Token::Array(2))
}

/// The options that name it stand behind what is packed; but the first byte of no entry is one of these.
fn coding_of(first: u8) -> Coding {
    match first {
        0x1f => Coding::Gzip,
        0x28 => Coding::Zstd,
        _ => Coding::None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tokio::io::BufReader;

    use super::*;
    use crate::wire::forward::Chunk;

    /// What a sender that closes afterwards has sent, read in pieces of this size.
    async fn read(bytes: &[u8], piece: usize, max: usize) -> (Vec<String>, Option<Broken>) {
        let mut reader = Reader::new(BufReader::with_capacity(piece, bytes), max);
        let mut seen = Vec::new();
        loop {
            match reader.ready().await {
                Ok(true) => {}
                Ok(false) => return (seen, None),
                Err(error) => return (seen, Some(error)),
            }
            loop {
                match reader.next().await {
                    Ok(Piece::Entry(text)) => {
                        let value: Value = serde_json::from_slice(&text).unwrap();
                        seen.push(value["m"].to_string());
                    }
                    Ok(Piece::Refused(_)) => seen.push("refused".to_owned()),
                    Ok(Piece::End(chunk)) => {
                        let chunk = chunk.as_deref().and_then(msgpack::as_text).map(String::from_utf8_lossy);
                        seen.push(format!("end {}", chunk.as_deref().unwrap_or("-")));
                        break;
                    }
                    Err(error) => return (seen, Some(error)),
                }
            }
        }
    }

    fn entry(value: &Value) -> Vec<u8> {
        let mut out = vec![0x92, 0xce, 0x65, 0, 0, 0];
        msgpack::of_json(value, &mut out);
        out
    }

    /// `[tag, body, options]`.
    fn message(body: &[u8], options: Option<&Value>) -> Vec<u8> {
        let mut out = vec![0x92 + u8::from(options.is_some()), 0xa3];
        out.extend_from_slice(b"app");
        out.extend_from_slice(body);
        options.inspect(|options| msgpack::of_json(options, &mut out));
        out
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        msgpack::binary(&mut out, bytes);
        out
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn entries(range: std::ops::Range<u32>) -> Vec<u8> {
        range.flat_map(|m| entry(&json!({ "m": m }))).collect()
    }

    #[tokio::test]
    async fn all_four_modes_give_the_same_entries() {
        let options = json!({"size": 2, "chunk": "c1"});
        let alone = [&[0x94, 0xa3][..], b"app", &entries(0..1)[1..], &[0xc0]].concat();
        let zstd = zstd::encode_all(&*entries(0..2), 1).unwrap();
        let two_members = [gzipped(&entries(0..1)), gzipped(&entries(1..2))].concat();
        let sent = [
            alone,
            message(&[&[0x92][..], &entries(0..2)].concat(), Some(&options)),
            message(&packed(&entries(0..2)), None),
            message(&packed(&gzipped(&entries(0..2))), Some(&options)),
            message(&packed(&two_members), Some(&options)),
            message(&packed(&zstd), Some(&options)),
            vec![0xc0],
            message(&packed(b""), Some(&options)),
        ];
        let expected = [
            "0", "end -", "0", "1", "end c1", "0", "1", "end -", "0", "1", "end c1", "0", "1", "end c1", "0",
            "1", "end c1", "end c1",
        ];
        for piece in [1, 7, 4096] {
            let (seen, broken) = read(&sent.concat(), piece, 1000).await;
            assert_eq!((seen, broken.is_none()), (expected.map(str::to_owned).to_vec(), true));
        }
    }

    #[tokio::test]
    async fn what_is_bad_costs_itself_and_the_chunk_is_still_acknowledged() {
        let good = entries(7..8);
        let options = json!({"chunk": "c"});
        let large = entry(&json!({"m": "x".repeat(2000)}));
        let cases = [
            ([&good[..], &[0x92, 1, 2], &large, &good].concat(), vec!["7", "refused", "refused", "7"]),
            ([&good[..], &[5], &good].concat(), vec!["7", "refused"]),
            ([&good[..], &good[..9]].concat(), vec!["7", "refused"]),
            ([&[0x1f][..], &good].concat(), vec!["refused"]),
        ];
        for (body, mut expected) in cases {
            expected.extend(["end c", "7", "end -"]);
            let sent = [message(&packed(&body), Some(&options)), message(&packed(&good), None)].concat();
            let (seen, broken) = read(&sent, 64, 1000).await;
            assert_eq!((seen, broken.is_none()), (expected.iter().map(|s| (*s).to_owned()).collect(), true));
        }
    }

    #[tokio::test]
    async fn a_bomb_ends_the_connection() {
        let bomb = gzipped(&[&[0xc6, 2, 0, 0, 0][..], &vec![0; 32 << 20]].concat());
        let sent = message(&packed(&bomb), None);
        let (seen, broken) = read(&sent, 4096, 1000).await;
        assert!(seen.is_empty() && matches!(broken, Some(Broken::Bomb)), "{seen:?} {broken:?}");
    }

    #[tokio::test]
    async fn lengths_are_refused_before_anything_is_kept_for_them() {
        for bad in [
            &b"\x93\xdb\xff\xff\xff\xff"[..],
            b"\x9f",
            b"\x92\xa1a\x01",
            b"\x94\xa1a\x90\xc0\xc0",
            b"{\"a\":1}",
            b"\x92\x01\x02",
            b"\x93\xa1a\xc6\xff\xff\xff\xff",
        ] {
            let (seen, broken) = read(bad, 16, 1000).await;
            assert!(broken.is_some() && !seen.contains(&"end -".to_owned()), "{bad:x?} {seen:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (seen, _) = runtime.block_on(read(&bytes, piece, 100));
            prop_assert!(seen.len() <= bytes.len());
        }

        #[test]
        fn what_is_written_is_read(
            messages in proptest::collection::vec(proptest::collection::vec(".{0,30}", 1..9), 1..5),
            piece in 1usize..300,
            is_packed: bool,
        ) {
            let mut sent = Vec::new();
            let mut expected = Vec::new();
            for (index, texts) in messages.iter().enumerate() {
                let mut chunk = Chunk::default();
                for text in texts {
                    chunk.push(jiff::Timestamp::UNIX_EPOCH, &json!({ "m": text }));
                    expected.push(json!(text).to_string());
                }
                sent.extend(chunk.message("app", &format!("c{index}"), is_packed).unwrap());
                expected.push(format!("end c{index}"));
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (seen, broken) = runtime.block_on(read(&sent, piece, 1000));
            prop_assert!(broken.is_none());
            prop_assert_eq!(seen, expected);
        }
    }
}
