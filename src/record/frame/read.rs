//! Reading frames: trusts nothing, copies a payload only to decompress it.

use super::{CRC_AT, Codec, Form, HEAD, MAGIC, MAX_PAYLOAD, MAX_PROXY, PREFIX, Stream, VERSION, crc};

/// A frame whose checksum is right, or ([`Frame::peek`]) was so before.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub stream: Stream<'a>,
    /// Number of entries.
    pub count: u32,
    /// First and last sequence number; absent when no entry has one.
    pub numbers: Option<(u64, u64)>,
    /// Earliest and latest time of an entry, microseconds since the Unix epoch.
    pub times: (i64, i64),
    /// Length of the whole frame.
    pub len: usize,
    codec: Codec,
    raw_len: usize,
    payload: &'a [u8],
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame goes on beyond the bytes: torn, or still being written.
    #[error("the frame ends too early")]
    Short,
    #[error("no frame begins here")]
    Magic,
    #[error("the frame has version {0}, not {VERSION}")]
    Version(u8),
    #[error("a length or word of the frame is out of bounds")]
    Head,
    #[error("the checksum of the frame is wrong")]
    Checksum,
    #[error("the payload cannot be decompressed")]
    Payload,
}

/// One entry of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub form: Form,
    pub bytes: &'a [u8],
}

/// How long the frame is that begins at `bytes`, by its head alone. Its checksum may still be wrong.
pub fn length_of(bytes: &[u8]) -> Result<usize, FrameError> {
    let head = head(bytes)?;
    let (proxy, raw, stored) =
        (u16_at(head, 6) as usize, u32_at(head, 56) as usize, u32_at(head, 60) as usize);
    if proxy > MAX_PROXY || raw > MAX_PAYLOAD || stored > raw.max(1) {
        return Err(FrameError::Head);
    }
    Ok(HEAD + proxy + stored)
}

/// Where the next good frame begins, at or after `from`; `None` when there is none in these bytes.
pub fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    memchr::memmem::find_iter(rest, &MAGIC).map(|at| from + at).find(|at| Frame::parse(&bytes[*at..]).is_ok())
}

impl<'a> Frame<'a> {
    /// Reads the frame at the beginning of `bytes`; what stands behind it is not looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let (head, rest) = whole(bytes)?;
        if crc(&head[..CRC_AT], rest) != u32_at(head, CRC_AT) {
            return Err(FrameError::Checksum);
        }
        Self::of(head, rest)
    }

    /// The same without its checksum, which costs as much as copying the frame: only for bytes that this process has
    /// made, or has checked already.
    pub fn peek(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let (head, rest) = whole(bytes)?;
        Self::of(head, rest)
    }

    fn of(head: &'a [u8; HEAD], rest: &'a [u8]) -> Result<Self, FrameError> {
        let (proxy, payload) = rest.split_at_checked(u16_at(head, 6) as usize).ok_or(FrameError::Head)?;
        let proxy = std::str::from_utf8(proxy).map_err(|_| FrameError::Head)?;
        let (first, last) = (u64_at(head, 24), u64_at(head, 32));
        Ok(Self {
            stream: Stream { proxy, boot: u64_at(head, 8), core: u16_at(head, 16) },
            count: u32_at(head, 20),
            numbers: (first != 0 && first <= last).then_some((first, last)),
            times: (u64_at(head, 40) as i64, u64_at(head, 48) as i64),
            len: HEAD + rest.len(),
            codec: codec(head[5])?,
            raw_len: u32_at(head, 56) as usize,
            payload,
        })
    }

    /// The entries; `room` holds them when they have to be decompressed.
    pub fn entries<'r>(&self, room: &'r mut Vec<u8>) -> Result<Entries<'r>, FrameError>
    where
        'a: 'r,
    {
        let bytes: &'r [u8] = match self.codec {
            Codec::Raw => self.payload,
            Codec::Lz4 => {
                room.resize(self.raw_len, 0);
                let length = lz4_flex::block::decompress_into(self.payload, room);
                if length.ok() != Some(self.raw_len) {
                    return Err(FrameError::Payload);
                }
                room
            }
        };
        Ok(Entries { bytes })
    }
}

/// The entries of a frame in order; ends early, with an error, at one that goes over the end.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let entry = split_entry(self.bytes);
        self.bytes = entry.as_ref().map_or(&[], |(_, rest)| *rest);
        Some(entry.map(|(entry, _)| entry))
    }
}

fn split_entry(bytes: &[u8]) -> Result<(Entry<'_>, &[u8]), FrameError> {
    let (prefix, rest) = bytes.split_first_chunk::<PREFIX>().ok_or(FrameError::Payload)?;
    let [length @ .., form] = *prefix;
    let form = match form {
        1 => Form::Record,
        2 => Form::Json,
        _ => return Err(FrameError::Payload),
    };
    let (bytes, rest) =
        rest.split_at_checked(u32::from_le_bytes(length) as usize).ok_or(FrameError::Payload)?;
    Ok((Entry { form, bytes }, rest))
}

/// The head of the frame at the beginning of `bytes`, and exactly what follows it in the frame.
fn whole(bytes: &[u8]) -> Result<(&[u8; HEAD], &[u8]), FrameError> {
    let frame = bytes.get(..length_of(bytes)?).ok_or(FrameError::Short)?;
    frame.split_first_chunk().ok_or(FrameError::Short)
}

fn head(bytes: &[u8]) -> Result<&[u8; HEAD], FrameError> {
    let seen = bytes.len().min(MAGIC.len());
    if bytes[..seen] != MAGIC[..seen] {
        return Err(FrameError::Magic);
    }
    let head = bytes.first_chunk::<HEAD>().ok_or(FrameError::Short)?;
    if head[4] != VERSION {
        return Err(FrameError::Version(head[4]));
    }
    codec(head[5])?;
    Ok(head)
}

fn codec(byte: u8) -> Result<Codec, FrameError> {
    match byte {
        0 => Ok(Codec::Raw),
        1 => Ok(Codec::Lz4),
        _ => Err(FrameError::Head),
    }
}

fn u16_at(head: &[u8; HEAD], at: usize) -> u16 {
    u16::from_le_bytes([head[at], head[at + 1]])
}

fn u32_at(head: &[u8; HEAD], at: usize) -> u32 {
    u32::from(u16_at(head, at)) | u32::from(u16_at(head, at + 2)) << 16
}

fn u64_at(head: &[u8; HEAD], at: usize) -> u64 {
    u64::from(u32_at(head, at)) | u64::from(u32_at(head, at + 4)) << 32
}
