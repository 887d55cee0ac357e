//! [`Follower`]: reads HPACK field blocks (RFC 7541) beside the HTTP/2 library, only to know what it would choke on.
//!
//! The library ends the whole connection for a field name or value that is no name or value, because it checks while
//! it decodes. So each block is looked at first: a sound one passes untouched, a malformed one gets its unsound
//! literals replaced by harmless ones of the same size, and the library's dynamic table stays in step with the
//! client's.
//!
//! The follower keeps no table of its own, only the class of each inserted entry: an index counts back from the newest
//! entry, whatever was evicted meanwhile. Huffman-coded text is decoded only when it may hold something unsound, see
//! [`has_suspicious_bits`].

use std::ops::Range;

use bytes::{BufMut, BytesMut};
use httlib_huffman::DecoderSpeed;

/// Entries of 32 bytes and more that fit in the default dynamic table of 4,096 bytes (RFC 7541 section 4.1).
const ENTRIES: usize = 128;
const STATIC: usize = 61;
/// The first bit of an indexed field (RFC 7541 section 6.1).
const INDEXED: u8 = 0x80;
/// Bytes of the decoding buffer that an idle connection keeps.
const KEPT: usize = 512;

/// A field that makes the library refuse its stream, and nothing but its stream.
const POISON: &[u8] = b"\x00\x02te\x01x";

/// Which block is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Head,
    /// They know no pseudo fields.
    Trailers,
    /// For a stream that takes none: the library refuses it whatever it holds.
    Stray,
}

/// What a field is, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Class {
    #[default]
    Field,
    Te,
    /// `content-length`.
    Length,
    /// A connection-specific field (RFC 9113 section 8.2.2).
    Hop,
    Method,
    Scheme,
    Path,
    Authority,
    Protocol,
    Status,
    /// The entry of the library is a stand-in: its name was unsound.
    Broken,
}

/// A field name as an index can give it again, and whether the value with it was sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    class: Class,
    is_sound: bool,
}

/// A literal that the library must not see.
#[derive(Debug)]
struct Repair {
    at: Range<usize>,
    stand_in: Option<StandIn>,
}

/// Keeps the dynamic table in step: an entry of the same size.
#[derive(Debug)]
struct StandIn {
    /// The representation of a sound name is kept; else its length in bytes.
    name: Result<Range<usize>, usize>,
    value: usize,
}

/// The block does not follow RFC 7541; the library says so to the client.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable;

/// See the module.
#[derive(Debug)]
pub struct Follower {
    entries: [Entry; ENTRIES],
    newest: usize,
    repairs: Vec<Repair>,
    scratch: Vec<u8>,
}

impl Default for Follower {
    fn default() -> Self {
        Self { entries: [Entry::default(); ENTRIES], newest: 0, repairs: Vec::new(), scratch: Vec::new() }
    }
}

