//! `logs show ID`: one request with its phases, tries, cause, and the lines that name it.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::args::{Form, ShowArgs};
use super::escape::{self, Safe};
use super::output::{BOLD, CYAN, DIM, Output, RED, note, style_of};
use super::source::{Asked, Source};
use super::words::{NOTHING, duration, number, size, text};
use super::{CommandError, line, summary};
use crate::log_service::query::Query;
use crate::log_service::read::{Flow, Report, Window};

const BAR: u64 = 40;
/// Lines and records that are shown.
const MAX_ROWS: usize = 1_000;
/// Shorter beginnings would match by chance.
const MIN_ID: usize = 6;

/// Phases in the order in which they happen, without those before the request began.
const PHASES: &[(&str, &str)] = &[
    ("head", "t_head_us"),
    ("policy", "t_policy_us"),
    ("queue", "t_queue_us"),
    ("dns", "t_dns_us"),
    ("connect", "t_conn_us"),
    ("uptls", "t_uptls_us"),
    ("send", "t_send_us"),
    ("wait", "t_wait_us"),
    ("resp", "t_resp_us"),
];

/// A row that outlives the walk.
struct Kept {
    entry: Value,
    json: String,
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
        id.starts_with(&self.head) && id.ends_with(&self.tail)
    }

    fn names(&self, entry: &Value) -> bool {
        ["id", "rid", "trace_id"].iter().any(|name| text(entry, name).is_some_and(|id| self.is(id)))
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

    /// For a service: the filter that finds the record and the lines that name it.
    fn filter(&self) -> String {
        format!(
            "id:\"{0}\" or id~\"^{1}\" or \"{0}\"",
            self.head,
            regex::escape(&self.head).replace('\\', "\\\\")
        )
    }
}

pub(super) fn run(args: &ShowArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let wanted = Wanted::new(&args.id)?;
    let source = Source::new(&args.source)?;
    let (mut rows, mut report) = find(&source, &wanted, wanted.window())?;
    if rows.is_empty() && wanted.window().since.is_some() {
        (rows, report) = find(&source, &wanted, Window::default())?;
    }
    let (records, lines): (Vec<Kept>, Vec<Kept>) = rows.into_iter().partition(|row| wanted.names(&row.entry));
    let mut output = Output::stdout();
    print(&mut output, &records, &lines, args.output)?;
    output.flush()?;
    summary::print(&Report { rows: (records.len() + lines.len()) as u64, ..report }, started);
    Ok(!records.is_empty())
}

