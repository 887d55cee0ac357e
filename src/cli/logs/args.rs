//! Arguments of the `logs` commands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::recover::RecoverArgs;
use crate::log_service::client::Address;
use crate::log_service::foreign::Format;
use crate::log_service::{Listen, SyncWhen};

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
    /// What is different between two times, configurations, upstreams or any two filters.
    Compare(super::compare::CompareArgs),
    /// What the matching requests have in common, and the others do not.
    Explain(super::explain::ExplainArgs),
    /// Sent, stored, sampled and lost, per proxy and core, with the reasons.
    Audit(super::audit::AuditArgs),
    /// How every alarm stands; send a test message, be silent for a while.
    Alerts(super::alerts::AlertsArgs),
    /// Write entries as NDJSON, CSV, combined or Parquet.
    Export(super::export::ExportArgs),
    /// Send log files to a log service; what it has already is recognised.
    Import(super::import::ImportArgs),
    /// Print the curl command that repeats a request.
    Replay(super::replay::ReplayArgs),
    /// Print what other stores need for our records: index templates, a table, a dashboard.
    Template(super::template::TemplateArgs),
    /// Ask in SQL, by DuckDB's command line.
    Sql(super::sql::SqlArgs),
}

impl LogsArgs {
    /// `--json`, which all of tollgate knows, means `-o json`.
    pub(crate) fn with_json(mut self, json: bool) -> Self {
        if json {
            match &mut self.command {
                Command::Tail(args) => args.output = Form::Json,
                Command::Search(args) => args.output = Form::Json,
                Command::Show(args) => args.output = Form::Json,
                Command::Open(args) => args.output = OpenForm::Json,
                Command::Alerts(args) => args.json = true,
                _ => {}
            }
        }
        self
    }

    /// The configuration says where entries are, if no argument does. A log service is only told about one that is `written`.
    pub(crate) fn with_config(mut self, file: &Path, written: Option<&Path>) -> Self {
        let config = match &mut self.command {
            Command::Tail(args) => &mut args.source.config,
            Command::Search(args) => &mut args.source.config,
            Command::Show(args) => &mut args.source.config,
            Command::Top(args) => &mut args.source.config,
            Command::Stats(args) => &mut args.source.config,
            Command::Compare(args) => &mut args.source.config,
            Command::Explain(args) => &mut args.source.config,
            Command::Audit(args) => &mut args.source.config,
            Command::Export(args) => &mut args.source.config,
            Command::Replay(args) => &mut args.source.config,
            Command::Sql(args) => &mut args.source.config,
            Command::Open(args) => &mut args.config,
            Command::Alerts(args) => &mut args.config,
            Command::Import(args) => &mut args.config,
            Command::Serve(args) => {
                args.config = written.map(Path::to_owned);
                return self;
            }
            Command::Recover(_) | Command::Template(_) => return self,
        };
        file.clone_into(config);
        self
    }
}

const FILTER_HELP: &str = "\
Filters:
  status:5xx               a class of statuses       dur>1s  tx>1MB      with units
  host:*.example.com       * stands for anything     path~^/v[12]/       regular expression
  method:(PUT POST)        one of several            -method:GET         not
  ip:10.0.0.0/8            a network                 reason:*            the field is there
  cart                     part of path, user agent, error or a worker's line
  status:[500 TO 599]      from and to, both included; {500 TO 599} without both; * is an open end
Conditions next to each other must all hold, with or without `and`; `or`, `not` and parentheses work, in any case
and as && || !. A word that is one of these is quoted: '\"and\"'.

Examples:
  tollgate logs search status:5xx --since 15m
  tollgate logs search 'dur>1s host:shop.example' --sort dur -n 20
  tollgate logs search 'reason:* -method:GET' -o json | jq .cause";

/// Where entries are read from; without any of these: where the configuration has them kept.
#[derive(Debug, Default, Args)]
pub(super) struct SourceArgs {
    /// Which configuration that is.
    #[arg(skip)]
    pub(super) config: PathBuf,
    /// Read this data directory; no service needs to run.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["service", "from"])]
    pub(super) data: Option<PathBuf>,
    /// Ask a log service: unix:PATH, http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "from")]
    pub(super) service: Option<Address>,
    #[command(flatten)]
    pub(super) access: super::access::AccessArgs,
    /// Read log files, or `-` for stdin: of tollgate, nginx, Apache, HAProxy, Caddy or Traefik; gzip and zstd too.
    /// A pattern in quotes works: --from 'access.log*'.
    #[arg(long = "from", alias = "file", value_name = "PATH", num_args = 1..)]
    pub(super) from: Vec<String>,
    /// What the files are written in: tollgate, combined, nginx-json, haproxy, caddy, traefik, traefik-json. [default:
    /// told by each line]
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<Format>,
}

/// Which entries.
#[derive(Debug, Default, Args)]
pub(super) struct WindowArgs {
    /// From this time on: 15m (ago), 09:14, 2026-11-21, 2026-11-21T09:14:03Z; `all` for everything. [default: 1h, of
    /// files all]
    #[arg(long, visible_alias = "last", value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
}

