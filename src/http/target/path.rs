//! The canonical path (RFC 3986 section 6.2.2), or the refusal of a path with two readings.

use std::borrow::Cow;

use crate::http::headers::Refusal;

/// A path in canonical form.
#[derive(Debug, PartialEq, Eq)]
pub struct CanonicalPath<'a> {
    /// Borrowed exactly when nothing had to change.
    pub path: Cow<'a, str>,
    pub has_encoded_slash: bool,
}

/// Makes a path canonical: escapes of unreserved characters decoded, other escapes in upper case, raw characters that
/// RFC 3986 does not allow escaped, `//` merged, `.` and `..` resolved.
///
/// Refused, because origins disagree about them: a path that does not begin with `/`, `..` above the root, `\` and
/// `%5C`, `%00` and other escaped control bytes, `#`, broken escapes, overlong UTF-8, bytes outside ASCII, and dots
/// beside `;` or `%2F` that some origin would resolve (`/..;/`, `/..%2F`). A plain path costs one scan and no
/// allocation.
pub fn canonical_path(path: &str) -> Result<CanonicalPath<'_>, Refusal> {
    if !path.starts_with('/') {
        return Err(Refusal::bad("path without a leading slash"));
    }
    if is_plain(path.as_bytes()) {
        return Ok(CanonicalPath { path: Cow::Borrowed(path), has_encoded_slash: false });
    }
    careful(path)
}

/// Characters that a path may hold as they are, without the ones that need a closer look (`%`, `;`).
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 128 {
        table[b] = (b as u8).is_ascii_alphanumeric();
        b += 1;
    }
    let others = b"-._~!$&'()*+,=:@/";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// Nothing in it could change or be refused. A false "no" only costs time.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for &b in path {
        if !PLAIN[usize::from(b)] || (before == b'/' && (b == b'/' || b == b'.')) {
            return false;
        }
        before = b;
    }
    true
}

fn careful(path: &str) -> Result<CanonicalPath<'_>, Refusal> {
    let bytes = path.as_bytes();
    let mut done = Vec::with_capacity(bytes.len() + 8);
    let mut has_encoded_slash = false;
    let mut segments = bytes[1..].split(|&b| b == b'/').peekable();
    // The root. From here on `done` ends with the slash before the next segment.
    done.push(b'/');
    while let Some(segment) = segments.next() {
        let start = done.len();
        has_encoded_slash |= decode_into(segment, &mut done)?;
        let last = segments.peek().is_none();
        match &done[start..] {
            b"" => {}
            b"." => done.truncate(start),
            b".." => {
                done.truncate(start - 1);
                let parent = memchr::memrchr(b'/', &done).ok_or(Refusal::bad("path leaves the root"))?;
                done.truncate(parent + 1);
            }
            other => {
                check_hidden_dots(other)?;
                if !last {
                    done.push(b'/');
                }
            }
        }
    }
    if done == bytes {
        return Ok(CanonicalPath { path: Cow::Borrowed(path), has_encoded_slash });
    }
    let path = String::from_utf8(done).map_err(|_| Refusal::bad("path outside ASCII"))?;
    Ok(CanonicalPath { path: Cow::Owned(path), has_encoded_slash })
}

/// Appends a segment in canonical form, dot segments not yet resolved. Tells whether it holds `%2F`.
fn decode_into(segment: &[u8], done: &mut Vec<u8>) -> Result<bool, Refusal> {
    let mut slash = false;
    let mut rest = segment;
    while let [b, after @ ..] = rest {
        rest = after;
        match *b {
            b'%' => {
                let (byte, after) = escape(after)?;
                slash |= byte == b'/';
                check_escaped(byte, after)?;
                if is_unreserved(byte) {
                    done.push(byte)
                } else {
                    push_escape(byte, done)
                }
                rest = after;
            }
            b';' => done.push(b';'),
            b'\\' => return Err(Refusal::bad("backslash in the path")),
            b'#' => return Err(Refusal::bad("fragment in the path")),
            b if PLAIN[usize::from(b)] => done.push(b),
            b if b.is_ascii_graphic() => push_escape(b, done),
            _ => return Err(Refusal::bad("raw control, space or non-ASCII byte in the path")),
        }
    }
    Ok(slash)
}

fn escape(after: &[u8]) -> Result<(u8, &[u8]), Refusal> {
    if let [high, low, rest @ ..] = after
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        return Ok((high << 4 | low, rest));
    }
    Err(Refusal::bad("broken escape in the path"))
}

/// Bytes that are dangerous even when escaped. Latin-1 (`%E9`) passes: it is valid, and no reading turns it to ASCII.
fn check_escaped(byte: u8, after: &[u8]) -> Result<(), Refusal> {
    match byte {
        b'\\' => return Err(Refusal::bad("encoded backslash in the path")),
        0..b' ' | 0x7f => return Err(Refusal::bad("encoded control byte in the path")),
        _ => {}
    }
    // Overlong UTF-8: lenient decoders make ASCII (a dot, a slash) out of it.
    let too_low = match byte {
        0xc0 | 0xc1 => 0x80..=0xbf,
        0xe0 => 0x80..=0x9f,
        0xf0 => 0x80..=0x8f,
        _ => return Ok(()),
    };
    if let [b'%', after @ ..] = after
        && let Ok((next, _)) = escape(after)
        && too_low.contains(&next)
    {
        return Err(Refusal::bad("overlong UTF-8 in the path"));
    }
    Ok(())
}

/// A dot segment that shows only once an origin cuts off `;parameters` or decodes `%2F` and `%3B`.
fn check_hidden_dots(segment: &[u8]) -> Result<(), Refusal> {
    let mut start = 0;
    let mut at = 0;
    let mut splits = false;
    while at < segment.len() {
        let width = match &segment[at..] {
            [b';', ..] => 1,
            [b'%', b'2', b'F', ..] | [b'%', b'3', b'B', ..] => 3,
            _ => {
                at += 1;
                continue;
            }
        };
        splits = true;
        refuse_dots(&segment[start..at])?;
        at += width;
        start = at;
    }
    if splits { refuse_dots(&segment[start..]) } else { Ok(()) }
}

fn refuse_dots(piece: &[u8]) -> Result<(), Refusal> {
    match piece {
        b"." | b".." => Err(Refusal::bad("hidden dot segment in the path")),
        _ => Ok(()),
    }
}

fn push_escape(byte: u8, done: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    done.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
