//! `logs stats --host`: what machines, proxies and workers use, from `host` records.

mod page;
mod series;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::args::{StatsArgs, WindowArgs};
use super::output::Output;
use super::source::{self, Source, Told};
use super::stats::{span_of, start_of};
use super::words::{text, time};
use super::{CommandError, escape, summary};
use crate::log_service::read::Flow;
use crate::log_service::rollup::host::{Facts, Sums};

/// What is looked at when nobody says: what a machine does now…
const NOW: &str = "5m";
/// …and its last hour, step by step.
const SERIES: &str = "1h";
/// Rows that are told apart; the others are counted.
const MAX_ROWS: usize = 10_000;

/// What the records of one proxy say.
#[derive(Debug, Default)]
struct Host {
    records: u64,
    facts: Facts,
    /// Time between two records, microseconds, summed up.
    span_us: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// The newest record.
    newest: Value,
    /// Worst and mean lag by core, and of how many records.
    cores: BTreeMap<u64, (u64, u64, u64)>,
}

/// By step of time (empty without `--every`) and proxy.
type Hosts = BTreeMap<(String, String), Host>;

pub(super) fn run(args: &StatsArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let every = args.every.as_deref().map(span_of).transpose()?;
    let (source, asked) = source::question(&filter(args), Some(&window(args, every)), &args.source)?;
    let (hosts, others, told) = gather(&source, &asked, every)?;
    if hosts.is_empty() {
        summary::hint(&asked);
    }
    let mut output = Output::stdout();
    match (args.table.json(), every) {
        (true, _) => print_json(&mut output, &hosts)?,
        (false, None) => {
            hosts.iter().try_for_each(|((_, proxy), host)| page::print(&mut output, proxy, host))?
        }
        (false, Some(_)) => series::print(&mut output, &hosts)?,
    }
    if others > 0 {
        output.flush()?;
        super::output::note(&format!(
            "note: {others} host records are beyond the {MAX_ROWS} rows that are shown"
        ));
    }
    summary::end(&mut output, args.table.json(), &told, started)?;
    Ok(!hosts.is_empty())
}

fn filter(args: &StatsArgs) -> Vec<String> {
    let own = Some(args.filter.join(" ")).filter(|own| !own.trim().is_empty());
    std::iter::once("kind:host".to_owned()).chain(own.map(|own| format!("({own})"))).collect()
}

fn window(args: &StatsArgs, every: Option<i64>) -> WindowArgs {
    let default = if every.is_some() { SERIES } else { NOW };
    // Of files all is meant.
    let default = args.source.from.is_empty().then(|| default.to_owned());
    WindowArgs { since: args.window.since.clone().or(default), until: args.window.until.clone() }
}

fn gather(
    source: &Source,
    asked: &source::Asked,
    every: Option<i64>,
) -> Result<(Hosts, u64, Told), CommandError> {
    let (mut hosts, mut others) = (Hosts::new(), 0);
    let told = source.each(asked, &mut |row| {
        others += u64::from(!note(&mut hosts, row.value, every));
        Flow::Continue(())
    })?;
    Ok((hosts, others, told))
}

/// Adds a record; false when there is no row for it. One of no proxy, as strangers may send, is nobody's.
fn note(hosts: &mut Hosts, record: &Value, every: Option<i64>) -> bool {
    let Some(proxy) = text(record, "proxy") else { return true };
    let time = time(record);
    let start = every.zip(time).and_then(|(every, time)| start_of(time, every)).unwrap_or_default();
    let place = (start, proxy.to_owned());
    if hosts.len() >= MAX_ROWS && !hosts.contains_key(&place) {
        return false;
    }
    hosts.entry(place).or_default().add(record, time);
    true
}

impl Host {
    fn add(&mut self, record: &Value, time: Option<Timestamp>) {
        self.records += 1;
        self.facts.merge(&Facts::of(record));
        self.span_us = self.span_us.saturating_add(record["interval_us"].as_u64().unwrap_or(0));
        for core in record["cores"].as_array().into_iter().flatten() {
            let number = |name: &str| core[name].as_u64();
            let (Some(core), Some(max), Some(mean)) = (number("core"), number("max_us"), number("mean_us"))
            else {
                continue;
            };
            let (worst, sum, count) = self.cores.entry(core).or_default();
            (*worst, *sum, *count) = ((*worst).max(max), sum.saturating_add(mean), *count + 1);
        }
        if self.newest.is_null() || self.last < time {
            self.newest = record.clone();
        }
        if time.is_some() {
            self.first = self.first.map_or(time, |first| Some(first).min(time));
            self.last = self.last.max(time);
        }
    }

    fn sums(&self) -> Sums {
        Sums::of(&self.facts)
    }

    /// Per second of the time that its records are about.
    fn rate(&self, sum: Option<f64>) -> Option<f64> {
        sum.filter(|_| self.span_us > 0).map(|sum| sum / (self.span_us as f64 / 1e6))
    }
}

/// A line for each row; without `--every` with the newest record.
fn print_json(output: &mut Output, hosts: &Hosts) -> Result<(), CommandError> {
    for ((start, proxy), host) in hosts {
        let mut told = serde_json::to_value(host.sums()).unwrap_or_default();
        told["proxy"] = proxy.as_str().into();
        told["records"] = host.records.into();
        match start.is_empty() {
            true => told["newest"] = host.newest.clone(),
            false => told["time"] = start.as_str().into(),
        }
        told["cores"] = host
            .cores
            .iter()
            .map(|(core, (max, sum, count))| json!({"core": core, "max_us": max, "mean_us": sum / (*count).max(1)}))
            .collect();
        output.line(&escape::json(&told.to_string()))?;
    }
    Ok(())
}
