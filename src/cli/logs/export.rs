//! `logs export`: entries for other tools, as NDJSON, CSV, combined lines or Parquet.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::Value;

use super::args::{SourceArgs, WindowArgs};
use super::escape::{self, Safe};
use super::output::Output;
use super::source::{self, Asked, Source};
use super::words::{is_request, number, text};
use super::{CommandError, summary};
use crate::log_service::export::RowFile;
use crate::log_service::query::Field;
use crate::log_service::read::{Flow, Row};
use crate::record::escape::backslash;
use crate::record::{Proto, Record, combined};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Into {
    /// One JSON object per line: everything that is known.
    #[value(alias = "json")]
    Ndjson,
    /// Requests, or with --columns all entries, in these columns.
    Csv,
    /// Requests, as nginx and Apache write them.
    Combined,
    /// The columns of the store.
    Parquet,
}

/// Columns of CSV when none are named.
const COLUMNS: &str = "ts,id,client_ip,user,method,scheme,host,path,query,proto,status,dur_us,rx_body_b,tx_body_b,route,upstream,up_addr,tries,end_by,end_at,reason,cause,referer,ua";

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// Conditions; see `logs search --help`.
    filter: Vec<String>,
    /// What to write. [default: by the end of FILE's name, else ndjson]
    #[arg(long = "as", value_enum, value_name = "FORMAT")]
    into: Option<Into>,
    /// Members that become columns of CSV.
    #[arg(long, value_name = "FIELD,…")]
    columns: Option<String>,
    /// Write to this file instead of stdout; it appears when it is whole.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

