//! [`Side`]: one of the two sets that are compared; and how sure a difference between two sets is.

use jiff::Timestamp;
use serde_json::Value;

use crate::cli::logs::CommandError;
use crate::cli::logs::source;
use crate::cli::logs::tally::Group;
use crate::cli::logs::words::text;
use crate::log_service::query::{Query, moment};
use crate::log_service::read::{Quantiles, Window};

enum Test {
    Time(Window),
    Filter(Query),
}

pub(super) struct Side {
    pub(super) name: String,
    test: Test,
    pub(super) group: Group,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Side {
    /// `FROM..TO`, else a filter.
    pub(super) fn parse(text: &str, now: Timestamp) -> Result<Self, CommandError> {
        let moment = |text: &str| {
            moment::parse(text.trim(), now).map_err(|error| CommandError::Usage(error.to_string()))
        };
        let test = match text.split_once("..") {
            Some((from, to)) if !from.contains([':', '=']) || moment(from).is_ok() => {
                let until = if to.is_empty() { now } else { moment(to)? };
                let since = moment(from)?;
                if until <= since {
                    return Err(CommandError::Usage(format!("{text}: the end is not after the beginning")));
                }
                Test::Time(Window { since: Some(since), until: Some(until) })
            }
            _ => Test::Filter(Query::parse(text)?),
        };
        if text.trim().is_empty() {
            return Err(CommandError::Usage(
                "A and B are times such as 1h..now, or filters such as cfg:9f31c2".to_owned(),
            ));
        }
        Ok(Self { name: text.to_owned(), test, group: Group::default(), first: None, last: None })
    }

    pub(super) fn window(&self) -> Option<Window> {
        match &self.test {
            Test::Time(window) => Some(*window),
            Test::Filter(_) => None,
        }
    }

    /// As the executor is asked for it.
    pub(super) fn as_argument(&self) -> String {
        match &self.test {
            // Written out: a service's clock may differ from ours.
            Test::Time(Window { since: Some(since), until: Some(until) }) => format!("{since}..{until}"),
            _ => self.name.clone(),
        }
    }

    /// Whether the filter of this side is about this member.
    pub(super) fn names(&self, member: &str) -> bool {
        match &self.test {
            Test::Time(_) => false,
            Test::Filter(query) => query.fields().iter().any(|field| field.is(member)),
        }
    }

    /// Counts the request when it belongs here.
    pub(super) fn add(&mut self, entry: &Value) -> bool {
        let time = text(entry, "ts").and_then(|time| time.parse::<Timestamp>().ok());
        let is_here = match &self.test {
            Test::Time(window) => source::holds(window, entry),
            Test::Filter(query) => query.matches(entry),
        };
        if is_here {
            self.group.add(entry);
            self.first = self.first.into_iter().chain(time).min();
            self.last = self.last.into_iter().chain(time).max();
        }
        is_here
    }

    /// Seconds that it spans: those asked for, else from the first to the last request.
    fn seconds(&self) -> f64 {
        let asked = self.window().and_then(|window| window.since.zip(window.until));
        let span = asked.or_else(|| self.first.zip(self.last));
        span.map_or(0.0, |(first, last)| last.duration_since(first).as_secs_f64())
    }

    pub(super) fn rate(&self) -> f64 {
        let seconds = self.seconds();
        if seconds > 0.0 { self.group.count as f64 / seconds } else { 0.0 }
    }
}

/// In standard deviations: two counts of independent events over two spans of time. Only spans that were asked for: from
/// the first to the last request says little when there are few.
pub(super) fn rate_certainty(a: &Side, b: &Side) -> f64 {
    let ((rate_a, time_a), (rate_b, time_b)) = ((a.rate(), a.seconds()), (b.rate(), b.seconds()));
    if a.window().is_none() || b.window().is_none() || time_a <= 0.0 || time_b <= 0.0 {
        return 0.0;
    }
    rates_apart([rate_a, rate_b], [time_a, time_b])
}

/// In standard deviations: two rates per second over so many seconds.
pub(super) fn rates_apart([rate_a, rate_b]: [f64; 2], [time_a, time_b]: [f64; 2]) -> f64 {
    (rate_a - rate_b).abs() / (rate_a / time_a + rate_b / time_b).sqrt().max(f64::MIN_POSITIVE)
}

/// Standard deviations beyond which chance goes so rarely, as coarse as they are told.
pub(super) fn deviations(chance: f64) -> f64 {
    LEVELS.iter().zip([0.001, 0.01, 0.05]).find(|(_, most)| chance < *most).map_or(0.0, |((z, _), _)| *z)
}

/// In standard deviations: two shares, by the likelihood ratio (which is right for small counts too).
pub(super) fn share_certainty(parts: [u64; 2], wholes: [u64; 2]) -> f64 {
    crate::cli::logs::explain::likelihood(parts, wholes).max(0.0).sqrt()
}

/// In standard deviations, at least: the intervals in which the two true quantiles lie do not touch.
pub(super) fn quantile_certainty(a: &Quantiles, b: &Quantiles, share: f64) -> f64 {
    // With too few beyond the quantile, the largest number stands for it, and says nothing.
    let has_enough = |of: &Quantiles| of.count() as f64 * share.min(1.0 - share) >= ENOUGH;
    if !has_enough(a) || !has_enough(b) {
        return 0.0;
    }
    let interval = |of: &Quantiles, z: f64| {
        let count = of.count().max(1) as f64;
        let half = z * (share * (1.0 - share) / count).sqrt();
        Some((of.at(share - half)?, of.at(share + half)?))
    };
    let apart = |z: &f64| match (interval(a, *z), interval(b, *z)) {
        (Some(a), Some(b)) => a.1 < b.0 || b.1 < a.0,
        _ => false,
    };
    // Intervals as narrow as z/√2 that do not touch differ by about z.
    LEVELS.iter().map(|(z, _)| *z).find(|z| apart(&(z / std::f64::consts::SQRT_2))).unwrap_or(0.0)
}

/// Requests beyond a quantile, at least, so that it is compared.
const ENOUGH: f64 = 5.0;
/// Standard deviations and what is said of them.
const LEVELS: [(f64, &str); 3] = [(3.29, "99.9 %"), (2.58, "99 %"), (1.96, "95 %")];

pub(super) fn certainty(z: f64) -> String {
    LEVELS.iter().find(|(level, _)| z >= *level).map_or("", |(_, text)| text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_a_time_or_a_filter() {
        let now: Timestamp = "2026-11-21T09:14:03Z".parse().unwrap();
        let window = |text: &str| Side::parse(text, now).ok().and_then(|side| side.window());
        assert!(window("2h..1h").is_some_and(|window| window.until < Some(now)));
        assert!(window("09:00..09:10").is_some() && window("1h..").is_some());
        assert!(window("path:/a/..").is_none() && Side::parse("path:/a/..", now).is_ok());
        assert!(
            Side::parse("1h..2h", now).is_err()
                && Side::parse("", now).is_err()
                && Side::parse("soon..now", now).is_err()
        );
    }

    #[test]
    fn chance_is_not_called_sure() {
        assert_eq!(certainty(share_certainty([1, 2], [100, 100])), "");
        assert_eq!(certainty(share_certainty([1, 40], [1_000, 1_000])), "99.9 %");
        let quantiles = |step: u64| {
            let mut quantiles = Quantiles::default();
            (0..1_000u64).for_each(|number| quantiles.add(1_000 + number * step));
            quantiles
        };
        assert_eq!(certainty(quantile_certainty(&quantiles(1), &quantiles(1), 0.5)), "");
        let mut few = [Quantiles::default(), Quantiles::default()];
        (0..9).for_each(|_| few[0].add(3_000));
        (0..9).for_each(|_| few[1].add(3_000_000));
        assert_eq!(certainty(quantile_certainty(&few[0], &few[1], 0.99)), "", "nine requests have no p99");
        assert_eq!(certainty(quantile_certainty(&quantiles(1), &quantiles(10), 0.5)), "99.9 %");
    }
}
