//! Hop-by-hop fields: they end here, in both directions (RFC 9110 section 7.6.1).

use http::header::{CONNECTION, CONTENT_LENGTH, Entry, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::refusal::Refusal;
use super::request::has_underscore;
use super::trailers::clean_announcement;

/// Takes hop-by-hop fields and those that `Connection` names off a request. Framing fields go too: hyper writes ours.
/// `TE` stays when it asks for trailers, `Trailer` where it announces trailers that may travel.
///
/// Refuses a `Connection` that names a field on which security rests (Host, Content-Length, Authorization, Cookie, the
/// forwarding family, …): obeying would hide it from the origin, and no honest client does it.
///
/// Call it before the forwarding fields are set, and after [`super::upgrade_wanted`]. Returns what its walk over the
/// names has seen.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) -> Result<Seen, Refusal> {
    let seen = survey::<true>(headers);
    if seen.connection {
        strip_nominated(headers, true)?;
    }
    if seen.te {
        keep_trailers_wish(headers);
    }
    if seen.trailer {
        clean_announcement(headers);
    }
    if seen.others {
        strip_fixed(headers);
    }
    Ok(seen)
}

/// Takes hop-by-hop fields and those that `Connection` names off a response. `Content-Length` stays, except beside a
/// `Transfer-Encoding`, which alone has framed the body that we read (RFC 9112 section 6.3).
/// Nothing is refused: protected fields are kept whatever `Connection` says.
pub fn strip_response_hop_by_hop(headers: &mut HeaderMap) {
    let seen = survey::<false>(headers);
    if seen.connection {
        // Only requests are refused.
        let _ = strip_nominated(headers, false);
    }
    if seen.te {
        headers.remove(TE);
    }
    if seen.trailer {
        clean_announcement(headers);
    }
    if seen.others {
        if headers.contains_key(TRANSFER_ENCODING) {
            headers.remove(CONTENT_LENGTH);
        }
        strip_fixed(headers);
    }
}

/// Fixed set besides `Connection` and `TE`, which need a look at their values.
/// `Proxy-Authenticate`, `Proxy-Authorization` and `Proxy-Authentication-Info` speak to a proxy, and that is us.
const FIXED: [&str; 8] = [
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
];

/// Which fields there were: most requests have none of them, and no look-up is cheaper than one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    connection: bool,
    te: bool,
    trailer: bool,
    others: bool,
    pub expect: bool,
    pub via: bool,
    /// A name with `_`.
    pub underscore: bool,
}

/// One walk over the names is cheaper than a look-up for each name of the set.
fn survey<const IS_REQUEST: bool>(headers: &HeaderMap) -> Seen {
    let mut seen = Seen::default();
    for name in headers.keys() {
        let name = name.as_str();
        seen.underscore |= IS_REQUEST && has_underscore(name);
        match name.len() {
            3 => seen.via |= name == "via",
            6 => seen.expect |= name == "expect",
            2 => seen.te |= name == "te",
            7 if name == "trailer" => seen.trailer = true,
            10 if name == "connection" => seen.connection = true,
            7..=8 | 10 | 14 | 16..=19 | 25 => seen.others |= FIXED.contains(&name),
            _ => {}
        }
    }
    seen
}

fn strip_fixed(headers: &mut HeaderMap) {
    for name in FIXED {
        headers.remove(name);
    }
}

fn strip_nominated(headers: &mut HeaderMap, refuse: bool) -> Result<(), Refusal> {
    // Taken out of the map first: the loop below needs the map for itself.
    let Entry::Occupied(entry) = headers.entry(CONNECTION) else { return Ok(()) };
    let (_, mut values) = entry.remove_entry_mult();
    let first = values.next();
    let more: Vec<HeaderValue> = values.collect();
    for value in first.iter().chain(&more) {
        for name in value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            strip_one(headers, name, refuse)?;
        }
    }
    Ok(())
}

fn strip_one(headers: &mut HeaderMap, name: &[u8], refuse: bool) -> Result<(), Refusal> {
    // The two options that nearly every request has name no field that could be left after `strip_fixed`.
    if name.is_empty() || name.eq_ignore_ascii_case(b"keep-alive") || name.eq_ignore_ascii_case(b"close") {
        return Ok(());
    }
    let Ok(name) = HeaderName::from_bytes(name) else {
        return if refuse { Err(Refusal::bad("connection option is not a token")) } else { Ok(()) };
    };
    if is_protected(name.as_str()) {
        return if refuse { Err(Refusal::bad("connection names a protected field")) } else { Ok(()) };
    }
    // TE and Upgrade are named by right, and dealt with by their own rules.
    if name != TE && name != http::header::UPGRADE {
        headers.remove(name);
    }
    Ok(())
}

/// Fields on which routing, framing, identity or caching rests: no `Connection` may take them away.
fn is_protected(name: &str) -> bool {
    const NAMES: [&str; 24] = [
        "host",
        "content-length",
        "transfer-encoding",
        "content-type",
        "content-encoding",
        "content-range",
        "authorization",
        "cookie",
        "set-cookie",
        "origin",
        "forwarded",
        "via",
        "x-real-ip",
        "x-request-id",
        "x-correlation-id",
        "traceparent",
        "tracestate",
        "date",
        "cache-control",
        "expect",
        "trailer",
        "strict-transport-security",
        "vary",
        "location",
    ];
    // Underscore aliases reach origins as the same variable, so they count as the same name.
    let dashed = name.replace('_', "-");
    dashed.starts_with("x-forwarded") || dashed.starts_with("sec-") || NAMES.contains(&dashed.as_str())
}

/// `TE` goes on as exactly `trailers`, or not at all.
fn keep_trailers_wish(headers: &mut HeaderMap) {
    let wish = headers.get_all(TE).iter().any(|value| {
        value
            .as_bytes()
            .split(|b| *b == b',')
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    if wish {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
}

#[cfg(test)]
#[path = "hop_tests.rs"]
mod tests;
