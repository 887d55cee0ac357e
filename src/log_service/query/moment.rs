//! Points in time, as people write them: `15m` (ago), `09:14`, `2026-11-21`, `2026-11-21T09:14`, RFC 3339. Times
//! without an offset are UTC, as everywhere in the log.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::units;

/// Text that is no point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time: write 15m (ago), 09:14, 2026-11-21, 2026-11-21T09:14 or 2026-11-21T09:14:03Z")]
pub struct MomentError(String);

/// Reads a point in time; `now` is what spans and times of day count from.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, MomentError> {
    let read = || {
        if text == "now" {
            return Some(now);
        }
        ago(text, now).or_else(|| text.parse().ok()).or_else(|| civil(text)).or_else(|| of_day(text, now))
    };
    read().ok_or_else(|| MomentError(text.to_owned()))
}

/// The beginning and the end of a day such as `2026-11-21`.
pub(super) fn day(text: &str) -> Option<(Timestamp, Timestamp)> {
    let day = text.parse::<Date>().ok().filter(|_| text.len() <= 10)?;
    Some((utc(day.into())?, utc(day.tomorrow().ok()?.into())?))
}

/// Reads a span of time such as `15m` or `1h30m`.
pub fn span(text: &str) -> Option<Duration> {
    units::span(text)
}

fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let span = SignedDuration::try_from(units::span(text)?).ok()?;
    now.checked_sub(span).ok()
}

fn civil(text: &str) -> Option<Timestamp> {
    let date = text.parse::<Date>().ok().filter(|_| text.len() <= 10);
    let time = date.map(DateTime::from).or_else(|| text.replacen(' ', "T", 1).parse().ok())?;
    utc(time)
}

/// A time of day is the last such one before now.
fn of_day(text: &str, now: Timestamp) -> Option<Timestamp> {
    let time: Time = text.parse().ok().filter(|_| text.contains(':'))?;
    let today = now.to_zoned(TimeZone::UTC).date();
    let moment = utc(today.to_datetime(time))?;
    if moment <= now { Some(moment) } else { moment.checked_sub(SignedDuration::from_hours(24)).ok() }
}

fn utc(time: DateTime) -> Option<Timestamp> {
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_forms() {
        let now: Timestamp = "2026-11-21T09:14:03Z".parse().unwrap();
        for (text, expected) in [
            ("now", "2026-11-21T09:14:03Z"),
            ("15m", "2026-11-21T08:59:03Z"),
            ("1h30m", "2026-11-21T07:44:03Z"),
            ("1d", "2026-11-20T09:14:03Z"),
            ("09:14", "2026-11-21T09:14:00Z"),
            ("09:14:30", "2026-11-20T09:14:30Z"),
            ("2026-11-21", "2026-11-21T00:00:00Z"),
            ("2026-11-21T09:14", "2026-11-21T09:14:00Z"),
            ("2026-11-21 09:14:01.5", "2026-11-21T09:14:01.5Z"),
            ("2026-11-21T09:14:03+01:00", "2026-11-21T08:14:03Z"),
        ] {
            assert_eq!(parse(text, now).unwrap(), expected.parse::<Timestamp>().unwrap(), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "15", "m", "yesterday", "15mm", "1e9d", "99999999999999999999d", "-5m"] {
            assert!(parse(text, Timestamp::UNIX_EPOCH).is_err(), "{text}");
        }
    }
}
