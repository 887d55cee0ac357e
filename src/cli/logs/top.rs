//! `logs top FIELD`: groups of requests, the most frequent, slowest or most failing first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::args::{By, TopArgs};
use super::escape::Safe;
use super::output::{BOLD, Output, RED, note};
use super::source::{self, Asked, Source};
use super::words::{NOTHING, count, duration_or_nothing, is_error, is_request, number, size};
use super::{CommandError, escape, summary};
use crate::log_service::query::Field;
use crate::log_service::read::{Flow, Quantiles};

/// Different values that are counted; the rest is counted together, and said.
const MAX_GROUPS: usize = 100_000;
/// Longest value that is kept as a group's name.
const MAX_NAME: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) count: u64,
    pub(super) errors: u64,
    pub(super) bytes: u64,
    pub(super) durations: Quantiles,
}

impl Group {
    pub(super) fn add(&mut self, entry: &Value) {
        self.count += 1;
        self.errors += u64::from(is_error(entry));
        self.bytes = self.bytes.saturating_add(number(entry, "tx_body_b").unwrap_or(0));
        // A tunnel's life says nothing about how fast answers are.
        if super::words::text(entry, "kind") != Some("close") {
            number(entry, "dur_us").into_iter().for_each(|duration| self.durations.add(duration));
        }
    }

    fn rank(&self, by: By) -> u64 {
        match by {
            By::Count => self.count,
            By::Errors => self.errors,
            By::P50 => self.durations.at(0.5).unwrap_or(0),
            By::P99 => self.durations.at(0.99).unwrap_or(0),
            By::Bytes => self.bytes,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "count": self.count, "errors": self.errors, "bytes": self.bytes,
            "p50_us": self.durations.at(0.5), "p90_us": self.durations.at(0.9), "p99_us": self.durations.at(0.99),
            "max_us": self.durations.at(1.0),
        })
    }
}

pub(super) fn run(args: &TopArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let asked = Asked::new(&args.filter, source::window(&args.window, Timestamp::now())?)?;
    let fields: Vec<Field> =
        args.fields.split(',').filter(|name| !name.is_empty()).map(Field::named).collect();
    if fields.is_empty() {
        return Err(CommandError::Usage("name a field, such as path or host,status".to_owned()));
    }
    let mut groups: HashMap<Vec<String>, Group> = HashMap::new();
    let mut others = Group::default();
    let report = Source::new(&args.source)?.each(&asked, &mut |row| {
        if is_request(row.value) {
            let names: Vec<String> = fields.iter().map(|field| name_of(field, row.value)).collect();
            let has_room = groups.len() < MAX_GROUPS || groups.contains_key(&names);
            let group = if has_room { groups.entry(names).or_default() } else { &mut others };
            group.add(row.value);
        }
        Flow::Continue(())
    })?;
    let mut groups: Vec<(Vec<String>, Group)> = groups.into_iter().collect();
    groups.sort_by(|a, b| (Reverse(a.1.rank(args.by)), &a.0).cmp(&(Reverse(b.1.rank(args.by)), &b.0)));
    let found = !groups.is_empty();
    if others.count > 0 {
        note(&format!("note: {} requests have values beyond the first {MAX_GROUPS}", count(others.count)));
    }
    groups.truncate(args.count);
    print(&fields, &groups, args.json)?;
    summary::print(&report, started);
    if !found {
        summary::hint(&asked.query);
    }
    Ok(found)
}

/// A field's value as a group's name.
pub(super) fn name_of(field: &Field, entry: &Value) -> String {
    let mut name = match field.of(entry) {
        None => NOTHING.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if let Some((at, _)) = name.char_indices().nth(MAX_NAME) {
        name.truncate(at);
        name.push('…');
    }
    name
}

fn print(fields: &[Field], groups: &[(Vec<String>, Group)], as_json: bool) -> Result<(), CommandError> {
    let mut output = Output::stdout();
    if as_json {
        for (names, group) in groups {
            let mut object = group.to_json();
            for (field, name) in fields.iter().zip(names) {
                object[field.name()] = name.as_str().into();
            }
            output.line(&escape::json(&object.to_string()))?;
        }
        return Ok(output.flush()?);
    }
    let names: Vec<&str> = fields.iter().map(Field::name).collect();
    output.line(&header(&names.join(",")))?;
    for (names, group) in groups {
        output.line(&row(&names.join("  "), group))?;
    }
    Ok(output.flush()?)
}

pub(super) fn header(name: &str) -> String {
    let columns = format!(
        "{:>10} {:>8} {:>7} {:>9} {:>9} {:>9} {:>9}",
        "count", "errors", "err%", "p50", "p90", "p99", "bytes"
    );
    format!("{BOLD}{columns}  {}{BOLD:#}", Safe(name))
}

pub(super) fn row(name: &str, group: &Group) -> String {
    let at = |share| duration_or_nothing(group.durations.at(share));
    let errors = format!("{:>8} {:>6.2}%", count(group.errors), share(group.errors, group.count));
    let style = if group.errors > 0 { RED } else { anstyle::Style::new() };
    format!(
        "{:>10} {style}{errors}{style:#} {:>9} {:>9} {:>9} {:>9}  {}",
        count(group.count),
        at(0.5),
        at(0.9),
        at(0.99),
        size(group.bytes),
        Safe(name)
    )
}

/// In percent; only for looking at.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}
