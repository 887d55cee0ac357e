//! `logs audit`: what each proxy and core sent, what is stored, what was sampled and what is lost, with reasons.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::{SourceArgs, TableArgs, WindowArgs};
use super::escape::{self, Safe};
use super::output::{GREEN, Output, RED, YELLOW};
use super::shipping::Shipping;
use super::source::{self, Asked, Source, Told};
use super::table::{Cell, Side, Table};
use super::words::{NOTHING, count, number, size, text};
use super::{CommandError, summary};
use crate::log_service::Chained;
use crate::log_service::exec::{Audited, Question};
use crate::log_service::read::{Flow, Missing, SAMPLED};

/// Streams that are told apart.
const MAX_STREAMS: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    /// Look at everything that is kept, and fail (exit code 1) when a line is damaged or a loss is not explained.
    #[arg(long)]
    verify: bool,
    /// With --verify: the head of the chain that an earlier --verify told and that you wrote down; fails when it is not in the
    /// chain of now.
    #[arg(long, value_name = "HASH", requires = "verify")]
    head: Option<String>,
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

/// One core of one run of a proxy.
type Stream = (String, u64, u64);

#[derive(Debug, Default, PartialEq)]
struct Counted {
    stored: u64,
    first: u64,
    last: u64,
    /// Left out on purpose: as the proxy declared, or, where it did not, requests that stored rows stand for beyond
    /// themselves.
    sampled: u64,
    weighed: f64,
    begin: Option<Timestamp>,
    end: Option<Timestamp>,
    /// Lost with a reason, per reason (zero: nobody knows how many); lost without one.
    lost: BTreeMap<String, u64>,
    unexplained: u64,
}

#[derive(Default)]
struct Audit {
    streams: BTreeMap<Stream, Counted>,
    /// Entries that carry no number: lines of applications, of other services.
    unnumbered: u64,
    /// Numbered rows that were read, and how many there should be.
    verified: Option<(u64, u64)>,
    /// What the chain of the files says; nothing when nobody asked, or there is none.
    chain: Option<Chained>,
    /// Where else files of closed hours go.
    sinks: Vec<Shipping>,
    /// Times are those of the files that hold a stream: it lies between them.
    is_rough: bool,
}

/// What the executor tells, and what the store says about its files.
#[derive(Deserialize)]
struct Answer {
    #[serde(flatten)]
    audited: Audited,
    #[serde(default)]
    chain: Option<Chained>,
    #[serde(default)]
    sinks: Vec<Shipping>,
}

pub(super) fn run(args: &AuditArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    if args.head.as_deref().is_some_and(|head| head.trim().is_empty()) {
        // Of an empty variable, most likely: it would prove nothing.
        return Err(CommandError::Usage(
            "--head is empty: give the head that an earlier --verify told".to_owned(),
        ));
    }
    let (source, mut asked) = source::question(&[], Some(&args.window), &args.source)?;
    if args.verify && args.window.since.is_none() {
        asked.window.since = None;
    }
    let verify = args.verify.then(|| ("verify", "1".to_owned()));
    let head = args.head.as_deref().map(|head| ("head", head.trim().to_owned()));
    let verify: Vec<(&str, String)> = verify.into_iter().chain(head).collect();
    let (audit, told) = match source.ask::<Answer>(Question::Audit, &asked, &verify)? {
        Some(Answer { audited, chain, sinks }) => {
            (Audit { chain, sinks, ..Audit::of(&audited) }, Told::of(audited.report))
        }
        None => walked(&source, &asked)?,
    };
    audit.print(args.table.json(), args.verify, &told, started)?;
    let is_whole = told.report.damaged == 0
        && !told.report.unknown
        && audit.verified.is_none_or(|(found, told)| found == told)
        && audit.streams.values().all(|stream| stream.unexplained == 0)
        && is_chained(audit.chain.as_ref(), args.head.is_some());
    if let Some((found, listed)) = audit.verified.filter(|(found, listed)| found != listed) {
        super::output::note(&format!(
            "note: {} numbered rows were read, but the store lists {}",
            count(found),
            count(listed)
        ));
    }
    if args.verify && audit.chain.is_none() {
        super::output::note(
            "note: the files were not compared: only a data directory of now and its service have a chain",
        );
    }
    if args.verify && is_whole {
        super::output::note(match told.report.open().next() {
            None => "verified: everything could be read, and no number is missing without a reason",
            Some(_) => {
                "verified: everything could be read, and no number that is known of is missing without a reason; how many \
                 were lost with a ring nobody knows"
            }
        });
    }
    Ok(if args.verify { is_whole } else { !audit.streams.is_empty() || audit.unnumbered > 0 })
}

