//! `logs stats`: how many, how fast, how many failed and why.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::args::{By, StatsArgs};
use super::escape::Safe;
use super::output::{BOLD, CYAN, DIM, Output};
use super::source::{self, Asked, Source, Told};
use super::spark::{bar, draw};
use super::table::{Cell, Side, Table};
use super::tally::{Group, PHASES, in_words, share, to_json, weight};
use super::top::{Shown, name_of};
use super::words::{NOTHING, count, duration_or_nothing, is_request, number, size, text, time};
use super::{CommandError, escape, summary};
use crate::log_service::exec::{self, Figures, Question};
use crate::log_service::query::{Field, moment};
use crate::log_service::read::{Flow, Series};

/// Rows, reasons and causes that are kept.
const MAX_ROWS: usize = 10_000;
const MAX_REASONS: usize = 1_000;
const SHOWN_REASONS: usize = 10;
/// Width of the bars of `--every`.
const BAR: usize = 30;
const POLICY: &str = "t_policy_us";
const OWN: &str = "t_self_us";

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
    if args.host {
        return super::host::run(args);
    }
    let started = Instant::now();
    let (source, asked) = source::question(&args.filter, Some(&args.window), &args.source)?;
    let split = Split::new(args)?;
    let more = [("by", args.by.clone()), ("every", args.every.clone())];
    let more: Vec<(&str, String)> =
        more.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let (stats, told) = match source.ask::<exec::Stats>(Question::Stats, &asked, &more)? {
        Some(stats) => {
            // `rows` of the figures are the rows of the table there.
            let told = Told::counted(stats.report.clone(), stats.report.rows, stats.whole.count);
            (stats, told)
        }
        None => walked(&source, &asked, &split)?,
    };
    if stats.whole.count == 0 {
        summary::hint(&asked);
    }
    Telling(&stats).tell(&split, args.table.json(), &told, started)?;
    Ok(stats.whole.count > 0)
}

/// Row by row.
fn walked(source: &Source, asked: &Asked, split: &Split) -> Result<(exec::Stats, Told), CommandError> {
    let mut stats = Stats::default();
    let told = source.each(asked, &mut |row| {
        if is_request(row.value) {
            stats.add(row.value, split);
        }
        Flow::Continue(())
    })?;
    Ok((stats.counted(split), told))
}

impl Split {
    fn new(args: &StatsArgs) -> Result<Self, CommandError> {
        let every = args.every.as_deref().map(span_of).transpose()?;
        Ok(Self { by: args.by.as_deref().map(Field::named), every })
    }

    fn row(&self, entry: &Value, time: Option<Timestamp>) -> Option<String> {
        match (&self.by, self.every) {
            (Some(field), _) => Some(name_of(field, entry)),
            (None, Some(span)) => start_of(time?, span),
            (None, None) => None,
        }
    }
}

/// Microseconds.
pub(super) fn span_of(text: &str) -> Result<i64, CommandError> {
    let span = moment::span(text).and_then(|span| i64::try_from(span.as_micros()).ok());
    span.filter(|span| *span > 0)
        .ok_or_else(|| CommandError::Usage(format!("`{text}` is no span of time: write 10s, 1m or 1h")))
}

