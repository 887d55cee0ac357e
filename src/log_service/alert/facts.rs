//! What is so at one moment, in the unit of each rule: of requests, from the counts by the minute.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde_json::json;
use sketches_ddsketch::{Config, DDSketch};

use super::Moment;
use super::rule::Rule;
use crate::config::alert::{AlertBy, Metric};
use crate::log_service::rollup::{Counted, Recent, recent};

/// Values that are told apart; beyond it new ones are left out.
const MAX_KEYS: usize = 1024;
const MINUTE_MS: i64 = 60_000;

/// Reasons of what failed on our side of the client although the status does not say so: the answer had begun, or there was
/// none. With a status of 500 and above any reason is an error.
pub(super) const FAILURES: [&str; 12] = [
    "connection_read_timeout",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "destination_unavailable",
    "http_protocol_error",
    "http_response_incomplete",
    "http_response_timeout",
    "http_upgrade_failed",
    "proxy_crashed",
    "proxy_internal_error",
    "resource_exhausted",
];

/// What one rule is held against.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    /// It could not be found out; nothing changes.
    Unknown,
    /// By what the rule tells apart; of the whole, by the empty text. What has no value is not there.
    Values(BTreeMap<Box<str>, f64>),
}

/// Requests that count together.
#[derive(Default)]
struct Sum {
    count: Tally,
    errors: Tally,
    durations: Option<DDSketch>,
}

/// How many there were in the minutes of a window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    in_first: f64,
    later: f64,
}

impl Tally {
    pub(super) fn add(&mut self, count: f64, is_first: bool) {
        *(if is_first { &mut self.in_first } else { &mut self.later }) += count;
    }

    /// In all minutes.
    fn all(self) -> f64 {
        self.in_first + self.later
    }

    /// In the window: of its first minute its share, as if they had come evenly. Whole, as things are.
    pub(super) fn within(self, window: &Minutes) -> f64 {
        const ROUNDED: f64 = 1e-9;
        (self.in_first * window.share_of_first + self.later - ROUNDED).ceil().max(0.0)
    }
}

/// The window of a rule, in minutes since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Minutes {
    pub(super) first: i64,
    /// Not included.
    pub(super) until: i64,
    /// Since the beginning of the first.
    seconds: f64,
    /// How much of what has been of the first lies in the window, 0 to 1. A count that took in all of it would rise and
    /// fall with the second hand, by as much as twice: an alarm near its bound would never hold, and never be over.
    share_of_first: f64,
}

pub(super) fn window(over: Duration, now: Moment) -> Minutes {
    let begin = now.saturating_sub(i64::try_from(over.as_millis()).unwrap_or(i64::MAX));
    let first = begin.div_euclid(MINUTE_MS);
    let seconds = (now - first.saturating_mul(MINUTE_MS)) as f64 / 1e3;
    // The present minute has not been all of a minute.
    let been = (seconds * 1e3).clamp(1.0, MINUTE_MS as f64);
    let share_of_first = (1.0 - begin.rem_euclid(MINUTE_MS) as f64 / been).max(0.0);
    // Clocks of proxies may be a little ahead.
    let until = now.div_euclid(MINUTE_MS) + 2;
    Minutes { first, until, seconds: seconds.max(1.0), share_of_first }
}

/// When the first minute of a rule's window begins.
pub(super) fn since(over: Duration, now: Moment) -> Moment {
    window(over, now).first.saturating_mul(MINUTE_MS)
}

/// What was counted of requests, as a rule wants it.
///
/// # Errors
/// Those of reading files of counts.
pub(super) fn of_requests(rule: &Rule, counted: &Counted, now: Moment) -> io::Result<Reading> {
    let window = window(rule.over, now);
    // No requests at all are none of the whole.
    let begin = || match rule.by {
        AlertBy::Whole => BTreeMap::from([(Box::default(), Sum::default())]),
        _ => BTreeMap::new(),
    };
    let mut each = |sums: &mut _, cell: &Recent<'_>| add(rule, sums, cell, cell.minute() <= window.first);
    let (sums, unread) = recent(counted, (window.first, window.until), &begin, &mut each)?;
    if unread > 0 {
        return Ok(Reading::Unknown);
    }
    let values = sums.into_iter().filter_map(|(key, sum)| Some((key, measure(rule, &sum, &window)?)));
    Ok(Reading::Values(values.collect()))
}

fn add(rule: &Rule, sums: &mut BTreeMap<Box<str>, Sum>, cell: &Recent<'_>, is_first: bool) {
    let is_failure = cell.class() == 5 || FAILURES.contains(&cell.reason());
    // Connections on which nothing was asked for are no requests.
    if (cell.class() == 0 && !is_failure) || !is_counted(rule, cell) {
        return;
    }
    let key = match rule.by {
        AlertBy::Host => cell.host(),
        AlertBy::Route => cell.route(),
        AlertBy::Upstream => cell.upstream(),
        AlertBy::Whole | AlertBy::Proxy => "",
    };
    // What met no route or upstream is nobody's.
    if (key.is_empty() && rule.by != AlertBy::Whole) || (sums.len() >= MAX_KEYS && !sums.contains_key(key)) {
        return;
    }
    let sum = sums.entry(key.into()).or_default();
    sum.count.add(cell.count() as f64, is_first);
    if is_failure {
        sum.errors.add(cell.count() as f64, is_first);
    }
    if quantile_of(rule.when.metric).is_some() {
        let sketch = sum.durations.get_or_insert_with(|| DDSketch::new(Config::defaults()));
        // Fails only between sketches of different accuracy: there is one.
        let _ = sketch.merge(&cell.durations());
    }
}

fn is_counted(rule: &Rule, cell: &Recent<'_>) -> bool {
    let Some((query, _)) = &rule.filter else { return true };
    let mut entry = json!({});
    for (name, text) in [
        ("host", cell.host()),
        ("route", cell.route()),
        ("upstream", cell.upstream()),
        ("reason", cell.reason()),
    ] {
        if !text.is_empty() {
            entry[name] = text.into();
        }
    }
    if cell.class() > 0 {
        entry["status"] = (u16::from(cell.class()) * 100).into();
    }
    query.matches(&entry)
}

/// What a metric asks of the durations: the share below, or their mean.
fn quantile_of(metric: Metric) -> Option<Option<f64>> {
    match metric {
        Metric::P50 => Some(Some(0.5)),
        Metric::P90 => Some(Some(0.9)),
        Metric::P99 => Some(Some(0.99)),
        Metric::P999 => Some(Some(0.999)),
        Metric::Mean => Some(None),
        _ => None,
    }
}

/// `None` where there is too little to say anything.
fn measure(rule: &Rule, sum: &Sum, window: &Minutes) -> Option<f64> {
    if sum.count.within(window) < rule.at_least as f64 {
        return None;
    }
    let counted = |tally: Tally| match rule.when.is_rate {
        true => tally.all() / window.seconds,
        false => tally.within(window),
    };
    match rule.when.metric {
        Metric::Requests => Some(counted(sum.count)),
        Metric::Errors => Some(counted(sum.errors)),
        Metric::ErrorShare => (sum.count.all() > 0.0).then(|| sum.errors.all() / sum.count.all()),
        metric => {
            let (share, sketch) = (quantile_of(metric)?, sum.durations.as_ref()?);
            let us = match share {
                Some(share) => sketch.quantile(share).ok().flatten()?,
                None => sketch.sum()? / sketch.count() as f64,
            };
            Some(us / 1e6)
        }
    }
}
