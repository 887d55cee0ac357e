//! The arguments, as clap reads them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use super::{logs, whoami};
use crate::config;
use crate::config::words::Listen;

/// The configuration when none is named.
pub(super) const DEFAULT_CONFIG: &str = "config/tollgate.toml";

/// The socket when no configuration names one.
const SOCKET: &str = "run/control.sock";

/// The front proxy: TLS, balancing, throttling, compression, files, and one record per request.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, about, after_help = AFTER, disable_help_subcommand = true)]
pub(super) struct Arguments {
    /// The configuration [default: config/tollgate.toml]
    #[arg(short, long, global = true, env = "TOLLGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print JSON, for scripts.
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on stderr; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only errors on stderr.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

const AFTER: &str = "Examples:
  tollgate                                   run with config/tollgate.toml
  tollgate proxy --to 127.0.0.1:3000         no file at all: https://localhost:8443 in front of a service
  tollgate check && tollgate reload          change the configuration of a running instance
  tollgate explain GET https://localhost/api/x
  tollgate logs search 'status:5xx' --since 15m

Exit codes: 0 done, 1 failed, 2 usage, 3 bad configuration, 4 not permitted or address in use, 5 no instance, 130 interrupted";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run in the foreground until TERM, INT or `tollgate stop`.
    Run,
    /// Run without a configuration, in front of one service.
    Proxy(ProxyArgs),
    /// Say everything that is wrong with the configuration; bind nothing.
    Check {
        /// Instead of --config.
        file: Option<PathBuf>,
        /// Warnings fail too.
        #[arg(long)]
        strict: bool,
    },
    /// Say what would happen to a request, and why; send nothing.
    Explain(ExplainArgs),
    /// About the configuration language.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Make the running instance load its configuration again.
    Reload,
    /// Make the running instance finish what is open and end.
    Stop,
    /// Show the running instance: connections, upstreams, workers, log.
    Status,
    /// Make the running instance open its log files again (after a rotation from outside).
    ReopenLogs,
    /// Read the access log, or serve it.
    Logs(Box<logs::LogsArgs>),
    /// A tiny server that answers with what it received.
    Whoami(whoami::Arguments),
    /// Print completions for a shell.
    Completions { shell: clap_complete::Shell },
    /// Print the version.
    Version,
    /// Starts a worker's command so that it ends with tollgate.
    #[command(name = "worker-exec", hide = true)]
    WorkerExec {
        parent: u32,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the JSON Schema of the configuration.
    Schema,
}

#[derive(Debug, Args)]
pub(super) struct ProxyArgs {
    /// Where the service listens: 127.0.0.1:3000, unix:/run/app.sock or dns:app.internal:3000.
    #[arg(long)]
    pub to: String,
    /// Where to listen for https.
    #[arg(long, default_value = "127.0.0.1:8443")]
    pub https: String,
    /// Where to listen for http; it redirects to https.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub http: String,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    pub method: String,
    /// https://host/path?query
    pub url: String,
    /// A request field, as in curl; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The address of the client on the TCP connection.
    #[arg(long, default_value = "127.0.0.1")]
    pub from: std::net::IpAddr,
}

/// The words of the command line. Behind `logs`, a condition with a minus in front such as `-method:GET` is no option:
/// it is put in parentheses, which mean the same to a filter.
pub(super) fn words(words: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let (mut is_log, mut is_over) = (false, false);
    words.map(move |word| {
        let is_negation = is_log && !is_over && word.to_str().is_some_and(is_negation);
        is_log |= word == "logs";
        is_over |= word == "--";
        if !is_negation {
            return word;
        }
        let mut condition = OsString::from("(");
        condition.push(word);
        condition.push(")");
        condition
    })
}

/// Options of one letter may have their value behind them (`-n5`, `-o=json`); names of fields are longer.
fn is_negation(word: &str) -> bool {
    let Some(rest) = word.strip_prefix('-').filter(|rest| !rest.starts_with('-')) else { return false };
    let name = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    match rest[name..].chars().next() {
        Some(':' | '=' | '<' | '>' | '~') => name > 1,
        Some('(' | '"') => name == 0,
        _ => false,
    }
}

/// The admin socket that the configuration names, however broken the rest of it is.
pub(super) fn socket(file: &Path) -> PathBuf {
    match config::admin(file, &config::process_env) {
        Some(Listen::Unix(path)) => path,
        _ => PathBuf::from(SOCKET),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_with_a_minus_is_no_option() {
        let read = |line: &str| {
            let words = words(line.split(' ').map(OsString::from));
            words.map(|word| word.into_string().unwrap_or_default()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(read("t logs search -method:GET -n 5"), "t logs search (-method:GET) -n 5");
        assert_eq!(read("t logs search -dur>1s -(a)"), "t logs search (-dur>1s) (-(a))");
        for same in ["t logs search -n5 -o=json --since=1h", "t logs tail -f -- -a:b", "t explain -H:x"] {
            assert_eq!(read(same), same);
        }
    }
}
