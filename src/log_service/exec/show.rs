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
use super::search::{Sort, around, first};
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
    let mut shown = found(parts, wanted, control)?;
    shown.report = complete::report(parts, None);
    (shown.report.rows, shown.report.lines) = (shown.records.len() as u64, control.progress().0);
    Ok(shown)
}

fn found(parts: &Parts, wanted: &WantedId, control: &Control) -> Result<Shown, ExecError> {
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
        let has_trace = |batch: &RecordBatch, row: usize| matches!(Column::of(batch, "trace_id"), Some(Column::Hex(ids)) if ids.is_valid(row) && ids.value(row) == whole);
        try_with(&Prune { id: Some(whole), ..Prune::default() }, &has_id(whole))?;
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
    Ok(shown)
}

/// [`lookup`], and for a single request the lines that name it and its neighbours on the connection.
pub(crate) fn show(parts: &Parts, wanted: &WantedId, control: &Control) -> Result<Shown, ExecError> {
    let at_once = wanted.whole().map(|whole| at_once(parts, whole, control));
    let (mut shown, request) = match at_once.transpose()?.flatten() {
        Some((shown, request)) => (shown, Some(request)),
        None => in_turn(parts, wanted, control)?,
    };
    if let Some(request) = request {
        let asked = request.asked(&request.lines(), (1_000_000, request.dur_us.saturating_add(AROUND)));
        shown.lines = first(parts, (&asked, &Request::LINE_COLUMNS), Sort::Newest, MAX_ROWS, control)?;
        shown.lines.retain(|line| !shown.records.contains(line));
        shown.lines.reverse();
    }
    shown.report = complete::report(parts, None);
    (shown.report.rows, shown.report.lines) = (shown.records.len() as u64, control.progress().0);
    Ok(shown)
}

