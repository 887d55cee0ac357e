//! [`Line`]: one line of JSON while it is written.

use std::io::Write as _;
use std::net::IpAddr;

use super::digits::Digits;
use crate::record::Id;
use crate::record::binary::Cut;
use crate::record::copy::copy_short;
use crate::record::escape::{hex, hex_digits, is_plain, json_string};
use crate::record::id::{self, TEXT_LEN};

/// Room for nearly every line. A longer one goes out in parts.
const SIZE: usize = 8 * 1024;

/// Where a line is put together before it goes out at once: each piece costs one comparison, and stores whose number
/// is known when compiled.
#[derive(Debug)]
pub(super) struct Buffer([u8; SIZE]);

impl Default for Buffer {
    fn default() -> Self {
        Self([0; SIZE])
    }
}

/// A line in the making. A key comes as `,"name":`, or as `,"name":"` for a text; it is known when compiled, and what
/// writes it is inlined.
pub(super) struct Line<'o> {
    out: &'o mut Vec<u8>,
    buffer: &'o mut [u8; SIZE],
    /// Bytes in the buffer, at most [`SIZE`]. A small type, so that sums with it are known not to overflow.
    at: u16,
    /// All texts are known to stand for themselves.
    are_plain: bool,
}

impl<'o> Line<'o> {
    pub(super) fn new(buffer: &'o mut Buffer, out: &'o mut Vec<u8>) -> Self {
        Self { out, buffer: &mut buffer.0, at: 0, are_plain: false }
    }

    /// The caller knows that all texts which follow stand for themselves, as [`is_plain`] says.
    pub(super) fn trust_texts(&mut self) {
        self.are_plain = true;
    }

    pub(super) fn end(mut self) {
        self.raw(b"}\n");
        self.flush();
    }

