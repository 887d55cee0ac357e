//! [`Members`]: a record under construction, from texts in other proxies' words.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::record::id;
use crate::record::redact::Redactor;

/// Larger numbers of seconds are no durations (and would not fit as microseconds).
const MAX_SECONDS: f64 = 1e9;

thread_local! {
    /// Built once: it holds the names of all secrets.
    static REDACTOR: Redactor = Redactor::default();
}

pub(super) struct Members {
    map: Map<String, Value>,
    time: Timestamp,
}

impl Members {
    /// A request that `proxy` logged.
    pub(super) fn new(proxy: &str, time: Timestamp) -> Self {
        let mut members = Self { map: Map::new(), time };
        members.text("kind", "request");
        members.text("proxy", proxy);
        members.text("ts", &format!("{time:.6}"));
        members
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.map.insert(name.to_owned(), value.into());
    }

    /// `-` and nothing mean that there is nothing.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() && text != "-" {
            self.set(name, text);
        }
    }

    /// A whole number; anything else is left out.
    pub(super) fn number(&mut self, name: &str, text: &str) {
        if let Ok(number) = text.trim().parse::<u64>() {
            self.set(name, number);
        }
    }

    /// Seconds with a fraction, kept as microseconds.
    pub(super) fn seconds(&mut self, name: &str, text: &str) {
        if let Ok(seconds) = text.trim().parse::<f64>() {
            self.micros(name, seconds * 1e6);
        }
    }

    /// Negative times are phases that were not reached.
    pub(super) fn micros(&mut self, name: &str, micros: f64) {
        if (0.0..MAX_SECONDS * 1e6).contains(&micros) {
            // In range by the line above.
            self.set(name, micros.round() as u64);
        }
    }

    /// `GET /a?b=c HTTP/1.1`, or what a client sent instead of it.
    pub(super) fn request_line(&mut self, line: &str) {
        let (method, rest) = line.split_once(' ').unwrap_or(("", line));
        let is_method = !method.is_empty()
            && method.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_method {
            // TLS to a plain port, a scanner: what came is shown as the error, and the connection had no request.
            self.text("err", line);
            if !line.is_empty() && line != "-" {
                self.set("reason", "http_request_error");
            }
            return self.set("kind", "conn");
        }
        self.set("method", method);
        let (target, proto) =
            rest.rsplit_once(' ').filter(|(_, last)| last.starts_with("HTTP/")).unwrap_or((rest, ""));
        self.target(target);
        self.proto(proto);
    }

    /// A path with its query, or a whole URL.
    pub(super) fn target(&mut self, target: &str) {
        let mut path = target;
        if let Some((scheme, rest)) =
            target.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        {
            let slash = rest.find(['/', '?']).unwrap_or(rest.len());
            self.text("scheme", scheme);
            self.host(&rest[..slash]);
            path = if slash == rest.len() { "/" } else { &rest[slash..] };
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        self.text("path", path);
        self.query(query);
    }

    pub(super) fn query(&mut self, query: &str) {
        let mut scratch = Vec::new();
        let hidden = REDACTOR.with(|redactor| redactor.query(query.as_bytes(), &mut scratch).to_vec());
        self.text("query", &String::from_utf8_lossy(&hidden));
    }

    /// Without its port, in lower case.
    pub(super) fn host(&mut self, host: &str) {
        let end = host.rfind(':').filter(|at| host[at + 1..].bytes().all(|byte| byte.is_ascii_digit()));
        self.text("host", &host[..end.unwrap_or(host.len())].to_ascii_lowercase());
    }

    /// `HTTP/2.0` is `2` in a record.
    pub(super) fn proto(&mut self, proto: &str) {
        let version = proto.trim_start_matches("HTTP/");
        self.text(
            "proto",
            match version {
                "2.0" => "2",
                "3.0" => "3",
                other => other,
            },
        );
    }

    /// An address, with or without port: `10.0.0.1`, `10.0.0.1:80`, `[::1]:80`, `::1`. A name stays a name.
    pub(super) fn client(&mut self, address: &str) {
        if let Ok(address) = address.parse::<std::net::SocketAddr>() {
            self.set("client_port", address.port());
            return self.set("client_ip", address.ip().to_canonical().to_string());
        }
        match address.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => self.set("client_ip", ip.to_canonical().to_string()),
            Err(_) => self.text("client_ip", address),
        }
    }

    /// The status, and what it says by itself about who ended the request.
    pub(super) fn status(&mut self, text: &str) {
        let status = text.trim().parse::<u16>().unwrap_or(0);
        self.set("status", status);
        // nginx's own number for a client that went away.
        if status == 499 {
            self.ended("client", None, "client_abort");
        }
    }

    pub(super) fn ended(&mut self, by: &str, at: Option<&str>, reason: &str) {
        self.text("end_by", by);
        self.text("end_at", at.unwrap_or_default());
        self.text("reason", reason);
    }

    /// The record, with an id that is the same whenever this line is read.
    pub(super) fn finish(mut self, line: &[u8]) -> Value {
        let hash = digest(&SHA256, line);
        let mut bytes = [0; 16];
        bytes[6..].copy_from_slice(&hash.as_ref()[..10]);
        let millis = self.time.as_millisecond().max(0).to_be_bytes();
        bytes[..6].copy_from_slice(&millis[2..]);
        // Version 7 and the variant of RFC 9562.
        bytes[6] = 0x70 | (bytes[6] & 0xf);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        self.set("id", String::from_utf8_lossy(&id::text(&bytes)).into_owned());
        Value::Object(self.map)
    }
}

/// `17/May/2015:10:05:03 +0000`.
pub(super) fn clf_time(text: &str) -> Option<Timestamp> {
    strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).ok()?.to_timestamp().ok()
}

/// `06/Feb/2009:12:14:14.655`, taken as UTC.
pub(super) fn haproxy_time(text: &str) -> Option<Timestamp> {
    utc(strtime::parse("%d/%b/%Y:%H:%M:%S%.f", text).ok()?.to_datetime().ok()?)
}

/// A time in JSON: seconds since 1970 as a number or a text, RFC 3339, or what `combined` has.
pub(super) fn json_time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => epoch(number.as_f64()?),
        Value::String(text) => {
            let known = text.parse().ok().or_else(|| clf_time(text));
            known
                .or_else(|| utc(text.replacen('/', "-", 2).replacen(' ', "T", 1).parse().ok()?))
                .or_else(|| epoch(text.parse().ok()?))
        }
        _ => None,
    }
}

/// Seconds; numbers too large for that are milli-, micro- or nanoseconds.
fn epoch(number: f64) -> Option<Timestamp> {
    let scale = match number.abs() {
        0.0..1e11 => 1e6,
        1e11..1e14 => 1e3,
        1e14..1e17 => 1.0,
        1e17..1e20 => 1e-3,
        _ => return None,
    };
    // Below 2^53 in every arm, so the cast is exact.
    Timestamp::from_microsecond((number * scale).round() as i64).ok()
}

fn utc(time: DateTime) -> Option<Timestamp> {
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Text of a JSON value as other proxies write it: numbers and booleans may be texts.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
