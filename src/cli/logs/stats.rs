//! `logs stats`: how many, how fast, how many failed and why.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::args::StatsArgs;
use super::escape::Safe;
use super::output::{BOLD, Output};
use super::source::{self, Asked, Source};
use super::top::{self, Group, name_of, share};
use super::words::{count, duration_or_nothing, is_request, size, text};
use super::{CommandError, escape, summary};
use crate::log_service::query::{Field, moment};
use crate::log_service::read::Flow;

/// Rows, reasons and causes that are kept.
const MAX_ROWS: usize = 10_000;
const MAX_REASONS: usize = 1_000;
const SHOWN_REASONS: usize = 10;

/// What one row is about.
enum Split {
    Whole,
    By(Field),
    /// Microseconds.
    Every(i64),
}

#[derive(Default)]
struct Stats {
    whole: Group,
    rows: BTreeMap<String, Group>,
    /// Who ended it, why, and which setting decided.
    reasons: BTreeMap<(String, String), u64>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

pub(super) fn run(args: &StatsArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let asked = Asked::new(&args.filter, source::window(&args.window, Timestamp::now())?)?;
    let split = Split::new(args)?;
    let mut stats = Stats::default();
    let report = Source::new(&args.source)?.each(&asked, &mut |row| {
        if is_request(row.value) {
            stats.add(row.value, &split);
        }
        Flow::Continue(())
    })?;
    let mut output = Output::stdout();
    if args.json {
        stats.print_json(&mut output)?
    } else {
        stats.print(&mut output, &split)?
    }
    output.flush()?;
    summary::print(&report, started);
    Ok(stats.whole.count > 0)
}

impl Split {
    fn new(args: &StatsArgs) -> Result<Self, CommandError> {
        match (&args.by, &args.every) {
            (Some(field), _) => Ok(Self::By(Field::named(field))),
            (None, None) => Ok(Self::Whole),
            (None, Some(text)) => {
                let span = moment::span(text).and_then(|span| i64::try_from(span.as_micros()).ok());
                let span = span.filter(|span| *span >= 1_000_000);
                span.map(Self::Every)
                    .ok_or_else(|| CommandError::Usage(format!("--every {text}: write 10s, 1m, 1h")))
            }
        }
    }

    fn row(&self, entry: &Value) -> Option<String> {
        match self {
            Self::Whole => None,
            Self::By(field) => Some(name_of(field, entry)),
            Self::Every(span) => {
                let micros = time(entry)?.as_microsecond();
                let start =
                    Timestamp::from_microsecond(micros.div_euclid(*span).saturating_mul(*span)).ok()?;
                Some(format!("{start:.0}"))
            }
        }
    }
}

fn time(entry: &Value) -> Option<Timestamp> {
    text(entry, "ts").or_else(|| text(entry, "recv"))?.parse().ok()
}

impl Stats {
    fn add(&mut self, entry: &Value, split: &Split) {
        self.whole.add(entry);
        if let Some(time) = time(entry) {
            self.first = Some(self.first.map_or(time, |first| first.min(time)));
            self.last = Some(self.last.map_or(time, |last| last.max(time)));
        }
        if let Some(row) = split.row(entry)
            && (self.rows.len() < MAX_ROWS || self.rows.contains_key(&row))
        {
            self.rows.entry(row).or_default().add(entry);
        }
        if let Some(reason) = text(entry, "reason") {
            let end_by = text(entry, "end_by").unwrap_or("?");
            let key = (format!("{end_by}:{reason}"), text(entry, "cause").unwrap_or_default().to_owned());
            if self.reasons.len() < MAX_REASONS || self.reasons.contains_key(&key) {
                *self.reasons.entry(key).or_default() += 1;
            }
        }
    }

    /// Requests per second between the first and the last.
    fn rate(&self) -> f64 {
        let span = self.first.zip(self.last).map(|(first, last)| last.duration_since(first).as_secs_f64());
        span.filter(|span| *span > 0.0).map_or(0.0, |span| self.whole.count as f64 / span)
    }

    fn print(&self, output: &mut Output, split: &Split) -> Result<(), CommandError> {
        let Group { count: all, errors, bytes, durations } = &self.whole;
        output.line(&format!("{BOLD}requests{BOLD:#}  {}, {:.1}/s", count(*all), self.rate()))?;
        output.line(&format!(
            "{BOLD}errors{BOLD:#}    {} ({:.2} %)",
            count(*errors),
            share(*errors, *all)
        ))?;
        output.line(&format!("{BOLD}sent{BOLD:#}      {}", size(*bytes)))?;
        let at = |share| duration_or_nothing(durations.at(share));
        let times = format!(
            "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(1.0)
        );
        output.line(&format!("{BOLD}duration{BOLD:#}  {times}"))?;
        self.print_reasons(output)?;
        if self.rows.is_empty() {
            return Ok(());
        }
        let name = if let Split::By(field) = split { field.name() } else { "from" };
        output.line("")?;
        output.line(&top::header(name))?;
        for (name, group) in &self.rows {
            output.line(&top::row(name, group))?;
        }
        Ok(())
    }

    fn print_reasons(&self, output: &mut Output) -> Result<(), CommandError> {
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(key, count)| (std::cmp::Reverse(**count), *key));
        for ((reason, cause), number) in reasons.into_iter().take(SHOWN_REASONS) {
            let cause = if cause.is_empty() { String::new() } else { format!(" ({cause})") };
            output.line(&format!("{:>10}  {}{}", count(*number), Safe(reason), Safe(&cause)))?;
        }
        Ok(())
    }

    fn print_json(&self, output: &mut Output) -> Result<(), CommandError> {
        let mut whole = self.whole.to_json();
        let reasons = self
            .reasons
            .iter()
            .map(|((reason, cause), count)| json!({ "reason": reason, "cause": cause, "count": count }));
        whole["rate"] = self.rate().into();
        whole["reasons"] = reasons.collect();
        output.line(&escape::json(&whole.to_string()))?;
        for (name, group) in &self.rows {
            let mut row = group.to_json();
            row["row"] = name.as_str().into();
            output.line(&escape::json(&row.to_string()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_errors_reasons_and_spans() {
        let split = Split::Every(60_000_000);
        let mut stats = Stats::default();
        for (second, status, reason) in
            [(1, 200, None), (59, 504, Some("http_response_timeout")), (61, 200, None)]
        {
            let time = Timestamp::from_second(600 + second).unwrap().to_string();
            let entry =
                json!({"kind": "request", "ts": time, "status": status, "reason": reason, "dur_us": second});
            stats.add(&entry, &split);
        }
        assert_eq!((stats.whole.count, stats.whole.errors), (3, 1));
        assert_eq!(
            stats.rows.iter().map(|(name, row)| (name.as_str(), row.count)).collect::<Vec<_>>(),
            [("1970-01-01T00:10:00Z", 2), ("1970-01-01T00:11:00Z", 1)]
        );
        assert_eq!(stats.reasons.len(), 1);
        assert!((stats.rate() - 0.05).abs() < 1e-9);
    }
}