    /// Something of our own, which needs no escaping.
    #[inline(always)]
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        match self.room(bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.advance(bytes.len());
            }
            None => self.direct().extend_from_slice(bytes),
        }
    }

    #[inline(always)]
    pub(super) fn raw_number(&mut self, number: u64) {
        self.number(b"", Some(number));
    }

    #[inline(always)]
    pub(super) fn number(&mut self, key: &[u8], number: Option<impl Into<u64>>) {
        let Some(number) = number else { return };
        let number = number.into();
        match Digits::of(number) {
            Some(digits) => self.digits(key, digits),
            None => {
                self.raw(key);
                self.large_number(number);
            }
        }
    }

    #[inline(always)]
    pub(super) fn digits(&mut self, key: &[u8], digits: Digits) {
        match self.room(key.len() + 8) {
            Some(room) => {
                room[..key.len()].copy_from_slice(key);
                room[key.len()..].copy_from_slice(&digits.bytes());
                self.advance(key.len() + digits.length);
            }
            None => self.digits_beyond(key, digits),
        }
    }

    #[inline(always)]
    pub(super) fn id(&mut self, id: &Id) {
        match self.room(TEXT_LEN).and_then(<[u8]>::first_chunk_mut) {
            Some(room) => {
                id::write(id, room);
                self.advance(TEXT_LEN);
            }
            None => self.direct().extend_from_slice(&id::text(id)),
        }
    }

    #[inline(always)]
    pub(super) fn flag(&mut self, key: &[u8], flag: Option<bool>) {
        if let Some(flag) = flag {
            self.raw(key);
            self.raw(if flag { b"true" } else { b"false" });
        }
    }

    /// A word of our own, which needs no escaping.
    #[inline(always)]
    pub(super) fn word(&mut self, key: &[u8], word: &str) {
        self.raw(key);
        self.short(word.as_bytes());
        self.raw(b"\"");
    }

    /// The same as [`Self::raw`], for something whose length is not known when compiled.
    #[inline(always)]
    fn short(&mut self, bytes: &[u8]) {
        if let Some(room) = self.room(bytes.len())
            && copy_short(bytes, room)
        {
            self.advance(bytes.len());
        } else {
            self.direct().extend_from_slice(bytes);
        }
    }

    #[inline(always)]
    pub(super) fn text(&mut self, key: &[u8], text: Option<&str>) {
        if let Some(text) = text {
            self.raw(key);
            self.string(text.as_bytes());
        }
    }

    #[inline(always)]
    pub(super) fn bytes(&mut self, key: &[u8], bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else { return };
        self.raw(key);
        if !self.string(bytes) {
            self.exact(key, bytes);
        }
    }

    #[inline(always)]
    pub(super) fn hex<const N: usize>(&mut self, key: &[u8], bytes: Option<&[u8; N]>) {
        if let Some(bytes) = bytes {
            self.raw(key);
            self.raw(hex_digits(bytes).as_flattened());
            self.raw(b"\"");
        }
    }

    #[inline(always)]
    pub(super) fn ip(&mut self, key: &[u8], ip: Option<IpAddr>) {
        let Some(ip) = ip else { return };
        self.raw(key);
        match ip {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                self.raw_number(a.into());
                self.number(b".", Some(b));
                self.number(b".", Some(c));
                self.number(b".", Some(d));
            }
            // Writing to a Vec cannot fail.
            IpAddr::V6(ip) => drop(write!(self.direct(), "{ip}")),
        }
        self.raw(b"\"");
    }

    pub(super) fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.raw(b"[");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.raw(b",");
            }
            write(self, item);
        }
        self.raw(b"]");
    }

    pub(super) fn cut(&mut self, cut: Cut) {
        if !cut.is_empty() {
            self.raw(super::key!("cut"));
            let names: Vec<&str> = cut.names().collect();
            self.list(&names, |line, name| line.word(b"\"", name));
        }
    }

    /// The rest of a JSON string behind its first quote. Tells whether `bytes` were UTF-8.
    #[inline(never)]
    fn string(&mut self, bytes: &[u8]) -> bool {
        if self.are_plain
            && let Some([room @ .., quote]) = self.room(bytes.len() + 1)
            && copy_short(bytes, room)
        {
            *quote = b'"';
            self.advance(bytes.len() + 1);
            return true;
        }
        self.any_string(bytes)
    }

    #[inline(never)]
    fn any_string(&mut self, bytes: &[u8]) -> bool {
        let are_plain = self.are_plain || is_plain(bytes);
        match self.room(bytes.len() + 1) {
            Some([room @ .., quote]) if are_plain => {
                room.copy_from_slice(bytes);
                *quote = b'"';
                self.advance(bytes.len() + 1);
                true
            }
            _ => self.hard_string(bytes),
        }
    }

    #[cold]
    fn hard_string(&mut self, bytes: &[u8]) -> bool {
        let out = self.direct();
        // It brings its own quote.
        out.pop();
        json_string(bytes, out)
    }

    /// Beside a text that is not UTF-8: `,"name_hex":"…"`.
    #[cold]
    fn exact(&mut self, key: &[u8], bytes: &[u8]) {
        let out = self.direct();
        out.extend_from_slice(key.strip_suffix(b"\":\"").unwrap_or(key));
        out.extend_from_slice(b"_hex\":\"");
        hex(bytes, out);
        out.push(b'"');
    }

    #[inline(never)]
    fn large_number(&mut self, number: u64) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number).as_bytes();
        if let Some(room) = self.room(digits.len())
            && copy_short(digits, room)
        {
            self.advance(digits.len());
        } else {
            self.direct().extend_from_slice(digits);
        }
    }

    #[cold]
    fn digits_beyond(&mut self, key: &[u8], digits: Digits) {
        let out = self.direct();
        out.extend_from_slice(key);
        out.extend(digits.bytes().into_iter().take(digits.length));
    }

    /// The next `length` bytes of the buffer, if there are so many.
    #[inline(always)]
    fn room(&mut self, length: usize) -> Option<&mut [u8]> {
        let at = usize::from(self.at);
        self.buffer.get_mut(at..at + length)
    }

    /// `by` is at most the length of the last [`Self::room`].
    #[inline(always)]
    fn advance(&mut self, by: usize) {
        self.at += by as u16;
    }

    /// Where to go on without the buffer.
    #[inline(never)]
    fn direct(&mut self) -> &mut Vec<u8> {
        self.flush();
        self.out
    }

    fn flush(&mut self) {
        self.out.extend_from_slice(self.buffer.get(..usize::from(self.at)).unwrap_or_default());
        self.at = 0;
    }
}
