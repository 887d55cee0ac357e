//! Lumberjack, the protocol of Beats and Logstash, version 2 (and 1, where events are pairs of texts). Frames, numbers big
//! endian (<https://github.com/logstash-plugins/logstash-input-beats/blob/main/PROTOCOL.md>):
//!
//! | frame | |
//! |---|---|
//! | `2W` u32 | so many events follow, and are then acknowledged |
//! | `2J` u32 seq, u32 length, JSON | an event |
//! | `1D` u32 seq, u32 pairs, (u32 length, name, u32 length, text)… | an event of version 1 |
//! | `2C` u32 length, zlib of frames | |
//! | `2A` u32 seq | the acknowledgement of all events up to this one |

use std::io::{self, Write as _};
use std::pin::Pin;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::source::{Coding, Source};
use super::{Broken, Refused};

/// Bytes of an acknowledgement.
pub const ACK_BYTES: usize = 6;

/// What a sender sends.
#[derive(Debug)]
pub enum Frame {
    Window(u32),
    Event {
        /// `b'1'` or `b'2'`; the acknowledgement has the same.
        version: u8,
        seq: u32,
        /// JSON as it came; nothing says yet that it is any.
        text: Result<Bytes, Refused>,
    },
}

/// Frames of a sender. A compressed frame may be of any length; one event of it is held at a time.
pub struct Reader<R> {
    source: Source<R>,
    /// Largest event, bytes.
    max: usize,
}

impl<R: AsyncBufRead + Unpin> Reader<R> {
    /// `max`: the largest event that is taken, bytes.
    pub fn new(reader: R, max: usize) -> Self {
        Self { source: Source::Whole(reader), max }
    }

    /// Waits until something has come; false when nothing will. May be dropped while it waits.
    pub async fn ready(&mut self) -> Result<bool, Broken> {
        Ok(self.source.is_part() || !self.source.fill_buf().await?.is_empty())
    }

    /// The next frame; `None` at the end of a compressed one. After an error nothing further can be read.
    pub async fn next(&mut self) -> Result<Option<Frame>, Broken> {
        if self.source.is_part() && self.source.fill_buf().await?.is_empty() {
            self.source.leave().await?;
            return Ok(None);
        }
        let version = self.source.read_u8().await?;
        let kind = self.source.read_u8().await?;
        match (version, kind) {
            (b'1' | b'2', b'W') => Ok(Some(Frame::Window(self.source.read_u32().await?))),
            (b'1' | b'2', b'J') => {
                let seq = self.source.read_u32().await?;
                let text = self.json().await?;
                Ok(Some(Frame::Event { version, seq, text }))
            }
            (b'1' | b'2', b'D') => {
                let seq = self.source.read_u32().await?;
                let text = self.pairs().await?;
                Ok(Some(Frame::Event { version, seq, text }))
            }
            (b'1' | b'2', b'C') => {
                let length = self.source.read_u32().await?;
                self.source.enter(length.into(), Coding::Zlib)?;
                Ok(None)
            }
            (b'1' | b'2', _) => Err(Broken::Syntax("a frame of unknown type")),
            _ => Err(Broken::Syntax("it is neither version 1 nor 2 of Lumberjack")),
        }
    }

    async fn json(&mut self) -> Result<Result<Bytes, Refused>, Broken> {
        let length = self.source.read_u32().await?;
        let mut text = Vec::new();
        match self.bytes(length, self.max, &mut text).await? {
            true => Ok(Ok(text.into())),
            false => Ok(Err(Refused::Large(self.max))),
        }
    }

    async fn pairs(&mut self) -> Result<Result<Bytes, Refused>, Broken> {
        let count = self.source.read_u32().await?;
        let (mut members, mut room, mut is_large) = (Map::new(), self.max, false);
        for _ in 0..count {
            let (mut name, mut text) = (Vec::new(), Vec::new());
            for part in [&mut name, &mut text] {
                let length = self.source.read_u32().await?;
                is_large |= !self.bytes(length, room, part).await?;
                // The length itself counts, so that empty pairs have an end too.
                room = room.saturating_sub(part.len() + 4);
            }
            is_large |= room == 0;
            if !is_large {
                let text = String::from_utf8_lossy(&text).into_owned();
                members.insert(String::from_utf8_lossy(&name).into_owned(), text.into());
            }
        }
        let text = Value::Object(members).to_string();
        let is_large = is_large || text.len() > self.max;
        Ok(if is_large { Err(Refused::Large(self.max)) } else { Ok(text.into()) })
    }

