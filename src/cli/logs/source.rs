//! Where rows come from: a data directory, a running service, files or stdin.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::CommandError;
use super::args::{SourceArgs, WindowArgs};
use super::door::ask;
use super::escape::Safe;
use super::paging::behind;
use super::paths::split;
use super::place::{self, Place};
use super::progress::{self, Progress};
use crate::log_service::client::{self, ClientError, Service};
use crate::log_service::directory::Directory;
use crate::log_service::exec::{AnswerError, Control, ExecError, Question, Sort};
use crate::log_service::foreign::{self, Format, Walk};
use crate::log_service::query::{Field, Query, moment};
use crate::log_service::read::{Flow, Newest, Report, Row, Scan, Window};
use crate::record::host;

/// Most rows that the executor holds at once.
pub(super) const MAX_PAGE: usize = 10_000;

/// What is asked for.
#[derive(Clone)]
pub(super) struct Asked {
    /// The filter as it was written, for a service.
    pub(super) text: String,
    pub(super) query: Query,
    pub(super) window: Window,
    /// Only lines with this text in them; see [`Scan::with_needle`].
    pub(super) needle: Option<String>,
}

impl Asked {
    pub(super) fn new(text: String, window: Window) -> Result<Self, CommandError> {
        Ok(Self { query: Query::parse(&text)?, text, window, needle: None })
    }

    /// Without host facts, which come every few seconds, unless the filter asks for them.
    pub(super) fn without_host(self) -> Result<Self, CommandError> {
        let mut names = self.query.fields().iter().map(Field::name);
        if names.any(|name| name == "kind" || host::FACTS.contains(&name)) {
            return Ok(self);
        }
        let text = match self.text.trim() {
            "" => "-kind:host".to_owned(),
            text => format!("({text}) -kind:host"),
        };
        Ok(Self { query: Query::parse(&text)?, text, ..self })
    }
}

/// Where from and what: the arguments that every reading command has. Without `--since`, of files everything and of
/// what is stored the last hour.
pub(super) fn question(
    filter: &[String],
    times: Option<&WindowArgs>,
    args: &SourceArgs,
) -> Result<(Source, Asked), CommandError> {
    let (paths, more) = split(&args.from)?;
    let text = filter.iter().chain(&more).map(String::as_str).collect::<Vec<_>>().join(" ");
    let source = Source::new(args, paths)?;
    let since = if matches!(source, Source::Files(_)) { "all" } else { "1h" };
    let window = times.map_or(Ok(Window::default()), |times| window(times, since, Timestamp::now()))?;
    Ok((source, Asked::new(text, window)?))
}

pub(super) fn window(args: &WindowArgs, default: &str, now: Timestamp) -> Result<Window, CommandError> {
    let read = |text: &str| moment::parse(text, now).map_err(|error| CommandError::Usage(error.to_string()));
    let since = args.since.as_deref().unwrap_or(default);
    let since = if since == "all" { None } else { Some(read(since)?) };
    Ok(Window { since, until: args.until.as_deref().map(read).transpose()? })
}

/// Whether a window holds an entry, by the entry's own time.
pub(super) fn holds(window: &Window, entry: &Value) -> bool {
    let time = entry.get("ts").and_then(Value::as_str).and_then(|time| time.parse::<Timestamp>().ok());
    time.is_some_and(|time| {
        window.since.is_none_or(|since| since <= time) && window.until.is_none_or(|until| time < until)
    })
}

/// What an answer says about itself: how many rows, what is missing, what was not understood.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) report: Report,
    pub(super) foreign: foreign::Told,
    /// Some rows stand for others that were left out: counts are estimates.
    pub(super) sampled: bool,
    /// There are more of the rows that were asked for.
    pub(super) is_cut: bool,
    /// Rows that a tail did not show, because there were too many of them.
    pub(super) left_out: u64,
}

impl Told {
    pub(super) fn of(report: Report) -> Self {
        Self { report, ..Self::default() }
    }

    /// `rows` were counted, which stand for `count` requests.
    pub(super) fn counted(report: Report, rows: u64, count: u64) -> Self {
        Self { sampled: count > rows, ..Self::of(report) }
    }
}

pub(super) enum Source {
    Directory(Directory),
    Service(Service),
    Files(Files),
}

pub(super) struct Files {
    pub(super) paths: Vec<PathBuf>,
    pub(super) format: Option<Format>,
}

