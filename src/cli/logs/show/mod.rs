//! `logs show ID`: one request with its phases, tries, cause, and the lines that name it.

mod story;

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::args::{Form, ShowArgs};
use super::escape;
use super::output::{BOLD, DIM, Output, note};
use super::source::{self, Asked, Source, Told};
use super::words::{number, text, time};
use super::{CommandError, line, summary};
use crate::log_service::exec::{Question, RECORDS};
use crate::log_service::query::Query;
use crate::log_service::read::{Flow, Report, Window};

/// Lines and records that are shown.
const MAX_ROWS: usize = 1_000;
/// Requests that are listed when several have such an id.
const LISTED: usize = 20;
/// Requests on the same connection, before and after.
const NEIGHBOURS: usize = 3;
/// Shorter beginnings would match by chance.
const MIN_ID: usize = 6;

/// Members that name a request, in its record or in a line of an application.
const NAMES: [&str; 4] = ["id", "rid", "trace_id", "x-request-id"];

/// A row that outlives the walk.
struct Kept {
    entry: Value,
    json: String,
}

/// What an id names and what lies around it.
struct Found {
    records: Vec<Kept>,
    lines: Vec<Kept>,
    /// With the request itself among them, in the order in which they came.
    neighbours: Vec<Kept>,
}

/// What the executor tells about an id.
#[derive(Deserialize)]
struct Shown {
    records: Vec<Value>,
    lines: Vec<Value>,
    neighbours: Vec<Value>,
    report: Report,
}

impl Found {
    fn of(shown: Shown) -> Self {
        let rows = shown.records.into_iter().chain(shown.lines).map(kept).collect();
        // Its records have the id by what they are; only their kind tells them from lines.
        let (records, lines) = parted(rows, &is_record);
        let own = records.iter().find(|record| record.entry.get("conn").is_some());
        let own = own.map(|record| record.entry.clone());
        let others = (!shown.neighbours.is_empty()).then(|| shown.neighbours.into_iter().chain(own));
        let mut neighbours: Vec<Kept> = others.into_iter().flatten().map(kept).collect();
        sort_by_turn(&mut neighbours);
        Self { records, lines, neighbours }
    }
}

fn kept(entry: Value) -> Kept {
    Kept { json: entry.to_string(), entry }
}

/// What is a proxy's about a request, and no line of an application.
fn is_record(row: &Kept) -> bool {
    text(&row.entry, "kind").is_some_and(|kind| RECORDS.contains(&kind))
}

/// The records that are wanted, and what is shown below them as lines, oldest first. Without such a record lines of
/// applications stand for themselves; a request that only mentions the id never does.
fn parted(rows: Vec<Kept>, is_wanted: &dyn Fn(&Kept) -> bool) -> (Vec<Kept>, Vec<Kept>) {
    let has_record = rows.iter().any(is_wanted);
    let (records, mut lines): (Vec<Kept>, Vec<Kept>) =
        rows.into_iter().partition(|row| if has_record { is_wanted(row) } else { !is_record(row) });
    lines.sort_by_cached_key(|line| time(&line.entry));
    (records, lines)
}

fn sort_by_turn(rows: &mut [Kept]) {
    rows.sort_by_key(|row| (number(&row.entry, "conn_req"), number(&row.entry, "seq")));
}

/// An id as it was given: whole, its beginning, or `beginning…end`.
struct Wanted {
    head: String,
    tail: String,
}

impl Wanted {
    fn new(text: &str) -> Result<Self, CommandError> {
        let text = text.trim().replace("...", "…");
        let (head, tail) = text.split_once('…').unwrap_or((&text, ""));
        if head.len() < MIN_ID {
            return Err(CommandError::Usage(format!("give at least {MIN_ID} characters of the id")));
        }
        if head.contains(['"', '\\']) || head.contains(char::is_control) {
            return Err(CommandError::Usage(
                "an id has no quotes, backslashes or control characters".to_owned(),
            ));
        }
        Ok(Self { head: head.to_owned(), tail: tail.to_owned() })
    }

    fn is(&self, id: &str) -> bool {
        let head = id.get(..self.head.len()).is_some_and(|head| head.eq_ignore_ascii_case(&self.head));
        head && id.ends_with(&self.tail)
    }

    fn names(&self, entry: &Value) -> bool {
        NAMES.iter().any(|name| text(entry, name).is_some_and(|id| self.is(id)))
    }

