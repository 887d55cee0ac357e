//! The record as a line of HAProxy's HTTP log format, for halog and the tools that read only that
//! (HAProxy configuration manual, section 8.2.3).

use std::io::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::members::Members;

/// The heading is what a syslog server puts in front of a line: halog reads nothing without it.
///
/// Appends a line for an exchange or a refused connection; nothing for other entries. Times are UTC, -1 is a phase that
/// was not reached.
pub fn write(members: &Members<'_>, has_heading: bool, out: &mut Vec<u8>) {
    if !matches!(members.text("kind").as_deref(), Some("request" | "close" | "conn")) {
        return;
    }
    let text = |name| members.text(name).unwrap_or_default();
    let number = |name| members.number(name).unwrap_or(0);
    let time: Timestamp = text("ts").parse().unwrap_or_default();
    let time = time.to_zoned(TimeZone::UTC);
    // Writing to a Vec cannot fail.
    if has_heading {
        let _ = write!(
            out,
            "{} {} tollgate[{}]: ",
            time.strftime("%b %e %H:%M:%S"),
            text("proxy"),
            number("core")
        );
    }
    let _ = write!(out, "{}:{} [", text("client_ip"), number("client_port"));
    let _ = write!(out, "{}] ", time.strftime("%d/%b/%Y:%H:%M:%S%.3f"));
    let (upstream, server) = (text("upstream"), text("up_addr"));
    let none = "<NOSRV>";
    let _ = write!(out, "{}{} ", text("listener"), if text("scheme") == "https" { "~" } else { "" });
    let upstream = if upstream.is_empty() { text("listener") } else { upstream };
    let _ = write!(out, "{upstream}/{} ", if server.is_empty() { none } else { &server });
    timers(members, out);
    let status = members.raw("status").filter(|status| *status != "0").unwrap_or("-1");
    let _ =
        write!(out, " {status} {} - - {} ", number("tx_head_b") + number("tx_body_b"), termination(members));
    let retries = number("tries").saturating_sub(1);
    let (all, here, there) = (number("n_conn"), number("n_req"), number("up_req"));
    let _ = write!(out, "{all}/{here}/{there}/{there}/{retries} 0/0 ");
    request_line(members, out);
    out.push(b'\n');
}

/// `TR/Tw/Tc/Tr/Ta`, milliseconds.
fn timers(members: &Members<'_>, out: &mut Vec<u8>) {
    let millis = |name| members.number(name).map_or(-1, |us| i64::try_from(us / 1000).unwrap_or(i64::MAX));
    let (head, queue, connect) = (millis("t_head_us"), millis("t_queue_us"), millis("t_conn_us"));
    let _ = write!(out, "{head}/{queue}/{connect}/{}/{}", millis("t_wait_us"), millis("dur_us"));
}

/// The first two letters of the termination state: who ended it, in which phase; capitals for an abort, small ones for a
/// timeout (HAProxy configuration manual, section 8.5). Cookies are not ours: `--` behind them.
fn termination(members: &Members<'_>) -> String {
    let reason = members.text("reason").unwrap_or_default();
    let is_timeout = reason.contains("timeout");
    let first = match members.text("end_by").as_deref() {
        Some("client") => {
            if is_timeout {
                'c'
            } else {
                'C'
            }
        }
        Some("upstream") => {
            if is_timeout {
                's'
            } else {
                'S'
            }
        }
        Some("rule") => 'P',
        Some("proxy") if reason == "proxy_internal_response" => 'L',
        Some("proxy") if reason.is_empty() => '-',
        Some("proxy") => 'P',
        Some("admin") => 'K',
        _ => '-',
    };
    let second = match members.text("end_at").as_deref() {
        _ if first == '-' => '-',
        // What HAProxy answers itself ends with the request.
        _ if first == 'L' => 'R',
        Some("tls" | "head" | "body" | "policy") => 'R',
        Some("queue") => 'Q',
        Some("dns" | "connect" | "uptls") => 'C',
        Some("send" | "wait") => 'H',
        Some("resp" | "tunnel") => 'D',
        _ => '-',
    };
    format!("{first}{second}--")
}

fn request_line(members: &Members<'_>, out: &mut Vec<u8>) {
    let Some(method) = members.text("method") else {
        return out.extend_from_slice(b"\"<BADREQ>\"");
    };
    out.push(b'"');
    hashed(&method, out);
    out.push(b' ');
    hashed(&members.text("path").unwrap_or_default(), out);
    if let Some(query) = members.text("query") {
        out.push(b'?');
        hashed(&query, out);
    }
    let proto = match members.text("proto").as_deref() {
        Some("1.0") => " HTTP/1.0",
        Some("2") => " HTTP/2.0",
        _ => " HTTP/1.1",
    };
    out.extend_from_slice(proto.as_bytes());
    out.push(b'"');
}

/// What cannot stand in a request line as `#` and its number in hexadecimal, as HAProxy writes it.
fn hashed(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'#' | ..=b' ' | 0x7f.. => drop(write!(out, "#{byte:02X}")),
            byte => out.push(byte),
        }
    }
}