impl Source {
    fn new(args: &SourceArgs, paths: Vec<PathBuf>) -> Result<Self, CommandError> {
        if let Some(address) = &args.service {
            return Ok(Self::Service(args.access.service(address)?));
        }
        let is_local = !paths.is_empty() || args.data.is_some();
        if is_local && !args.access.is_empty() {
            return Err(needs_service());
        }
        if !paths.is_empty() {
            return Ok(Self::Files(Files { paths, format: args.format }));
        }
        if args.format.is_some() {
            return Err(CommandError::Usage(
                "--format says what the files of --from are: name one".to_owned(),
            ));
        }
        match &args.data {
            Some(data) => Self::directory(data.clone()),
            None => match place::of(&args.config)? {
                Place::Directory(_) if !args.access.is_empty() => Err(needs_service()),
                Place::Directory(data) => Self::directory(data),
                Place::Service(address, known) => Ok(Self::Service(args.access.service_of(&address, known)?)),
            },
        }
    }

    fn directory(data: PathBuf) -> Result<Self, CommandError> {
        if data.is_dir() {
            return Ok(Self::Directory(Directory::new(data)));
        }
        let what = format!(
            "no log directory {}: name it with --data, ask a service with --service, or read files with --from",
            data.display()
        );
        Err(CommandError::Usage(what))
    }

    /// What the executor answers, of a service or in this process; nothing of files, whose rows are looked at one by one.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        question: Question,
        asked: &Asked,
        more: &[(&str, String)],
    ) -> Result<Option<T>, CommandError> {
        let values = values(question, asked, more);
        let told = match self {
            Self::Files(_) => return Ok(None),
            Self::Service(address) => {
                let target = target_of(question, &values);
                let mut progress = progress::Served::new(false);
                let mut show = |done, whole| progress.show(done, whole);
                runtime()?.block_on(client::answer(address, &target, &mut show))?
            }
            // Files of an earlier version are read row by row until a service has taken them in.
            Self::Directory(data) if has_hours(data)? => return Ok(None),
            Self::Directory(data) => {
                let control = Control::default();
                let told = progress::of_scan(&control, || data.answer(question, &values, &control));
                told.map_err(|error| not_answered(data.path(), error))?
            }
        };
        let told = serde_json::from_value(told);
        told.map(Some).map_err(|error| ClientError::Broken(error.into()).into())
    }

    /// Hands out all matching rows, in the order in which they were stored.
    pub(super) fn each(
        &self,
        asked: &Asked,
        on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
    ) -> Result<Told, CommandError> {
        let mut sampled = false;
        let mut on_row = |row: &Row<'_>| {
            sampled |= row.value.get("sw").and_then(Value::as_f64).is_some_and(|weight| weight > 1.0);
            on_row(row)
        };
        let told = match self {
            Self::Service(service) => Told::of(ask(service, asked, None, &mut on_row)?),
            Self::Directory(data) if asked.needle.is_none() && !has_hours(data)? => {
                Told::of(stored(data, asked, &mut on_row)?)
            }
            Self::Directory(data) => Told::of(scan(data.path(), asked, &mut on_row)?),
            Self::Files(files) => files.each(asked, &mut on_row)?,
        };
        Ok(Told { sampled, ..told })
    }

    /// The newest matching rows, oldest first.
    pub(super) fn newest(&self, asked: &Asked, count: usize) -> Result<(Vec<String>, Told), CommandError> {
        if let Some((mut rows, told)) = self.first(asked, Sort::Newest, count)? {
            rows.reverse();
            return Ok((rows, told));
        }
        if let Self::Directory(data) = self {
            let newest = Newest::of(data.path(), &asked.query, asked.window, count);
            let newest = newest.map_err(|error| cannot_read(data.path(), error))?;
            return Ok((newest.rows, Told::of(newest.report)));
        }
        let mut rows = VecDeque::new();
        let mut keep = |row: &Row<'_>| {
            rows.push_back(row.json.to_owned());
            if rows.len() > count {
                rows.pop_front();
            }
            Flow::Continue(())
        };
        let mut told = self.each(asked, &mut keep)?;
        told.report.rows = rows.len() as u64;
        Ok((rows.into(), told))
    }

    /// The newest or slowest matching rows, best first, by the executor. More than it holds at once are fetched page by
    /// page, each from where the last one ended; [`Told::is_cut`] when that is not enough.
    pub(super) fn first(
        &self,
        asked: &Asked,
        sort: Sort,
        count: usize,
    ) -> Result<Option<(Vec<String>, Told)>, CommandError> {
        let Some((mut rows, mut report)) = self.page(asked, sort, count)? else { return Ok(None) };
        let (mut last_page, mut is_cut) = (rows.len(), false);
        while rows.len() < count && last_page >= MAX_PAGE {
            let Some((next, known)) = behind(asked, sort, &rows)? else {
                is_cut = true;
                break;
            };
            let Some((page, told)) = self.page(&next, sort, count - rows.len() + known.len())? else { break };
            last_page = page.len();
            report.lines += told.lines;
            let before = rows.len();
            rows.extend(page.into_iter().filter(|row| !known.contains(row)));
            if rows.len() == before {
                // A whole page of rows that are alike in what they are sorted by.
                is_cut = last_page >= MAX_PAGE;
                break;
            }
        }
        rows.truncate(count);
        report.rows = rows.len() as u64;
        Ok(Some((rows, Told { is_cut, ..Told::of(report) })))
    }

    fn page(
        &self,
        asked: &Asked,
        sort: Sort,
        count: usize,
    ) -> Result<Option<(Vec<String>, Report)>, CommandError> {
        let count = count.min(MAX_PAGE);
        match self {
            Self::Files(_) => Ok(None),
            Self::Directory(data) if has_hours(data)? => Ok(None),
            Self::Directory(data) => {
                let control = Control::default();
                let found = progress::of_scan(&control, || {
                    data.search((&asked.query, asked.window), (sort, count), &control)
                });
                let found = found.map_err(|error| not_answered(data.path(), error))?;
                Ok(Some((found.rows, found.report)))
            }
            Self::Service(address) => {
                let mut rows = Vec::new();
                let mut keep = |row: &Row<'_>| {
                    rows.push(row.json.to_owned());
                    Flow::Continue(())
                };
                let report = ask(address, asked, Some((count, sort)), &mut keep)?;
                if sort == Sort::Newest {
                    // They come oldest first.
                    rows.reverse();
                }
                Ok(Some((rows, report)))
            }
        }
    }
}

