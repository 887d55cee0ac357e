//! Numbers and members of an entry as short words.

use jiff::Timestamp;
use serde_json::Value;

/// What is printed when there is nothing.
pub const NOTHING: &str = "–";

pub fn text<'v>(entry: &'v Value, name: &str) -> Option<&'v str> {
    entry.get(name).and_then(Value::as_str)
}

pub fn number(entry: &Value, name: &str) -> Option<u64> {
    entry.get(name).and_then(Value::as_u64)
}

/// Microseconds: `412us`, `12.3ms`, `30.0s`, `2m03s`, `1h02m`.
pub fn duration(micros: u64) -> String {
    // Only for looking at: the rounding of a float does not matter.
    let value = micros as f64;
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..100_000 => format!("{:.1}ms", value / 1e3),
        100_000..1_000_000 => format!("{}ms", micros / 1_000),
        1_000_000..60_000_000 => format!("{:.1}s", value / 1e6),
        60_000_000..3_600_000_000 => format!("{}m{:02}s", micros / 60_000_000, micros / 1_000_000 % 60),
        _ => format!("{}h{:02}m", micros / 3_600_000_000, micros / 60_000_000 % 60),
    }
}

pub fn duration_or_nothing(micros: Option<u64>) -> String {
    micros.map_or_else(|| NOTHING.to_owned(), duration)
}

/// Bytes: `512B`, `1.5kB`, `2.0MB`.
pub fn size(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes}B"),
        1_000..1_000_000 => format!("{:.1}kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}MB", value / 1e6),
        _ => format!("{:.1}GB", value / 1e9),
    }
}

/// `1 204 311`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// `01a1fd62…a9d4`; short ids stay whole.
pub fn short_id(id: &str) -> String {
    match (id.get(..8), id.len().checked_sub(4).and_then(|at| id.get(at..))) {
        (Some(head), Some(tail)) if id.len() > 16 => format!("{head}…{tail}"),
        _ => id.to_owned(),
    }
}

/// The time of day in UTC with milliseconds, out of RFC 3339 text in any zone; foreign forms stay as they are.
pub fn time_of_day(entry: &Value) -> String {
    match (time(entry), written_time(entry)) {
        (Some(time), _) => time.strftime("%H:%M:%S%.3f").to_string(),
        (None, written) => written.unwrap_or(NOTHING).to_owned(),
    }
}

/// When it was, or else when it came.
pub fn time(entry: &Value) -> Option<Timestamp> {
    written_time(entry)?.parse().ok()
}

fn written_time(entry: &Value) -> Option<&str> {
    text(entry, "ts").or_else(|| text(entry, "recv"))
}

/// A whole request (not the opening of a tunnel, a process event, a worker's line).
pub fn is_request(entry: &Value) -> bool {
    match text(entry, "kind") {
        Some(kind) => matches!(kind, "request" | "close"),
        None => entry.get("status").is_some(),
    }
}

/// The request failed on our side of the client: a server error, or no answer because of the upstream or the proxy.
pub fn is_error(entry: &Value) -> bool {
    let status = number(entry, "status").unwrap_or(0);
    let ended_by_us = matches!(text(entry, "end_by"), Some("upstream" | "proxy"));
    status >= 500 || (status == 0 && ended_by_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_and_counts_read_well() {
        let durations = [0, 412, 12_345, 388_000, 30_004_112, 123_000_000, 3_725_000_000].map(duration);
        assert_eq!(durations, ["0us", "412us", "12.3ms", "388ms", "30.0s", "2m03s", "1h02m"]);
        assert_eq!([999, 1_500, 2_000_000].map(size), ["999B", "1.5kB", "2.0MB"]);
        assert_eq!([0, 999, 1_204, 1_204_311].map(count), ["0", "999", "1 204", "1 204 311"]);
    }

    #[test]
    fn times_of_all_zones_are_shown_in_one_with_three_digits() {
        let shown = |time: &str| time_of_day(&serde_json::json!({ "ts": time }));
        let times = [
            "2026-11-22T17:06:11.85Z",
            "2026-11-22T17:06:11Z",
            "2026-11-22T17:30:00+02:00",
            "2026-11-22T17:30:00.123456+02:00",
            "22/Nov/2026",
        ];
        let expected = ["17:06:11.850", "17:06:11.000", "15:30:00.000", "15:30:00.123", "22/Nov/2026"];
        assert_eq!(times.map(shown), expected);
        assert_eq!(time_of_day(&Value::Null), NOTHING);
    }

    #[test]
    fn ids_are_shortened_without_breaking_characters() {
        assert_eq!(short_id("01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4"), "01a1fd62…a9d4");
        assert_eq!(short_id("äöüäöüäöüäöü"), "äöüä…öü");
        assert_eq!(short_id("aäöüäöüäöüäöüä"), "aäöüäöüäöüäöüä");
    }
}
