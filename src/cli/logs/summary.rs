//! The last line of every answer: how many rows, and whether anything is missing.

use std::time::Instant;

use super::escape::Safe;
use super::output;
use super::words::count;
use crate::log_service::query::Query;
use crate::log_service::read::{Missing, Report};

/// Ranges named one by one.
const NAMED: usize = 3;

/// Writes the line to stderr.
pub(super) fn print(report: &Report, started: Instant) {
    output::note(&format!("{}, {} ms", text(report), started.elapsed().as_millis()));
}

/// When nothing was found, a mistyped field is the likeliest reason.
pub(super) fn hint(query: &Query) {
    for field in query.unknown_fields() {
        let nearest = field.nearest().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        output::note(&format!("note: records have no field `{}`{nearest}", Safe(field.name())));
    }
}

fn text(report: &Report) -> String {
    let mut parts = vec![format!("{} {}", count(report.rows), if report.rows == 1 { "row" } else { "rows" })];
    let missing = report.missing_count();
    if report.unknown {
        parts.push("too many holes to tell what is missing".to_owned());
    } else if missing > 0 {
        parts.push(format!("{} missing ({})", count(missing), named(report)));
    }
    if report.damaged > 0 {
        parts.push(format!("{} damaged lines", count(report.damaged)));
    }
    if report.is_complete() {
        parts.push("complete".to_owned());
    }
    parts.join(", ")
}

fn named(report: &Report) -> String {
    let mut names: Vec<String> = report.missing.iter().take(NAMED).map(name).collect();
    let more = report.missing.len().saturating_sub(NAMED);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    if report.unnumbered > 0 {
        names.push(format!("{} without number", count(report.unnumbered)));
    }
    names.join("; ")
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

    #[test]
    fn says_what_is_missing_and_why() {
        let missing = |from, to, why: Option<&str>| Missing {
            proxy: "edge-1".into(),
            boot: 1,
            core: 0,
            from,
            to,
            why: why.map(str::to_owned),
        };
        let mut report = Report { rows: 1204, lines: 9999, ..Report::default() };
        assert_eq!(text(&report), "1 204 rows, complete");
        report.missing = vec![missing(88_201, 88_212, None), missing(9, 9, Some("ring_full"))];
        assert_eq!(
            text(&report),
            "1 204 rows, 13 missing (edge-1 core 0: 88201–88212 unexplained; edge-1 core 0: 9 ring_full)"
        );
        report = Report { rows: 1, damaged: 2, unknown: true, ..Report::default() };
        assert_eq!(text(&report), "1 row, too many holes to tell what is missing, 2 damaged lines");
    }
}
