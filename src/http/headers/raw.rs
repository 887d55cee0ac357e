//! The bytes of one HTTP/1 head, before the parser: only here can be seen what the parser forgives or hides.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memrchr};

use super::refusal::Refusal;

/// What the raw head said; the parsed head cannot tell these any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFacts {
    /// Bytes from the start of the buffer up to and with the empty line.
    pub head_len: usize,
    /// 0 or 1: the minor version of `HTTP/1.x`.
    pub minor: u8,
    /// Lines between the request line and the empty line.
    pub fields: u16,
    pub has_host: bool,
    pub has_content_length: bool,
    pub has_transfer_encoding: bool,
}

/// Where the head ends: the offset after its empty line, `None` while it is still incomplete. `from` is the length of
/// the buffer at the last call, so that a head that arrives byte by byte costs linear time.
///
/// The laxest reading counts (bare LF ends a line): an earlier end than the parser sees would let a second head hide
/// behind the first. [`check_raw_head`] then refuses it.
pub fn find_head_end(buffer: &[u8], from: usize) -> Option<usize> {
    let start = leading_line_ends(buffer);
    let first = from.saturating_sub(3).max(start);
    let rest = buffer.get(first..)?;
    for at in memchr_iter(b'\n', rest) {
        match &rest[at + 1..] {
            [b'\n', ..] => return Some(first + at + 2),
            [b'\r', b'\n', ..] => return Some(first + at + 3),
            _ => {}
        }
    }
    None
}

/// Checks the bytes of one HTTP/1 head, from its request line up to and with the empty line.
///
/// One leading CRLF is forgiven (RFC 9112 section 2.2). Refused are: bare CR or LF, control bytes, folded lines,
/// white space before the colon or in front of a line, an empty name, a line without colon, a request line that is not
/// `method SP target SP HTTP/1.(0|1)` or that holds `#` or bytes outside ASCII, and more than one of (or a mix of)
/// Content-Length and Transfer-Encoding, more than one Host, Transfer-Encoding in HTTP/1.0.
pub fn check_raw_head(head: &[u8]) -> Result<RawFacts, Refusal> {
    let lines = head.strip_prefix(b"\r\n").unwrap_or(head);
    if !ends_cleanly(lines) || has_stray_bytes(lines) {
        return Err(diagnose(lines));
    }
    // Proved by `ends_cleanly`: there is a line end, and the last four bytes are two of them.
    let first = memchr(b'\r', lines).unwrap_or(0);
    let minor = check_request_line(&lines[..first])?;
    let mut facts = RawFacts {
        head_len: head.len(),
        minor,
        fields: 0,
        has_host: false,
        has_content_length: false,
        has_transfer_encoding: false,
    };
    check_fields(&lines[first + 2..lines.len() - 2], &mut facts)?;
    if facts.has_transfer_encoding && facts.has_content_length {
        return Err(Refusal::bad("content-length beside transfer-encoding"));
    }
    if facts.has_transfer_encoding && minor == 0 {
        return Err(Refusal::bad("transfer-encoding in HTTP/1.0"));
    }
    Ok(facts)
}

/// Method and target of a head that may be broken or incomplete, as ranges into it: for the record of a refused
/// request. What they hold is hostile and must be escaped before it is shown.
pub fn request_line(head: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    let start = leading_line_ends(head);
    let line = &head[start..];
    let line = &line[..memchr2(b'\r', b'\n', line).unwrap_or(line.len())];
    let method = memchr(b' ', line)?;
    let end = memrchr(b' ', line).filter(|&end| end > method).unwrap_or(line.len());
    Some((start..start + method, start + method + 1..start + end))
}

fn leading_line_ends(buffer: &[u8]) -> usize {
    buffer.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(buffer.len())
}

fn ends_cleanly(lines: &[u8]) -> bool {
    lines.ends_with(b"\r\n\r\n") && !matches!(lines[0], b'\r' | b'\n' | b' ' | b'\t')
}