    /// A UUIDv7 begins with its time in milliseconds (RFC 9562, 5.7): only newer files need to be read.
    fn window(&self) -> Window {
        let digits: String = self.head.chars().filter(|c| *c != '-').take(13).collect();
        let is_ours = digits.len() == 13 && digits.ends_with('7');
        let millis =
            digits.get(..12).filter(|_| is_ours).and_then(|digits| i64::from_str_radix(digits, 16).ok());
        let time = millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
        let since = time.and_then(|time| time.checked_sub(SignedDuration::from_mins(10)).ok());
        Window { since, until: None }
    }

    /// For files: the filter that finds the record and the lines that name it.
    fn filter(&self) -> String {
        let begins = regex::escape(&self.head).replace('\\', "\\\\");
        let by_name = NAMES.iter().map(|name| format!("{name}~\"(?i)^{begins}\""));
        format!("{} or \"{}\"", by_name.collect::<Vec<_>>().join(" or "), self.head)
    }
}

pub(super) fn run(args: &ShowArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let wanted = Wanted::new(&args.id)?;
    let (source, _) = source::question(&[], None, &args.source)?;
    let (found, mut told) = look(&source, &wanted)?;
    let Found { records, lines, neighbours } = found;
    let mut output = Output::stdout();
    print(&mut output, &records, &lines, args.output)?;
    if args.output != Form::Json {
        print_neighbours(&mut output, &records, &neighbours)?;
    }
    told.report.rows = (records.len() + lines.len()) as u64;
    summary::end(&mut output, args.output == Form::Json, &told, started)?;
    Ok(!records.is_empty() || !lines.is_empty())
}

/// The one record with this id, for commands that need just that.
pub(super) fn one(source: &Source, id: &str) -> Result<(Value, Told), CommandError> {
    let wanted = Wanted::new(id)?;
    let (found, told) = look(source, &wanted)?;
    let mut records =
        found.records.into_iter().filter(|row| row.entry.get("method").is_some() && wanted.names(&row.entry));
    match (records.next(), records.next()) {
        (Some(only), None) => Ok((only.entry, told)),
        (None, _) => Err(CommandError::Usage("no request has this id".to_owned())),
        (Some(_), Some(_)) => {
            Err(CommandError::Usage("several requests have this id; give more of it".to_owned()))
        }
    }
}

fn look(source: &Source, wanted: &Wanted) -> Result<(Found, Told), CommandError> {
    let all = Asked::new(String::new(), Window::default())?;
    let id = if wanted.tail.is_empty() {
        wanted.head.clone()
    } else {
        format!("{}…{}", wanted.head, wanted.tail)
    };
    if let Some(shown) = source.ask::<Shown>(Question::Show, &all, &[("id", id)])? {
        let told = Told::of(shown.report.clone());
        return Ok((Found::of(shown), told));
    }
    let (rows, told) = walked(source, wanted)?;
    let (records, lines) = parted(rows, &|row| is_record(row) && wanted.names(&row.entry));
    let neighbours = match &*records {
        [only] => neighbours(source, only)?,
        _ => Vec::new(),
    };
    Ok((Found { records, lines, neighbours }, told))
}

/// Row by row.
fn walked(source: &Source, wanted: &Wanted) -> Result<(Vec<Kept>, Told), CommandError> {
    let found = find(source, wanted, wanted.window())?;
    if found.0.is_empty() && wanted.window().since.is_some() {
        return find(source, wanted, Window::default());
    }
    Ok(found)
}

fn find(source: &Source, wanted: &Wanted, window: Window) -> Result<(Vec<Kept>, Told), CommandError> {
    let needle = Some(wanted.head.clone());
    let query = if matches!(source, Source::Directory(_)) { String::new() } else { wanted.filter() };
    let asked = Asked { query: Query::parse(&query)?, text: query, window, needle };
    if wanted.tail.is_empty() {
        return keep(source, &asked, MAX_ROWS);
    }
    // All of a minute begin alike: lines that name the one are found by its whole id.
    let (rows, told) = keep_if(source, &asked, MAX_ROWS, &|entry| wanted.names(entry))?;
    match &*rows {
        [only] => find(source, &Wanted::new(text(&only.entry, "id").unwrap_or(&wanted.head))?, window),
        _ => Ok((rows, told)),
    }
}

fn keep(source: &Source, asked: &Asked, most: usize) -> Result<(Vec<Kept>, Told), CommandError> {
    keep_if(source, asked, most, &|_| true)
}

