//! Writing messages: RFC 5424, with the count in front of it that RFC 5425 and RFC 6587 want.

use jiff::Timestamp;

/// What stands for a part that is not there (RFC 5424 section 6).
pub const NIL: &str = "-";

/// What stands in front of a message.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// 0 to 23.
    pub facility: u8,
    /// 0 to 7.
    pub severity: u8,
    /// Microseconds since the Unix epoch.
    pub ts_us: i64,
    pub hostname: &'a str,
    pub app: &'a str,
    pub procid: &'a str,
    pub msgid: &'a str,
}

/// Appends `LEN SP HEADER [ID NAME="VALUE" …]… TEXT`. Names of elements and parameters are ours and are written as they are
/// (see [`sd_id`]); values are escaped.
pub fn write(header: &Header<'_>, elements: &[(&str, &[(&str, &str)])], text: &[u8], out: &mut Vec<u8>) {
    let mut front = Vec::with_capacity(256);
    head(header, &mut front);
    for (id, params) in elements {
        element(id, params, &mut front);
    }
    if elements.is_empty() {
        front.extend_from_slice(NIL.as_bytes());
    }
    let space = usize::from(!text.is_empty());
    out.extend_from_slice(itoa::Buffer::new().format(front.len() + space + text.len()).as_bytes());
    out.push(b' ');
    out.extend_from_slice(&front);
    if space > 0 {
        out.push(b' ');
        out.extend_from_slice(text);
    }
}

fn head(header: &Header<'_>, out: &mut Vec<u8>) {
    let pri = header.facility.min(23) * 8 + header.severity.min(7);
    let time = Timestamp::from_microsecond(header.ts_us).map(|time| format!("{time:.6}"));
    out.extend_from_slice(format!("<{pri}>1 {} ", time.as_deref().unwrap_or(NIL)).as_bytes());
    // The longest that the RFC allows (section 6).
    for (part, most) in [(header.hostname, 255), (header.app, 48), (header.procid, 128), (header.msgid, 32)] {
        word(part, most, out);
        out.push(b' ');
    }
}

/// PRINTUSASCII of at most so many bytes; other characters are `_`.
fn word(text: &str, most: usize, out: &mut Vec<u8>) {
    let text = if text.is_empty() { NIL } else { text };
    out.extend(text.bytes().take(most).map(|byte| if byte.is_ascii_graphic() { byte } else { b'_' }));
}

fn element(id: &str, params: &[(&str, &str)], out: &mut Vec<u8>) {
    out.push(b'[');
    out.extend_from_slice(id.as_bytes());
    for (name, value) in params {
        out.extend_from_slice(format!(" {name}=\"").as_bytes());
        for byte in value.bytes() {
            if matches!(byte, b'"' | b'\\' | b']') {
                out.push(b'\\');
            }
            // A line end would end the message for those who read lines.
            out.push(if byte.is_ascii_control() { b' ' } else { byte });
        }
        out.push(b'"');
    }
    out.push(b']');
}

/// The longest name of an element.
const MAX_SD_ID: usize = 32;

/// Whether it can be the name of an element of structured data (RFC 5424 section 6.3.2): printable, no more than 32
/// characters, none of `="]` and no space.
pub fn sd_id(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'=' | b'"' | b']');
    !text.is_empty() && text.len() <= MAX_SD_ID && text.bytes().all(is_fit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::{Framing, Message};
    use super::*;

    const HEADER: Header<'_> = Header {
        facility: 16,
        severity: 6,
        ts_us: 1_795_252_443_512_804,
        hostname: "edge-1",
        app: "tollgate",
        procid: "2211",
        msgid: "access",
    };

    #[test]
    fn a_message_has_its_count_and_its_parts() {
        let mut out = Vec::new();
        write(&HEADER, &[("tg@1", &[("id", "a\"b]c\\d\n")])], b"{}", &mut out);
        write(&Header { hostname: "", app: "a b", ..HEADER }, &[], b"", &mut out);
        let text = String::from_utf8(out).unwrap();
        let time = "2026-11-21T09:14:03.512804Z";
        let first = format!("<134>1 {time} edge-1 tollgate 2211 access [tg@1 id=\"a\\\"b\\]c\\\\d \"] {{}}");
        let second = format!("<134>1 {time} - a_b 2211 access -");
        assert_eq!(text, format!("{} {first}{} {second}", first.len(), second.len()));
    }

    #[test]
    fn names_of_elements_are_what_the_rfc_allows() {
        assert!(sd_id("secret@41058") && sd_id(&"x".repeat(32)));
        for bad in ["", "a b", "a=b", "a]b", "a\"b", "ä", &"x".repeat(33)] {
            assert!(!sd_id(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            severity in 0u8..8,
            // syslog_loose 0.23 takes a lone colon for no name.
            app in "[!-~&&[^-]]{1,60}".prop_filter("a name", |app| app != ":"),
            value in "[ -~é]{0,40}",
            text in "[!-~é][ -~é]{0,60}[!-~]",
        ) {
            let mut out = Vec::new();
            let header = Header { severity, app: &app, ..HEADER };
            write(&header, &[("tg@1", &[("k", &value)])], text.as_bytes(), &mut out);
            let mut framing = Framing::new(1000);
            framing.buffer.extend_from_slice(&out);
            let message = framing.message().unwrap().unwrap();
            prop_assert!(framing.is_between());
            let message = String::from_utf8(message.to_vec()).unwrap();
            let read = Message::parse(&message, Timestamp::UNIX_EPOCH).to_json(false);
            let read: Value = serde_json::from_slice(&read).unwrap();
            prop_assert_eq!(read["app"].as_str(), Some(&app[..app.len().min(48)]));
            prop_assert_eq!(read["sd.tg@1.k"].as_str(), Some(&*value));
            prop_assert_eq!(read["msg"].as_str(), Some(&*text));
            prop_assert_eq!(read["severity"].as_u64(), Some(severity.into()));
            prop_assert_eq!(read["ts"].as_str(), Some("2026-11-21T09:14:03.512804Z"));
        }
    }
}
