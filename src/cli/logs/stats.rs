//! `logs stats`: how many, how fast, how many failed and why.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::args::{By, StatsArgs};
use super::escape::Safe;
use super::output::{BOLD, CYAN, DIM, Output};
use super::source::{self, Told};
use super::spark::{Series, bar};
use super::table::{Cell, Side, Table};
use super::tally::{Group, in_words, share, weight};
use super::top::{Shown, name_of};
use super::words::{count, duration_or_nothing, is_request, number, size, text};
use super::{CommandError, escape, summary};
use crate::log_service::query::{Field, moment};
use crate::log_service::read::Flow;

/// Rows, reasons and causes that are kept.
const MAX_ROWS: usize = 10_000;
const MAX_REASONS: usize = 1_000;
const SHOWN_REASONS: usize = 10;
/// Width of the bars of `--every`.
const BAR: usize = 30;
/// Parts of a request's time.
const PHASES: &[(&str, &str)] = &[
    ("head", "t_head_us"),
    ("policy", "t_policy_us"),
    ("queue", "t_queue_us"),
    ("connect", "t_conn_us"),
    ("send", "t_send_us"),
    ("wait", "t_wait_us"),
    ("resp", "t_resp_us"),
    ("self", "t_self_us"),
];

/// What one row is about.
struct Split {
    by: Option<Field>,
    /// Microseconds.
    every: Option<i64>,
}

#[derive(Default)]
struct Stats {
    whole: Group,
    rows: BTreeMap<String, (Group, Series)>,
    /// Who ended it, why, and which setting decided.
    reasons: BTreeMap<(String, String), u64>,
    phases: [u64; PHASES.len()],
    series: Series,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// Requests in rows beyond [`MAX_ROWS`].
    others: u64,
}

pub(super) fn run(args: &StatsArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let (source, asked) = source::question(&args.filter, Some(&args.window), &args.source)?;
    let split = Split::new(args)?;
    let mut stats = Stats::default();
    let told = source.each(&asked, &mut |row| {
        if is_request(row.value) {
            stats.add(row.value, &split);
        }
        Flow::Continue(())
    })?;
    if stats.whole.count == 0 {
        summary::hint(&asked);
    }
    stats.tell(&split, args.table.json(), &told, started)?;
    Ok(stats.whole.count > 0)
}

impl Split {
    fn new(args: &StatsArgs) -> Result<Self, CommandError> {
        let every = args.every.as_deref().map(|text| {
            let span = moment::span(text).and_then(|span| i64::try_from(span.as_micros()).ok());
            span.filter(|span| *span > 0).ok_or_else(|| {
                CommandError::Usage(format!("`{text}` is no span of time: write 10s, 1m or 1h"))
            })
        });
        Ok(Self { by: args.by.as_deref().map(Field::named), every: every.transpose()? })
    }

    fn row(&self, entry: &Value, time: Option<Timestamp>) -> Option<String> {
        match (&self.by, self.every) {
            (Some(field), _) => Some(name_of(field, entry)),
            (None, Some(span)) => {
                let start = floor(time?, span);
                Some(Timestamp::from_microsecond(start).ok().map(|start| format!("{start:.0}"))?)
            }
            (None, None) => None,
        }
    }
}

fn floor(time: Timestamp, span: i64) -> i64 {
    time.as_microsecond().div_euclid(span).saturating_mul(span)
}

fn time(entry: &Value) -> Option<Timestamp> {
    text(entry, "ts").or_else(|| text(entry, "recv"))?.parse().ok()
}

impl Stats {
    fn add(&mut self, entry: &Value, split: &Split) {
        self.whole.add(entry);
        let time = time(entry);
        if let Some(time) = time {
            self.first = Some(self.first.map_or(time, |first| first.min(time)));
            self.last = Some(self.last.map_or(time, |last| last.max(time)));
        }
        let micros = time.map(Timestamp::as_microsecond);
        let weight = weight(entry);
        micros.into_iter().for_each(|micros| self.series.add(micros, split.every, weight));
        if let Some(row) = split.row(entry, time) {
            if self.rows.len() < MAX_ROWS || self.rows.contains_key(&row) {
                let (group, series) = self.rows.entry(row).or_default();
                group.add(entry);
                micros.into_iter().for_each(|micros| series.add(micros, split.every, weight));
            } else {
                self.others += 1;
            }
        }
        for (sum, (_, member)) in self.phases.iter_mut().zip(PHASES) {
            *sum = sum.saturating_add(number(entry, member).unwrap_or(0).saturating_mul(weight));
        }
        self.add_reason(entry, weight);
    }

    fn add_reason(&mut self, entry: &Value, weight: u64) {
        let Some(reason) = text(entry, "reason") else { return };
        let end_by = text(entry, "end_by").unwrap_or("?");
        let key = (format!("{end_by}:{reason}"), text(entry, "cause").unwrap_or_default().to_owned());
        if self.reasons.len() < MAX_REASONS || self.reasons.contains_key(&key) {
            *self.reasons.entry(key).or_default() += weight;
        }
    }

    /// Requests per second between the first and the last.
    fn rate(&self) -> f64 {
        let span = self.first.zip(self.last).map(|(first, last)| last.duration_since(first).as_secs_f64());
        span.filter(|span| *span > 0.0).map_or(0.0, |span| self.whole.count as f64 / span)
    }

