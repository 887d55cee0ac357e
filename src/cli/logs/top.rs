//! `logs top FIELD`: groups of requests, the most frequent, slowest or most failing first.

use std::collections::HashMap;
use std::time::Instant;

use clap::ValueEnum as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::args::{By, TopArgs};
use super::escape::Safe;
use super::output::{DIM, Output, RED, note};
use super::source::{self, Asked, Source, Told};
use super::table::{Cell, Side, Table};
use super::tally::{self, Group, rank, share};
use super::words::{NOTHING, count, duration, duration_or_nothing, is_request, size};
use super::{CommandError, escape, summary};
use crate::log_service::exec::{Figures, Question, Row, Top};
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

/// A line of the table: the values, their figures now and before; `None` when it is not known whether there were any.
type Line = (Vec<String>, Figures, Option<Figures>);

/// What is printed.
struct Answer {
    lines: Vec<Line>,
    all: Figures,
    /// Requests of values that were not told apart.
    others: u64,
    /// The same before.
    others_before: u64,
    /// Different values, as far as they were told apart.
    groups: usize,
    told: Told,
}

pub(super) fn run(args: &TopArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let (source, mut asked) = source::question(&args.filter, Some(&args.window), &args.source)?;
    let fields = fields(&args.fields)?;
    let windows = args.vs.as_deref().map(|text| before(text, &mut asked)).transpose()?;
    let answer = match stored(&source, &asked, args, windows)? {
        Some(answer) => answer,
        None => walked(&source, &asked, &fields, args, windows)?,
    };
    let mut output = Output::stdout();
    print(&mut output, &fields, &answer.lines, &answer.all, args)?;
    output.flush()?;
    answer.notes(args).iter().for_each(|text| note(text));
    if answer.lines.is_empty() {
        summary::hint(&asked);
    }
    summary::end(&mut output, args.table.json(), &answer.told, started)?;
    Ok(!answer.lines.is_empty())
}

/// By the executor.
fn stored(
    source: &Source,
    asked: &Asked,
    args: &TopArgs,
    windows: Option<(Window, Window)>,
) -> Result<Option<Answer>, CommandError> {
    let by = args.by.to_possible_value().map(|by| by.get_name().to_owned()).unwrap_or_default();
    let ask = |window: Window, count: usize| {
        let asked = Asked { window, ..asked.clone() };
        let more = [("fields", args.fields.clone()), ("by", by.clone()), ("n", count.to_string())];
        source.ask::<Top>(Question::Top, &asked, &more)
    };
    let (now, before) = windows.map_or((asked.window, None), |(now, before)| (now, Some(before)));
    let Some(mut top) = ask(now, args.count)? else { return Ok(None) };
    let names = |row: &Row| -> Vec<String> {
        row.values.iter().map(|value| value.as_deref().unwrap_or(NOTHING).to_owned()).collect()
    };
    let mut lines: Vec<Line> = top.rows.iter().map(|row| (names(row), row.figures.clone(), None)).collect();
    let others = top.others.as_ref().map_or(0, |others| others.count);
    let mut others_before = 0;
    if let Some(before) = before {
        let Some(earlier) = ask(before, MAX_GROUPS)? else { return Ok(None) };
        let mut known: HashMap<Vec<String>, Figures> =
            earlier.rows.iter().map(|row| (names(row), row.figures.clone())).collect();
        others_before = earlier.others.as_ref().map_or(0, |others| others.count);
        // Who is not told apart may be among the others: then it is neither new nor gone.
        let none = (others_before == 0).then(Figures::default);
        for (names, _, before) in &mut lines {
            *before = known.remove(names).or_else(|| none.clone());
        }
        if top.groups <= lines.len() && others == 0 {
            // All of now are listed: what is there no more comes last.
            let order = earlier.rows.iter().map(names);
            let gone = order
                .filter_map(|names| Some((names.clone(), Figures::default(), Some(known.remove(&names)?))));
            lines.extend(gone.take(args.count - lines.len().min(args.count)));
        }
        top.report.rows += earlier.report.rows;
        top.report.lines += earlier.report.lines;
        let new = earlier.report.missing.into_iter().filter(|missing| !top.report.missing.contains(missing));
        let new: Vec<_> = new.collect();
        top.report.missing.extend(new);
        top.report.unknown |= earlier.report.unknown;
        top.groups += known.len();
    }
    let told = Told::counted(top.report, top.total.rows, top.total.count);
    Ok(Some(Answer { lines, all: top.total, others, others_before, groups: top.groups, told }))
}

/// Row by row.
fn walked(
    source: &Source,
    asked: &Asked,
    fields: &[Field],
    args: &TopArgs,
    windows: Option<(Window, Window)>,
) -> Result<Answer, CommandError> {
    let mut groups = Groups { map: HashMap::new(), others: 0, all: Group::default() };
    let with_lines = !fields.iter().any(Field::is_of_requests);
    let told = source.each(asked, &mut |row| {
        if with_lines || is_request(row.value) {
            groups.add(row.value, fields, windows.as_ref().map(|(now, before)| [now, before]));
        }
        Flow::Continue(())
    })?;
    let (all, others, count) = (groups.all.figures(), groups.others, groups.map.len());
    Ok(Answer { lines: groups.sorted(args), all, others, others_before: 0, groups: count, told })
}

