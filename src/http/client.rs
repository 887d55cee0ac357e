//! What all requests have in common that we make ourselves: to log services, to those of others, to alarms, to buckets.
//!
//! Not here: connections (each has its own way with them), and requests that we pass on (`proxy`).

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};

/// `User-Agent`.
pub const AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));

/// `Authorization` with a token, kept out of what is printed. `None`: it has bytes that no header may have.
pub fn bearer(token: &str) -> Option<HeaderValue> {
    secret(&format!("Bearer {token}"))
}

/// `Authorization` with a name and a password (RFC 7617), kept out of what is printed.
pub fn basic(name: &str, password: &str) -> Option<HeaderValue> {
    secret(&format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}"))))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `Host`: an IPv6 address in brackets, whether it has them already or not.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// How long an answer asks us to wait, in seconds or as a date (RFC 9110 section 10.2.3); `None` also for a date that is over.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let date = || httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok();
    text.parse().ok().map(Duration::from_secs).or_else(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_say_seconds_or_a_date() {
        let after = |text: &str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]))
        };
        let date = |time| httpdate::fmt_http_date(time);
        let soon = after(&date(SystemTime::now() + Duration::from_secs(100))).unwrap();
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert!((98..=100).contains(&soon.as_secs()), "{soon:?}");
        assert_eq!(after(&date(SystemTime::UNIX_EPOCH)), None);
        assert_eq!(after("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn secrets_are_not_printed() {
        let printed = format!("{:?} {:?}", bearer("t0ken").unwrap(), basic("me", "word").unwrap());
        assert_eq!(printed, "Sensitive Sensitive");
        assert_eq!(basic("me", "word").unwrap(), "Basic bWU6d29yZA==");
        assert_eq!(bearer("two\nlines"), None);
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets_once() {
        let authorities = ["::1", "[::1]", "a.example"].map(|host| authority(host, 80));
        assert_eq!(authorities, ["[::1]:80", "[::1]:80", "a.example:80"]);
    }
}
