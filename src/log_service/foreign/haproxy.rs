//! HAProxy's `option httplog` (and `httpslog`), as written to a file, to stdout or by syslog.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::bytes::{Captures, Regex};
use serde_json::Value;

use super::clf::hexadecimal;
use super::members::{Members, haproxy_time};

/// `%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r`, and
/// what `httpslog` adds. Whatever syslog put in front is passed over.
static LINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let line = concat!(
        r"(?s-u)(?:^|[\s\]:])((?:[0-9a-fA-F:.]+|unix|-|[\w.-]+):\d+) \[([^\]]{10,40})\] (\S+) ([^\s/]+)/(\S+) ",
        r"(-?\d+)/(-?\d+)/(-?\d+)/(-?\d+)/\+?(-?\d+) (-?\d+) \+?(\d+) (\S+) (\S+) ([A-Za-z-]{4}) ",
        r"\+?(\d+)/(\d+)/(\d+)/(\d+)/(\+?\d+) (\d+)/(\d+) (?:\{([^}]*)\} )?(?:\{([^}]*)\} )?",
        r#""([^"]*)"?(?: (\d+)/(\S+) (\S+)/([^/\s]+)/(\S+))?\s*$"#,
    );
    Regex::new(line).ok()
});

/// Milliseconds of each phase.
const TIMES: [(usize, &str); 5] =
    [(6, "t_head_us"), (7, "t_queue_us"), (8, "t_conn_us"), (9, "t_wait_us"), (10, "dur_us")];

pub(super) fn read(line: &[u8]) -> Option<Value> {
    let found = LINE.as_ref()?.captures(line)?;
    let part = |at: usize| found.get(at).map(|part| text(part.as_bytes())).unwrap_or_default();
    let mut members = Members::new("haproxy", haproxy_time(&part(2))?);
    members.client(&part(1));
    let listener = part(3);
    // A `~` says that it came by TLS.
    members.text("listener", listener.trim_end_matches('~'));
    members.set("scheme", if listener.ends_with('~') { "https" } else { "http" });
    upstream(&mut members, &part(4), &part(5), &part(20));
    times(&mut members, &found);
    let status = part(11).parse::<u16>().unwrap_or(0);
    members.set("status", status);
    members.number("tx_body_b", &part(12));
    circumstances(&mut members, &found);
    match &*part(25) {
        "<BADREQ>" => members.set("kind", "conn"),
        request => members.request_line(request),
    }
    outcome(&mut members, &part(15), status, &part(5));
    Some(members.finish(line))
}

fn upstream(members: &mut Members, group: &str, server: &str, retries: &str) {
    if server.starts_with('<') {
        return members.set("tries", 0);
    }
    members.text("upstream", group);
    members.text("up_addr", server);
    // A `+` says that the last one went to another server.
    members.set("tries", retries.trim_start_matches('+').parse::<u64>().unwrap_or(0).saturating_add(1));
}

fn times(members: &mut Members, found: &Captures<'_>) {
    let millis = |at: usize| -> f64 {
        let text = found.get(at).and_then(|part| std::str::from_utf8(part.as_bytes()).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or(-1.0)
    };
    TIMES.iter().for_each(|(at, name)| members.micros(name, millis(*at) * 1e3));
    let phases = [6, 7, 8, 9].map(millis);
    // `Td`, which the line leaves out; without a response there is none.
    if phases[3] >= 0.0 {
        members.micros("t_resp_us", (millis(10) - phases.iter().sum::<f64>()) * 1e3);
    }
}

fn circumstances(members: &mut Members, found: &Captures<'_>) {
    let part = |at: usize| found.get(at).map(|part| text(part.as_bytes())).unwrap_or_default();
    for (at, name) in
        [(16, "n_conn"), (17, "feconn"), (18, "beconn"), (19, "up_req"), (21, "srv_queue"), (22, "n_queue")]
    {
        members.number(name, &part(at));
    }
    let texts = [
        (13, "captured_cookie"),
        (14, "captured_set_cookie"),
        (15, "term_state"),
        (23, "captured_req"),
        (24, "captured_resp"),
    ];
    for (at, name) in texts {
        members.text(name, part(at).trim_matches('|'));
    }
    for (at, name) in [(28, "tls_sni"), (29, "tls_ver"), (30, "tls_cipher")] {
        members.text(name, part(at).trim_start_matches("TLSv"));
    }
}

/// The two letters of the termination state: who ended it, and in which phase.
fn outcome(members: &mut Members, state: &str, status: u16, server: &str) {
    let (who, phase) =
        (state.as_bytes().first().copied().unwrap_or(b'-'), state.as_bytes().get(1).copied().unwrap_or(b'-'));
    if members.has("reason") {
        return;
    }
    let at = match phase {
        b'R' => "head",
        b'Q' => "queue",
        b'C' => "connect",
        b'H' => "wait",
        b'D' | b'L' => "resp",
        b'T' => "policy",
        _ => "done",
    };
    let (by, reason) = match (who, phase) {
        (b'-', _) => ("none", ""),
        (b'C', _) => ("client", "client_abort"),
        (b'c', _) => ("client", "client_timeout"),
        (b's', b'Q') => ("proxy", "queue_timeout"),
        (b'S', b'C') if server.starts_with('<') => ("upstream", "destination_unavailable"),
        (b'S', b'C') => ("upstream", "connection_refused"),
        (b's', b'C') => ("upstream", "connection_timeout"),
        (b'S', _) => ("upstream", "connection_terminated"),
        (b's', b'H') => ("upstream", "http_response_timeout"),
        (b's', _) => ("upstream", "connection_read_timeout"),
        (b'P', b'T') => ("rule", "tarpitted"),
        (b'P', b'C') => ("proxy", "connection_limit_reached"),
        (b'P', b'R') if status == 429 => ("rule", "rate_limited"),
        (b'P', b'R') if matches!(status, 401 | 403) => ("rule", "http_request_denied"),
        (b'P', b'R') => ("proxy", "http_request_error"),
        (b'P', _) => ("upstream", "http_protocol_error"),
        (b'L', _) => ("proxy", "proxy_internal_response"),
        (b'R', _) => ("proxy", "resource_exhausted"),
        (b'I', _) => ("proxy", "proxy_internal_error"),
        (b'D', _) => ("admin", "server_marked_down"),
        (b'U', _) => ("admin", "drained"),
        (b'K', _) => ("admin", "admin_kill"),
        _ => ("", ""),
    };
    members.ended(by, Some(at), reason);
}

/// Undoes `#hh`, as HAProxy writes what is not printable, quotes and `#` itself.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    if !bytes.contains(&b'#') {
        return String::from_utf8_lossy(bytes);
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let (byte, next) = match (first, tail) {
            (b'#', [high, low, more @ ..]) => match hexadecimal(*high, *low) {
                Some(byte) => (byte, more),
                None => (b'#', tail),
            },
            _ => (*first, tail),
        };
        plain.push(byte);
        rest = next;
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}
