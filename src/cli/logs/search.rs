//! `logs search`: the newest or slowest matching entries.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;

use super::args::{Form, SearchArgs, Sort};
use super::output::Output;
use super::source::{self, Asked, Source};
use super::words::number;
use super::{CommandError, line, summary};
use crate::log_service::read::{Flow, Newest, Report};

pub(super) fn run(args: &SearchArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let asked = Asked::new(&args.filter, source::window(&args.window, Timestamp::now())?)?;
    let source = Source::new(&args.source)?;
    let found = match args.sort {
        Sort::Ts => source.newest(&asked, args.count)?,
        Sort::Dur => slowest(&source, &asked, args.count)?,
    };
    print(&found.rows, args.output)?;
    summary::print(&found.report, started);
    if found.rows.is_empty() {
        summary::hint(&asked.query);
    }
    Ok(!found.rows.is_empty())
}

pub(super) fn print(rows: &[String], form: Form) -> Result<(), CommandError> {
    let mut output = Output::stdout();
    for row in rows {
        let entry: Value = serde_json::from_str(row).unwrap_or_default();
        output.line(&line::render(&entry, row, form))?;
    }
    Ok(output.flush()?)
}

/// The slowest first.
fn slowest(source: &Source, asked: &Asked, count: usize) -> Result<Newest, CommandError> {
    let mut heap = BinaryHeap::new();
    let report = source.each(asked, &mut |row| {
        let duration = number(row.value, "dur_us").unwrap_or(0);
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
    Ok(Newest { report: Report { rows: rows.len() as u64, ..report }, rows })
}
