//! Three requests that are examples of what an alarm is about.

use jiff::Timestamp;
use serde_json::Value;

use super::engine::Change;
use super::facts::{self, FAILURES};
use super::message::Sample;
use crate::config::alert::{AlertBy, Metric};
use crate::log_service::exec::{self, Asked, Control, Parts, Sort};
use crate::log_service::query::Query;
use crate::log_service::read::Window;
use crate::record::line::words;

const COUNT: usize = 3;

/// The newest errors or the slowest requests of its window; none where requests are no example.
pub(super) fn of(change: &Change, parts: &Parts) -> Vec<Sample> {
    let Some((text, sort)) = question(change) else { return Vec::new() };
    let Ok(query) = Query::parse(&text) else { return Vec::new() };
    let since = facts::since(change.rule.over, change.at);
    let since = Timestamp::from_millisecond(since.saturating_sub(LONG_MS)).ok();
    let asked = Asked::new(query, Window { since, until: None });
    match exec::first(parts, (&asked, &[]), sort, COUNT, &Control::default()) {
        Ok(rows) => rows.iter().filter_map(|row| sample(row)).collect(),
        Err(error) => {
            tracing::warn!(%error, "an alarm has no samples");
            Vec::new()
        }
    }
}

/// Requests are counted where they end and found where they begin.
const LONG_MS: i64 = 60_000;

fn question(change: &Change) -> Option<(String, Sort)> {
    let rule = &change.rule;
    let (own, sort) = match rule.when.metric {
        _ if !rule.when.sign.is_upper() => return None,
        Metric::Errors | Metric::ErrorShare => {
            (format!("(status>=500 or reason:({}))", FAILURES.join(" ")), Sort::Newest)
        }
        Metric::Requests => (String::new(), Sort::Newest),
        metric if metric.is_of_requests() => (String::new(), Sort::Slowest),
        _ => return None,
    };
    let mut text = format!("kind:(request close conn) {own}");
    if let Some((_, filter)) = &rule.filter {
        text = format!("{text} ({filter})");
    }
    if rule.by != AlertBy::Whole {
        let quoted = change.key.replace('\\', "\\\\").replace('"', "\\\"");
        text = format!("{text} {}=\"{quoted}\"", rule.by.word());
    }
    Some((text, sort))
}

fn sample(row: &str) -> Option<Sample> {
    let entry: Value = serde_json::from_str(row).ok()?;
    let text = |name| words::text(&entry, name).unwrap_or_default();
    let status = words::number(&entry, "status")
        .map_or_else(|| words::NOTHING.to_owned(), |status| status.to_string());
    let line = format!(
        "{status} {} {}{} {} {}",
        text("method"),
        text("host"),
        text("path"),
        words::duration_or_nothing(words::number(&entry, "dur_us")),
        text("reason"),
    );
    Some(Sample { id: words::text(&entry, "id")?.to_owned(), line: line.trim_end().to_owned() })
}
