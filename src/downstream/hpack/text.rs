//! Integers and strings of HPACK (RFC 7541 section 5), and what is known of Huffman-coded text without decoding it.

use httlib_huffman::DecoderSpeed;

/// A string literal as it stands in the block.
pub(super) struct Text<'b> {
    pub(super) bytes: &'b [u8],
    pub(super) is_huffman: bool,
}

impl<'b> Text<'b> {
    /// The text decoded; `None` when its Huffman code is invalid.
    pub(super) fn plain<'s>(&self, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]>
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
    pub(super) fn is_coded_plain(&self, is_path: bool) -> bool {
        let is_clear = !has_suspicious_bits(self.bytes, is_path) && !has_outer_space(self.bytes);
        is_clear || has_plain_codes(self.bytes, is_path)
    }
}

/// The code of a space.
pub(super) const SPACE: u32 = 0b01_0100;

/// Whether Huffman-coded text may hold a control character, DEL or a byte beyond ASCII; for a path, `#` too.
///
/// By their codes (RFC 7541 appendix B): NUL is ten ones and three zeros, `#` nine ones and 010, the others begin with
/// 15 ones or more, and of the printable characters only `\` does. Such bits may also come about between two codes.
pub(super) fn has_suspicious_bits(text: &[u8], is_path: bool) -> bool {
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
pub(super) fn has_outer_space(text: &[u8]) -> bool {
    let Some(first) = text.first() else { return false };
    let end = text.iter().rev().take(2).rev().fold(0, |end, b| end << 8 | u32::from(*b));
    // The code of a space ends with a zero, so every one behind it is padding.
    let is_last = (end >> end.trailing_ones()) & 0x3f == SPACE;
    is_last || u32::from(first >> 2) == SPACE
}

/// Exactly what the two checks above guess: walks the codes by their lengths, which grow with their values.
pub(super) fn has_plain_codes(text: &[u8], is_path: bool) -> bool {
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

pub(super) struct Cursor<'b> {
    pub(super) block: &'b [u8],
    pub(super) at: usize,
}

impl<'b> Cursor<'b> {
    /// An integer with a prefix of `bits` (RFC 7541 section 5.1), of five bytes at most, as the library takes it.
    pub(super) fn integer(&mut self, bits: u8) -> Option<usize> {
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

    pub(super) fn text(&mut self) -> Option<Text<'b>> {
        let is_huffman = self.block.get(self.at)? & 0x80 != 0;
        let len = self.integer(7)?;
        let bytes = self.block.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(Text { bytes, is_huffman })
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }
}
