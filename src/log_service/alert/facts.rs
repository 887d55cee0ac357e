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
    count: u64,
    errors: u64,
    durations: Option<DDSketch>,
}

/// The window of a rule in minutes since the Unix epoch, the second not included, and how many seconds of it have been.
pub(super) fn window(over: Duration, now: Moment) -> ((i64, i64), f64) {
    let over = i64::try_from(over.as_millis()).unwrap_or(i64::MAX);
    let first = now.saturating_sub(over).div_euclid(MINUTE_MS);
    let seconds = (now - first * MINUTE_MS) as f64 / 1e3;
    // Clocks of proxies may be a little ahead.
    ((first, now.div_euclid(MINUTE_MS) + 2), seconds.max(1.0))
}

/// When the window of a rule begins.
pub(super) fn since(over: Duration, now: Moment) -> Moment {
    window(over, now).0.0 * MINUTE_MS
}

/// What was counted of requests, as a rule wants it.
///
/// # Errors
/// Those of reading files of counts.
pub(super) fn of_requests(rule: &Rule, counted: &Counted, now: Moment) -> io::Result<Reading> {
    let (minutes, seconds) = window(rule.over, now);
    // No requests at all are none of the whole.
    let begin = || match rule.by {
        AlertBy::Whole => BTreeMap::from([(Box::default(), Sum::default())]),
        _ => BTreeMap::new(),
    };
    let (sums, unread) = recent(counted, minutes, &begin, &mut |sums, cell| add(rule, sums, cell))?;
    if unread > 0 {
        return Ok(Reading::Unknown);
    }
    let values = sums.into_iter().filter_map(|(key, sum)| Some((key, measure(rule, &sum, seconds)?)));
    Ok(Reading::Values(values.collect()))
}

fn add(rule: &Rule, sums: &mut BTreeMap<Box<str>, Sum>, cell: &Recent<'_>) {
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
    sum.count = sum.count.saturating_add(cell.count());
    if is_failure {
        sum.errors = sum.errors.saturating_add(cell.count());
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
fn measure(rule: &Rule, sum: &Sum, seconds: f64) -> Option<f64> {
    if sum.count < rule.at_least {
        return None;
    }
    let rate = |count: u64| if rule.when.is_rate { count as f64 / seconds } else { count as f64 };
    match rule.when.metric {
        Metric::Requests => Some(rate(sum.count)),
        Metric::Errors => Some(rate(sum.errors)),
        Metric::ErrorShare => (sum.count > 0).then(|| sum.errors as f64 / sum.count as f64),
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
