//! Arguments of the `logs` commands.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::log_service::Listen;
use crate::log_service::client::Address;

/// Run the log service, or read the log.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Take records in, keep them, answer questions about them.
    Serve(ServeArgs),
    /// Show the last entries, and with -f every new one.
    Tail(TailArgs),
    /// Find entries. FILTER: status:5xx  dur>1s  path:/api/*  -method:GET  reason:*  "a part of the path"
    #[command(after_help = FILTER_HELP)]
    Search(SearchArgs),
    /// Everything about one request: phases, tries, cause, and what its worker wrote.
    Show(ShowArgs),
    /// The most frequent, slowest or most failing values of a field.
    Top(TopArgs),
    /// Rate, errors by reason, and percentiles of the duration.
    Stats(StatsArgs),
    /// What is under way now, or was when the proxy died.
    Open(OpenArgs),
    /// Print what a proxy that died has left of its log, as JSON lines.
    Recover(RecoverArgs),
}

const FILTER_HELP: &str = "\
Filters:
  status:5xx               a class of statuses       dur>1s  tx>1MB      with units
  host:*.example.com       * stands for anything     path~^/v[12]/       regular expression
  method:(PUT POST)        one of several            -method:GET         not
  ip:10.0.0.0/8            a network                 reason:*            the field is there
  cart                     part of path, user agent, error or a worker's line
Conditions next to each other must all hold; `or` and parentheses work.

Examples:
  tollgate logs search status:5xx --since 15m
  tollgate logs search 'dur>1s host:shop.example' --sort dur -n 20
  tollgate logs search 'reason:* -method:GET' -o json | jq .cause";

/// Where entries are read from; without any of these: the shipped config's data directory, run/logs.
#[derive(Debug, Default, Args)]
pub(super) struct SourceArgs {
    /// Read this data directory; no service needs to run.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["service", "files"])]
    pub(super) data: Option<PathBuf>,
    /// Ask a log service: unix:PATH or http://HOST:PORT.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "files")]
    pub(super) service: Option<Address>,
    /// Read JSON lines from a file, or `-` for stdin; may be given several times.
    #[arg(long = "file", value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

/// Which entries.
#[derive(Debug, Default, Args)]
pub(super) struct WindowArgs {
    /// From this time on: 15m (ago), 09:14, 2026-11-21, 2026-11-21T09:14:03Z; `all` for everything.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(super) since: String,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
}

/// How entries are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// One short line.
    #[default]
    Line,
    /// The stored JSON object, one per line.
    Json,
    /// One long line.
    Wide,
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Directory of the hour files.
    #[arg(long, value_name = "DIR", default_value = super::source::DEFAULT_DATA)]
    pub(super) data: PathBuf,
    /// Serve HTTP here: IP:PORT or unix:PATH; may be given several times. [default: 127.0.0.1:9600]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) http: Vec<Listen>,
    /// Take `¶` packets here. [default: 127.0.0.1:9040 when no --http is given]
    #[arg(long, value_name = "IP:PORT")]
    pub(super) packets: Option<SocketAddr>,
    /// Delete the oldest hours beyond so many MiB.
    #[arg(long, value_name = "MIB", default_value_t = 16 << 10)]
    pub(super) keep_mib: u64,
    /// Delete hours older than so many days.
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub(super) keep_days: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum OpenForm {
    /// A table.
    #[default]
    Table,
    /// One JSON object.
    Json,
}

#[derive(Debug, Args)]
pub(super) struct OpenArgs {
    /// At the last death, not now: which request was it?
    #[arg(long)]
    pub(super) crash: bool,
    /// The data directory of the log, for --crash. [default: run/logs]
    #[arg(long, value_name = "DIR", requires = "crash")]
    pub(super) data: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: OpenForm,
}

impl OpenArgs {
    pub(super) fn json(&self) -> bool {
        self.output == OpenForm::Json
    }
}

#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    /// The data directory of the log.
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
    /// Remove what was printed.
    #[arg(long)]
    pub(super) remove: bool,
}

#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// Conditions; see `logs search --help`.
    pub(super) filter: Vec<String>,
    /// Go on with every new entry.
    #[arg(short, long)]
    pub(super) follow: bool,
    /// How many entries to begin with.
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 50)]
    pub(super) count: usize,
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Form,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Sort {
    /// By time; the newest are shown.
    Ts,
    /// By duration; the slowest are shown.
    Dur,
}

#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// Conditions; none finds everything.
    pub(super) filter: Vec<String>,
    /// Show at most so many.
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 100)]
    pub(super) count: usize,
    #[arg(long, value_enum, default_value_t = Sort::Ts)]
    pub(super) sort: Sort,
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Form,
    #[command(flatten)]
    pub(super) window: WindowArgs,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The request id, the id that was sent upstream, or a trace id; its beginning or the short form is enough.
    pub(super) id: String,
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Form,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    Count,
    Errors,
    P50,
    P99,
    Bytes,
}

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// A field, or several with commas: path  host,status  upstream,worker
    #[arg(value_name = "FIELD[,FIELD]")]
    pub(super) fields: String,
    /// Conditions; see `logs search --help`.
    pub(super) filter: Vec<String>,
    #[arg(long, value_enum, default_value_t = By::Count)]
    pub(super) by: By,
    /// Show at most so many.
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 20)]
    pub(super) count: usize,
    /// Print JSON lines.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) window: WindowArgs,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}

#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    /// Conditions; see `logs search --help`.
    pub(super) filter: Vec<String>,
    /// One row per value of this field.
    #[arg(long, value_name = "FIELD", conflicts_with = "every")]
    pub(super) by: Option<String>,
    /// One row per span of time: 1m, 10s.
    #[arg(long, value_name = "SPAN")]
    pub(super) every: Option<String>,
    /// Print JSON lines.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) window: WindowArgs,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}