/// Whether the chain is whole; a head that was given must have been found in it.
fn is_chained(chain: Option<&Chained>, has_head: bool) -> bool {
    chain.is_none_or(Chained::is_whole) && (!has_head || chain.and_then(|chain| chain.has_head) == Some(true))
}

/// Row by row.
fn walked(source: &Source, asked: &Asked) -> Result<(Audit, Told), CommandError> {
    let mut audit = Audit::default();
    let told = source.each(asked, &mut |row| {
        audit.add(row.value);
        Flow::Continue(())
    })?;
    told.report.missing.iter().for_each(|missing| audit.miss(missing));
    if let Source::Directory(data) = source {
        let sinks = data.sinks().map_err(|error| source::cannot_read(data.path(), error))?;
        audit.sinks = sinks.into_iter().filter_map(|told| serde_json::from_value(told).ok()).collect();
    }
    Ok((audit, told))
}

impl Audit {
    /// Of the executor.
    fn of(told: &Audited) -> Self {
        let time = |micros: Option<i64>| Timestamp::from_microsecond(micros?).ok();
        let streams = told.streams.iter().map(|stream| {
            let counted = Counted {
                stored: stream.stored,
                first: stream.first,
                last: stream.last,
                sampled: stream.sampled,
                weighed: 0.0,
                begin: time(stream.from_us),
                end: time(stream.to_us),
                lost: stream.lost.clone(),
                unexplained: stream.unexplained,
            };
            ((stream.proxy.clone(), stream.boot, stream.core), counted)
        });
        Self {
            streams: streams.collect(),
            unnumbered: told.unnumbered,
            verified: told.verified,
            chain: None,
            sinks: Vec::new(),
            is_rough: true,
        }
    }

