//! `show`: one request by its id, and what lies around it.

use std::ops::ControlFlow;

use arrow_array::{Array as _, RecordBatch};
use jiff::Timestamp;
use serde_json::Value;

use super::column::{Column, id_at};
use super::complete;
use super::control::{Control, ExecError};
use super::mask::Mask;
use super::parts::Parts;
use super::scan::{Asked, narrowed, read};
use super::search::{Sort, search};
use crate::log_service::columns::{self, RowWriter};
use crate::log_service::part::Prune;
use crate::log_service::query::Query;
use crate::log_service::read::{Report, Window};
use crate::record::{Id, id};

/// Most rows that one id may give.
const MAX_ROWS: usize = 1_000;
/// Shorter beginnings would match by chance.
pub(crate) const MIN_ID: usize = 6;
/// Requests on the same connection, before and after.
const NEIGHBOURS: usize = 10;
/// Neighbours and lines are looked for so far from the request, in microseconds.
const AROUND: i64 = 60_000_000;
/// Kinds of rows that tell about a request by themselves; all others are lines about it.
pub(crate) const RECORDS: [&str; 5] = ["request", "close", "open", "progress", "conn"];
/// An id is made so close to `ts` at most.
const CLOCK: i64 = 600_000_000;

/// An id as somebody gave it: whole, its beginning, or `beginning…end`; of a request, of what was sent upstream
/// (`rid`), or of a trace.
#[derive(Clone, Debug)]
pub(crate) struct WantedId {
    head: String,
    tail: String,
}

/// A request and what lies around it. All rows are JSON objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// Rows with this id: the request, its attempts, lines of applications that carry it.
    pub(crate) records: Vec<String>,
    /// Lines of applications around it that name it in their text.
    pub(crate) lines: Vec<String>,
    /// Requests on the same connection, oldest first.
    pub(crate) neighbours: Vec<String>,
    pub(crate) report: Report,
}

impl WantedId {
    /// `None` when it is too short to mean anything.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let text = text.trim().replace("...", "…");
        let (head, tail) = text.split_once('…').unwrap_or((&text, ""));
        (head.len() >= MIN_ID).then(|| Self { head: head.to_owned(), tail: tail.to_owned() })
    }

    fn whole(&self) -> Option<Id> {
        id::parse(self.head.as_bytes()).filter(|_| self.tail.is_empty())
    }

    fn is(&self, text: &str) -> bool {
        let head = text.get(..self.head.len()).is_some_and(|head| head.eq_ignore_ascii_case(&self.head));
        head && text.ends_with(&self.tail)
    }

    /// A UUIDv7 begins with its time in milliseconds (RFC 9562, 5.7): what the beginning of one says about `ts`.
    fn times(&self) -> Option<(i64, i64)> {
        let digits: String = self.head.chars().filter(|c| *c != '-').take(12).collect();
        let is_ours = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let with =
            |rest: &str| i64::from_str_radix(&format!("{digits}{}", rest.repeat(12 - digits.len())), 16).ok();
        let (first, last) = (with("0").filter(|_| is_ours)?, with("f")?);
        Some((
            first.checked_mul(1_000)?.saturating_sub(CLOCK),
            last.checked_mul(1_000)?.saturating_add(CLOCK),
        ))
    }
}