/// When the span began that a moment lies in, to a second.
pub(super) fn start_of(time: Timestamp, span: i64) -> Option<String> {
    let start = time.as_microsecond().div_euclid(span).saturating_mul(span);
    Timestamp::from_microsecond(start).ok().map(|start| format!("{start:.0}"))
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
        // As with the durations: a tunnel's life says nothing about where requests wait.
        let is_timed = text(entry, "kind") != Some("close") && number(entry, "dur_us").is_some();
        for (sum, (_, member)) in self.phases.iter_mut().zip(PHASES).filter(|_| is_timed) {
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

    /// As the executor tells it.
    fn counted(self, split: &Split) -> exec::Stats {
        let rate = self.rate();
        let mut rows: Vec<(String, (Group, Series))> = self.rows.into_iter().collect();
        if split.by.is_some() {
            rows.sort_by_key(|(_, (group, _))| std::cmp::Reverse(group.count));
        }
        let rows = rows.into_iter().map(|(name, (group, series))| exec::Row {
            values: vec![Some(name.into())],
            figures: group.figures(),
            series: Some(Box::new(series)),
        });
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let reasons = self.reasons.into_iter().map(|((reason, cause), count)| {
            let (end_by, reason) = reason.split_once(':').unwrap_or(("", &reason));
            exec::Reason { end_by: text(end_by), reason: text(reason), cause: text(&cause), count }
        });
        let mut reasons: Vec<exec::Reason> = reasons.collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
        let phases = PHASES.iter().zip(self.phases).map(|((_, member), time_us)| exec::Phase {
            name: (*member).to_owned(),
            time_us,
            share: share(time_us, self.whole.time) / 100.0,
        });
        exec::Stats {
            rate,
            first_us: self.first.map(Timestamp::as_microsecond),
            last_us: self.last.map(Timestamp::as_microsecond),
            series: self.series,
            reasons,
            phases: phases.collect(),
            rows: rows.collect(),
            others: (self.others > 0).then(|| Figures { count: self.others, ..Figures::default() }),
            whole: self.whole.figures(),
            ..exec::Stats::default()
        }
    }
}

/// How the answer is printed.
struct Telling<'a>(&'a exec::Stats);

impl Telling<'_> {
    fn tell(&self, split: &Split, json: bool, told: &Told, started: Instant) -> Result<(), CommandError> {
        let mut output = Output::stdout();
        if json {
            self.print_json(&mut output)?;
        } else if self.0.whole.count > 0 {
            self.print(&mut output)?;
            self.print_rows(&mut output, split)?;
        }
        if let Some(others) = &self.0.others {
            output.flush()?;
            let missing = if split.by.is_some() { ": the first may be missing" } else { "" };
            super::output::note(&format!(
                "note: {} requests are in rows beyond the {} that were told apart{missing}",
                count(others.count),
                count(self.0.rows.len() as u64)
            ));
        }
        Ok(summary::end(&mut output, json, told, started)?)
    }

    fn print(&self, output: &mut Output) -> Result<(), CommandError> {
        let whole = &self.0.whole;
        let mut say = |name: &str, text: &str| output.line(&format!("{BOLD}{name:<9}{BOLD:#} {text}"));
        let about = whole.count_off.map(|off| format!(" ±{}", count(off))).unwrap_or_default();
        say("requests", &format!("{}{about}, {}", count(whole.count), in_words(self.0.rate)))?;
        let time = |micros: Option<i64>| Timestamp::from_microsecond(micros?).ok();
        if let (Some(first), Some(last)) = (time(self.0.first_us), time(self.0.last_us)) {
            say("time", &format!("{first:.0} to {last:.0}"))?;
            say("", &format!("{CYAN}{}{CYAN:#}", draw(&self.0.series, &self.0.series)))?;
        }
        say("errors", &format!("{} ({:.2} %)", count(whole.errors), share(whole.errors, whole.count)))?;
        say("sent", &size(whole.bytes))?;
        if whole.p50_us.is_some() {
            let times = [
                ("p50", whole.p50_us),
                ("p90", whole.p90_us),
                ("p99", whole.p99_us),
                ("p99.9", whole.p999_us),
                ("max", whole.max_us),
            ];
            let times = times.map(|(name, time)| format!("{name} {}", duration_or_nothing(time)));
            say("duration", &times.join("  "))?;
            let phases = self.phase_shares();
            if !phases.is_empty() {
                say("spent in", &phases)?;
            }
        }
        self.print_reasons(output)
    }

    /// `wait 84 %  resp 11 %  self 5 % (policy 2 %)`, the largest first. What tollgate itself took has its rules and limits
    /// in it; only where nobody says what that was (other proxies) do they stand alone. So the shares are of one whole.
    fn phase_shares(&self) -> String {
        let time = |member: &str| {
            self.0.phases.iter().find(|phase| phase.name == member).map_or(0.0, |phase| phase.share)
        };
        let (policy, own) = (time(POLICY), time(OWN));
        let is_inside = policy <= own;
        let shares = PHASES.iter().filter(|(_, member)| *member != POLICY || !is_inside);
        let mut shares: Vec<(f64, &str, &str)> =
            shares.map(|(name, member)| (time(member) * 100.0, *name, *member)).collect();
        shares.retain(|(share, ..)| *share >= 0.5);
        shares.sort_by(|a, b| b.0.total_cmp(&a.0));
        let shown = shares.iter().map(|(share, name, member)| match *member == OWN && policy >= 0.005 {
            true => format!("{name} {share:.0} % (policy {:.0} %)", policy * 100.0),
            false => format!("{name} {share:.0} %"),
        });
        shown.collect::<Vec<_>>().join("  ")
    }

    fn print_rows(&self, output: &mut Output, split: &Split) -> Result<(), CommandError> {
        let rows = &self.0.rows;
        if rows.is_empty() {
            return Ok(());
        }
        let shown = Shown::of(&self.0.whole, By::Count);
        let name = split.by.as_ref().map_or("from", Field::name);
        let mut columns = shown.columns();
        columns.extend([(name, Side::Left), ("", Side::Left)]);
        let mut table = Table::new(&columns);
        let most = rows.iter().map(|row| row.figures.count).max().unwrap_or(0);
        for row in rows {
            let mut cells = shown.cells(&row.figures, &self.0.whole);
            cells.push(Safe(&name_of_row(row)).to_string().into());
            let drawn = match &row.series {
                Some(series) if split.by.is_some() => draw(series, &self.0.series),
                _ => bar(row.figures.count, most, BAR),
            };
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
        for reason in self.0.reasons.iter().take(SHOWN_REASONS) {
            let cause =
                reason.cause.as_deref().map(|cause| format!(" ({})", Safe(cause))).unwrap_or_default();
            let share = share(reason.count, self.0.whole.count);
            output.line(&format!(
                "{:>9} {DIM}{share:>6.2} %{DIM:#}  {}{cause}",
                count(reason.count),
                Safe(&name_of_reason(reason))
            ))?;
        }
        Ok(())
    }

    fn print_json(&self, output: &mut Output) -> Result<(), CommandError> {
        let mut whole = to_json(&self.0.whole);
        let reasons = self.0.reasons.iter().map(|reason| {
            let cause = reason.cause.as_deref().unwrap_or_default();
            json!({ "reason": name_of_reason(reason), "cause": cause, "count": reason.count })
        });
        whole["rate"] = self.0.rate.into();
        whole["reasons"] = reasons.collect();
        whole["phases_us"] = PHASES
            .iter()
            .map(|(name, member)| {
                let phase = self.0.phases.iter().find(|phase| phase.name == *member);
                ((*name).to_owned(), Value::from(phase.map_or(0, |phase| phase.time_us)))
            })
            .collect();
        output.line(&escape::json(&whole.to_string()))?;
        for row in &self.0.rows {
            let mut told = to_json(&row.figures);
            told["row"] = name_of_row(row).into();
            output.line(&escape::json(&told.to_string()))?;
        }
        Ok(())
    }
}

