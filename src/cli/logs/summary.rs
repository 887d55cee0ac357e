//! The last line of every answer: how many rows, and whether anything is missing.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::escape::{self, Safe};
use super::output::{self, Output};
use super::source::{Asked, Told};
use super::words::count;
use crate::log_service::foreign::{self, Format};
use crate::log_service::read::{Missing, Report};

/// Ranges named one by one.
const NAMED: usize = 3;

/// Ends an answer: what was printed is shown, and the line follows on stderr; JSON carries it as its own last line.
pub(super) fn end(output: &mut Output, json: bool, told: &Told, started: Instant) -> std::io::Result<()> {
    if json {
        output.line(&format!("{REPORT}{}", &to_json(told, started)[1..]))?;
    }
    output.flush()?;
    output::note(&format!("{}, {} ms", text(told), started.elapsed().as_millis()));
    Ok(())
}

/// How the last line of a JSON answer begins; readers of such an answer pass it over.
const REPORT: &str = foreign::REPORT;

fn to_json(told: &Told, started: Instant) -> String {
    let Told { report, foreign, sampled, is_cut, left_out } = told;
    let formats: serde_json::Map<String, Value> =
        foreign.formats.iter().map(|(format, count)| (format.to_string(), (*count).into())).collect();
    let is_whole = report.is_complete() && foreign.unread == 0 && !is_cut && *left_out == 0;
    let complete = if is_numbered(told) { Some(is_whole) } else { None };
    let value = json!({
        "rows": report.rows, "lines": report.lines, "complete": complete, "missing": report.missing_count(),
        "sampled_out": report.sampled_count(), "gaps": report.missing, "damaged": report.damaged, "unread": foreign.unread,
        "first_unread": foreign.first_unread, "formats": formats, "sampled": sampled,
        "cut": is_cut, "left_out": left_out,
        "ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    escape::json(&value.to_string()).into_owned()
}

/// Lines of other proxies have no numbers: nothing can be proved about them.
fn is_numbered(told: &Told) -> bool {
    told.foreign.formats.keys().all(|format| *format == Format::Tollgate)
}

/// When nothing was found: a mistyped field is the likeliest reason, then the default window.
pub(super) fn hint(asked: &Asked) {
    for field in asked.query.unknown_fields() {
        let nearest = field.nearest().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        output::note(&format!("note: records have no field `{}`{nearest}", Safe(field.name())));
    }
    if let Some(since) = asked.window.since {
        output::note(&format!(
            "note: only what happened since {since:.0} was looked at; --since all looks at everything"
        ));
    }
}

fn text(told: &Told) -> String {
    let Told { report, foreign, sampled, is_cut, left_out } = told;
    let rows = if report.rows == 1 { "row" } else { "rows" };
    let about = if *sampled { "±" } else { "" };
    let mut parts = vec![format!("{about}{} {rows}", count(report.rows))];
    let missing = report.missing_count();
    if report.unknown {
        parts.push("whether anything is missing cannot be told".to_owned());
    } else if missing > 0 {
        parts.push(format!("{} missing ({})", count(missing), named(report)));
    }
    let sampled_out = report.sampled_count();
    if sampled_out > 0 {
        parts.push(format!("{} left out by sampling", count(sampled_out)));
    }
    if let Some(open) = uncounted(report) {
        parts.push(format!("incomplete: {open}"));
    }
    if report.damaged > 0 {
        let lines = if report.damaged == 1 { "line" } else { "lines" };
        parts.push(format!("{} damaged {lines}", count(report.damaged)));
    }
    if foreign.unread > 0 {
        let first = foreign.first_unread.as_deref().unwrap_or_default();
        let lines = if foreign.unread == 1 { "line" } else { "lines" };
        parts.push(format!("{} {lines} not understood (first: {})", count(foreign.unread), Safe(first)));
    }
    if !is_numbered(told) {
        let names: Vec<String> = foreign.formats.keys().map(Format::to_string).collect();
        let lines = if report.lines == 1 { "line" } else { "lines" };
        parts.push(format!(
            "{} {lines} read ({}: no sequence numbers, so whether all are here is unknown)",
            count(report.lines),
            names.join(", ")
        ));
    } else if report.is_complete() && foreign.unread == 0 && !is_cut && *left_out == 0 {
        // What waits at a sender, or is on the way, nobody here knows.
        parts.push("complete as received".to_owned());
    }
    if *is_cut {
        parts.push("there are more: too many are alike to go on behind the last one".to_owned());
    }
    if *left_out > 0 {
        parts.push(format!("{} left out (sampled: more came than could be shown)", count(*left_out)));
    }
    if *sampled {
        parts.push("counts are estimates: some rows stand for several".to_owned());
    }
    parts.join(", ")
}

fn named(report: &Report) -> String {
    let counted = || report.lost().filter(|missing| !missing.is_open());
    let mut names: Vec<String> = counted().take(NAMED).map(name).collect();
    let more = counted().count().saturating_sub(NAMED);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    if report.unnumbered > 0 {
        names.push(format!("{} without number", count(report.unnumbered)));
    }
    names.join("; ")
}

/// What nobody can count: of each run of a proxy its cores, and when it was lost.
fn uncounted(report: &Report) -> Option<String> {
    let open: Vec<&Missing> = report.open().collect();
    let is_like = |a: &&Missing, b: &&Missing| (&a.proxy, a.boot, &a.why) == (&b.proxy, b.boot, &b.why);
    let mut runs: Vec<String> = open.chunk_by(is_like).take(NAMED).filter_map(run).collect();
    let more = open.chunk_by(is_like).count().saturating_sub(NAMED);
    if more > 0 {
        runs.push(format!("and of {more} more runs"));
    }
    (!runs.is_empty()).then(|| runs.join("; "))
}

fn run(cores: &[&Missing]) -> Option<String> {
    let Missing { proxy, why, .. } = cores.first()?;
    let mut names: Vec<String> = cores.iter().take(NAMED).map(|one| one.core.to_string()).collect();
    let more = cores.len().saturating_sub(NAMED);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    let core = if cores.len() == 1 { "core" } else { "cores" };
    let since = cores.iter().filter_map(|one| one.between_us).map(|(since, _)| since).min();
    let until = cores.iter().filter_map(|one| one.between_us).map(|(_, until)| until).max();
    let time =
        |us| Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |time| format!("{time:.0}"));
    let between =
        since.zip(until).map(|(since, until)| format!(" between {} and {}", time(since), time(until)));
    let (proxy, why) = (Safe(proxy), Safe(why.as_deref().unwrap_or("unexplained")));
    let (names, between) = (names.join(", "), between.unwrap_or_default());
    Some(format!("an unknown number of records of {proxy} {core} {names}{between} were lost ({why})"))
}

fn name(missing: &Missing) -> String {
    let Missing { proxy, core, from, to, why, .. } = missing;
    let why = why.as_deref().unwrap_or("unexplained");
    let numbers = if from == to { from.to_string() } else { format!("{from}–{to}") };
    format!("{} core {core}: {numbers} {}", Safe(proxy), Safe(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::json::OPEN_END;

    #[test]
    fn says_what_is_missing_and_why() {
        let missing = |from, to, why: Option<&str>| Missing {
            proxy: "edge-1".into(),
            boot: 1,
            core: 0,
            from,
            to,
            why: why.map(str::to_owned),
            between_us: None,
        };
        let text = |report: &Report| text(&Told { report: report.clone(), ..Told::default() });
        let mut report = Report { rows: 1204, lines: 9999, ..Report::default() };
        assert_eq!(text(&report), "1 204 rows, complete as received");
        report.missing = vec![missing(88_201, 88_212, None), missing(9, 9, Some("ring_full"))];
        assert_eq!(
            text(&report),
            "1 204 rows, 13 missing (edge-1 core 0: 88201–88212 unexplained; edge-1 core 0: 9 ring_full)"
        );
        report = Report { rows: 1, damaged: 2, unknown: true, ..Report::default() };
        assert_eq!(text(&report), "1 row, whether anything is missing cannot be told, 2 damaged lines");
    }

    #[test]
    fn what_nobody_can_count_is_never_called_complete() {
        let open = |core| Missing {
            proxy: "edge-1".into(),
            boot: 1,
            core,
            from: 2002,
            to: OPEN_END,
            why: Some("ring_lost".into()),
            between_us: Some((1_795_369_446_000_000, 1_795_369_449_000_000)),
        };
        let report = Report { rows: 1574, missing: vec![open(0), open(1)], ..Report::default() };
        let told = Told { report, ..Told::default() };
        assert_eq!(
            text(&told),
            "1 574 rows, incomplete: an unknown number of records of edge-1 cores 0, 1 between 2026-11-22T17:44:06Z and \
             2026-11-22T17:44:09Z were lost (ring_lost)"
        );
        let json = to_json(&told, Instant::now());
        assert!(json.contains("\"complete\":false") && json.contains("\"to\":null"), "{json}");
    }

    #[test]
    fn lines_without_numbers_are_never_called_complete() {
        let mut told = Told { report: Report { rows: 2, lines: 5, ..Report::default() }, ..Told::default() };
        told.foreign.formats.insert(Format::Combined, 4);
        told.foreign.unread = 1;
        told.foreign.first_unread = Some("a\u{1b}.log:3".to_owned());
        assert_eq!(
            text(&told),
            "2 rows, 1 line not understood (first: a\\x1b.log:3), 5 lines read (combined: no sequence numbers, so \
             whether all are here is unknown)"
        );
        assert!(to_json(&told, Instant::now()).contains("\"complete\":null"));
    }
}
