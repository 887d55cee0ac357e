//! `logs sql "select …"`: DuckDB's command line over the store's own files.

use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Output as Ended, Stdio};
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::{Form, SourceArgs};
use super::escape::{self, Safe};
use super::output::{Output, note};
use super::source::{self, Source, Told, cannot_read};
use super::words::count;
use super::{CommandError, summary};
use crate::log_service::directory::Directory;
use crate::log_service::exec::{Audited, Question};
use crate::log_service::read::Flow;

const PROGRAM: &str = "duckdb";
/// Names that are tried before it is said that there is none.
const TRIES: u32 = 16;
/// Exit code of what SIGINT has ended, as shells tell it.
const INTERRUPTED: i32 = 130;
const HOW: &str = "\
`logs sql` runs DuckDB's command line, which is not installed here. Get it from https://duckdb.org/docs/installation, or
    pip install duckdb-cli
or open the files with any other engine: `tollgate logs sql --show` prints the view.";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollgate logs sql \"select status, count(*) from access group by all order by 2 desc\"
  tollgate logs sql \"select route, quantile_cont(dur_us, 0.99) / 1000 as ms from access group by all\"
  tollgate logs sql --show | duckdb -interactive")]
pub(super) struct SqlArgs {
    /// A statement over the view `access`.
    #[arg(required_unless_present = "show")]
    statement: Option<String>,
    /// Print the statement that makes the view, and do nothing.
    #[arg(long)]
    show: bool,
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

pub(super) fn run(args: &SqlArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let (source, asked) = source::question(&[], None, &args.source)?;
    let Source::Directory(data) = &source else {
        return Err(CommandError::Usage(
            "sql reads the files of a data directory: name it with --data".to_owned(),
        ));
    };
    let mut stop = Stop::new()?;
    let newest = if args.show { None } else { Some(Newest::new()?) };
    let view = view(data, newest.as_ref())?;
    let mut output = Output::stdout();
    if args.show {
        output.line(&view)?;
        output.flush()?;
        return Ok(true);
    }
    let asked_for = args.statement.as_deref().unwrap_or_default();
    let rows = ask(&view, asked_for, args.output, &mut output, &mut stop)?;
    drop(newest);
    stop.at_once();
    // The answer is as complete as what it was made from: all of it.
    let mut told = match source.ask::<Audited>(Question::Audit, &asked, &[])? {
        Some(audited) => Told::of(audited.report),
        None => source.each(&asked, &mut |_| Flow::Continue(()))?,
    };
    told.report.rows = rows;
    summary::end(&mut output, args.output == Form::Json, &told, started)?;
    Ok(rows > 0)
}

/// Runs the statement and prints what comes, made harmless; returns the number of rows.
fn ask(
    view: &str,
    statement: &str,
    form: Form,
    output: &mut Output,
    stop: &mut Stop,
) -> Result<u64, CommandError> {
    let Stop { runtime, interrupted, terminated } = stop;
    let (lines, ended) = runtime.block_on(async {
        let mut child = start(view, statement, form)?;
        tokio::select! {
            biased;
            // The program is killed when it is dropped; what was made for it goes with its owners.
            _ = interrupted.recv() => Err(CommandError::Usage("stopped by SIGINT".to_owned())),
            _ = terminated.recv() => Err(CommandError::Usage("stopped by SIGTERM".to_owned())),
            lines = print(&mut child, form, output) => Ok((lines?, child.wait_with_output().await?)),
        }
    })?;
    told(&ended)?;
    Ok(lines)
}

fn start(view: &str, statement: &str, form: Form) -> Result<Child, CommandError> {
    let mut command = Command::new(PROGRAM);
    // Nobody's start-up file changes what the answer is.
    command.args(["-init", "/dev/null", "-bail"]);
    command.args(if form == Form::Json { ["-jsonlines"] } else { ["-box"] });
    command
        .args(["-cmd", view, "-c", statement])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => CommandError::Usage(HOW.to_owned()),
        _ => CommandError::Read(format!("cannot start {PROGRAM}"), error),
    })
}

async fn print(child: &mut Child, form: Form, output: &mut Output) -> Result<u64, CommandError> {
    let mut rows = Rows::default();
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).split(b'\n');
        while let Some(line) = lines.next_segment().await? {
            let line = String::from_utf8_lossy(&line);
            let safe =
                if form == Form::Json { escape::json(&line).into_owned() } else { Safe(&line).to_string() };
            output.line(&safe)?;
            rows.line(&line, form);
        }
    }
    output.flush()?;
    Ok(rows.count)
}

/// Counts the rows of an answer by its lines.
#[derive(Default)]
struct Rows {
    count: u64,
    /// The names of the columns are above.
    is_below_names: bool,
}

impl Rows {
    fn line(&mut self, line: &str, form: Form) {
        match (form, line.chars().next()) {
            (Form::Json, Some(_)) => self.count += 1,
            (_, Some('├')) => self.is_below_names = true,
            // Of the next statement.
            (_, Some('┌')) => self.is_below_names = false,
            (_, Some('│')) if self.is_below_names => self.count += 1,
            _ => {}
        }
    }
}

/// A complaint is short enough to have waited in the pipe; it may quote what a request sent.
fn told(ended: &Ended) -> Result<(), CommandError> {
    for line in String::from_utf8_lossy(&ended.stderr).lines().filter(|line| !line.is_empty()) {
        note(&Safe(line).to_string());
    }
    if !ended.status.success() {
        return Err(CommandError::Usage("the statement failed".to_owned()));
    }
    Ok(())
}

