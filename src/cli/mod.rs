//! The command line: one match on the subcommand, exit codes in one place.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 bad config, 4 not permitted or address in use, 5 no instance,
//! 130 interrupted.

mod args;
mod check;
mod control;
mod explain;
mod logs;
mod run;
mod whoami;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::worker::exec;
use args::{Arguments, Command, ConfigCommand};

/// How a command ended; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    BadConfig = 3,
    NotPermitted = 4,
    NoInstance = 5,
    Interrupted = 130,
}

/// Parses the arguments and runs the command.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse_from(args::words(std::env::args_os()));
    tell(arguments.verbose, arguments.quiet);
    ExitCode::from(dispatch(arguments) as u8)
}

fn dispatch(arguments: Arguments) -> Exit {
    let Arguments { config: written, json, quiet, command, .. } = arguments;
    let config = written.clone().unwrap_or_else(|| args::DEFAULT_CONFIG.into());
    let socket = || args::socket(&config);
    match command.unwrap_or(Command::Run) {
        Command::Run => run::run(&config),
        Command::Proxy(proxy) => run::proxy(&proxy, json),
        Command::Check { file, strict } => {
            let color = std::io::stderr().is_terminal() && anstream::stderr().is_terminal();
            check::check(&file.unwrap_or(config), json, strict, color)
        }
        Command::Explain(request) => explain::explain(&config, &request, json),
        Command::Config { command: ConfigCommand::Schema } => schema(),
        Command::Reload => control::reload(&socket(), json),
        Command::Stop => control::stop(&socket()),
        Command::Status => control::status(&socket(), json),
        Command::ReopenLogs => control::reopen_logs(&socket(), json),
        Command::Logs(arguments) => {
            let arguments = arguments.with_json(json).with_config(&config, written.as_deref());
            logs::run(arguments, quiet, socket)
        }
        Command::Whoami(arguments) => whoami::run(&arguments),
        Command::Completions { shell } => completions(shell),
        Command::Version => version(json),
        Command::WorkerExec { parent, command } => {
            let error = exec::exec(parent, &command);
            tracing::error!(%error, command = command.join(" "), "cannot start the worker");
            Exit::Failed
        }
    }
}

/// Our own log goes to stderr: results are on stdout.
fn tell(verbose: u8, quiet: bool) {
    use tracing_subscriber::EnvFilter;
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("TOLLGATE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(std::io::stderr)
        // Else a line that cannot be written (stderr in a file, disk full) is told by `eprintln!`, which panics then.
        .log_internal_errors(false)
        .init();
}

fn print(text: &str) -> Exit {
    written(writeln!(std::io::stdout().lock(), "{text}"))
}

/// How a command ends whose result was written so.
fn written(result: std::io::Result<()>) -> Exit {
    match result.and_then(|()| std::io::stdout().flush()) {
        Ok(()) => Exit::Done,
        // Whoever reads us has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            // Where nobody can be told there is nothing to do.
            let _ = writeln!(std::io::stderr(), "error: cannot write the result: {error}");
            Exit::Failed
        }
    }
}

fn schema() -> Exit {
    print(&format!("{:#}", crate::config::schema()))
}

fn completions(shell: clap_complete::Shell) -> Exit {
    let all = Arguments::command();
    // What is hidden in the help would be offered all the same.
    let mut shown = clap::Command::new("tollgate")
        .args(all.get_arguments().cloned())
        .subcommands(all.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown, "tollgate", &mut script);
    written(std::io::stdout().lock().write_all(&script))
}

fn version(json: bool) -> Exit {
    let version = env!("CARGO_PKG_VERSION");
    match json {
        true => print(&serde_json::json!({ "name": "tollgate", "version": version }).to_string()),
        false => print(&format!("tollgate {version}")),
    }
}
