//! `tollgate logs …`: run the log service and read what it keeps.
//!
//! Here live the arguments, where rows come from ([`source`]: a directory, a service, files of any proxy), what is
//! counted about them ([`tally`]) and how they look ([`table`], [`spark`], [`line`]). The filter language, the walk over
//! files, the formats of other proxies and the service itself are in `log_service`.
//!
//! Invariants: results go to stdout, everything else to stderr; request data reaches a terminal only through
//! [`escape`]; every answer ends with one line that says whether anything is missing.
//!
//! Exit codes of the reading commands are grep's: 0 found, 1 nothing found, 2 wrong usage or an error.

mod access;
mod alerts;
mod args;
mod audit;
mod compare;
mod door;
mod explain;
mod export;
mod import;
mod host;
mod line;
mod open;
mod output;
mod paging;
mod paths;
mod place;
mod progress;
mod recover;
mod replay;
mod search;
mod serve;
mod shipping;
mod show;
mod source;
mod spark;
mod sql;
mod stats;
mod summary;
mod table;
mod tail;
mod tally;
mod template;
#[cfg(test)]
mod tests;
mod top;
#[cfg(test)]
mod wire_tests;

pub(super) use args::LogsArgs;

use std::io;
use std::path::PathBuf;

use super::Exit;
use crate::access_log::{self, DirectoryError};
use crate::log_service::client::ClientError;
use crate::log_service::query::QueryError;
use crate::record::line::{safe as escape, words};
use args::Command;

/// Why a reading command gave up.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Filter(#[from] QueryError),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Log(#[from] access_log::Error),
    #[error(transparent)]
    Service(#[from] ClientError),
    /// Reading failed.
    #[error("{0}")]
    Read(String, #[source] io::Error),
    /// Writing the result failed.
    #[error("cannot write the result")]
    Write(#[from] io::Error),
}

/// Runs one `logs` command; a `quiet` service does not tell where it listens. `socket`: of the running instance.
pub(super) fn run(args: LogsArgs, quiet: bool, socket: impl FnOnce() -> PathBuf) -> Exit {
    let found = match args.command {
        Command::Serve(args) => return serve::run(args, quiet),
        Command::Open(args) if !args.crash => return open::now(&args, &socket()),
        Command::Open(args) => open::at_the_last_death(&args),
        Command::Recover(args) => recover::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Alerts(args) => alerts::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Template(args) => template::run(&args),
        Command::Sql(args) => sql::run(&args),
    };
    match found {
        Ok(true) => Exit::Done,
        // The number of "nothing found".
        Ok(false) => Exit::Failed,
        // `logs search … | head` is a success.
        Err(CommandError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            tell(&error);
            Exit::Usage
        }
    }
}

/// One line on stderr, with all causes. Written without panicking when stderr is closed.
fn tell(error: &dyn std::error::Error) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    output::note(&format!("error: {text}"));
}
