//! Times in which nothing is sent.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::config::alert::Silence;

/// Whether it is such a time, by the calendar and clock of `zone`.
pub(super) fn holds(silence: &Silence, now: Timestamp, zone: &TimeZone) -> bool {
    let local = now.to_zoned(zone.clone());
    match silence {
        Silence::Until(end) => now < *end,
        Silence::UntilDay(day) => local.date() < *day,
        Silence::Weekly { days, times } => weekly(&local, *days, *times),
    }
}

fn weekly(local: &Zoned, days: Option<(Weekday, Weekday)>, times: Option<(Time, Time)>) -> bool {
    let (today, time) = (local.weekday(), local.time());
    let Some((start, end)) = times else { return is_among(today, days) };
    // Midnight as an end is that of the day.
    if start < end || end == Time::midnight() {
        return is_among(today, days) && start <= time && (time < end || end == Time::midnight());
    }
    (start <= time && is_among(today, days)) || (time < end && is_among(today.previous(), days))
}

fn is_among(day: Weekday, days: Option<(Weekday, Weekday)>) -> bool {
    let Some((first, last)) = days else { return true };
    let (day, first, last) =
        (day.to_monday_zero_offset(), first.to_monday_zero_offset(), last.to_monday_zero_offset());
    if first <= last { (first..=last).contains(&day) } else { day >= first || day <= last }
}

#[cfg(test)]
mod tests {
    use crate::config::read::Word as _;

    use super::*;

    fn silent(silence: &str, now: &str) -> bool {
        holds(&Silence::parse(silence).unwrap(), now.parse().unwrap(), &TimeZone::UTC)
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        // 2026-11-20 is a Friday.
        assert!(silent("mon-fri 18:00-08:00", "2026-11-20T18:00:00Z"));
        assert!(silent("mon-fri 18:00-08:00", "2026-11-21T07:59:59Z"));
        assert!(!silent("mon-fri 18:00-08:00", "2026-11-21T18:00:00Z"));
        assert!(!silent("mon-fri 18:00-08:00", "2026-11-20T08:00:00Z"));
        assert!(silent("sat-sun", "2026-11-22T23:59:59Z") && !silent("sat-sun", "2026-11-23T00:00:00Z"));
        assert!(silent("sun-mon", "2026-11-23T12:00:00Z") && !silent("sun-mon", "2026-11-24T12:00:00Z"));
        assert!(
            silent("22:00-24:00", "2026-11-24T23:00:00Z") && !silent("22:00-24:00", "2026-11-25T00:00:00Z")
        );
        assert!(silent("until 2026-12-01", "2026-11-30T23:59:59Z"));
        assert!(!silent("until 2026-12-01T08:00:00Z", "2026-12-01T08:00:00Z"));
    }

    #[test]
    fn the_clock_is_the_machines() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let silence = Silence::parse("02:00-03:00").unwrap();
        assert!(holds(&silence, "2026-11-20T00:30:00Z".parse().unwrap(), &zone));
        assert!(!holds(&silence, "2026-11-20T02:30:00Z".parse().unwrap(), &zone));
    }
}
