//! The record as a line of the "combined" format of Apache and nginx, for the tools that read only that.

use std::io::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::escape::backslash;
use super::{Proto, Record};

/// Appends `client - - [time] "request" status bytes "referer" "user agent"` and a line feed. Times are UTC.
#[inline(never)]
pub fn write(record: &Record<'_>, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = match record.client_ip {
        Some(ip) => write!(out, "{ip}"),
        None => write!(out, "-"),
    };
    let time = Timestamp::from_microsecond(record.ts_us).unwrap_or_default().to_zoned(TimeZone::UTC);
    let _ = write!(out, " - - [{}] ", time.strftime("%d/%b/%Y:%H:%M:%S %z"));
    request_line(record, out);
    let _ = write!(out, " {:03} {} ", record.status, record.tx_body_b);
    quoted(record.referer, out);
    out.push(b' ');
    quoted(record.ua, out);
    out.push(b'\n');
}

fn request_line(record: &Record<'_>, out: &mut Vec<u8>) {
    let (Some(method), Some(path)) = (record.method, record.path) else {
        return quoted(None, out);
    };
    out.push(b'"');
    backslash(method, out);
    out.push(b' ');
    backslash(path, out);
    if let Some(query) = record.query {
        out.push(b'?');
        backslash(query, out);
    }
    if let Some(proto) = record.proto {
        out.extend_from_slice(protocol(proto));
    }
    out.push(b'"');
}

fn protocol(proto: Proto) -> &'static [u8] {
    match proto {
        Proto::Http10 => b" HTTP/1.0",
        Proto::Http11 => b" HTTP/1.1",
        Proto::Http2 => b" HTTP/2.0",
    }
}

fn quoted(text: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(b'"');
    backslash(text.unwrap_or(b"-"), out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        write(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_the_line_that_log_readers_know() {
        let record = Record {
            ts_us: 1_795_252_443_512_804,
            client_ip: Some("203.0.113.9".parse().unwrap()),
            method: Some(b"GET"),
            path: Some(b"/a\"b"),
            query: Some(b"x=1"),
            proto: Some(Proto::Http2),
            status: 200,
            tx_body_b: 2326,
            ua: Some(b"curl/8\x1b[0m"),
            ..Record::default()
        };
        assert_eq!(
            line(&record),
            "203.0.113.9 - - [21/Nov/2026:09:14:03 +0000] \"GET /a\\\"b?x=1 HTTP/2.0\" 200 2326 \"-\" \
             \"curl/8\\x1b[0m\"\n"
        );
    }

    #[test]
    fn writes_a_dash_for_what_is_not_there() {
        let record = Record { ts_us: i64::MAX, ..Record::default() };
        assert_eq!(line(&record), "- - - [01/Jan/1970:00:00:00 +0000] \"-\" 000 0 \"-\" \"-\"\n");
    }
}