    fn tell(&self, split: &Split, json: bool, told: &Told, started: Instant) -> Result<(), CommandError> {
        let mut output = Output::stdout();
        if json {
            self.print_json(&mut output)?;
        } else if self.whole.count > 0 {
            self.print(&mut output)?;
            self.print_rows(&mut output, split)?;
        }
        if self.others > 0 {
            output.flush()?;
            super::output::note(&format!(
                "note: {} requests are in rows beyond the first {MAX_ROWS}",
                count(self.others)
            ));
        }
        Ok(summary::end(&mut output, json, told, started)?)
    }

    fn print(&self, output: &mut Output) -> Result<(), CommandError> {
        let Group { count: all, errors, bytes, durations, .. } = &self.whole;
        let mut say = |name: &str, text: &str| output.line(&format!("{BOLD}{name:<9}{BOLD:#} {text}"));
        let about = match self.whole.error_of_count() {
            0 => String::new(),
            error => format!(" ±{}", count(error)),
        };
        say("requests", &format!("{}{about}, {}", count(*all), in_words(self.rate())))?;
        if let (Some(first), Some(last)) = (self.first, self.last) {
            say("time", &format!("{first:.0} to {last:.0}"))?;
            say("", &format!("{CYAN}{}{CYAN:#}", self.series.draw(&self.series)))?;
        }
        say("errors", &format!("{} ({:.2} %)", count(*errors), share(*errors, *all)))?;
        say("sent", &size(*bytes))?;
        if durations.count() > 0 {
            let at = |share| duration_or_nothing(durations.at(share));
            let times = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
            say("duration", &times.map(|(name, share)| format!("{name} {}", at(share))).join("  "))?;
            let phases = self.phase_shares();
            if !phases.is_empty() {
                say("spent in", &phases)?;
            }
        }
        self.print_reasons(output)
    }

    /// `wait 84 %  resp 11 %  self 2 %`, the largest first.
    fn phase_shares(&self) -> String {
        let mut shares: Vec<(f64, &str)> = self
            .phases
            .iter()
            .zip(PHASES)
            .map(|(sum, (name, _))| (share(*sum, self.whole.time), *name))
            .collect();
        shares.retain(|(share, _)| *share >= 0.5);
        shares.sort_by(|a, b| b.0.total_cmp(&a.0));
        shares.iter().map(|(share, name)| format!("{name} {share:.0} %")).collect::<Vec<_>>().join("  ")
    }

    fn print_rows(&self, output: &mut Output, split: &Split) -> Result<(), CommandError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let shown = Shown::of(&self.whole, By::Count);
        let name = split.by.as_ref().map_or("from", Field::name);
        let mut columns = shown.columns();
        columns.extend([(name, Side::Left), ("", Side::Left)]);
        let mut table = Table::new(&columns);
        let mut rows: Vec<(&String, &(Group, Series))> = self.rows.iter().collect();
        if split.by.is_some() {
            rows.sort_by_key(|(name, (group, _))| (std::cmp::Reverse(group.count), *name));
        }
        let most = rows.iter().map(|(_, (group, _))| group.count).max().unwrap_or(0);
        for (name, (group, series)) in rows {
            let mut cells = shown.cells(group, &self.whole);
            cells.push(Safe(name).to_string().into());
            let drawn =
                if split.by.is_some() { series.draw(&self.series) } else { bar(group.count, most, BAR) };
            cells.push(Cell::styled(drawn, CYAN));
            table.row(cells);
        }
        output.line("")?;
        for line in table.lines() {
            output.line(&line)?;
        }
        Ok(())
    }

    fn print_reasons(&self, output: &mut Output) -> Result<(), CommandError> {
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(key, count)| (std::cmp::Reverse(**count), *key));
        for ((reason, cause), number) in reasons.into_iter().take(SHOWN_REASONS) {
            let cause = if cause.is_empty() { String::new() } else { format!(" ({})", Safe(cause)) };
            let share = share(*number, self.whole.count);
            output.line(&format!(
                "{:>9} {DIM}{share:>6.2} %{DIM:#}  {}{cause}",
                count(*number),
                Safe(reason)
            ))?;
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
        whole["phases_us"] = self
            .phases
            .iter()
            .zip(PHASES)
            .map(|(sum, (name, _))| ((*name).to_owned(), Value::from(*sum)))
            .collect();
        output.line(&escape::json(&whole.to_string()))?;
        for (name, (group, _)) in &self.rows {
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
        let split = Split { by: None, every: Some(60_000_000) };
        let mut stats = Stats::default();
        for (second, status, reason) in
            [(1, 200, None), (59, 504, Some("http_response_timeout")), (61, 200, None)]
        {
            let time = Timestamp::from_second(600 + second).unwrap().to_string();
            let entry = json!({"kind": "request", "ts": time, "status": status, "reason": reason, "dur_us": second, "t_wait_us": 1});
            stats.add(&entry, &split);
        }
        assert_eq!((stats.whole.count, stats.whole.errors), (3, 1));
        assert_eq!(
            stats.rows.iter().map(|(name, (row, _))| (name.as_str(), row.count)).collect::<Vec<_>>(),
            [("1970-01-01T00:10:00Z", 2), ("1970-01-01T00:11:00Z", 1)]
        );
        assert_eq!((stats.reasons.len(), stats.phase_shares().as_str()), (1, "wait 2 %"));
        assert!((stats.rate() - 0.05).abs() < 1e-9);
    }
}