    fn add(&mut self, entry: &Value) {
        let Some((stream, seq)) = place(entry) else {
            self.unnumbered += 1;
            return;
        };
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&stream) {
            self.unnumbered += 1;
            return;
        }
        let counted = self.streams.entry(stream).or_default();
        if text(entry, "kind") == Some("gap") {
            if text(entry, "reason") == Some(SAMPLED) {
                let number = |name: &str| entry.get(name).and_then(Value::as_u64).unwrap_or(0);
                counted.sampled += number("missing");
                counted.last = counted.last.max(number("last_seq"));
            }
            return;
        }
        counted.stored += 1;
        counted.first = if counted.first == 0 { seq } else { counted.first.min(seq) };
        counted.last = counted.last.max(seq);
        let weight = entry.get("sw").and_then(Value::as_f64).unwrap_or(1.0);
        counted.weighed += (weight - 1.0).clamp(0.0, 1e9);
        let time = text(entry, "ts").and_then(|time| time.parse::<Timestamp>().ok());
        counted.begin = counted.begin.into_iter().chain(time).min();
        counted.end = counted.end.into_iter().chain(time).max();
    }

    fn miss(&mut self, missing: &Missing) {
        let stream = (missing.proxy.clone(), missing.boot, missing.core);
        let counted = self.streams.entry(stream).or_default();
        match &missing.why {
            Some(_) if missing.is_sampled() => counted.sampled += missing.count(),
            Some(why) => *counted.lost.entry(why.clone()).or_default() += missing.count(),
            None => counted.unexplained += missing.count(),
        }
        counted.last = counted.last.max(if missing.is_open() { 0 } else { missing.to });
    }

    fn print(&self, json: bool, verify: bool, told: &Told, started: Instant) -> Result<(), CommandError> {
        let mut output = Output::stdout();
        if json {
            for (stream, counted) in &self.streams {
                output.line(&escape::json(&to_json(stream, counted).to_string()))?;
            }
            if let Some(chain) = self.chain.as_ref().filter(|_| verify) {
                let told = json!({ "kind": "chain", "whole": chain.is_whole(), "chain": chain });
                output.line(&escape::json(&told.to_string()))?;
            }
            for sink in &self.sinks {
                output.line(&escape::json(&sink.to_json().to_string()))?;
            }
        } else {
            self.print_table(&mut output)?;
            for sink in &self.sinks {
                output.line(&sink.line())?;
            }
            for line in self.chain.iter().filter(|_| verify).flat_map(told_of_chain) {
                output.line(&line)?;
            }
        }
        Ok(summary::end(&mut output, json, told, started)?)
    }

    fn print_table(&self, output: &mut Output) -> Result<(), CommandError> {
        let columns = [
            "proxy",
            "started",
            "core",
            "sent",
            "stored",
            "sampled",
            "lost",
            "unexplained",
            if self.is_rough { "not before" } else { "from" },
            if self.is_rough { "not after" } else { "to" },
            "reasons",
        ];
        let side = |name: &&'static str| {
            let is_number = matches!(*name, "core" | "sent" | "stored" | "sampled" | "lost" | "unexplained");
            (*name, if is_number { Side::Right } else { Side::Left })
        };
        let mut table = Table::new(&columns.iter().map(side).collect::<Vec<_>>());
        for (stream, counted) in &self.streams {
            table.row(row(stream, counted));
        }
        if !self.streams.is_empty() {
            for line in table.lines() {
                output.line(&line)?;
            }
        }
        if self.unnumbered > 0 {
            let entries = if self.unnumbered == 1 { "entry carries" } else { "entries carry" };
            output.line(&format!(
                "{} {entries} no number (lines of applications and other services)",
                count(self.unnumbered)
            ))?;
        }
        Ok(())
    }
}

/// What was proved about the files, and what is wrong with them.
fn told_of_chain(chain: &Chained) -> Vec<String> {
    let since = chain.since.as_deref().unwrap_or(NOTHING);
    let mut lines = Vec::new();
    if chain.links == 0 && chain.problem_count == 0 {
        lines.push("files     none yet: all rows are in the service's log".to_owned());
    } else {
        lines.push(format!(
            "files     {} of {} are what was written ({}), by a chain of {} {} since {}",
            count(chain.files),
            count(chain.listed),
            size(chain.bytes),
            count(chain.links),
            if chain.links == 1 { "link" } else { "links" },
            Safe(since)
        ));
        lines.push(format!("head      {}", Safe(&chain.head)));
    }
    if chain.unsealed > 0 {
        lines.push(format!(
            "{YELLOW}          {} files were there before the chain: of them only that they can be read is known{YELLOW:#}",
            count(chain.unsealed)
        ));
    }
    if chain.found > 0 {
        lines.push(format!(
            "{YELLOW}          {} {} made at a start for files that the chain did not have: these were hashed only then{YELLOW:#}",
            count(chain.found),
            if chain.found == 1 { "link was" } else { "links were" }
        ));
    }
    if chain.has_head == Some(false) {
        lines.push(format!("{RED}          the head that you gave is not in this chain{RED:#}"));
    }
    lines.extend(chain.problems.iter().map(|problem| format!("{RED}          {}{RED:#}", Safe(problem))));
    let more = chain.problem_count.saturating_sub(chain.problems.len() as u64);
    if more > 0 {
        lines.push(format!("{RED}          and {} more{RED:#}", count(more)));
    }
    lines
}

fn place(entry: &Value) -> Option<(Stream, u64)> {
    let seq = number(entry, "seq").or_else(|| (text(entry, "kind") == Some("gap")).then_some(0))?;
    Some(((text(entry, "proxy")?.to_owned(), number(entry, "boot")?, number(entry, "core")?), seq))
}