/// Control bytes, or a CR and LF that are not a pair. Without branches, so that it becomes vector code.
fn has_stray_bytes(lines: &[u8]) -> bool {
    let pairs = lines.iter().zip(&lines[1..]);
    pairs.fold(0_u8, |stray, (&byte, &next)| {
        let line_end = (byte == b'\r') | (byte == b'\n');
        let control = ((byte < b' ') & (byte != b'\t') & !line_end) | (byte == 0x7f);
        stray | u8::from(control | ((byte == b'\r') != (next == b'\n')))
    }) != 0
}

#[cold]
fn diagnose(lines: &[u8]) -> Refusal {
    if matches!(lines.first(), Some(b'\r' | b'\n' | b' ' | b'\t')) {
        return Refusal::bad("white space before the request line");
    }
    for (at, &byte) in lines.iter().enumerate() {
        match byte {
            b'\r' if lines.get(at + 1) != Some(&b'\n') => return Refusal::bad("bare CR"),
            b'\n' if at == 0 || lines[at - 1] != b'\r' => return Refusal::bad("bare LF"),
            b'\r' | b'\n' | b'\t' => {}
            0..b' ' | 0x7f => return Refusal::bad("control byte in the head"),
            _ => {}
        }
    }
    Refusal::bad("head without an empty line at its end")
}

/// `method SP target SP HTTP/1.x`; gives the minor version.
fn check_request_line(line: &[u8]) -> Result<u8, Refusal> {
    let (rest, minor) = match line.split_at_checked(line.len().saturating_sub(9)) {
        Some((rest, b" HTTP/1.1")) => (rest, 1),
        Some((rest, b" HTTP/1.0")) => (rest, 0),
        _ => return Err(Refusal::bad("request line without HTTP/1.1 or HTTP/1.0")),
    };
    let Some(method) = memchr(b' ', rest).filter(|&len| len > 0) else {
        return Err(Refusal::bad("request line without method or target"));
    };
    let target = &rest[method + 1..];
    // Also finds a second space. `#` must be seen here: the parser cuts fragments off without a word.
    let odd = target.iter().fold(false, |odd, &b| odd | (b <= b' ') | (b == b'#') | (b >= 0x7f));
    if odd || target.is_empty() || memchr(b'\t', &rest[..method]).is_some() {
        return Err(Refusal::bad("space, fragment or raw byte in the request line"));
    }
    Ok(minor)
}

fn check_fields(lines: &[u8], facts: &mut RawFacts) -> Result<(), Refusal> {
    let mut start = 0;
    for end in memchr_iter(b'\n', lines) {
        check_field(&lines[start..end], facts)?;
        facts.fields = facts.fields.saturating_add(1);
        start = end + 1;
    }
    Ok(())
}

fn check_field(line: &[u8], facts: &mut RawFacts) -> Result<(), Refusal> {
    let Some(name) = memchr(b':', line) else {
        return Err(no_colon(line));
    };
    if name == 0 || matches!(line[0], b' ' | b'\t') {
        return Err(Refusal::bad("folded line or empty field name"));
    }
    if matches!(line[name - 1], b' ' | b'\t') {
        return Err(Refusal::bad("white space before the colon"));
    }
    let (seen, twice) = match (line[0] | 0x20, name) {
        (b'h', 4) if line[..4].eq_ignore_ascii_case(b"host") => (&mut facts.has_host, "more than one Host"),
        (b'c', 14) if line[..14].eq_ignore_ascii_case(b"content-length") => {
            (&mut facts.has_content_length, "more than one Content-Length")
        }
        (b't', 17) if line[..17].eq_ignore_ascii_case(b"transfer-encoding") => {
            (&mut facts.has_transfer_encoding, "more than one Transfer-Encoding")
        }
        _ => return Ok(()),
    };
    if *seen {
        return Err(Refusal::bad(twice));
    }
    *seen = true;
    Ok(())
}

#[cold]
fn no_colon(line: &[u8]) -> Refusal {
    match line.first() {
        Some(b' ' | b'\t') => Refusal::bad("folded line or empty field name"),
        _ => Refusal::bad("field without a colon"),
    }
}

#[cfg(test)]
#[path = "raw_tests.rs"]
mod tests;