/// What most ids name, a request that has one row: that is fetched together with its neighbours, among which it is, for to
/// open all columns of a file costs more than to read a few rows of them. `None`: the id names something else.
fn at_once(parts: &Parts, whole: Id, control: &Control) -> Result<Option<(Shown, Request)>, ExecError> {
    let prune = Prune { id: Some(whole), ..Prune::default() };
    let mut found = Vec::new();
    for part in parts.admitted(&prune) {
        let _ = read(part, &Request::COLUMNS, &prune, control, &mut |batch| {
            found.extend(texts(batch, &rows_in(batch, &has_id(whole))));
            if found.len() < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    let request = match found.as_slice() {
        [row] if is_record(row) => Request::of(row).filter(|request| request.id == Some(whole)),
        _ => None,
    };
    let Some(request) = request else { return Ok(None) };
    let near = request.neighbours(parts, control)?;
    let (records, neighbours): (Vec<_>, Vec<_>) = near.into_iter().partition(|row| request.is(row));
    let shown = Shown { records, neighbours, ..Shown::default() };
    Ok((shown.records.len() == 1).then_some((shown, request)))
}

/// Any id: its rows, and then what they say about the request.
fn in_turn(
    parts: &Parts,
    wanted: &WantedId,
    control: &Control,
) -> Result<(Shown, Option<Request>), ExecError> {
    let mut shown = found(parts, wanted, control)?;
    let Some(request) = shown.records.iter().find_map(|row| Request::of(row)) else {
        return Ok((shown, None));
    };
    if let Some(own) = request.id.filter(|own| wanted.whole() != Some(*own)) {
        // Found by another name: lines that carry its id belong to it all the same.
        let prune = Prune { id: Some(own), ..Prune::default() };
        add_new(&mut shown.records, rows_where(parts, &prune, &has_id(own), control)?);
    }
    shown.neighbours = request.neighbours(parts, control)?;
    shown.neighbours.retain(|row| !request.is(row));
    Ok((shown, Some(request)))
}

/// A request by what tells where its lines and neighbours are.
struct Request {
    /// Its id as it is shown; what others have written need not be one of ours.
    name: String,
    id: Option<Id>,
    /// Microseconds.
    ts: i64,
    dur_us: i64,
    rid: Option<String>,
    trace_id: Option<String>,
    /// The filter for requests on the same connection.
    connection: Option<String>,
}

impl Request {
    const COLUMNS: [&str; 11] =
        ["kind", "ts", "id", "proxy", "boot", "core", "conn", "rid", "trace_id", "dur_us", "body"];

    /// Where a line can name a request. Most files have none of them but the last two.
    const LINE_COLUMNS: [&str; 5] = ["line", "msg", "body", "rid", "trace_id"];

    /// Of a row that has at least those columns; `None` when it is of no connection.
    fn of(row: &str) -> Option<Self> {
        let row: Value = serde_json::from_str(row).ok()?;
        row.get("conn")?;
        let text = |name: &str| row[name].as_str().map(str::to_owned);
        let name = text("id")?;
        Some(Self {
            id: id::parse(name.as_bytes()),
            name,
            ts: time_of(&row)?,
            dur_us: row["dur_us"].as_i64().unwrap_or(0),
            rid: text("rid"),
            trace_id: text("trace_id"),
            connection: same_connection(&row),
        })
    }

    /// A filter that is written here, from so long before its time to so long after it, microseconds.
    fn asked(&self, filter: &str, (before, after): (i64, i64)) -> Asked {
        let query = Query::parse(filter).unwrap_or_else(|_| Query::all());
        let moment = |micros: i64| Timestamp::from_microsecond(micros).ok();
        let (since, until) = (self.ts.saturating_sub(before), self.ts.saturating_add(after));
        Asked::new(query, Window { since: moment(since), until: moment(until) })
    }

    /// The filter for lines that name it by any of its names.
    fn lines(&self) -> String {
        let (own, part) = (quoted(&self.name), quoted(&regex::escape(&self.name)));
        let mut names = vec![format!("line~{part}"), format!("msg~{part}")];
        // The column has it whatever the sender calls it; rows of earlier versions may have it in one member only.
        for rid in [Some(&own), self.rid.as_ref().map(|rid| quoted(rid)).as_ref()].into_iter().flatten() {
            names.extend(["rid", "x-request-id"].map(|name| format!("{name}={rid}")));
        }
        names.extend(self.trace_id.as_ref().map(|trace| format!("trace_id={}", quoted(trace))));
        let records = RECORDS.map(|kind| format!("-kind:{kind}")).join(" ");
        format!("({}) {records}", names.join(" or "))
    }

    /// Those next to it on the same connection, itself among them, oldest first.
    fn neighbours(&self, parts: &Parts, control: &Control) -> Result<Vec<String>, ExecError> {
        let Some(connection) = &self.connection else { return Ok(Vec::new()) };
        let asked = self.asked(connection, (AROUND, AROUND));
        // Without an id it counts as one of those before it.
        let count = NEIGHBOURS + usize::from(self.id.is_none());
        around(parts, &asked, (self.ts, self.id.unwrap_or_default()), count, control)
    }

    fn is(&self, row: &str) -> bool {
        let row: Value = serde_json::from_str(row).unwrap_or_default();
        row["id"].as_str() == Some(&self.name)
    }
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
            found.extend(texts(batch, &rows).take(MAX_ROWS.saturating_sub(found.len())));
            if found.len() < MAX_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    Ok(found)
}

/// Whether a row of a batch has this id.
fn has_id(wanted: Id) -> impl Fn(&RecordBatch, usize) -> bool {
    move |batch, row| matches!(Column::of(batch, "id"), Some(Column::Id(ids)) if id_at(ids, row) == wanted)
}

/// Rows of a batch as JSON objects.
fn texts<'b>(batch: &'b RecordBatch, rows: &'b Mask) -> impl Iterator<Item = String> + 'b {
    let writer = RowWriter::new(batch);
    rows.rows().map(move |row| {
        let mut text = Vec::new();
        writer.write(row, &mut text);
        String::from_utf8(text).unwrap_or_default()
    })
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