impl Answer {
    /// What is to be said about values that are not shown.
    fn notes(&self, args: &TopArgs) -> Vec<String> {
        let mut notes = Vec::new();
        if self.others > 0 {
            notes.push(format!(
                "note: {} requests have values beyond the {} that were told apart: the first may be missing",
                count(self.others),
                count(self.groups as u64)
            ));
        }
        if self.others_before > 0 {
            notes.push(format!(
                "note: {} requests before have values that were not told apart: {NOTHING} may be new or not",
                count(self.others_before)
            ));
        }
        if self.groups <= self.lines.len() && self.others == 0 && !self.lines.is_empty() {
            let names = args.fields.split(',').filter(|name| !name.is_empty());
            for (column, name) in names.enumerate() {
                let has_none = |(values, ..): &Line| values.get(column).is_some_and(|value| value == NOTHING);
                if self.lines.iter().all(has_none) {
                    notes.push(format!("note: none of these rows has the field `{}`", Safe(name)));
                }
            }
        }
        let more = self.groups.saturating_sub(self.lines.len());
        if more > 0 && self.lines.len() >= args.count {
            notes.push(format!("{} more values; -n {} shows them all", count(more as u64), self.groups));
        }
        notes
    }
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

    /// The first groups.
    fn sorted(self, args: &TopArgs) -> Vec<Line> {
        let lines = self
            .map
            .into_iter()
            .map(|(names, pair)| (names, pair.now.figures(), Some(pair.before.figures())));
        let mut lines: Vec<Line> = lines.collect();
        lines.sort_by(|a, b| rank(&b.1, args.by).total_cmp(&rank(&a.1, args.by)).then_with(|| a.0.cmp(&b.0)));
        lines.truncate(args.count);
        lines
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
    lines: &[Line],
    all: &Figures,
    args: &TopArgs,
) -> Result<(), CommandError> {
    if args.table.json() {
        for line in lines {
            output.line(&escape::json(&to_json(fields, line, args).to_string()))?;
        }
    } else if !lines.is_empty() {
        for line in table(fields, lines, all, args).lines() {
            output.line(&line)?;
        }
    }
    Ok(())
}

fn to_json(fields: &[Field], (names, now, before): &Line, args: &TopArgs) -> Value {
    let mut object = tally::to_json(now);
    if args.vs.is_some() {
        object["before"] = before.as_ref().map_or(Value::Null, tally::to_json);
    }
    for (field, name) in fields.iter().zip(names) {
        object[field.name()] = name.as_str().into();
    }
    json!(object)
}

fn table(fields: &[Field], lines: &[Line], all: &Figures, args: &TopArgs) -> Table {
    let shown = Shown::of(all, args.by);
    let mut columns = shown.columns();
    if args.vs.is_some() {
        columns.extend([("before", Side::Right), ("change", Side::Right)]);
    }
    columns.extend(fields.iter().map(|field| (field.name(), Side::Left)));
    let mut table = Table::new(&columns);
    for (names, now, before) in lines {
        let mut cells = shown.cells(now, all);
        if args.vs.is_some() {
            cells.extend(change(now, before.as_ref(), args.by));
        }
        cells.extend(names.iter().map(|name| Cell::from(Safe(name).to_string())));
        table.row(cells);
    }
    table
}

fn change(now: &Figures, before: Option<&Figures>, by: By) -> [Cell; 2] {
    let Some(before) = before else {
        return [Cell::styled(NOTHING.to_owned(), DIM), NOTHING.to_owned().into()];
    };
    let [now, before] = [now, before].map(|figures| rank(figures, by));
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
    pub(super) fn of(all: &Figures, by: By) -> Self {
        Self { times: all.p50_us.is_some(), sum: matches!(by, By::Time | By::Own).then_some(by) }
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

    pub(super) fn cells(&self, group: &Figures, all: &Figures) -> Vec<Cell> {
        let style = if group.errors > 0 { RED } else { anstyle::Style::new() };
        let about = if group.count_off.is_some() { "±" } else { "" };
        let mut cells: Vec<Cell> = vec![
            format!("{about}{}", count(group.count)).into(),
            format!("{:.1}%", share(group.count, all.count)).into(),
            Cell::styled(count(group.errors), style),
            Cell::styled(format!("{:.2}%", share(group.errors, group.count)), style),
        ];
        if self.times {
            cells.extend(
                [group.p50_us, group.p90_us, group.p99_us].map(|time| Cell::from(duration_or_nothing(time))),
            );
        }
        if let Some(by) = self.sum {
            cells.push(in_words(rank(group, by), by).into());
        }
        cells.push(size(group.bytes).into());
        cells
    }
}