impl Follower {
    /// Reads one whole block; gives the reason when the message is malformed (RFC 9113 sections 8.1.1 to 8.3).
    ///
    /// # Errors
    /// The block cannot be read: from here on the follower knows nothing about the connection.
    pub fn read(&mut self, block: &[u8], part: Part) -> Result<Option<&'static str>, Unreadable> {
        self.repairs.clear();
        let mut walk = Walk::new(part);
        let mut cursor = Cursor { block, at: 0 };
        while let Some(&first) = block.get(cursor.at) {
            // Nearly every field of nearly every request: an index of one byte.
            if (INDEXED | 1..0xff).contains(&first)
                && let Some(entry) = self.entry(usize::from(first ^ INDEXED))
            {
                cursor.at += 1;
                walk.see_indexed(usize::from(first ^ INDEXED), entry);
                continue;
            }
            self.representation(first, &mut cursor, &mut walk).ok_or(Unreadable)?;
        }
        if self.scratch.capacity() > KEPT {
            self.scratch = Vec::new();
        }
        let verdict = walk.verdict();
        Ok(if part == Part::Stray && self.repairs.is_empty() { None } else { verdict })
    }

    /// Writes the block that was just read without its unsound fields, and so that the library refuses its message.
    pub fn mend(&mut self, block: &[u8], part: Part, out: &mut BytesMut) {
        let mut from = 0;
        for repair in self.repairs.drain(..) {
            out.put_slice(&block[from..repair.at.start]);
            from = repair.at.end;
            if let Some(stand_in) = repair.stand_in {
                stand_in.write(block, out);
            }
        }
        out.put_slice(&block[from..]);
        if part != Part::Stray {
            out.put_slice(POISON);
        }
    }

    fn representation(&mut self, first: u8, cursor: &mut Cursor<'_>, walk: &mut Walk) -> Option<()> {
        match first {
            INDEXED.. => {
                let index = cursor.integer(7)?;
                walk.see_indexed(index, self.entry(index)?);
                Some(())
            }
            0x40.. => self.literal(cursor, walk, 6),
            0x20.. => cursor.integer(5).map(drop),
            _ => self.literal(cursor, walk, 4),
        }
    }

    #[inline]
    fn entry(&self, index: usize) -> Option<Entry> {
        match index.checked_sub(1)? {
            position @ 0..STATIC => Some(Entry { class: STATIC_CLASSES[position], is_sound: true }),
            position if position < STATIC + ENTRIES => {
                Some(self.entries[(self.newest + ENTRIES - (position - STATIC)) % ENTRIES])
            }
            _ => None,
        }
    }

    fn literal(&mut self, cursor: &mut Cursor<'_>, walk: &mut Walk, bits: u8) -> Option<()> {
        let start = cursor.at;
        let index = cursor.integer(bits)?;
        let (class, name_len) = match index {
            0 => {
                let name = cursor.text()?.plain(&mut self.scratch)?;
                (class_of(name), name.len())
            }
            index => {
                let class = self.entry(index)?.class;
                (class, class.name_len())
            }
        };
        let name_end = cursor.at;
        let text = cursor.text()?;
        let fault = class.fault(&text, &mut self.scratch)?;
        if class == Class::Method {
            walk.method = Method::of(text.plain(&mut self.scratch)?);
        }
        let is_inserted = bits == 6;
        // The library's entry for a broken name is sound by itself: only a broken new name needs repair.
        let is_name_broken = class == Class::Broken && index == 0;
        if is_name_broken || fault == Fault::Fatal {
            let keeps_name = !is_name_broken && !matches!(class, Class::Method | Class::Status);
            let value = text.plain(&mut self.scratch)?.len();
            let name = if keeps_name { Ok(start..name_end) } else { Err(name_len) };
            let stand_in = is_inserted.then_some(StandIn { name, value });
            self.repairs.push(Repair { at: start..cursor.at, stand_in });
        }
        let entry = Entry { class, is_sound: fault == Fault::None };
        walk.see(entry);
        if is_inserted {
            self.newest = (self.newest + 1) % ENTRIES;
            self.entries[self.newest] = entry;
        }
        Some(())
    }
}

impl StandIn {
    fn write(self, block: &[u8], out: &mut BytesMut) {
        const FILLER: u8 = b'x';
        match self.name {
            Ok(kept) => out.put_slice(&block[kept]),
            Err(len) => {
                out.put_u8(0x40);
                // An empty name has no sound stand-in; one byte more is evicted one entry earlier at worst.
                put_length(out, len.max(1));
                out.put_bytes(FILLER, len.max(1));
            }
        }
        put_length(out, self.value);
        out.put_bytes(FILLER, self.value);
    }
}

/// A string length with the prefix of 7 bits, no Huffman code (RFC 7541 sections 5.1 and 5.2).
fn put_length(out: &mut BytesMut, length: usize) {
    const PREFIX: usize = 0x7f;
    if length < PREFIX {
        return out.put_u8(length as u8);
    }
    out.put_u8(PREFIX as u8);
    let mut rest = length - PREFIX;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Connect,
    Ordinary,
    Unknown,
}

