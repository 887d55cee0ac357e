//! `logs top FIELD`: groups of requests, the most frequent, slowest or most failing first.

use std::collections::HashMap;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::args::{By, TopArgs};
use super::escape::Safe;
use super::output::{DIM, Output, RED, note};
use super::source::{self, Asked};
use super::table::{Cell, Side, Table};
use super::tally::{Group, share};
use super::words::{NOTHING, count, duration, duration_or_nothing, is_request, size};
use super::{CommandError, escape, summary};
use crate::log_service::query::{Field, moment};
use crate::log_service::read::{Flow, Window};

/// Different values that are counted; the rest is counted together, and said.
const MAX_GROUPS: usize = 100_000;
/// Longest value that is kept as a group's name.
const MAX_NAME: usize = 512;

/// A group now and, with `--vs`, before.
#[derive(Default)]
struct Pair {
    now: Group,
    before: Group,
}

struct Groups {
    map: HashMap<Vec<String>, Pair>,
    others: u64,
    all: Group,
}

pub(super) fn run(args: &TopArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let (source, mut asked) = source::question(&args.filter, Some(&args.window), &args.source)?;
    let fields = fields(&args.fields)?;
    let before = args.vs.as_deref().map(|text| before(text, &mut asked)).transpose()?;
    let (now, before) = before.map_or((asked.window, None), |(now, before)| (now, Some(before)));
    let mut groups = Groups { map: HashMap::new(), others: 0, all: Group::default() };
    let told = source.each(&asked, &mut |row| {
        if is_request(row.value) {
            groups.add(row.value, &fields, before.as_ref().map(|before| [&now, before]));
        }
        Flow::Continue(())
    })?;
    let all = groups.all.clone();
    let (sorted, notes) = groups.sorted(args);
    let found = !sorted.is_empty();
    let mut output = Output::stdout();
    print(&mut output, &fields, &sorted, &all, args)?;
    output.flush()?;
    notes.iter().for_each(|text| note(text));
    if !found {
        summary::hint(&asked);
    }
    summary::end(&mut output, args.table.json(), &told, started)?;
    Ok(found)
}

fn fields(text: &str) -> Result<Vec<Field>, CommandError> {
    let fields: Vec<Field> = text.split(',').filter(|name| !name.is_empty()).map(Field::named).collect();
    if fields.is_empty() {
        return Err(CommandError::Usage("name a field, such as path or host,status".to_owned()));
    }
    Ok(fields)
}

/// The window now and the one so long before; what is asked for then reaches from the first to the last of both. Without
/// `--since`, now begins so long ago.
fn before(text: &str, asked: &mut Asked) -> Result<(Window, Window), CommandError> {
    let usage = |text: &str| CommandError::Usage(text.to_owned());
    let span =
        moment::span(text.trim_end_matches("-ago")).and_then(|span| SignedDuration::try_from(span).ok());
    let span = span.ok_or_else(|| usage("--vs takes a span of time such as 1h-ago or 1d"))?;
    let until = asked.window.until.unwrap_or_else(Timestamp::now);
    let since = asked.window.since.or_else(|| until.checked_sub(span).ok());
    let earlier = |time: Option<Timestamp>| time.and_then(|time| time.checked_sub(span).ok());
    let now = Window { since, until: Some(until) };
    let before = Window { since: earlier(since), until: earlier(Some(until)) };
    asked.window = Window { since: before.since, until: Some(until) };
    Ok((now, before))
}

impl Groups {
    /// `windows`: now and before, which may overlap.
    fn add(&mut self, entry: &Value, fields: &[Field], windows: Option<[&Window; 2]>) {
        let names: Vec<String> = fields.iter().map(|field| name_of(field, entry)).collect();
        if self.map.len() >= MAX_GROUPS && !self.map.contains_key(&names) {
            self.others += 1;
            return;
        }
        let [is_now, is_before] =
            windows.map_or([true, false], |windows| windows.map(|window| source::holds(window, entry)));
        let pair = self.map.entry(names).or_default();
        if is_now {
            self.all.add(entry);
            pair.now.add(entry);
        }
        if is_before {
            pair.before.add(entry);
        }
    }

