//! [`Follower`]: reads HPACK field blocks (RFC 7541) beside the HTTP/2 library, only to know what it would choke on.
//!
//! The library ends the whole connection for a field name or value that is no name or value, because it checks while
//! it decodes. So each block is looked at first: a sound one passes untouched, a malformed one gets its unsound
//! literals replaced by harmless ones of the same size, and the library's dynamic table stays in step with the
//! client's.
//!
//! The follower keeps no table of its own, only the class of each inserted entry: an index counts back from the newest
//! entry, whatever was evicted meanwhile. Huffman-coded text is decoded only when it may hold something unsound, see
//! `text`.

mod class;
mod text;
mod walk;

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use class::{Class, Entry, Fault, STATIC, STATIC_CLASSES, class_of};
use text::Cursor;
use walk::{Method, Walk};

/// Entries of 32 bytes and more that fit in the default dynamic table of 4,096 bytes (RFC 7541 section 4.1).
const ENTRIES: usize = 128;
/// Bytes of the dynamic table that we never change (RFC 9113 section 6.5.2).
const TABLE: usize = 4_096;
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

/// The block does not follow RFC 7541. The library sees most of it too, and says PROTOCOL_ERROR.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable;

/// See the module.
#[derive(Debug)]
pub struct Follower {
    entries: [Entry; ENTRIES],
    newest: usize,
    /// How many entries were ever inserted, at most [`ENTRIES`].
    inserted: usize,
    repairs: Vec<Repair>,
    scratch: Vec<u8>,
}

impl Default for Follower {
    fn default() -> Self {
        Self {
            entries: [Entry::default(); ENTRIES],
            newest: 0,
            inserted: 0,
            repairs: Vec::new(),
            scratch: Vec::new(),
        }
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
        sizes(&mut cursor).ok_or(Unreadable)?;
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
            // A size update is only where `sizes` has read it.
            0x20.. => None,
            _ => self.literal(cursor, walk, 4),
        }
    }

    #[inline]
    fn entry(&self, index: usize) -> Option<Entry> {
        match index.checked_sub(1)? {
            position @ 0..STATIC => Some(Entry { class: STATIC_CLASSES[position], is_sound: true }),
            position if position < STATIC + self.inserted => {
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
            self.inserted = ENTRIES.min(self.inserted + 1);
            self.entries[self.newest] = entry;
        }
        Some(())
    }
}

/// Dynamic table size updates: at the start of a block, and within the limit (RFC 7541 sections 4.2 and 6.3).
fn sizes(cursor: &mut Cursor<'_>) -> Option<()> {
    while let Some(0x20..0x40) = cursor.block.get(cursor.at) {
        if cursor.integer(5)? > TABLE {
            return None;
        }
    }
    Some(())
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

#[cfg(test)]
mod tests;