fn name_of_row(row: &exec::Row) -> String {
    let names = row.values.iter().map(|value| value.as_deref().unwrap_or(NOTHING));
    names.collect::<Vec<_>>().join(",")
}

fn name_of_reason(reason: &exec::Reason) -> String {
    let [by, why] = [&reason.end_by, &reason.reason].map(|word| word.as_deref().unwrap_or("?"));
    format!("{by}:{why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_time_are_of_one_whole() {
        let shares = |own: f64| {
            let share = |(name, share): (&str, f64)| exec::Phase { name: name.to_owned(), time_us: 1, share };
            let phases = [("t_wait_us", 0.9), (POLICY, 0.04), (OWN, own)];
            let stats = exec::Stats { phases: phases.map(share).into(), ..exec::Stats::default() };
            Telling(&stats).phase_shares()
        };
        assert_eq!(shares(0.1), "wait 90 %  self 10 % (policy 4 %)");
        assert_eq!(
            shares(0.0),
            "wait 90 %  policy 4 %",
            "of proxies that do not say what they took themselves"
        );
    }

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
        assert!((stats.rate() - 0.05).abs() < 1e-9);
        let counted = stats.counted(&split);
        assert_eq!((counted.reasons.len(), Telling(&counted).phase_shares().as_str()), (1, "wait 2 %"));
    }
}
