//! `logs tail`: the last entries, and with `-f` each new one as it comes.

mod file;
mod printer;
mod watch;

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time;

use super::args::{Form, TailArgs};
use super::door::target;
use super::escape::Safe;
use super::output::{self, Output};
use super::source::{self, Asked, Source, Told};
use super::words::count;
use super::{CommandError, search, summary};
use crate::log_service::client::{self, ClientError, Service};
use crate::log_service::directory::Directory;
use crate::log_service::read::{Flow, Follow, Report, Row, Scan, Window};
use printer::Printer;
use watch::Watch;

/// Where a store writes what comes.
const WAL: &str = "wal";
/// What a service may take to say what is missing, when a tail ends.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// What fails: see `words::is_error`.
const ERRORS: &str = "(status:5xx or (status:0 end_by:(upstream proxy)))";

pub(super) fn run(args: &TailArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let mut filter: Vec<String> = args.filter.iter().map(|part| format!("({part})")).collect();
    if filter.len() > 1 {
        // The words of one filter, not several.
        filter = vec![format!("({})", args.filter.join(" "))];
    }
    filter.extend(args.slow.as_ref().map(|time| format!("dur>={time}")));
    filter.extend(args.errors.then(|| ERRORS.to_owned()));
    let (source, asked) = source::question(&filter, None, &args.source)?;
    let asked = asked.without_host()?;
    if args.follow {
        return follow(&source, &asked, args, started);
    }
    let (rows, told) = source.newest(&asked, args.count)?;
    let mut output = Output::stdout();
    search::print(&mut output, &rows, args.output)?;
    if rows.is_empty() {
        summary::hint(&asked);
    }
    summary::end(&mut output, args.output == Form::Json, &told, started)?;
    Ok(!rows.is_empty())
}

fn follow(source: &Source, asked: &Asked, args: &TailArgs, started: Instant) -> Result<bool, CommandError> {
    let runtime = source::runtime()?;
    let printer = Printer::new(args.output, args.rate.as_deref())?;
    let told = match source {
        Source::Directory(data) => runtime.block_on(follow_directory(data.path(), asked, args, printer))?,
        Source::Files(files) => runtime.block_on(file::follow(files, asked, args.count, printer))?,
        Source::Service(service) => {
            let (told, ended) = runtime.block_on(follow_service(service, asked, args, printer))?;
            summary::end(&mut Output::stdout(), args.output == Form::Json, &told, started)?;
            return ended.map(|()| true);
        }
    };
    summary::end(&mut Output::stdout(), args.output == Form::Json, &told, started)?;
    Ok(true)
}

/// Ctrl-C, from now on: the usual end of a tail, whose summary is still owed. One that comes while rows are printed is
/// kept.
fn interrupts() -> Result<Signal, CommandError> {
    signal(SignalKind::interrupt())
        .map_err(|error| CommandError::Read("cannot wait for Ctrl-C".to_owned(), error))
}

async fn follow_directory(
    data: &Path,
    asked: &Asked,
    args: &TailArgs,
    mut printer: Printer,
) -> Result<Told, CommandError> {
    // Placed at the end before looking back: a row in between is then seen twice, and the second time dropped.
    let mut follow = Follow::from_end(data).map_err(|error| source::cannot_read(data, error))?;
    let (watch, mut interrupted) = (Watch::of([data.join(WAL)]), interrupts()?);
    let (rows, _) = Source::Directory(Directory::new(data.to_owned())).newest(asked, args.count)?;
    printer.rows(&rows)?;
    let mut shown: HashSet<String> = rows.into_iter().collect();
    let mut scan = Scan::new(asked.query.clone(), Window::default());
    loop {
        let mut print =
            |row: &Row<'_>| if shown.remove(row.json) { Flow::Continue(()) } else { printer.row(row) };
        let more = follow.advance(&mut scan, &mut print).map_err(|error| source::cannot_read(data, error))?;
        printer.flush()?;
        if !more {
            shown.clear();
        }
        tokio::select! {
            biased;
            _ = interrupted.recv() => break,
            // Also while rows come as fast as they are printed the runtime must see signals.
            () = tokio::task::yield_now(), if more => {}
            () = watch.changed(), if !more => {}
        }
    }
    printer.end()?;
    let report = Report { rows: printer.total(), ..scan.report() };
    Ok(Told { left_out: printer.total_left_out(), ..Told::of(report) })
}

/// What was shown, and how the service ended it.
async fn follow_service(
    service: &Service,
    asked: &Asked,
    args: &TailArgs,
    mut printer: Printer,
) -> Result<(Told, Result<(), CommandError>), CommandError> {
    let target = target("/logs/tail", asked, Some(args.count));
    let (since, mut skipped, mut has_begun) = (Timestamp::now(), 0, false);
    let mut interrupted = interrupts()?;
    let mut on_line = |line: &mut [u8]| {
        has_begun = true;
        let text = String::from_utf8_lossy(line);
        let Ok(value) = serde_json::from_str::<Value>(&text) else { return Flow::Continue(()) };
        if value["kind"] == "skipped" && value.get("recv").is_none() {
            let missed = value["count"].as_u64().unwrap_or(0);
            skipped += missed;
            // Before the note: both may go to the same terminal.
            let _ = printer.flush();
            output::note(&format!("sampling: {} entries skipped, this reader is too slow", count(missed)));
            return Flow::Continue(());
        }
        let flow = printer.row(&Row { json: &text, value: &value });
        if printer.flush().is_err() { Flow::Break(()) } else { flow }
    };
    let ended = tokio::select! {
        biased;
        _ = interrupted.recv() => Ok(()),
        ended = client::get(service, &target, &mut on_line) => ended.map_err(CommandError::from),
    };
    if ended.is_err() && !has_begun {
        return ended.map(|()| (Told::default(), Ok(())));
    }
    printer.end()?;
    let report = tokio::select! {
        biased;
        _ = interrupted.recv() => Err("you did not wait for it".to_owned()),
        report = report_since(service, since) => report.map_err(|error| error.to_string()),
    };
    let report = report.unwrap_or_else(|reason| {
        output::note(&format!("note: whether anything is missing is unknown: {}", Safe(&reason)));
        Report { unknown: true, ..Report::default() }
    });
    let left_out = printer.total_left_out() + skipped;
    Ok((Told { left_out, ..Told::of(Report { rows: printer.total(), ..report }) }, ended))
}

/// What is missing of all that came while the tail ran. What it showed cannot tell: it is filtered.
async fn report_since(service: &Service, since: Timestamp) -> Result<Report, ClientError> {
    let target = format!("/logs/audit?since={since}");
    let told = time::timeout(ANSWERS_WITHIN, client::answer(service, &target, &mut |_, _| {})).await;
    let told = told.unwrap_or_else(|_| Err(ClientError::Broken("it does not answer in time".into())))?;
    serde_json::from_value(told["report"].clone()).map_err(|error| ClientError::Broken(error.into()))
}
