//! The report as lines for people. All text goes through [`Safe`]: it comes from a command line, and from files that
//! others may have written.

use std::fmt::{self, Write};

use super::report::{Answer, Body, Change, Considered, Forward, Limit, Report, Timeout};
use crate::record::line::Safe;

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, report);
    out
}

/// A line with its heading in the first column.
macro_rules! line {
    ($out:expr, $head:expr, $($text:tt)*) => {{
        let text = format!($($text)*);
        writeln!($out, "{:<10}{}", $head, Safe(&text))
    }};
}

fn write_all(out: &mut String, report: &Report) -> fmt::Result {
    let asked = &report.request;
    line!(out, "request", "{} {}://{}{}", asked.method, asked.scheme, asked.authority, asked.target)?;
    if let Some(canonical) = &report.canonical {
        let port = canonical.port.map_or_else(String::new, |port| format!(":{port}"));
        let query = canonical.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        let changed =
            if canonical.path_changed { "   (the path was brought into its shortest form)" } else { "" };
        line!(out, "seen as", "{}{port} {}{query}{changed}", canonical.host, canonical.path)?;
    }
    if let Some(client) = &report.client {
        line!(out, "client", "{} ({}; {})", client.ip, client.known_by, client.why)?;
    }
    if let Some(site) = &report.site {
        line!(out, "site", "{}  {}", site.name, site.place)?;
    }
    routes(out, &report.routes)?;
    for limit in &report.limits {
        line!(out, "limit", "{}", limit_text(limit))?;
    }
    if let Some(body) = &report.body {
        body_lines(out, body)?;
    }
    if let Some(forward) = &report.forward {
        forward_lines(out, forward)?;
    }
    answer(out, &report.answer)?;
    report.notes.iter().try_for_each(|note| line!(out, "note", "{note}"))
}

fn routes(out: &mut String, routes: &[Considered]) -> fmt::Result {
    let (won, lost): (Vec<_>, Vec<_>) = routes.iter().partition(|route| route.won);
    for route in won {
        line!(out, "route", "{}  {}  {}: {}", route.path, route.place, route.action, route.why)?;
    }
    for route in lost {
        line!(out, "  lost", "{}  {}  {}: {}", route.path, route.place, route.action, route.why)?;
    }
    Ok(())
}

fn limit_text(limit: &Limit) -> String {
    let mut text = format!("{}  by {}", limit.name, limit.key);
    if let Some(rate) = &limit.rate {
        let _ = write!(text, ", {} per {}, burst {}", rate.count, time(rate.per_ms), rate.burst);
    }
    if let Some(most) = limit.concurrency {
        let _ = write!(text, ", {most} at once");
    }
    let kind = if limit.dry_run { "only recorded" } else { "else" };
    let _ = write!(text, ", {kind} {}   {}", limit.status, limit.cause);
    text
}

fn body_lines(out: &mut String, body: &Body) -> fmt::Result {
    line!(out, "body", "{}; at most {} bytes   {}", body.framing, body.max, body.max_cause)?;
    timeouts(out, &body.timeouts)
}

fn timeouts(out: &mut String, all: &[Timeout]) -> fmt::Result {
    all.iter().try_for_each(|timeout| line!(out, "  timeout", "{}", timeout.cause))
}

fn forward_lines(out: &mut String, forward: &Forward) -> fmt::Result {
    let upgrade = forward.upgrade.map_or_else(String::new, |to| format!(", upgrade to {to}"));
    let (name, balance, tries) = (&forward.upstream, &forward.balance, forward.tries);
    line!(out, "upstream", "{name}: {}  ({balance}, {tries} tries{upgrade})", forward.target)?;
    for endpoint in &forward.endpoints {
        let worker =
            endpoint.worker.as_ref().map_or_else(String::new, |worker| format!("worker {worker} on "));
        let backup = if endpoint.backup { ", backup" } else { "" };
        line!(out, "  to", "{worker}{}, weight {}{backup}", endpoint.address, endpoint.weight)?;
    }
    timeouts(out, &forward.timeouts)?;
    forward.fields.iter().try_for_each(|change| line!(out, "  field", "{}", change_text(change)))
}

fn change_text(change: &Change) -> String {
    let Change { name, before, after } = change;
    match (before.is_empty(), after.is_empty()) {
        (true, _) => format!("+ {name}: {}", after.join(", ")),
        (_, true) => format!("- {name}: {}", before.join(", ")),
        _ => format!("~ {name}: {}   (was {})", after.join(", "), before.join(", ")),
    }
}

fn answer(out: &mut String, answer: &Answer) -> fmt::Result {
    let status = answer.status.map_or_else(|| "as it comes".to_owned(), |status| status.to_string());
    let mut text = format!("{status}, from {}", answer.from);
    if let Some(reason) = answer.reason {
        let _ = write!(text, ": {reason}");
    }
    if let Some(detail) = &answer.detail {
        let _ = write!(text, ": {detail}");
    }
    if let Some(cause) = &answer.cause {
        let _ = write!(text, " ({cause})");
    }
    line!(out, "answer", "{text}")?;
    for field in &answer.fields {
        line!(out, "  field", "{}: {}", field.name, field.value)?;
    }
    for change in &answer.changes {
        let value = change.value.as_ref().map_or_else(String::new, |value| format!(": {value}"));
        line!(out, "  field", "{} {}{value}", change.op, change.name)?;
    }
    let Some(compression) = &answer.compression else { return Ok(()) };
    let codec = compression.codec.unwrap_or("none");
    let offered = compression.offered.join(", ");
    line!(out, "  codec", "{codec} of {offered}, from {} bytes: {}", compression.min_size, compression.why)
}

/// Milliseconds as a person writes them.
fn time(ms: u128) -> String {
    match ms {
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}