/// The rows with an id, wherever they lie: one page of one part when the id is a request's own.
pub(crate) fn lookup(parts: &Parts, wanted: &WantedId, control: &Control) -> Result<Shown, ExecError> {
    let mut shown = Shown::default();
    // Lines alone are not what is looked for: the request that they name may have this id under another name.
    let mut try_with = |prune: &Prune, is_it: &dyn Fn(&RecordBatch, usize) -> bool| {
        let is_narrow = prune.id.is_some() || !prune.keys.is_empty();
        if shown.records.is_empty() || is_narrow && !shown.records.iter().any(|row| is_record(row)) {
            let more = rows_where(parts, prune, is_it, control)?;
            add_new(&mut shown.records, more);
        }
        Ok::<(), ExecError>(())
    };
    let key = |name, bytes: &[u8]| Prune { keys: vec![(name, bytes.to_vec())], ..Prune::default() };
    if let Some(whole) = wanted.whole() {
        let has_id = |batch: &RecordBatch, row: usize| matches!(Column::of(batch, "id"), Some(Column::Id(ids)) if id_at(ids, row) == whole);
        let has_trace = |batch: &RecordBatch, row: usize| matches!(Column::of(batch, "trace_id"), Some(Column::Hex(ids)) if ids.is_valid(row) && ids.value(row) == whole);
        try_with(&Prune { id: Some(whole), ..Prune::default() }, &has_id)?;
        try_with(&key("trace_id", &whole), &has_trace)?;
    }
    if wanted.tail.is_empty() {
        let has_rid = |batch: &RecordBatch, row: usize| {
            matches!(Column::of(batch, "rid"), Some(Column::Texts(rids))
                if rids.is_valid(row) && rids.value(row) == wanted.head)
        };
        try_with(&key("rid", wanted.head.as_bytes()), &has_rid)?;
    }
    if wanted.whole().is_none() {
        let begins = |names: &'static [&'static str]| {
            move |batch: &RecordBatch, row: usize| {
                let texts = names.iter().filter_map(|name| Column::of(batch, name)?.text(row));
                texts.into_iter().any(|text| wanted.is(&text))
            }
        };
        if let Some(times) = wanted.times() {
            try_with(&Prune { ts: Some(times), ..Prune::default() }, &begins(&["id"]))?;
        }
        try_with(&Prune::default(), &begins(&["id", "rid", "trace_id"]))?;
    }
    shown.report = complete::report(parts, None);
    (shown.report.rows, shown.report.lines) = (shown.records.len() as u64, control.progress().0);
    Ok(shown)
}

/// [`lookup`], and for a single request the lines that name it and its neighbours on the connection.
pub(crate) fn show(parts: &Parts, wanted: &WantedId, control: &Control) -> Result<Shown, ExecError> {
    let mut shown = lookup(parts, wanted, control)?;
    let records = shown.records.iter().filter_map(|row| serde_json::from_str::<Value>(row).ok());
    let Some(request) = records.into_iter().find(|record| record.get("conn").is_some()) else {
        return Ok(shown);
    };
    let (Some(time), Some(own_id)) = (time_of(&request), request["id"].as_str()) else { return Ok(shown) };
    if let Some(whole) = id::parse(own_id.as_bytes()).filter(|whole| wanted.whole() != Some(*whole)) {
        // Found by another name: lines that carry its id belong to it all the same.
        let has_id = |batch: &RecordBatch, row: usize| matches!(Column::of(batch, "id"), Some(Column::Id(ids)) if id_at(ids, row) == whole);
        let prune = Prune { id: Some(whole), ..Prune::default() };
        add_new(&mut shown.records, rows_where(parts, &prune, &has_id, control)?);
    }
    let end = time.saturating_add(request["dur_us"].as_i64().unwrap_or(0));
    let ask = |text: &str, from: i64, to: i64, count: usize| {
        // What we write ourselves is a filter.
        let query = Query::parse(text).unwrap_or_else(|_| Query::all());
        let moment = |micros: i64| Timestamp::from_microsecond(micros).ok();
        let window = Window { since: moment(from), until: moment(to) };
        Ok::<_, ExecError>(search(parts, &Asked::new(query, window), Sort::Newest, count, control)?.rows)
    };
    shown.lines = ask(&lines_of(&request, own_id), time - 1_000_000, end.saturating_add(AROUND), MAX_ROWS)?;
    shown.lines.retain(|line| !shown.records.contains(line));
    shown.lines.reverse();
    if let Some(same) = same_connection(&request) {
        let rows = ask(&same, time - AROUND, time + AROUND, MAX_ROWS)?;
        shown.neighbours = nearest(rows, time, own_id);
    }
    Ok(shown)
}