pub(super) fn run(args: &ExportArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let (source, asked) = source::question(&args.filter, Some(&args.window), &args.source)?;
    let into = args.into.unwrap_or_else(|| by_name(args.output.as_deref()));
    if into == Into::Parquet {
        return columns(args, &source, &asked, started);
    }
    let mut target = Target::open(args.output.as_deref())?;
    let fields: Vec<Field> = args
        .columns
        .as_deref()
        .unwrap_or(COLUMNS)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(Field::named)
        .collect();
    if into == Into::Csv {
        let names: Vec<String> = fields.iter().map(|field| cell(field.name())).collect();
        target.line(&names.join(","))?;
    }
    let (mut failed, mut left_out) = (None, 0u64);
    let is_wanted = |entry: &Value| is_request(entry) || into == Into::Csv && args.columns.is_some();
    let rendered = |row: &Row<'_>| match into {
        Into::Csv | Into::Combined if !is_wanted(row.value) => None,
        into => Some(rendered(row, into, &fields)),
    };
    let mut told = source.each(&asked, &mut |row| match rendered(row) {
        Some(line) => match target.line(&line) {
            Ok(()) => Flow::Continue(()),
            Err(error) => {
                failed = Some(error);
                Flow::Break(())
            }
        },
        None => {
            left_out += 1;
            Flow::Continue(())
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    target.finish()?;
    told.report.rows -= left_out.min(told.report.rows);
    if left_out > 0 {
        super::output::note(&format!(
            "note: {left_out} entries are no requests and have no place in this format"
        ));
    }
    summary::end(&mut Output::stdout(), false, &told, started)?;
    Ok(told.report.rows > 0)
}

/// As the store has them.
fn columns(
    args: &ExportArgs,
    source: &Source,
    asked: &Asked,
    started: Instant,
) -> Result<bool, CommandError> {
    let usage = || CommandError::Usage("Parquet goes to a file: name it with -o FILE.parquet".to_owned());
    let path = args.output.as_deref().ok_or_else(usage)?;
    let failed =
        |error| CommandError::Read(format!("cannot write {}", Safe(&path.display().to_string())), error);
    let mut writer = RowFile::create(path).map_err(failed)?;
    let mut refused = None;
    let told = source.each(asked, &mut |row| match writer.row(row.json) {
        Ok(()) => Flow::Continue(()),
        Err(error) => {
            refused = Some(error);
            Flow::Break(())
        }
    })?;
    if let Some(error) = refused {
        return Err(failed(error));
    }
    writer.finish().map_err(failed)?;
    summary::end(&mut Output::stdout(), false, &told, started)?;
    Ok(told.report.rows > 0)
}

/// By the end of the file's name.
fn by_name(file: Option<&Path>) -> Into {
    match file.and_then(|file| file.extension()?.to_str()) {
        Some("csv") => Into::Csv,
        Some("parquet") => Into::Parquet,
        Some("log") => Into::Combined,
        _ => Into::Ndjson,
    }
}

fn rendered(row: &Row<'_>, into: Into, fields: &[Field]) -> String {
    match into {
        Into::Ndjson | Into::Parquet => escape::json(row.json).into_owned(),
        Into::Csv => {
            fields.iter().map(|field| cell(&plain(field.of(row.value)))).collect::<Vec<_>>().join(",")
        }
        Into::Combined => combined_line(row.value),
    }
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// RFC 4180; control characters are shown, so that a row is a line. A text that a spreadsheet would take for a formula gets
/// an apostrophe in front, which it does not show. That holds for a file opened as comma-separated: with other separators a
/// text may become several cells.
fn cell(text: &str) -> String {
    let text = Safe(text).to_string();
    if text.starts_with(['=', '+', '-', '@']) && text.parse::<f64>().is_err() {
        return format!("\"'{}\"", text.replace('"', "\"\""));
    }
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn combined_line(entry: &Value) -> String {
    let bytes = |name: &str| text(entry, name).map(str::as_bytes);
    let time = text(entry, "ts").and_then(|time| time.parse::<Timestamp>().ok());
    let record = Record {
        ts_us: time.map_or(0, Timestamp::as_microsecond),
        client_ip: text(entry, "client_ip").and_then(|ip| ip.parse().ok()),
        method: bytes("method"),
        path: bytes("path"),
        query: bytes("query"),
        proto: match text(entry, "proto") {
            Some("1.0") => Some(Proto::Http10),
            Some("1.1") => Some(Proto::Http11),
            Some("2") => Some(Proto::Http2),
            _ => None,
        },
        status: number(entry, "status").and_then(|status| u16::try_from(status).ok()).unwrap_or(0),
        tx_body_b: number(entry, "tx_body_b").unwrap_or(0),
        referer: bytes("referer"),
        ua: bytes("ua"),
        ..Record::default()
    };
    let mut line = Vec::new();
    combined::write(&record, &mut line);
    // ASCII, by the escapes of the format.
    let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
    match text(entry, "user").filter(|user| !user.is_empty()) {
        Some(user) => line.replacen(" - - [", &format!(" - {} [", word(user)), 1),
        None => line,
    }
}

/// Escaped as the rest of the line, and without what ends a word.
fn word(text: &str) -> String {
    let mut escaped = Vec::new();
    backslash(text.as_bytes(), &mut escaped);
    String::from_utf8_lossy(&escaped).replace(' ', "\\x20").replace('[', "\\x5b")
}

/// Where the export goes: stdout, or a file that takes its name when it is whole.
enum Target {
    Stdout(BufWriter<io::Stdout>),
    File { file: BufWriter<File>, written: PathBuf, wanted: PathBuf },
}

impl Target {
    fn open(path: Option<&Path>) -> Result<Self, CommandError> {
        let Some(path) = path else { return Ok(Self::Stdout(BufWriter::new(io::stdout()))) };
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let written = path.with_file_name(name);
        let failed =
            |error| CommandError::Read(format!("cannot write {}", Safe(&path.display().to_string())), error);
        let file = File::create(&written).map_err(failed)?;
        Ok(Self::File { file: BufWriter::new(file), written, wanted: path.to_owned() })
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::Stdout(output) => writeln!(output, "{line}"),
            Self::File { file, .. } => writeln!(file, "{line}"),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Stdout(mut output) => output.flush(),
            Self::File { mut file, written, wanted } => {
                file.flush()?;
                file.get_ref().sync_all()?;
                std::fs::rename(written, wanted)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn other_tools_get_lines_that_they_can_read() {
        let entry = json!({"kind": "request", "ts": "2026-11-21T09:14:03Z", "client_ip": "203.0.113.9", "method": "GET", "path": "/a\"\u{1b}",
            "status": 200, "tx_body_b": 5, "proto": "1.1", "ua": "x, y"});
        assert_eq!(
            combined_line(&entry),
            "203.0.113.9 - - [21/Nov/2026:09:14:03 +0000] \"GET /a\\\"\\x1b HTTP/1.1\" 200 5 \"-\" \"x, y\""
        );
        let mut known = entry.clone();
        known["user"] = "bob smith\n".into();
        assert!(combined_line(&known).starts_with("203.0.113.9 - bob\\x20smith\\x0a [21/Nov"));
        let cells = ["=HYPERLINK(1)", "-1", "+a", "@x\"y", "a=b"].map(cell);
        assert_eq!(cells, ["\"'=HYPERLINK(1)\"", "-1", "\"'+a\"", "\"'@x\"\"y\"", "a=b"]);
        let fields = ["status", "path", "ua", "nothing"].map(Field::named);
        let row = Row { json: "", value: &entry };
        assert_eq!(rendered(&row, Into::Csv, &fields), "200,\"/a\"\"\\x1b\",\"x, y\",");
    }
}
