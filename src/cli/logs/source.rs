//! Where rows come from: a data directory, a running service, files or stdin.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::CommandError;
use super::args::{SourceArgs, WindowArgs};
use crate::log_service::client::{self, Address, ClientError};
use crate::log_service::query::{Query, moment};
use crate::log_service::read::{Flow, Newest, Report, Row, Scan, Window};

/// The data directory of the shipped config.
pub(super) const DEFAULT_DATA: &str = "run/logs";

/// What is asked for.
pub(super) struct Asked {
    /// The filter as it was written, for a service.
    pub(super) text: String,
    pub(super) query: Query,
    pub(super) window: Window,
    /// Only lines with this text in them; see [`Scan::with_needle`].
    pub(super) needle: Option<String>,
}

impl Asked {
    pub(super) fn new(filter: &[String], window: Window) -> Result<Self, CommandError> {
        let text = filter.join(" ");
        Ok(Self { query: Query::parse(&text)?, text, window, needle: None })
    }
}

pub(super) fn window(args: &WindowArgs, now: Timestamp) -> Result<Window, CommandError> {
    let read = |text: &str| moment::parse(text, now).map_err(|error| CommandError::Usage(error.to_string()));
    let since = if args.since == "all" { None } else { Some(read(&args.since)?) };
    Ok(Window { since, until: args.until.as_deref().map(read).transpose()? })
}

pub(super) enum Source {
    Directory(PathBuf),
    Service(Address),
    Files(Vec<PathBuf>),
}

impl Source {
    pub(super) fn new(args: &SourceArgs) -> Result<Self, CommandError> {
        if let Some(address) = &args.service {
            return Ok(Self::Service(address.clone()));
        }
        if !args.files.is_empty() {
            return Ok(Self::Files(args.files.clone()));
        }
        let data = args.data.clone().unwrap_or_else(|| DEFAULT_DATA.into());
        if data.is_dir() {
            return Ok(Self::Directory(data));
        }
        let what = format!(
            "no log directory {}: name it with --data, or ask a service with --service",
            data.display()
        );
        Err(CommandError::Usage(what))
    }

    /// Hands out all matching rows, in the order in which they were stored.
    pub(super) fn each(
        &self,
        asked: &Asked,
        on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
    ) -> Result<Report, CommandError> {
        let mut scan = Scan::new(asked.query.clone(), asked.window);
        if let Some(needle) = &asked.needle {
            scan = scan.with_needle(needle);
        }
        match self {
            Self::Service(address) => return ask(address, asked, None, on_row),
            Self::Directory(data) => {
                let _ = scan.directory(data, on_row).map_err(|error| cannot_read(data, error))?;
            }
            Self::Files(files) => {
                for file in files {
                    if read(file, &mut scan, on_row).map_err(|error| cannot_read(file, error))?.is_break() {
                        break;
                    }
                }
            }
        }
        Ok(scan.report())
    }

    /// The newest matching rows, oldest first.
    pub(super) fn newest(&self, asked: &Asked, count: usize) -> Result<Newest, CommandError> {
        if let Self::Directory(data) = self {
            return Newest::of(data, &asked.query, asked.window, count)
                .map_err(|error| cannot_read(data, error));
        }
        let mut rows = std::collections::VecDeque::new();
        let mut keep = |row: &Row<'_>| {
            rows.push_back(row.json.to_owned());
            if rows.len() > count {
                rows.pop_front();
            }
            Flow::Continue(())
        };
        let report = match self {
            Self::Service(address) => ask(address, asked, Some(count), &mut keep)?,
            _ => self.each(asked, &mut keep)?,
        };
        Ok(Newest { rows: rows.into(), report })
    }
}

pub(super) fn cannot_read(path: &Path, error: io::Error) -> CommandError {
    CommandError::Read(format!("cannot read {}", path.display()), error)
}

fn read(file: &Path, scan: &mut Scan, on_row: &mut dyn FnMut(&Row<'_>) -> Flow) -> io::Result<Flow> {
    if file == Path::new("-") {
        return scan.read(io::stdin().lock(), on_row);
    }
    scan.read(BufReader::new(File::open(file)?), on_row)
}

/// A runtime for the commands that wait.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CommandError::Read("cannot start".to_owned(), error))
}

/// The path and query that ask a service for this.
pub(super) fn target(path: &str, asked: &Asked, count: Option<usize>) -> String {
    let mut target = format!("{path}?q={}", utf8_percent_encode(&asked.text, NON_ALPHANUMERIC));
    let times = [("since", asked.window.since), ("until", asked.window.until)];
    for (name, time) in times.iter().filter_map(|(name, time)| Some((name, (*time)?))) {
        target.push_str(&format!("&{name}={time}"));
    }
    if let Some(count) = count {
        target.push_str(&format!("&n={count}"));
    }
    target
}

fn ask(
    address: &Address,
    asked: &Asked,
    count: Option<usize>,
    on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
) -> Result<Report, CommandError> {
    let mut report = None;
    let mut failed = None;
    let target = target("/logs/search", asked, count);
    let mut on_line = |line: &mut [u8]| {
        let Ok(text) = std::str::from_utf8(line) else { return Flow::Continue(()) };
        let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { return Flow::Continue(()) };
        match value["kind"].as_str() {
            // The service's own two kinds carry no receive time; entries always do.
            Some("report") if value.get("recv").is_none() => report = serde_json::from_str(text).ok(),
            Some("error") if value.get("recv").is_none() => {
                failed = value["error"].as_str().map(str::to_owned)
            }
            _ => return on_row(&Row { json: text, value: &value }),
        }
        Flow::Continue(())
    };
    runtime()?.block_on(client::get(address, &target, &mut on_line))?;
    match (report, failed) {
        (_, Some(failed)) => Err(CommandError::Usage(format!("the log service failed: {failed}"))),
        (Some(report), None) => Ok(report),
        (None, None) => Err(ClientError::Broken("the answer was cut short".into()).into()),
    }
}