/// The filter for lines that name this request by any of its names.
fn lines_of(request: &Value, own_id: &str) -> String {
    let mut names =
        vec![format!("line~\"{own_id}\""), format!("msg~\"{own_id}\""), format!("x-request-id=\"{own_id}\"")];
    names.extend(request["rid"].as_str().map(|rid| format!("x-request-id={}", quoted(rid))));
    names.extend(request["trace_id"].as_str().map(|trace| format!("trace_id={}", quoted(trace))));
    let records = RECORDS.map(|kind| format!("-kind:{kind}")).join(" ");
    format!("({}) {records}", names.join(" or "))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether a row is one of a proxy about a request, and no line of an application.
fn is_record(row: &str) -> bool {
    let kind = serde_json::from_str::<Value>(row).map(|row| row["kind"].as_str().map(str::to_owned));
    kind.ok().flatten().is_some_and(|kind| RECORDS.contains(&&*kind))
}

fn add_new(rows: &mut Vec<String>, more: Vec<String>) {
    let new: Vec<String> = more.into_iter().filter(|row| !rows.contains(row)).collect();
    rows.extend(new);
}

fn rows_where(
    parts: &Parts,
    prune: &Prune,
    is_it: &dyn Fn(&RecordBatch, usize) -> bool,
    control: &Control,
) -> Result<Vec<String>, ExecError> {
    let mut found = Vec::new();
    // A search without a key looks at the ids alone first.
    let is_narrow = prune.id.is_some() || !prune.keys.is_empty();
    for part in parts.admitted(prune) {
        control.expect(part.extent().rows);
        let narrowed = if is_narrow {
            Some(prune.clone())
        } else {
            let columns = ["ts", "id", "rid", "trace_id"];
            narrowed(part, &columns, prune, control, &mut |batch| rows_in(batch, is_it))?
        };
        let Some(narrowed) = narrowed else { continue };
        let _ = read(part, columns::NAMES, &narrowed, control, &mut |batch| {
            let rows = rows_in(batch, is_it);
            let writer = RowWriter::new(batch);
            for row in rows.rows().take(MAX_ROWS.saturating_sub(found.len())) {
                let mut text = Vec::new();
                writer.write(row, &mut text);
                found.push(String::from_utf8(text).unwrap_or_default());
            }
            if found.len() < MAX_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    Ok(found)
}

fn rows_in(batch: &RecordBatch, is_it: &dyn Fn(&RecordBatch, usize) -> bool) -> Mask {
    Mask::all(batch.num_rows()).filtered(|row| is_it(batch, row))
}

fn time_of(record: &Value) -> Option<i64> {
    let text = record["ts"].as_str().or_else(|| record["recv"].as_str())?;
    text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

/// The filter for requests on the connection of this one.
fn same_connection(request: &Value) -> Option<String> {
    let number = |name: &str| request[name].as_u64();
    let proxy = quoted(request["proxy"].as_str()?);
    let (boot, core, conn) = (number("boot")?, number("core")?, number("conn")?);
    Some(format!("conn={conn} core={core} boot={boot} proxy={proxy}"))
}

/// The rows next to a time, oldest first, without the request itself.
fn nearest(mut rows: Vec<String>, time: i64, own_id: &str) -> Vec<String> {
    rows.reverse();
    let parsed = rows.iter().map(|row| serde_json::from_str::<Value>(row).unwrap_or_default());
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (row, value) in rows.iter().zip(parsed) {
        if value["id"].as_str() != Some(own_id) {
            let side =
                if time_of(&value).is_some_and(|other| other <= time) { &mut before } else { &mut after };
            side.push(row.clone());
        }
    }
    after.truncate(NEIGHBOURS);
    before.split_off(before.len().saturating_sub(NEIGHBOURS)).into_iter().chain(after).collect()
}
