//! Client text made safe to print: JSON strings, hexadecimal digits, backslash escapes.

/// Appends `bytes` as a JSON string with its quotes, and tells whether they were valid UTF-8.
///
/// Control characters (C0, DEL, C1), line and paragraph separators and characters that turn the writing direction
/// are escaped, so that a line printed as it is can neither break nor drive a terminal. Bytes that are not UTF-8
/// show as U+FFFD: the caller who must not lose them writes them beside, with [`hex`].
pub fn json_string(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    out.push(b'"');
    let is_whole = if is_plain(bytes) {
        out.extend_from_slice(bytes);
        true
    } else {
        escape(bytes, out)
    };
    out.push(b'"');
    is_whole
}

/// Whether all bytes stand for themselves in JSON: printable ASCII without `"` and `\`.
pub fn is_plain(bytes: &[u8]) -> bool {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    match bytes.last_chunk::<BLOCK>() {
        // The last block overlaps the one before.
        Some(last) => are_plain(blocks.as_flattened()) && are_plain(last),
        None => {
            let mut padded = [b' '; BLOCK];
            padded[..bytes.len()].copy_from_slice(bytes);
            are_plain(&padded)
        }
    }
}

const BLOCK: usize = 32;

/// Two lower-case digits per byte.
#[inline(always)]
pub fn hex_digits<const N: usize>(bytes: &[u8; N]) -> [[u8; 2]; N] {
    let mut digits = [[0; 2]; N];
    digits.iter_mut().zip(bytes).for_each(|(two, byte)| *two = HEX[usize::from(*byte)]);
    digits
}

/// Appends two lower-case digits per byte.
pub fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    bytes.iter().for_each(|byte| out.extend_from_slice(&HEX[usize::from(*byte)]));
}

/// Begins a member of the JSON object in `out`, which begins with its brace: comma, name, colon.
pub fn member_name(name: &str, out: &mut Vec<u8>) {
    if out.len() > 1 {
        out.push(b',');
    }
    json_string(name.as_bytes(), out);
    out.push(b':');
}

/// Two lower-case digits per byte.
pub fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| HEX[usize::from(*byte)]).map(char::from).collect()
}

/// Appends `bytes` as Apache and nginx print them inside quotes: `\"`, `\\`, and `\xhh` for everything that is not
/// printable ASCII.
pub fn backslash(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x20..=0x7e => out.push(byte),
            _ => {
                out.extend_from_slice(b"\\x");
                hex(&[byte], out);
            }
        }
    }
}

static HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    table
};

/// `bytes` are whole blocks. Without an early end and not inlined, so that the loop is compiled to vector instructions.
#[inline(never)]
fn are_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, &byte| {
        plain & (byte.wrapping_sub(0x20) <= 0x5e) & (byte != b'"') & (byte != b'\\')
    })
}

#[cold]
fn escape(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let mut is_whole = true;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            escape_one(character, out);
        }
        if !chunk.invalid().is_empty() {
            is_whole = false;
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    is_whole
}

fn escape_one(character: char, out: &mut Vec<u8>) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        other if other.is_control() || is_directing(other) => {
            // All of them lie in the basic plane: four digits are enough.
            let [_, _, high, low] = u32::from(other).to_be_bytes();
            out.extend_from_slice(b"\\u");
            hex(&[high, low], out);
        }
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn is_directing(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(bytes: &[u8]) -> (String, bool) {
        let mut out = Vec::new();
        let is_whole = json_string(bytes, &mut out);
        (String::from_utf8(out).unwrap(), is_whole)
    }

    #[test]
    fn escapes_everything_that_could_drive_a_terminal() {
        assert_eq!(json(b"a\x1b[31m\"\\\x7f").0, r#""a\u001b[31m\"\\\u007f""#);
        assert_eq!(json("\u{85}\u{9b}\u{202e}é".as_bytes()).0, r#""\u0085\u009b\u202eé""#);
        assert_eq!(json(b"\r\n\t\0").0, r#""\r\n\t\u0000""#);
    }

    #[test]
    fn shows_and_tells_bytes_that_are_not_utf8() {
        assert_eq!(json(b"/a\xffb"), ("\"/a\u{fffd}b\"".into(), false));
        assert_eq!(json("/é".as_bytes()), ("\"/é\"".into(), true));
    }

    #[test]
    fn writes_hexadecimal_and_backslash_forms() {
        let mut out = Vec::new();
        hex(&[0, 0xff, 0x1b], &mut out);
        backslash(b" \"\\\n\xe9", &mut out);
        assert_eq!(out, br#"00ff1b \"\\\x0a\xe9"#);
    }

    proptest! {
        #[test]
        fn is_valid_json_that_means_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (text, is_whole) = json(&bytes);
            let read: String = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read, &String::from_utf8_lossy(&bytes));
            prop_assert_eq!(is_whole, std::str::from_utf8(&bytes).is_ok());
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}