impl Method {
    fn of(text: &[u8]) -> Self {
        if text == b"CONNECT" { Self::Connect } else { Self::Ordinary }
    }

    /// Pseudo fields without which a message of this method is malformed (RFC 9113 sections 8.3.1 and 8.5).
    fn needs(self) -> u8 {
        match self {
            Self::Connect => Walk::METHOD | Walk::AUTHORITY,
            Self::Ordinary => Walk::METHOD | Walk::SCHEME | Walk::PATH,
            Self::Unknown => Walk::METHOD,
        }
    }
}

/// What was seen of one message.
struct Walk {
    part: Part,
    pseudo: u8,
    is_field_seen: bool,
    /// What an index stands for is known of GET and POST only.
    method: Method,
    malformed: Option<&'static str>,
}

impl Walk {
    const METHOD: u8 = Class::Method.bit();
    const SCHEME: u8 = Class::Scheme.bit();
    const PATH: u8 = Class::Path.bit();
    const AUTHORITY: u8 = Class::Authority.bit();

    fn new(part: Part) -> Self {
        Self { part, pseudo: 0, is_field_seen: false, method: Method::Unknown, malformed: None }
    }

    #[inline]
    fn see_indexed(&mut self, index: usize, entry: Entry) {
        if index == 2 || index == 3 {
            self.method = Method::Ordinary;
        }
        self.see(entry);
    }

    #[inline]
    fn see(&mut self, entry: Entry) {
        match entry {
            Entry { class: Class::Field, is_sound: true } => self.is_field_seen = true,
            special => self.see_special(special),
        }
    }

    fn see_special(&mut self, entry: Entry) {
        if !entry.is_sound {
            self.malformed.get_or_insert("invalid field value");
        }
        match entry.class {
            Class::Field | Class::Te | Class::Length => self.is_field_seen = true,
            Class::Method | Class::Scheme | Class::Path | Class::Authority => self.see_pseudo(entry.class),
            Class::Hop => self.refuse("connection field in HTTP/2"),
            Class::Protocol => self.refuse("extended CONNECT is not served"),
            Class::Status => self.refuse(":status in a request"),
            Class::Broken => self.refuse("invalid field name"),
        }
    }

    fn see_pseudo(&mut self, class: Class) {
        let bit = class.bit();
        if self.part == Part::Trailers {
            self.refuse("pseudo field in trailers");
        } else if self.is_field_seen {
            self.refuse("pseudo field after a field");
        } else if self.pseudo & bit != 0 {
            self.refuse("pseudo field twice");
        }
        self.pseudo |= bit;
    }

    fn refuse(&mut self, why: &'static str) {
        self.malformed.get_or_insert(why);
    }

    fn verdict(mut self) -> Option<&'static str> {
        let needed = self.method.needs();
        if self.part == Part::Head && self.pseudo & needed != needed {
            self.refuse("pseudo field missing");
        }
        if self.method == Method::Connect && self.pseudo != needed {
            self.refuse("CONNECT with scheme or path");
        }
        self.malformed
    }
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The message is malformed, and the library sees that by itself.
    Malformed,
    /// The library would end the connection.
    Fatal,
}

impl Class {
    /// The mark of a pseudo field among those seen.
    const fn bit(self) -> u8 {
        1 << (self as u8 - Self::Method as u8)
    }

    /// Of the classes whose name must be replaced with their value: filler is no status.
    fn name_len(self) -> usize {
        match self {
            Self::Method | Self::Status => 7,
            _ => 0,
        }
    }

