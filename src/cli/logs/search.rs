//! `logs search`: the newest or slowest matching entries.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use serde_json::Value;

use super::args::{Form, SearchArgs, Sort};
use super::output::{Output, note};
use super::source::{self, Asked, Source, Told};
use super::words::number;
use super::{CommandError, line, summary};
use crate::log_service::exec;
use crate::log_service::read::Flow;

pub(super) fn run(args: &SearchArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let (source, asked) = source::question(&args.filter, Some(&args.window), &args.source)?;
    let asked = asked.without_host()?;
    let (rows, told) = match args.sort {
        Sort::Ts => source.newest(&asked, args.count)?,
        Sort::Dur => match source.first(&asked, exec::Sort::Slowest, args.count)? {
            Some(found) => found,
            None => slowest(&source, &asked, args.count)?,
        },
    };
    let mut output = Output::stdout();
    print(&mut output, &rows, args.output)?;
    output.flush()?;
    if rows.len() == args.count && args.count > 0 && !told.is_cut {
        let which = if args.sort == Sort::Ts { "newest" } else { "slowest" };
        note(&format!("the {which} {} are shown; -n shows more", args.count));
    }
    if rows.is_empty() {
        summary::hint(&asked);
    }
    summary::end(&mut output, args.output == Form::Json, &told, started)?;
    Ok(!rows.is_empty())
}

pub(super) fn print(output: &mut Output, rows: &[String], form: Form) -> Result<(), CommandError> {
    for row in rows {
        let entry: Value = serde_json::from_str(row).unwrap_or_default();
        output.line(&line::render(&entry, row, form))?;
    }
    Ok(())
}

/// The slowest first.
fn slowest(source: &Source, asked: &Asked, count: usize) -> Result<(Vec<String>, Told), CommandError> {
    let mut heap = BinaryHeap::new();
    let mut told = source.each(asked, &mut |row| {
        let Some(duration) = number(row.value, "dur_us") else { return Flow::Continue(()) };
        let is_worth_it =
            heap.len() < count || heap.peek().is_some_and(|Reverse((least, _))| *least < duration);
        if is_worth_it {
            heap.push(Reverse((duration, row.json.to_owned())));
        }
        if heap.len() > count {
            heap.pop();
        }
        Flow::Continue(())
    })?;
    let rows: Vec<String> = heap.into_sorted_vec().into_iter().map(|Reverse((_, row))| row).collect();
    if rows.is_empty() && told.report.rows > 0 {
        note("note: these entries have no duration to sort by");
    }
    told.report.rows = rows.len() as u64;
    Ok((rows, told))
}