    /// Reads `length` bytes behind those in `into`, or passes over them if they are more than `max`.
    async fn bytes(&mut self, length: u32, max: usize, into: &mut Vec<u8>) -> Result<bool, Broken> {
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        if left > max {
            self.source.skip(length.into()).await?;
            return Ok(false);
        }
        while left > 0 {
            let there = self.source.some().await?;
            let step = there.len().min(left);
            into.extend_from_slice(&there[..step]);
            Pin::new(&mut self.source).consume(step);
            left -= step;
        }
        Ok(true)
    }
}

/// The acknowledgement of all events of a window up to `seq`. One of 0 says that the receiver is still at it.
pub fn ack(version: u8, seq: u32) -> [u8; ACK_BYTES] {
    let [a, b, c, d] = seq.to_be_bytes();
    [version, b'A', a, b, c, d]
}

/// What an acknowledgement acknowledges; `None` when it is none.
pub fn acked(bytes: [u8; ACK_BYTES]) -> Option<u32> {
    let [b'1' | b'2', b'A', seq @ ..] = bytes else { return None };
    Some(u32::from_be_bytes(seq))
}

/// Events on their way to a receiver, as one window. They are numbered from 1.
#[derive(Debug, Default)]
pub struct Window {
    frames: Vec<u8>,
    count: u32,
}

impl Window {
    /// How many events are in it.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// # Errors
    /// An event of 4 GiB or more.
    pub fn push(&mut self, json: &[u8]) -> io::Result<()> {
        let length = u32::try_from(json.len()).map_err(io::Error::other)?;
        self.count += 1;
        self.frames.extend_from_slice(b"2J");
        self.frames.extend_from_slice(&self.count.to_be_bytes());
        self.frames.extend_from_slice(&length.to_be_bytes());
        self.frames.extend_from_slice(json);
        Ok(())
    }