    /// Checks a value; `None` when its Huffman code is invalid.
    fn fault(self, text: &Text<'_>, scratch: &mut Vec<u8>) -> Option<Fault> {
        let may_skip =
            !matches!(self, Self::Method | Self::Status | Self::Te | Self::Length | Self::Authority);
        if may_skip && text.is_huffman && text.is_coded_plain(self == Self::Path) {
            let is_empty_path = self == Self::Path && text.bytes.is_empty();
            return Some(if is_empty_path { Fault::Malformed } else { Fault::None });
        }
        let value = text.plain(scratch)?;
        Some(match self {
            Self::Field | Self::Hop | Self::Broken if !is_value(value) => Fault::Fatal,
            Self::Field | Self::Hop | Self::Broken => malformed_unless(!is_padded(value)),
            Self::Te | Self::Length if !is_value(value) => Fault::Fatal,
            Self::Te => malformed_unless(value == b"trailers"),
            Self::Length => malformed_unless(!value.is_empty() && value.iter().all(u8::is_ascii_digit)),
            Self::Method if http::Method::from_bytes(value).is_err() => Fault::Fatal,
            Self::Status if http::StatusCode::from_bytes(value).is_err() => Fault::Fatal,
            Self::Method | Self::Status => Fault::None,
            Self::Path | Self::Authority | Self::Scheme | Self::Protocol
                if std::str::from_utf8(value).is_err() =>
            {
                Fault::Fatal
            }
            Self::Path => {
                // The URI type would drop a fragment in silence.
                let is_sound = value.iter().all(|b| !matches!(b, 0..=b' ' | b'#' | 0x7f));
                malformed_unless(is_sound && !value.is_empty())
            }
            Self::Authority => malformed_unless(value.iter().all(|b| matches!(b, b'!'..=b'~'))),
            Self::Scheme | Self::Protocol => malformed_unless(value.iter().all(|b| matches!(b, b'!'..=b'~'))),
        })
    }
}

fn malformed_unless(is_sound: bool) -> Fault {
    if is_sound { Fault::None } else { Fault::Malformed }
}

/// What the library takes as a field value: any bytes but controls.
fn is_value(value: &[u8]) -> bool {
    // Without an early exit it becomes vector code.
    value.iter().fold(true, |sound, b| sound & (*b >= b' ' || *b == b'\t') & (*b != 0x7f))
}

/// White space around a value (RFC 9113 section 8.2.1).
fn is_padded(value: &[u8]) -> bool {
    matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

/// Lower-case token characters (RFC 9113 section 8.2.1).
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|b| {
            matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'^' | b'`' | b'|' | b'~')
        })
}

fn class_of(name: &[u8]) -> Class {
    match name {
        b"te" => Class::Te,
        b"content-length" => Class::Length,
        b"connection" | b"transfer-encoding" | b"upgrade" | b"keep-alive" | b"proxy-connection" => Class::Hop,
        b":method" => Class::Method,
        b":scheme" => Class::Scheme,
        b":path" => Class::Path,
        b":authority" => Class::Authority,
        b":protocol" => Class::Protocol,
        b":status" => Class::Status,
        name if is_name(name) => Class::Field,
        _ => Class::Broken,
    }
}

/// The classes of the static table (RFC 7541 appendix A), from index 1 on.
const STATIC_CLASSES: [Class; STATIC] = {
    let mut classes = [Class::Field; STATIC];
    classes[0] = Class::Authority;
    classes[1] = Class::Method;
    classes[2] = Class::Method;
    classes[3] = Class::Path;
    classes[4] = Class::Path;
    classes[5] = Class::Scheme;
    classes[6] = Class::Scheme;
    let mut index = 7;
    while index < 14 {
        classes[index] = Class::Status;
        index += 1;
    }
    classes[27] = Class::Length;
    classes[56] = Class::Hop;
    classes
};

/// A string literal as it stands in the block.
struct Text<'b> {
    bytes: &'b [u8],
    is_huffman: bool,
}

impl<'b> Text<'b> {
    /// The text decoded; `None` when its Huffman code is invalid.
    fn plain<'s>(&self, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]>
    where
        'b: 's,
    {
        if !self.is_huffman {
            return Some(self.bytes);
        }
        scratch.clear();
        httlib_huffman::decode(self.bytes, scratch, DecoderSpeed::FiveBits).ok()?;
        Some(scratch)
    }