fn keep_if(
    source: &Source,
    asked: &Asked,
    most: usize,
    is_wanted: &dyn Fn(&Value) -> bool,
) -> Result<(Vec<Kept>, Told), CommandError> {
    let mut rows: Vec<Kept> = Vec::new();
    let told = source.each(asked, &mut |row| {
        if rows.len() < most && is_wanted(row.value) {
            rows.push(Kept { entry: row.value.clone(), json: row.json.to_owned() });
        }
        Flow::Continue(())
    })?;
    Ok((rows, told))
}

/// The other requests on the same connection, within an hour.
fn neighbours(source: &Source, kept: &Kept) -> Result<Vec<Kept>, CommandError> {
    let entry = &kept.entry;
    let (Some(conn), Some(boot)) = (number(entry, "conn"), number(entry, "boot")) else {
        return Ok(Vec::new());
    };
    let core = number(entry, "core").unwrap_or(0);
    let time = text(entry, "ts").and_then(|time| time.parse::<Timestamp>().ok());
    let hour = SignedDuration::from_hours(1);
    let window = Window {
        since: time.and_then(|time| time.checked_sub(hour).ok()),
        until: time.and_then(|time| time.checked_add(hour).ok()),
    };
    let asked = Asked::new(format!("conn={conn} boot={boot} core={core}"), window)?;
    let (mut rows, _) = keep(source, &asked, MAX_ROWS)?;
    rows.retain(|row| row.entry.get("proxy") == entry.get("proxy"));
    sort_by_turn(&mut rows);
    Ok(rows)
}

/// The nearest before and after, with the request itself marked between them.
fn print_neighbours(output: &mut Output, records: &[Kept], rows: &[Kept]) -> Result<(), CommandError> {
    let Some(own) = records.first().and_then(|record| text(&record.entry, "id")) else { return Ok(()) };
    let Some(at) = rows.iter().position(|row| text(&row.entry, "id") == Some(own)) else { return Ok(()) };
    if rows.len() < 2 {
        return Ok(());
    }
    output.line(&format!(
        "{BOLD}on the same connection{BOLD:#} {DIM}({} requests nearby){DIM:#}",
        rows.len()
    ))?;
    for (index, row) in rows.iter().enumerate().skip(at.saturating_sub(NEIGHBOURS)).take(2 * NEIGHBOURS + 1) {
        let mark = if index == at { ">" } else { " " };
        output.line(&format!("{mark} {}", line::render(&row.entry, &row.json, Form::Line)))?;
    }
    Ok(())
}

fn print(output: &mut Output, records: &[Kept], lines: &[Kept], form: Form) -> Result<(), CommandError> {
    if form == Form::Json {
        for row in records.iter().chain(lines) {
            output.line(&escape::json(&row.json))?;
        }
        return Ok(());
    }
    let mut ids: Vec<&str> = records.iter().filter_map(|record| text(&record.entry, "id")).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > 1 {
        for record in records.iter().take(LISTED) {
            output.line(&line::render(&record.entry, &record.json, form))?;
        }
        output.flush()?;
        note(&format!("{} requests match; give more of the id to see one", ids.len()));
        return Ok(());
    }
    for record in records {
        for text in story::story(&record.entry, &record.json) {
            output.line(&text)?;
        }
    }
    if !lines.is_empty() {
        output.line(&format!("{BOLD}lines that name it{BOLD:#}"))?;
    }
    for row in lines {
        output.line(&format!("  {}", line::render(&row.entry, &row.json, Form::Line)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_found_whole_begun_or_short() {
        let entry = json!({"id": "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4", "rid": "from-cdn"});
        for id in [
            "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4",
            "01a1fd62",
            "01a1fd62…a9d4",
            "01a1fd62...a9d4",
            "01A1FD62",
            "from-cdn",
        ] {
            assert!(Wanted::new(id).unwrap().names(&entry), "{id}");
        }
        assert!(!Wanted::new("01a1fd62…a9d5").unwrap().names(&entry));
        assert!(["01a", "", "abcdef\"x"].iter().all(|id| Wanted::new(id).is_err()));
        assert!(
            Query::parse(&Wanted::new("a.b*c(d)").unwrap().filter())
                .unwrap()
                .matches(&json!({"id": "a.b*c(d)1"}))
        );
    }

    #[test]
    fn an_id_tells_when_it_was_made() {
        let since = |id: &str| Wanted::new(id).unwrap().window().since.map(|since| since.to_string());
        assert_eq!(since("019aa5c2-5978-7cdd").as_deref().map(|since| &since[..4]), Some("2025"));
        assert_eq!(since("019aa5c2-5978-4cdd"), None);
        assert_eq!(since("from-cdn-and-longer"), None);
    }
}