fn find(source: &Source, wanted: &Wanted, window: Window) -> Result<(Vec<Kept>, Report), CommandError> {
    let needle = Some(wanted.head.clone());
    let query = if matches!(source, Source::Service(_)) { wanted.filter() } else { String::new() };
    let asked = Asked { query: Query::parse(&query)?, text: query, window, needle };
    let mut rows: Vec<Kept> = Vec::new();
    let report = source.each(&asked, &mut |row| {
        if rows.len() < MAX_ROWS {
            rows.push(Kept { entry: row.value.clone(), json: row.json.to_owned() });
        }
        Flow::Continue(())
    })?;
    Ok((rows, report))
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
        note(&format!("{} requests match; give more of the id to see one", ids.len()));
        for record in records {
            output.line(&line::render(&record.entry, &record.json, Form::Wide))?;
        }
        return Ok(());
    }
    for record in records {
        for text in story(record) {
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

/// All about one record.
fn story(kept: &Kept) -> Vec<String> {
    let record = &kept.entry;
    let mut story = vec![line::render(record, &kept.json, Form::Line)];
    let mut say = |name: &str, value: Option<String>| {
        story.extend(value.map(|value| format!("  {DIM}{name:<9}{DIM:#} {value}")));
    };
    let safe = |name: &str| text(record, name).map(|value| Safe(value).to_string());
    say("id", safe("id"));
    say("sent as", safe("rid"));
    say("time", safe("ts"));
    say("client", client(record));
    say("target", target(record));
    say("route", route(record));
    say("upstream", upstream(record));
    say("bytes", bytes(record));
    say("ended", ended(record));
    say("cause", safe("cause"));
    say("error", safe("err"));
    story.extend(waterfall(record));
    story.extend(tries(record));
    story
}

fn client(record: &Value) -> Option<String> {
    let ip = Safe(text(record, "client_ip")?);
    let port = number(record, "client_port").map(|port| format!(" port {port}")).unwrap_or_default();
    let proto = text(record, "proto").map(|proto| format!(", http/{}", Safe(proto))).unwrap_or_default();
    let tls = text(record, "tls_ver").map(|tls| format!(", tls {}", Safe(tls))).unwrap_or_default();
    let ua = text(record, "ua").map(|ua| format!(", {}", Safe(ua))).unwrap_or_default();
    Some(format!("{ip}{port}{proto}{tls}{ua}"))
}

fn target(record: &Value) -> Option<String> {
    let scheme = text(record, "scheme").unwrap_or("http");
    let query = text(record, "query").map(|query| format!("?{}", Safe(query))).unwrap_or_default();
    let host = text(record, "host").unwrap_or(NOTHING);
    let path = text(record, "path")?;
    Some(format!("{}://{}{}{query}", Safe(scheme), Safe(host), Safe(path)))
}

fn route(record: &Value) -> Option<String> {
    let route = Safe(text(record, "route")?);
    let site = text(record, "site").map(|site| format!("{} ", Safe(site))).unwrap_or_default();
    let cfg = text(record, "cfg").map(|cfg| format!(" (config {})", Safe(cfg))).unwrap_or_default();
    Some(format!("{site}{route}{cfg}"))
}

fn upstream(record: &Value) -> Option<String> {
    let name = Safe(text(record, "upstream")?);
    let address = text(record, "up_addr").map(|address| format!(" at {}", Safe(address))).unwrap_or_default();
    let worker =
        text(record, "worker").map(|worker| format!(", worker {}", Safe(worker))).unwrap_or_default();
    let pick = text(record, "pick").map(|pick| format!(", picked by {}", Safe(pick))).unwrap_or_default();
    let reused = match record.get("up_reused").and_then(Value::as_bool) {
        Some(true) => ", reused connection",
        Some(false) => ", new connection",
        None => "",
    };
    Some(format!("{name}{address}{worker}{pick}{reused}"))
}

fn bytes(record: &Value) -> Option<String> {
    let sent = number(record, "tx_body_b")?;
    let received = number(record, "rx_body_b").unwrap_or(0);
    let encoding = text(record, "enc").map(|enc| format!(" ({})", Safe(enc))).unwrap_or_default();
    Some(format!("received {}, sent {}{encoding}", size(received), size(sent)))
}

fn ended(record: &Value) -> Option<String> {
    let end_by = text(record, "end_by")?;
    let end_at = text(record, "end_at").unwrap_or(NOTHING);
    let status = number(record, "status").unwrap_or(0);
    let style = style_of(status);
    let reason =
        text(record, "reason").map(|reason| format!(", {RED}{}{RED:#}", Safe(reason))).unwrap_or_default();
    Some(format!("{style}{status}{style:#} by {} at {}{reason}", Safe(end_by), Safe(end_at)))
}

/// One bar per phase, each where the one before ended.
fn waterfall(record: &Value) -> Vec<String> {
    let phases: Vec<(&str, u64)> =
        PHASES.iter().filter_map(|(name, member)| Some((*name, number(record, member)?))).collect();
    let sum = phases.iter().fold(0u64, |sum, (_, time)| sum.saturating_add(*time));
    let whole = number(record, "dur_us").unwrap_or(sum).max(sum).max(1);
    let place = |time: u64| u128::from(time) * u128::from(BAR) / u128::from(whole);
    let mut begin = 0u64;
    let mut lines = Vec::new();
    for (name, time) in phases {
        let end = begin.saturating_add(time);
        // Both are at most BAR.
        let (from, to) = (place(begin) as usize, place(end) as usize);
        let bar = format!("{}{}", " ".repeat(from), "█".repeat((to - from).max(1)));
        lines.push(format!("  {DIM}{name:<9}{DIM:#} {:>9}  {CYAN}{bar}{CYAN:#}", duration(time)));
        begin = end;
    }
    lines
}

fn tries(record: &Value) -> Vec<String> {
    let tries = record.get("try_log").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let lines = tries.iter().enumerate().map(|(index, attempt)| {
        let address = text(attempt, "addr").unwrap_or(NOTHING);
        let reason = text(attempt, "reason").unwrap_or(NOTHING);
        let status = number(attempt, "status").map(|status| format!(" {status}")).unwrap_or_default();
        let time = |name: &str, member: &str| {
            number(attempt, member).map(|time| format!(", {name} {}", duration(time))).unwrap_or_default()
        };
        let times = time("connect", "conn_us") + &time("wait", "wait_us");
        format!("  {DIM}try {:<5}{DIM:#} {}{status}: {}{times}", index + 1, Safe(address), Safe(reason))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
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

    #[test]
    fn phases_stand_one_after_the_other() {
        let record = json!({"dur_us": 1000, "t_head_us": 250, "t_wait_us": 500, "t_resp_us": 250});
        let lines: Vec<String> = waterfall(&record).iter().map(|line| strip_str(line).to_string()).collect();
        assert_eq!(lines[0], format!("  head          250us  {}", "█".repeat(10)));
        assert_eq!(lines[1], format!("  wait          500us  {}{}", " ".repeat(10), "█".repeat(20)));
        assert_eq!(lines[2], format!("  resp          250us  {}{}", " ".repeat(30), "█".repeat(10)));
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        let record =
            json!({"dur_us": 1, "t_head_us": u64::MAX, "t_wait_us": u64::MAX, "try_log": [{"addr": 7}, 1]});
        assert_eq!((waterfall(&record).len(), tries(&record).len()), (2, 2));
    }
}