impl Counted {
    /// Numbers from the first to the last that is known of.
    fn sent(&self) -> u64 {
        let span = if self.last == 0 { 0 } else { self.last - self.first.max(1).min(self.last) + 1 };
        span.max(self.stored)
    }

    fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Whether more was lost than is counted, as far as anybody knows.
    fn is_open(&self) -> bool {
        self.lost.values().any(|count| *count == 0)
    }

    fn left_out(&self) -> u64 {
        // Rounded only to be looked at.
        if self.sampled > 0 { self.sampled } else { self.weighed.round() as u64 }
    }
}

fn row((proxy, boot, core): &Stream, counted: &Counted) -> Vec<Cell> {
    let time = |time: Option<Timestamp>| time.map_or_else(|| NOTHING.to_owned(), |time| format!("{time:.0}"));
    // The start of a process is its boot number, in milliseconds.
    let started = i64::try_from(*boot).ok().and_then(|boot| Timestamp::from_millisecond(boot).ok());
    let red = |number: u64| Cell::styled(count(number), if number > 0 { RED } else { GREEN });
    let lost = match counted.is_open() {
        true => Cell::styled(format!("{}+?", count(counted.lost())), YELLOW),
        false => Cell::styled(count(counted.lost()), if counted.lost() > 0 { YELLOW } else { GREEN }),
    };
    let reasons = counted.lost.iter().map(|(why, number)| match number {
        0 => format!("? {}", Safe(why)),
        number => format!("{} {}", count(*number), Safe(why)),
    });
    vec![
        Safe(proxy).to_string().into(),
        time(started).into(),
        core.to_string().into(),
        count(counted.sent()).into(),
        count(counted.stored).into(),
        count(counted.left_out()).into(),
        lost,
        red(counted.unexplained),
        time(counted.begin).into(),
        time(counted.end).into(),
        reasons.collect::<Vec<_>>().join(", ").into(),
    ]
}

fn to_json((proxy, boot, core): &Stream, counted: &Counted) -> Value {
    json!({
        "proxy": proxy, "boot": boot, "core": core, "sent": counted.sent(), "stored": counted.stored,
        "sampled": counted.left_out(), "lost": counted.lost(), "unexplained": counted.unexplained,
        "lost_unknown": counted.is_open(), "reasons": counted.lost, "first_seq": counted.first, "last_seq": counted.last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_was_not_compared_is_not_verified() {
        let chain = |has_head| Chained { has_head, ..Chained::default() };
        assert!(is_chained(None, false) && is_chained(Some(&chain(None)), false));
        assert!(is_chained(Some(&chain(Some(true))), true));
        for chain in [None, Some(chain(None)), Some(chain(Some(false)))] {
            assert!(!is_chained(chain.as_ref(), true), "{chain:?}");
        }
    }

    #[test]
    fn sent_is_stored_and_lost() {
        let mut audit = Audit::default();
        for seq in [3, 4, 7] {
            audit
                .add(&json!({"kind": "request", "proxy": "e", "boot": 1, "core": 0, "seq": seq, "sw": 10.0}));
        }
        audit.add(&json!({"kind": "app", "line": "x"}));
        let missing = |from, to, why: Option<&str>| Missing {
            proxy: "e".to_owned(),
            boot: 1,
            core: 0,
            from,
            to,
            why: why.map(str::to_owned),
            between_us: None,
        };
        audit.miss(&missing(5, 5, Some("ring_full")));
        audit.miss(&missing(6, 6, None));
        let counted = audit.streams.values().next().unwrap();
        assert_eq!((counted.sent(), counted.stored, counted.lost(), counted.unexplained), (5, 3, 1, 1));
        assert_eq!((counted.left_out(), audit.unnumbered), (27, 1));
        audit.miss(&missing(8, 9, Some("sampled")));
        let counted = audit.streams.values().next().unwrap();
        assert_eq!(
            (counted.sent(), counted.left_out(), counted.lost()),
            (7, 2, 1),
            "what was declared counts"
        );
    }
}
