//! Judges the bytes that reached an origin: strict where real origins differ, because a difference is an attack.

use super::client::find_bytes;

/// Whether `raw`, all bytes of one connection, is a sequence of clean requests (the last may be unfinished).
pub(crate) fn check(raw: &[u8]) -> Result<(), String> {
    let mut rest = raw;
    while !rest.is_empty() {
        let Some(end) = find_bytes(rest, b"\r\n\r\n") else {
            return Err(format!("half a head: {}", show(rest)));
        };
        let (head, body) = (&rest[..end + 2], &rest[end + 4..]);
        let framing = check_head(head).map_err(|why| format!("{why}: {}", show(head)))?;
        if framing == Framing::Tunnel {
            return Ok(());
        }
        let used = check_body(&framing, body).map_err(|why| format!("{why}: {}", show(rest)))?;
        let Some(used) = used else { return Ok(()) };
        rest = &body[used..];
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    Tunnel,
}

const BARE_LF: &str = "a line that ends with a bare LF";

fn check_head(head: &[u8]) -> Result<Framing, &'static str> {
    let mut lines = head.split_inclusive(|byte| *byte == b'\n');
    let line = lines.next().ok_or("no request line")?;
    check_request_line(line.strip_suffix(b"\r\n").ok_or(BARE_LF)?)?;
    let mut seen = Names::default();
    for line in lines {
        check_field(line.strip_suffix(b"\r\n").ok_or(BARE_LF)?, &mut seen)?;
    }
    seen.framing()
}

fn check_request_line(line: &[u8]) -> Result<(), &'static str> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else { return Err("request line with other than three words") };
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
        return Err("bad method");
    }
    let visible = |byte: &u8| (0x21..0x7f).contains(byte);
    if target.is_empty() || !target.iter().all(visible) || target.contains(&b'#') {
        return Err("bad target");
    }
    if target[0] != b'/' && target != b"*" {
        return Err("target in neither origin nor asterisk form");
    }
    if version == b"HTTP/1.1" { Ok(()) } else { Err("version other than HTTP/1.1") }
}

#[derive(Default)]
struct Names {
    host: Vec<Vec<u8>>,
    length: Vec<Vec<u8>>,
    coding: Vec<Vec<u8>>,
    upgrade: bool,
}

impl Names {
    fn framing(&self) -> Result<Framing, &'static str> {
        let [host] = &self.host[..] else { return Err("not exactly one Host") };
        let good = |b: &u8| b.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(b);
        if host.is_empty() || !host.iter().all(good) {
            return Err("bad Host");
        }
        if self.upgrade {
            return Ok(Framing::Tunnel);
        }
        match (&self.coding[..], &self.length[..]) {
            ([], []) => Ok(Framing::Length(0)),
            ([coding], []) if coding == b"chunked" => Ok(Framing::Chunked),
            ([_, ..], []) => Err("Transfer-Encoding other than chunked"),
            ([], [length]) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
                let text = String::from_utf8_lossy(length);
                text.parse().map(Framing::Length).map_err(|_| "Content-Length too large")
            }
            ([], _) => Err("bad or repeated Content-Length"),
            _ => Err("Content-Length beside Transfer-Encoding"),
        }
    }
}

fn check_field(line: &[u8], seen: &mut Names) -> Result<(), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("field without colon")?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
        return Err("bad field name");
    }
    if value.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f) {
        return Err("control byte in a value");
    }
    match name.to_ascii_lowercase().as_slice() {
        b"host" => seen.host.push(value.to_vec()),
        b"content-length" => seen.length.push(value.to_vec()),
        b"transfer-encoding" => seen.coding.push(value.to_vec()),
        b"upgrade" => seen.upgrade = true,
        _ => {}
    }
    Ok(())
}

/// Bytes of the body; `None` when it is not complete yet.
fn check_body(framing: &Framing, body: &[u8]) -> Result<Option<usize>, &'static str> {
    match framing {
        Framing::Length(length) => Ok((body.len() >= *length).then_some(*length)),
        Framing::Tunnel => Ok(None),
        Framing::Chunked => check_chunks(body),
    }
}

fn check_chunks(body: &[u8]) -> Result<Option<usize>, &'static str> {
    let mut at = 0;
    loop {
        let Some(line) = find_bytes(&body[at..], b"\r\n") else { return Ok(None) };
        let digits = std::str::from_utf8(&body[at..at + line]).map_err(|_| "bad chunk size")?;
        if digits.is_empty() || digits.len() > 16 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("bad chunk size");
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| "chunk size overflows")?;
        at += line + 2;
        if size == 0 {
            return check_trailers(body, at);
        }
        let Some(after) = body.get(at + size..at + size + 2) else { return Ok(None) };
        if after != b"\r\n" {
            return Err("chunk without its CRLF");
        }
        at += size + 2;
    }
}

const NEVER_TRAILERS: [&[u8]; 8] = [
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"authorization",
    b"cookie",
    b"connection",
    b"x-forwarded-for",
    b"forwarded",
];

fn check_trailers(body: &[u8], mut at: usize) -> Result<Option<usize>, &'static str> {
    loop {
        let Some(end) = find_bytes(&body[at..], b"\r\n") else { return Ok(None) };
        let line = &body[at..at + end];
        at += end + 2;
        if line.is_empty() {
            return Ok(Some(at));
        }
        check_field(line, &mut Names::default())?;
        let name = line.split(|b| *b == b':').next().unwrap_or_default().to_ascii_lowercase();
        if NEVER_TRAILERS.contains(&name.as_slice()) {
            return Err("a field that must never be a trailer");
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(crate) fn show(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(300)].escape_ascii().to_string()
}

#[test]
fn calls_a_clean_connection_clean() {
    let clean = b"GET /a?b HTTP/1.1\r\nhost: a.example:80\r\nx:\r\n\r\n\
        POST / HTTP/1.1\r\nHost: [::1]\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 0\r\n\r\n\
        POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\n\r\nab";
    assert_eq!(check(clean), Ok(()));
}

#[test]
fn calls_dirty_bytes_dirty() {
    let dirty: [&[u8]; 12] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx: a\nb: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx : c\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: x, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 1\r\n\r\nabGET",
    ];
    for raw in dirty {
        assert!(check(raw).is_err(), "{}", show(raw));
    }
}