fn needs_service() -> CommandError {
    let what = "--ca, --cert and --token-file are for a service: name it with --service";
    CommandError::Usage(what.to_owned())
}

impl Files {
    fn each(&self, asked: &Asked, on_row: &mut dyn FnMut(&Row<'_>) -> Flow) -> Result<Told, CommandError> {
        let mut walk = Walk::new(&asked.query, asked.window, self.format);
        let progress = Progress::of(&self.paths);
        for path in &self.paths {
            let failed = |error| cannot_read(path, error);
            let input = foreign::open(path, progress.counter()).map_err(failed)?;
            let name = path.display().to_string();
            if walk.read(&name, input, on_row).map_err(failed)?.is_break() {
                break;
            }
        }
        progress.end();
        let (report, foreign) = walk.report();
        Ok(Told { report, foreign, ..Told::default() })
    }
}

/// All matching rows of a directory, by the executor.
fn stored(
    data: &Directory,
    asked: &Asked,
    on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
) -> Result<Report, CommandError> {
    let mut each = |json: &str| match serde_json::from_str::<Value>(json) {
        Ok(value) => on_row(&Row { json, value: &value }),
        Err(_) => Flow::Continue(()),
    };
    let report = data.rows((&asked.query, asked.window), &Control::default(), &mut each);
    report.map_err(|error| not_answered(data.path(), error.into()))
}

fn has_hours(data: &Directory) -> Result<bool, CommandError> {
    data.has_hours().map_err(|error| cannot_read(data.path(), error))
}

fn not_answered(data: &Path, error: AnswerError) -> CommandError {
    match error {
        AnswerError::Exec(ExecError::Read(error)) => cannot_read(data, error),
        error => CommandError::Usage(error.to_string()),
    }
}

/// The arguments of a question, by name.
fn values(question: Question, asked: &Asked, more: &[(&str, String)]) -> HashMap<String, String> {
    let has_window = question != Question::Show;
    let has_filter = has_window && question != Question::Audit;
    let time = |time: Option<Timestamp>| time.filter(|_| has_window).map(|time| time.to_string());
    let own = [
        ("q", Some(asked.text.clone()).filter(|_| has_filter)),
        ("since", time(asked.window.since)),
        ("until", time(asked.window.until)),
    ];
    let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    own.chain(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))).collect()
}

fn target_of(question: Question, values: &HashMap<String, String>) -> String {
    let values =
        values.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    format!("/logs/{}?{}", question.name(), values.collect::<Vec<_>>().join("&"))
}

fn scan(
    data: &Path,
    asked: &Asked,
    on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
) -> Result<Report, CommandError> {
    let mut scan = Scan::new(asked.query.clone(), asked.window);
    if let Some(needle) = &asked.needle {
        scan = scan.with_needle(needle);
    }
    let _ = scan.directory(data, on_row).map_err(|error| cannot_read(data, error))?;
    Ok(scan.report())
}

pub(super) fn cannot_read(path: &Path, error: io::Error) -> CommandError {
    CommandError::Read(format!("cannot read {}", Safe(&path.display().to_string())), error)
}

/// A runtime for the commands that wait.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CommandError::Read("cannot start".to_owned(), error))
}