/// SIGINT and SIGTERM, which from now on do not end this process: there is something to take away first.
struct Stop {
    runtime: Runtime,
    interrupted: Signal,
    terminated: Signal,
}

impl Stop {
    fn new() -> Result<Self, CommandError> {
        let runtime = source::runtime()?;
        let entered = runtime.enter();
        let wait = |kind| {
            signal(kind).map_err(|error| CommandError::Read("cannot wait for signals".to_owned(), error))
        };
        let (interrupted, terminated) = (wait(SignalKind::interrupt())?, wait(SignalKind::terminate())?);
        drop(entered);
        Ok(Self { runtime, interrupted, terminated })
    }

    /// From now on they end it again.
    fn at_once(self) {
        let Self { runtime, mut interrupted, mut terminated } = self;
        let wait = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupted.recv() => {}
                    _ = terminated.recv() => {}
                }
            });
            std::process::exit(INTERRUPTED);
        };
        // Without a thread it ends when it is done.
        drop(std::thread::Builder::new().name("sql-stop".into()).spawn(wait));
    }
}

/// The view over the files that the manifest lists, with ids as people write them.
fn view(data: &Directory, newest: Option<&Newest>) -> Result<String, CommandError> {
    let failed = |error| cannot_read(data.path(), error);
    let (parquet, waiting) = data.files(newest.map(Newest::path).as_deref()).map_err(failed)?;
    let mut lines = Vec::new();
    files(data.path(), 0, &mut lines).map_err(failed)?;
    if waiting > 0 && newest.is_none() {
        note(&format!(
            "note: the newest {} rows are not asked: they are in no file yet (a service writes one every few minutes)",
            count(waiting)
        ));
    }
    if !lines.is_empty() && !parquet.is_empty() {
        note("note: files of an earlier version are not asked; `logs serve` takes them in");
    }
    let hex = |name: &str| format!("lower(hex({name})) AS {name}");
    let id = |name: &str| {
        let part = |from, length| format!("substr(lower(hex({name})), {from}, {length})");
        format!(
            "concat_ws('-', {}, {}, {}, {}, {}) AS {name}",
            part(1, 8),
            part(9, 4),
            part(13, 4),
            part(17, 4),
            part(21, 12)
        )
    };
    if !parquet.is_empty() {
        let replaced = [id("id"), hex("trace_id"), hex("span_id"), hex("parent_id")].join(", ");
        return Ok(format!(
            "CREATE VIEW access AS SELECT * REPLACE ({replaced}) FROM read_parquet({}, union_by_name = true);",
            list(&parquet)
        ));
    }
    if lines.is_empty() {
        return Err(CommandError::Usage(format!("{} holds no records yet", data.path().display())));
    }
    Ok(format!(
        "CREATE VIEW access AS SELECT * FROM read_json({}, format = 'newline_delimited', union_by_name = true, \
         ignore_errors = true, sample_size = -1);",
        list(&lines)
    ))
}

/// A folder of our own for the rows that are in no file of the store yet; gone with this.
struct Newest(PathBuf);

impl Newest {
    fn new() -> std::io::Result<Self> {
        Self::among(&std::env::temp_dir(), || RandomState::new().hash_one(std::process::id()))
    }

    /// Names nobody can foresee, so that nobody can take them all before.
    fn among(folder: &Path, number: impl Fn() -> u64) -> std::io::Result<Self> {
        let mut tried = 0;
        loop {
            let path = folder.join(format!("tollgate-sql-{:016x}", number()));
            // Fails when it is there: nobody else's folder is used.
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && tried < TRIES => tried += 1,
                made => return made.map(|()| Self(path)),
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.0.join("newest.parquet")
    }
}

impl Drop for Newest {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Files of earlier versions.
fn files(folder: &Path, depth: u32, lines: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        match path.extension().and_then(|end| end.to_str()) {
            _ if path.is_dir() && depth < 4 => files(&path, depth + 1, lines)?,
            Some("jsonl") => lines.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// `['a', 'b']`, quoted for SQL.
fn list(paths: &[PathBuf]) -> String {
    let quoted = paths.iter().map(|path| format!("'{}'", path.display().to_string().replace('\'', "''")));
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_lines_of_a_box_are_no_rows() {
        let count = |text: &str, form| {
            let mut rows = Rows::default();
            text.lines().for_each(|line| rows.line(line, form));
            rows.count
        };
        let boxed = "\
┌───────┬──────────┐
│ route │ count(*) │
├───────┼──────────┤
│ /a    │ 3        │
│ /b    │ 2        │
│ /c    │ 1        │
└───────┴──────────┘
";
        assert_eq!(count(boxed, Form::Line), 3);
        assert_eq!(count("{\"route\":\"/a\"}\n{\"route\":\"/b\"}\n", Form::Json), 2);
    }

    #[test]
    fn a_folder_whose_name_is_taken_gets_another_and_is_nobody_elses() {
        let place = tempfile::tempdir().unwrap();
        let next = Cell::new(0);
        let number = || next.replace(next.get() + 1);
        let taken = place.path().join("tollgate-sql-0000000000000000");
        std::fs::create_dir(&taken).unwrap();
        let made = Newest::among(place.path(), number).unwrap();
        assert_eq!(made.0, place.path().join("tollgate-sql-0000000000000001"));
        assert_eq!(std::fs::metadata(&made.0).unwrap().permissions().mode() & 0o777, 0o700);
        drop(made);
        let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "only what was there: {left:?}");
        let error = Newest::among(place.path(), || 0).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }
}