    /// The frames as they are sent.
    ///
    /// # Errors
    /// They could not be packed, or have 4 GiB or more then.
    pub fn bytes(&self, compressed: bool) -> io::Result<Vec<u8>> {
        let mut out = [&b"2W"[..], &self.count.to_be_bytes()].concat();
        if !compressed {
            out.extend_from_slice(&self.frames);
            return Ok(out);
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.frames)?;
        let packed = encoder.finish()?;
        out.extend_from_slice(b"2C");
        out.extend_from_slice(&u32::try_from(packed.len()).map_err(io::Error::other)?.to_be_bytes());
        out.extend_from_slice(&packed);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::BufReader;

    use super::*;

    async fn read(bytes: &[u8], piece: usize, max: usize) -> (Vec<String>, Option<Broken>) {
        let mut reader = Reader::new(BufReader::with_capacity(piece, bytes), max);
        let mut seen = Vec::new();
        loop {
            let read = match reader.ready().await {
                Ok(true) => reader.next().await,
                Ok(false) => return (seen, None),
                Err(error) => Err(error),
            };
            match read {
                Ok(None) => {}
                Ok(Some(Frame::Window(count))) => seen.push(format!("window {count}")),
                Ok(Some(Frame::Event { seq, text, .. })) => {
                    let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
                    seen.push(format!("{seq} {}", text.unwrap_or_else(|refused| refused.to_string())));
                }
                Err(error) => return (seen, Some(error)),
            }
        }
    }

    fn window(texts: &[String], compressed: bool) -> Vec<u8> {
        let mut window = Window::default();
        texts.iter().for_each(|text| window.push(text.as_bytes()).unwrap());
        window.bytes(compressed).unwrap()
    }

    fn compressed(frames: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(frames).unwrap();
        let packed = encoder.finish().unwrap();
        [b"2C", &u32::try_from(packed.len()).unwrap().to_be_bytes()[..], &packed].concat()
    }

    #[tokio::test]
    async fn an_event_that_is_too_large_is_passed_over_and_those_behind_it_are_read() {
        let texts = ["{}".to_owned(), "x".repeat(100), "{\"a\":1}".to_owned()];
        for is_packed in [false, true] {
            let (seen, broken) = read(&window(&texts, is_packed), 16, 50).await;
            assert_eq!(seen, ["window 3", "1 {}", "2 larger than 50 bytes", "3 {\"a\":1}"]);
            assert!(broken.is_none());
        }
    }

    #[tokio::test]
    async fn events_of_version_1_become_objects_of_texts() {
        let pair = |name: &str, text: &str| {
            let length = |text: &str| u32::try_from(text.len()).unwrap().to_be_bytes();
            [&length(name)[..], name.as_bytes(), &length(text), text.as_bytes()].concat()
        };
        let event = |pairs: &[Vec<u8>]| {
            [&b"1D\0\0\0\x09\0\0\0"[..], &[u8::try_from(pairs.len()).unwrap()], &pairs.concat()].concat()
        };
        let sent =
            [event(&[pair("line", "a \"b\""), pair("n", "")]), event(&[pair("line", &"x".repeat(99))])]
                .concat();
        let (seen, broken) = read(&sent, 7, 60).await;
        assert_eq!(seen, [r#"9 {"line":"a \"b\"","n":""}"#, "9 larger than 60 bytes"]);
        assert!(broken.is_none());
    }

    #[tokio::test]
    async fn a_compressed_frame_within_another_and_a_bomb_end_the_connection() {
        let nested = compressed(&compressed(b"2J\0\0\0\x01\0\0\0\x02{}"));
        let (seen, broken) = read(&nested, 64, 50).await;
        assert!(seen.is_empty() && matches!(broken, Some(Broken::Syntax(_))), "{broken:?}");
        let bomb = [&b"2J\0\0\0\x01\x02\0\0\0"[..], &vec![b' '; 32 << 20]].concat();
        let (seen, broken) = read(&compressed(&bomb), 4096, 50).await;
        assert!(seen.is_empty() && broken.is_some(), "{broken:?}");
        let (_, broken) = read(&compressed(&b"2W\0\0\0\x01".repeat(6 << 20)), 4096, 50).await;
        assert!(matches!(broken, Some(Broken::Bomb | Broken::Io(_))), "{broken:?}");
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_connection() {
        for bad in
            [&b"3W\0\0\0\x01"[..], b"2A\0\0\0\x01", b"GET / HTTP/1.1\r\n", b"2C\0\0\0\x04abcd", b"2J\0\0"]
        {
            assert!(read(bad, 64, 50).await.1.is_some(), "{bad:x?}");
        }
    }

    #[test]
    fn an_acknowledgement_names_the_last_event() {
        assert_eq!(acked(ack(b'2', 7)), Some(7));
        assert_eq!(acked(*b"2J\0\0\0\x01"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (seen, _) = runtime.block_on(read(&[b"2", &*bytes].concat(), piece, 100));
            prop_assert!(seen.len() <= bytes.len());
        }

        #[test]
        fn what_is_written_is_read(
            windows in proptest::collection::vec(proptest::collection::vec(".{0,30}", 0..9), 0..5),
            piece in 1usize..300,
            is_packed: bool,
        ) {
            let sent: Vec<u8> = windows.iter().flat_map(|texts| window(texts, is_packed)).collect();
            let mut expected = Vec::new();
            for texts in &windows {
                expected.push(format!("window {}", texts.len()));
                expected.extend(texts.iter().enumerate().map(|(index, text)| format!("{} {text}", index + 1)));
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (seen, broken) = runtime.block_on(read(&sent, piece, 1000));
            prop_assert!(broken.is_none());
            prop_assert_eq!(seen, expected);
        }
    }
}