    /// The first groups, and what is to be said about the others.
    fn sorted(self, args: &TopArgs) -> (Vec<(Vec<String>, Pair)>, Vec<String>) {
        let mut notes = Vec::new();
        let mut sorted: Vec<(Vec<String>, Pair)> = self.map.into_iter().collect();
        sorted.sort_by(|a, b| {
            b.1.now.rank(args.by).total_cmp(&a.1.now.rank(args.by)).then_with(|| a.0.cmp(&b.0))
        });
        if self.others > 0 {
            notes.push(format!(
                "note: {} requests have values beyond the first {MAX_GROUPS}",
                count(self.others)
            ));
        }
        let more = sorted.len().saturating_sub(args.count);
        if more > 0 {
            notes.push(format!("{} more values; -n {} shows them all", count(more as u64), sorted.len()));
        }
        sorted.truncate(args.count);
        (sorted, notes)
    }
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

fn print(
    output: &mut Output,
    fields: &[Field],
    sorted: &[(Vec<String>, Pair)],
    all: &Group,
    args: &TopArgs,
) -> Result<(), CommandError> {
    if args.table.json() {
        for (names, pair) in sorted {
            output.line(&escape::json(&to_json(fields, names, pair, args).to_string()))?;
        }
    } else if !sorted.is_empty() {
        for line in table(fields, sorted, all, args).lines() {
            output.line(&line)?;
        }
    }
    Ok(())
}

fn to_json(fields: &[Field], names: &[String], pair: &Pair, args: &TopArgs) -> Value {
    let mut object = pair.now.to_json();
    if args.vs.is_some() {
        object["before"] = pair.before.to_json();
    }
    for (field, name) in fields.iter().zip(names) {
        object[field.name()] = name.as_str().into();
    }
    json!(object)
}

fn table(fields: &[Field], sorted: &[(Vec<String>, Pair)], all: &Group, args: &TopArgs) -> Table {
    let shown = Shown::of(all, args.by);
    let mut columns = shown.columns();
    if args.vs.is_some() {
        columns.extend([("before", Side::Right), ("change", Side::Right)]);
    }
    columns.extend(fields.iter().map(|field| (field.name(), Side::Left)));
    let mut table = Table::new(&columns);
    for (names, pair) in sorted {
        let mut cells = shown.cells(&pair.now, all);
        if args.vs.is_some() {
            cells.extend(change(pair, args.by));
        }
        cells.extend(names.iter().map(|name| Cell::from(Safe(name).to_string())));
        table.row(cells);
    }
    table
}

fn change(pair: &Pair, by: By) -> [Cell; 2] {
    let (now, before) = (pair.now.rank(by), pair.before.rank(by));
    let change = match (now > 0.0, before > 0.0) {
        (false, false) => NOTHING.to_owned(),
        (true, false) => "new".to_owned(),
        (false, true) => "gone".to_owned(),
        (true, true) if now / before >= 10.0 => format!("×{:.0}", now / before),
        (true, true) => format!("{:+.0}%", (now / before - 1.0) * 100.0),
    };
    [Cell::styled(in_words(before, by), DIM), change.into()]
}

/// A rank as it is read.
fn in_words(rank: f64, by: By) -> String {
    // Ranks are made of whole numbers, but for the share.
    let whole = rank as u64;
    match by {
        By::Count | By::Errors => count(whole),
        By::Share => format!("{rank:.2}%"),
        By::P50 | By::P99 | By::Time | By::Own => duration(whole),
        By::Bytes => size(whole),
    }
}

/// Which columns have something to say.
pub(super) struct Shown {
    times: bool,
    sum: Option<By>,
}

impl Shown {
    /// Lines without durations, as `combined` has, get no columns of dashes.
    pub(super) fn of(all: &Group, by: By) -> Self {
        Self { times: all.durations.count() > 0, sum: matches!(by, By::Time | By::Own).then_some(by) }
    }

    pub(super) fn columns(&self) -> Vec<(&'static str, Side)> {
        let mut names = vec!["count", "share", "errors", "err%"];
        if self.times {
            names.extend(["p50", "p90", "p99"]);
        }
        names.extend(self.sum.map(|by| if by == By::Own { "self" } else { "time" }));
        names.push("bytes");
        names.into_iter().map(|name| (name, Side::Right)).collect()
    }

    pub(super) fn cells(&self, group: &Group, all: &Group) -> Vec<Cell> {
        let style = if group.errors > 0 { RED } else { anstyle::Style::new() };
        let about = if group.error_of_count() > 0 { "±" } else { "" };
        let mut cells: Vec<Cell> = vec![
            format!("{about}{}", count(group.count)).into(),
            format!("{:.1}%", share(group.count, all.count)).into(),
            Cell::styled(count(group.errors), style),
            Cell::styled(format!("{:.2}%", share(group.errors, group.count)), style),
        ];
        if self.times {
            cells.extend(
                [0.5, 0.9, 0.99].map(|share| Cell::from(duration_or_nothing(group.durations.at(share)))),
            );
        }
        if let Some(by) = self.sum {
            cells.push(in_words(group.rank(by), by).into());
        }
        cells.push(size(group.bytes).into());
        cells
    }
}
