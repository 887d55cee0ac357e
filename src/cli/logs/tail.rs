//! `logs tail`: the last entries, and with `-f` each new one as it comes.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time;

use super::args::{Form, TailArgs};
use super::output::{self, Output};
use super::source::{self, Asked, Source};
use super::{CommandError, line, search, summary};
use crate::log_service::client::{self, Address};
use crate::log_service::read::{Flow, Follow, Row, Scan, Window};

/// How often a growing file is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(super) fn run(args: &TailArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let asked = Asked::new(&args.filter, Window::default())?;
    let source = Source::new(&args.source)?;
    if args.follow {
        return follow(&source, &asked, args, started);
    }
    let newest = source.newest(&asked, args.count)?;
    search::print(&newest.rows, args.output)?;
    summary::print(&newest.report, started);
    Ok(!newest.rows.is_empty())
}

fn follow(source: &Source, asked: &Asked, args: &TailArgs, started: Instant) -> Result<bool, CommandError> {
    let runtime = source::runtime()?;
    match source {
        Source::Directory(data) => runtime.block_on(follow_directory(data, asked, args, started)),
        Source::Service(address) => runtime.block_on(follow_service(address, asked, args)),
        Source::Files(_) => {
            Err(CommandError::Usage("-f follows a directory or a service, not --file".to_owned()))
        }
    }
}

async fn follow_directory(
    data: &Path,
    asked: &Asked,
    args: &TailArgs,
    started: Instant,
) -> Result<bool, CommandError> {
    // Placed at the end before looking back: a row in between is then seen twice, and the second time dropped.
    let mut follow = Follow::from_end(data).map_err(|error| source::cannot_read(data, error))?;
    let begin = Source::Directory(data.to_owned()).newest(asked, args.count)?;
    search::print(&begin.rows, args.output)?;
    let mut shown: HashSet<String> = begin.rows.into_iter().collect();
    let mut scan = Scan::new(asked.query.clone(), Window::default());
    let mut printer = Printer::new(args.output);
    loop {
        let mut print =
            |row: &Row<'_>| if shown.remove(row.json) { Flow::Continue(()) } else { printer.row(row) };
        let more = follow.advance(&mut scan, &mut print).map_err(|error| source::cannot_read(data, error))?;
        printer.flush()?;
        if more {
            continue;
        }
        shown.clear();
        tokio::select! {
            // The usual end of a tail; the summary is still owed.
            _ = tokio::signal::ctrl_c() => break,
            () = time::sleep(LOOK) => {}
        }
    }
    summary::print(&scan.report(), started);
    Ok(true)
}

async fn follow_service(address: &Address, asked: &Asked, args: &TailArgs) -> Result<bool, CommandError> {
    let target = source::target("/logs/tail", asked, Some(args.count));
    let mut printer = Printer::new(args.output);
    let mut on_line = |line: &mut [u8]| {
        let text = String::from_utf8_lossy(line);
        let Ok(value) = serde_json::from_str::<Value>(&text) else { return Flow::Continue(()) };
        if value["kind"] == "skipped" && value.get("recv").is_none() {
            output::note(&format!("skipped {} entries: this reader is too slow", value["count"]));
            return Flow::Continue(());
        }
        let flow = printer.row(&Row { json: &text, value: &value });
        if printer.flush().is_err() { Flow::Break(()) } else { flow }
    };
    tokio::select! {
        ended = client::get(address, &target, &mut on_line) => ended?,
        _ = tokio::signal::ctrl_c() => {}
    }
    printer.flush()?;
    Ok(true)
}

/// Prints rows from inside a walk, where an error cannot be returned: it is kept for the next flush.
struct Printer {
    output: Output,
    form: Form,
    failed: Option<std::io::Error>,
}

impl Printer {
    fn new(form: Form) -> Self {
        Self { output: Output::stdout(), form, failed: None }
    }

    fn row(&mut self, row: &Row<'_>) -> Flow {
        match self.output.line(&line::render(row.value, row.json, self.form)) {
            Ok(()) => Flow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                Flow::Break(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), CommandError> {
        match self.failed.take() {
            Some(error) => Err(error.into()),
            None => Ok(self.output.flush()?),
        }
    }
}