/// How a table is printed.
#[derive(Debug, Default, Args)]
pub(super) struct TableArgs {
    /// Print JSON lines; the last one says whether the answer is complete.
    #[arg(long)]
    pub(super) json: bool,
    #[arg(short, long, value_enum, default_value_t, hide = true)]
    output: Form,
}

impl TableArgs {
    pub(super) fn json(&self) -> bool {
        self.json || self.output == Form::Json
    }
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
    /// Whose `[log]` says what is kept, and which inputs there are; arguments go before it.
    #[arg(skip)]
    pub(super) config: Option<PathBuf>,
    /// Started by a proxy: a configuration that cannot be read is told and passed over.
    #[arg(long, hide = true)]
    pub(super) embedded: bool,
    /// Directory of the store. [default: run/logs]
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Serve HTTP here: IP:PORT or unix:PATH; may be given several times. [default: 127.0.0.1:9600]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) http: Vec<Listen>,
    /// Take `¶` packets here. [default: 127.0.0.1:9040, without --http and without an input of packets]
    #[arg(long, value_name = "IP:PORT")]
    pub(super) packets: Option<SocketAddr>,
    /// Delete the oldest files beyond so many MiB. [default: 16384]
    #[arg(long, value_name = "MIB")]
    pub(super) keep_mib: Option<u64>,
    /// Delete files older than so many days. [default: 30]
    #[arg(long, value_name = "DAYS")]
    pub(super) keep_days: Option<u32>,
    /// The same for errors and slow requests. [default: 90]
    #[arg(long, value_name = "DAYS")]
    pub(super) keep_error_days: Option<u32>,
    /// The same for counts by the hour. [default: 400]
    #[arg(long, value_name = "DAYS")]
    pub(super) keep_rollup_days: Option<u32>,
    /// Keep so many MiB of the disk free, by deleting the oldest files. [default: a twentieth of the disk, at most 1024]
    #[arg(long, value_name = "MIB")]
    pub(super) free_mib: Option<u64>,
    /// When entries are made durable: `always` before they are acknowledged, every `200ms`, or when the system likes (`os`).
    #[arg(long, value_name = "WHEN", default_value = "always")]
    pub(super) sync: SyncWhen,
    /// Take about so many MiB of memory: what does not fit is refused for the moment (senders come again), put into files, or
    /// counted together in an answer, which then says so. [default: 512]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(256..))]
    pub(super) memory_mib: Option<u64>,
    /// Age of the newest rows at which they become a file, for tests.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, hide = true)]
    pub(super) flush_secs: u64,
    /// Time between two looks for files to merge or drop, for tests.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, hide = true)]
    pub(super) compact_secs: u64,
    /// Requests over TCP must show a token of this file (one per line): Authorization: Bearer …
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Serve HTTP over TCP with TLS: the certificate chain, PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(super) key: Option<PathBuf>,
    /// Take only clients that show a certificate issued by these authorities, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(super) client_ca: Option<PathBuf>,
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
    /// Which configuration says where the log is.
    #[arg(skip)]
    pub(super) config: PathBuf,
    /// At the last death, not now: which request was it?
    #[arg(long)]
    pub(super) crash: bool,
    /// The data directory of the log, for --crash. [default: that of the configuration]
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
pub(super) struct TailArgs {
    /// Conditions; see `logs search --help`.
    pub(super) filter: Vec<String>,
    /// Go on with every new entry.
    #[arg(short, long)]
    pub(super) follow: bool,
    /// How many entries to begin with.
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 50)]
    pub(super) count: usize,
    /// Only requests that took at least so long: 1s.
    #[arg(long, value_name = "TIME")]
    pub(super) slow: Option<String>,
    /// Only requests that failed: a status of 500 and more, or no answer for a reason on this side.
    #[arg(long)]
    pub(super) errors: bool,
    /// Show at most so many a second, and say how many were left out: 200/s. [default: 200/s on a terminal]
    #[arg(long, value_name = "RATE")]
    pub(super) rate: Option<String>,
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
    /// The share of errors.
    #[value(name = "err%", alias = "err")]
    Share,
    P50,
    P99,
    /// The time of all together.
    Time,
    Bytes,
    /// The time that the proxy itself took.
    #[value(name = "self")]
    Own,
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
    /// Compare with the same span of time so long before: 1h-ago, 1d.
    #[arg(long, value_name = "TIME")]
    pub(super) vs: Option<String>,
    /// Show at most so many.
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 20)]
    pub(super) count: usize,
    #[command(flatten)]
    pub(super) table: TableArgs,
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
    #[arg(long, value_name = "FIELD")]
    pub(super) by: Option<String>,
    /// One row per span of time: 1m, 10s; together with --by, the span of each step of the curves.
    #[arg(long, value_name = "SPAN")]
    pub(super) every: Option<String>,
    /// What machines, proxies and workers use: CPU, memory, files, disk, network, lag, restarts. [--since: 5m, with --every
    /// 1h]
    #[arg(long, conflicts_with = "by")]
    pub(super) host: bool,
    #[command(flatten)]
    pub(super) table: TableArgs,
    #[command(flatten)]
    pub(super) window: WindowArgs,
    #[command(flatten)]
    pub(super) source: SourceArgs,
}
