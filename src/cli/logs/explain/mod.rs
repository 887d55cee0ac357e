//! `logs explain FILTER`: what the matching requests have in common, and the others do not.

mod facts;

use std::time::Instant;

use serde_json::{Value, json};

use super::args::{SourceArgs, TableArgs, WindowArgs};
use super::escape::{self, Safe};
use super::output::{BOLD, DIM, Output, note};
use super::source::{self, Asked, Source, Told};
use super::table::{Cell, Side, Table};
use super::tally::short;
use super::words::{count, duration_or_nothing, is_request};
use super::{CommandError, summary};
use crate::log_service::exec::{self, Question};
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
    pub(super) source: SourceArgs,
}

pub(super) fn run(args: &ExplainArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let wanted = Query::parse(&args.filter.join(" "))?;
    let (source, asked) =
        source::question(std::slice::from_ref(&args.among), Some(&args.window), &args.source)?;
    let among = [("among", args.among.clone()), ("n", MAX_TRAITS.to_string())];
    let selected = Asked { text: args.filter.join(" "), query: wanted.clone(), ..asked.clone() };
    let (mut explained, told) = match source.ask::<exec::Explained>(Question::Explain, &selected, &among)? {
        Some(told) => (Answer::of(&told), Told::of(told.report)),
        None => walked(&source, &asked, &wanted)?,
    };
    explained.findings.truncate(args.count);
    if explained.selected == 0 {
        summary::hint(&selected);
    }
    print(&explained, args.table.json(), &told, started)?;
    Ok(explained.selected > 0)
}

/// Traits that are asked for, before those of the very same requests are put together.
const MAX_TRAITS: usize = 1_000;
/// Medians that lie closer together, in microseconds, are not told.
const NEAR: u64 = 100;

/// What is printed.
struct Answer {
    selected: u64,
    rest: u64,
    findings: Vec<Finding>,
    phases: Vec<(String, Option<u64>, Option<u64>)>,
    /// Fields with more different values than were looked at.
    cut: Vec<String>,
}

impl Answer {
    /// Of the executor. Values that as many requests on either side have are taken for the same requests.
    fn of(told: &exec::Explained) -> Self {
        let mut found: Vec<((u64, u64), Finding)> = Vec::new();
        for value in told.values.iter().filter(|value| value.value.is_some()) {
            let of_rest = (value.share_out * told.rest as f64).round() as u64;
            let (counts, text) = ((value.support, of_rest), value.value.clone().unwrap_or_default());
            match found.iter_mut().find(|(known, first)| *known == counts && first.field != value.field) {
                Some((_, first)) => first.also.push((value.field.clone(), text)),
                None => found
                    .push((counts, Finding::of(value.field.clone(), text, value.share_in, value.share_out))),
            }
        }
        // Of the many minutes only those in which much of it happened.
        let least = |finding: &Finding| if finding.field == "minute" { 0.1 } else { 0.02 };
        found.retain(|(_, finding)| {
            finding.selected >= least(finding) && finding.selected > finding.rest * 1.3
        });
        let gap = |phase: &exec::Medians| phase.p50_in.unwrap_or(0).abs_diff(phase.p50_out.unwrap_or(0));
        let most = |phase: &exec::Medians| phase.p50_in.max(phase.p50_out).unwrap_or(0);
        let mut phases: Vec<&exec::Medians> =
            told.phases.iter().filter(|phase| gap(phase) > NEAR && gap(phase) > most(phase) / 5).collect();
        phases.sort_by_key(|phase| std::cmp::Reverse(gap(phase)));
        Self {
            selected: told.matching,
            rest: told.rest,
            findings: found.into_iter().map(|(_, finding)| finding).collect(),
            phases: phases
                .into_iter()
                .map(|phase| (phase.field.clone(), phase.p50_in, phase.p50_out))
                .collect(),
            cut: told.cut.clone(),
        }
    }
}

/// Row by row.
fn walked(source: &Source, asked: &Asked, wanted: &Query) -> Result<(Answer, Told), CommandError> {
    let mut facts = Facts::new(wanted.fields());
    let told = source.each(asked, &mut |row| {
        if is_request(row.value) {
            facts.add(row.value, wanted.matches(row.value));
        }
        Flow::Continue(())
    })?;
    let phases = facts.phases().into_iter().map(|(name, selected, rest)| (name.to_owned(), selected, rest));
    let answer = Answer {
        selected: facts.selected(),
        rest: facts.rest(),
        findings: facts.findings(),
        phases: phases.collect(),
        cut: Vec::new(),
    };
    Ok((answer, told))
}

fn print(answer: &Answer, json: bool, told: &Told, started: Instant) -> Result<(), CommandError> {
    let mut output = Output::stdout();
    if json {
        for finding in &answer.findings {
            output.line(&escape::json(&to_json(finding).to_string()))?;
        }
        return Ok(summary::end(&mut output, true, told, started)?);
    }
    let (selected, rest) = (answer.selected, answer.rest);
    output.line(&format!(
        "{BOLD}{}{BOLD:#} requests match, {BOLD}{}{BOLD:#} do not",
        count(selected),
        count(rest)
    ))?;
    if selected > 0 && rest > 0 {
        show(answer, &mut output)?;
    } else if selected > 0 {
        note("note: every request matches, so there is nothing to compare with; widen --since or --among");
    }
    if !answer.cut.is_empty() {
        output.flush()?;
        note(&format!(
            "note: not all values were told apart of {}: there are too many",
            answer.cut.join(", ")
        ));
    }
    Ok(summary::end(&mut output, false, told, started)?)
}

fn show(answer: &Answer, output: &mut Output) -> Result<(), CommandError> {
    let findings = &answer.findings;
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
    let phases = &answer.phases;
    if !phases.is_empty() {
        output.line("")?;
        let mut table =
            Table::new(&[("these", Side::Right), ("others", Side::Right), ("median of", Side::Left)]);
        for (name, selected, rest) in phases {
            table.row(vec![
                duration_or_nothing(*selected).into(),
                duration_or_nothing(*rest).into(),
                name.clone().into(),
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
