//! `logs explain FILTER`: what the matching requests have in common, and the others do not.

mod facts;

use std::time::Instant;

use serde_json::{Value, json};

use super::args::{SourceArgs, TableArgs, WindowArgs};
use super::escape::{self, Safe};
use super::output::{BOLD, DIM, Output, note};
use super::source::{self, Told};
use super::table::{Cell, Side, Table};
use super::tally::short;
use super::words::{count, duration_or_nothing, is_request};
use super::{CommandError, summary};
use crate::log_service::query::Query;
use crate::log_service::read::Flow;
pub(super) use facts::likelihood;
use facts::{Facts, Finding};

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The requests to be explained, such as status:5xx or 'dur>1s'; see `logs search --help`.
    #[arg(required = true)]
    filter: Vec<String>,
    /// Compare only with requests that match this: 'host:shop.example'.
    #[arg(long, value_name = "FILTER", default_value = "")]
    among: String,
    /// Show at most so many.
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 12)]
    count: usize,
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    source: SourceArgs,
}

pub(super) fn run(args: &ExplainArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let wanted = Query::parse(&args.filter.join(" "))?;
    let (source, asked) =
        source::question(std::slice::from_ref(&args.among), Some(&args.window), &args.source)?;
    let mut facts = Facts::new(wanted.fields());
    let told = source.each(&asked, &mut |row| {
        if is_request(row.value) {
            facts.add(row.value, wanted.matches(row.value));
        }
        Flow::Continue(())
    })?;
    let mut findings = facts.findings();
    findings.truncate(args.count);
    if facts.selected() == 0 {
        summary::hint(&asked);
    }
    print(&facts, &findings, args.table.json(), &told, started)?;
    Ok(facts.selected() > 0)
}

fn print(
    facts: &Facts,
    findings: &[Finding],
    json: bool,
    told: &Told,
    started: Instant,
) -> Result<(), CommandError> {
    let mut output = Output::stdout();
    if json {
        for finding in findings {
            output.line(&escape::json(&to_json(finding).to_string()))?;
        }
        return Ok(summary::end(&mut output, true, told, started)?);
    }
    let (selected, rest) = (facts.selected(), facts.rest());
    output.line(&format!(
        "{BOLD}{}{BOLD:#} requests match, {BOLD}{}{BOLD:#} do not",
        count(selected),
        count(rest)
    ))?;
    if selected > 0 && rest > 0 {
        show(facts, findings, &mut output)?;
    } else if selected > 0 {
        note("note: every request matches, so there is nothing to compare with; widen --since or --among");
    }
    Ok(summary::end(&mut output, false, told, started)?)
}

fn show(facts: &Facts, findings: &[Finding], output: &mut Output) -> Result<(), CommandError> {
    if findings.is_empty() {
        output.line("nothing sets them apart: no value is clearly more frequent among them")?;
    } else {
        let mut table = Table::new(&[
            ("of these", Side::Right),
            ("of others", Side::Right),
            ("", Side::Left),
            ("also", Side::Left),
        ]);
        for finding in findings {
            let value = format!("{}={}", finding.field, Safe(&short(&finding.value)));
            table.row(vec![
                percent(finding.selected).into(),
                percent(finding.rest).into(),
                Cell::styled(value, BOLD),
                Cell::styled(also(finding), DIM),
            ]);
        }
        for line in table.lines() {
            output.line(&line)?;
        }
    }
    let phases = facts.phases();
    if !phases.is_empty() {
        output.line("")?;
        let mut table =
            Table::new(&[("these", Side::Right), ("others", Side::Right), ("median of", Side::Left)]);
        for (name, selected, rest) in phases {
            table.row(vec![
                duration_or_nothing(selected).into(),
                duration_or_nothing(rest).into(),
                name.to_owned().into(),
            ]);
        }
        for line in table.lines() {
            output.line(&line)?;
        }
    }
    Ok(())
}

/// Other values that the very same requests have.
fn also(finding: &Finding) -> String {
    let names = finding.also.iter().take(3).map(|(field, value)| format!("{field}={}", Safe(&short(value))));
    let more = finding.also.len().saturating_sub(3);
    let more = (more > 0).then(|| format!("and {more} more"));
    names.chain(more).collect::<Vec<_>>().join(", ")
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent >= 99.95 || percent == 0.0 || percent >= 10.0 => format!("{percent:.0} %"),
        percent if percent < 0.01 => "<0.01 %".to_owned(),
        percent => format!("{percent:.2} %"),
    }
}

fn to_json(finding: &Finding) -> Value {
    json!({
        "field": finding.field, "value": finding.value, "share": finding.selected, "share_of_others": finding.rest,
        "also": finding.also.iter().map(|(field, value)| format!("{field}={value}")).collect::<Vec<_>>(),
    })
}