    /// Coded text that holds nothing but printable ASCII and no space at either end, found without decoding it; for a
    /// path, no `#` either. Some such text is not recognised.
    fn is_coded_plain(&self, is_path: bool) -> bool {
        let is_clear = !has_suspicious_bits(self.bytes, is_path) && !has_outer_space(self.bytes);
        is_clear || has_plain_codes(self.bytes, is_path)
    }
}

/// The code of a space.
const SPACE: u32 = 0b01_0100;

/// Whether Huffman-coded text may hold a control character, DEL or a byte beyond ASCII; for a path, `#` too.
///
/// By their codes (RFC 7541 appendix B): NUL is ten ones and three zeros, `#` nine ones and 010, the others begin with
/// 15 ones or more, and of the printable characters only `\` does. Such bits may also come about between two codes.
fn has_suspicious_bits(text: &[u8], is_path: bool) -> bool {
    let is_in = |one: u64| {
        // Each bit tells whether a run of so many begins there.
        let two = one & one << 1;
        let four = two & two << 2;
        let eight = four & four << 4;
        let zero = !one;
        let nul = eight & two << 8 & zero << 10 & zero << 11 & zero << 12;
        let number_sign = eight & one << 8 & zero << 9 & one << 10 & zero << 11;
        let fifteen = eight & eight << 7;
        let found = if is_path { nul | fifteen | number_sign } else { nul | fifteen };
        found != 0
    };
    // Windows of 64 bits that overlap by 16.
    let mut rest = text;
    while let Some(window) = rest.first_chunk() {
        if is_in(u64::from_be_bytes(*window)) {
            return true;
        }
        rest = &rest[6..];
    }
    is_in(rest.iter().fold(0, |window, byte| window << 8 | u64::from(*byte)))
}

/// Whether Huffman-coded text may begin or end with a space; a tab has a long code.
fn has_outer_space(text: &[u8]) -> bool {
    let Some(first) = text.first() else { return false };
    let end = text.iter().rev().take(2).rev().fold(0, |end, b| end << 8 | u32::from(*b));
    // The code of a space ends with a zero, so every one behind it is padding.
    let is_last = (end >> end.trailing_ones()) & 0x3f == SPACE;
    is_last || u32::from(first >> 2) == SPACE
}

/// Exactly what the two checks above guess: walks the codes by their lengths, which grow with their values.
fn has_plain_codes(text: &[u8], is_path: bool) -> bool {
    let mut bytes = text.iter();
    let (mut window, mut have) = (0_u32, 0_u32);
    let (mut is_first, mut was_space) = (true, false);
    loop {
        // The longest code that is taken has twelve bits.
        while have < 12
            && let Some(byte) = bytes.next()
        {
            window |= u32::from(*byte) << (24 - have);
            have += 8;
        }
        if have < 8 && window.leading_ones() == have {
            // Padding.
            return !was_space;
        }
        let length = match window {
            0..0x5000_0000 => 5,
            0x5000_0000..0xb800_0000 => 6,
            0xb800_0000..0xf800_0000 => 7,
            0xf800_0000..0xfe00_0000 => 8,
            0xfe00_0000..0xff40_0000 => 10,
            0xff40_0000..0xffa0_0000 => 11,
            0xffa0_0000..0xffb0_0000 if is_path => return false,
            0xffa0_0000..0xffc0_0000 => 12,
            _ => return false,
        };
        was_space = length == 6 && window >> 26 == SPACE;
        if length > have || (is_first && was_space) {
            return false;
        }
        is_first = false;
        window <<= length;
        have -= length;
    }
}

struct Cursor<'b> {
    block: &'b [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    /// An integer with a prefix of `bits` (RFC 7541 section 5.1), of five bytes at most, as the library takes it.
    fn integer(&mut self, bits: u8) -> Option<usize> {
        let mask = (1 << bits) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Some(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn text(&mut self) -> Option<Text<'b>> {
        let is_huffman = self.block.get(self.at)? & 0x80 != 0;
        let len = self.integer(7)?;
        let bytes = self.block.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(Text { bytes, is_huffman })
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }
}

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;
