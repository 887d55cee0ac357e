//! `tollgate run` and `tollgate proxy --to`: start, tell where it serves, and translate the end into an exit code.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Exit;
use super::args::ProxyArgs;
use crate::access_log;
use crate::app::admin::AdminError;
use crate::app::run::{Loader, RunError, Started, run as run_app};
use crate::config::log::LogService;
use crate::config::read::{Problem, Word};
use crate::config::upstream::ServerAddress;
use crate::config::words::Listen;
use crate::config::{self, Config, Diagnostics};
use crate::exchange::chain;
use crate::listener::Address;

/// Runs the configuration at `file`.
pub(super) fn run(file: &Path) -> Exit {
    if let Err(error) = file.metadata()
        && error.kind() == ErrorKind::NotFound
    {
        eprintln!("error: there is no configuration {}", file.display());
        eprintln!("hint: name one with -c FILE, or go without: tollgate proxy --to ADDRESS");
        return Exit::BadConfig;
    }
    let path = file.to_owned();
    start(Box::new(move || config::load(&path, &config::process_env)), |started| {
        tell(started, "Ctrl-C, or: tollgate stop", &read_log(started))
    })
}

/// The configuration of `proxy --to`; the addresses come in as variables, so nothing can be injected.
const PROXY: &str = r#"
[server]
http  = "${HTTP}"
https = "${HTTPS}"
admin = "unix:${SOCKET}"

[log]
service = "none"
stdout  = "${FORM}"

[upstream.service]
servers = ["${TO}"]

[site."localhost"]
aliases = ["127.0.0.1", "[::1]"]
tls      = "local"
compress = ["zstd", "br", "gzip"]
routes   = [{ path = "/*", proxy = "service" }]
"#;

/// Runs without a file, in front of one service. Each request is one line on stdout, for people or as `json`.
pub(super) fn proxy(arguments: &ProxyArgs, json: bool) -> Exit {
    // Here, as the text that they are put into is nobody's file.
    let words = [
        wrong::<ServerAddress>("--to", &arguments.to),
        wrong::<Listen>("--http", &arguments.http),
        wrong::<Listen>("--https", &arguments.https),
    ];
    if let Some(told) = words.into_iter().flatten().next() {
        eprint!("{told}");
        return Exit::Usage;
    }
    let form = if json { "json" } else { "line" };
    let (to, http, https) = (arguments.to.clone(), arguments.http.clone(), arguments.https.clone());
    let socket = private_socket();
    let loader: Loader = Box::new(move || {
        let variable = |name: &str| match name {
            "TO" => Some(to.clone()),
            "HTTP" => Some(http.clone()),
            "HTTPS" => Some(https.clone()),
            "FORM" => Some(form.to_owned()),
            "SOCKET" => Some(socket.display().to_string()),
            _ => None,
        };
        config::from_text("proxy --to", PROXY, &variable)
    });
    let log = "one line per request follows";
    start(loader, |started| tell(started, "Ctrl-C", log))
}

/// What is wrong with the word of an option, if anything.
fn wrong<T: Word>(option: &str, text: &str) -> Option<String> {
    let Problem { message, help } = T::parse(text).err()?;
    let help = help.map(|help| format!("help: {help}\n")).unwrap_or_default();
    Some(format!("error: {option}: {message}\n{help}"))
}

/// Several of these may run, each with a socket of its own.
fn private_socket() -> PathBuf {
    let dir = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    dir.join(format!("tollgate-{}.sock", std::process::id()))
}

fn start(loader: Loader, on_start: impl FnOnce(&Started)) -> Exit {
    let config: Config = match loader() {
        Ok(config) => config,
        Err(found) => return bad(&found),
    };
    match run_app(config, loader, on_start) {
        Ok(()) => Exit::Done,
        Err(RunError::Config(found)) => bad(&found),
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            hint(&error);
            exit_code(&error)
        }
    }
}

pub(super) fn bad(found: &Diagnostics) -> Exit {
    eprint!("{}", found.render(io::stderr().is_terminal()));
    eprintln!("{}", found.summary());
    Exit::BadConfig
}

/// The next step, where there is one.
fn hint(error: &RunError) {
    match error {
        RunError::Bind(bind) if bind.source.kind() == ErrorKind::AddrInUse => {
            eprintln!(
                "hint: another program listens there; `ss -ltnp` shows which, or choose another address"
            );
        }
        RunError::Bind(bind) if matches!(bind.address, Address::Unix(_)) => {
            let name = &bind.name;
            eprintln!(
                "hint: let this user write the socket's directory, or choose another path for `{name}` of [server]"
            );
        }
        RunError::Log(access_log::Error::File { name, .. }) => {
            let key = match name {
                Some(name) => format!("`to` of [log.sink.{name}]"),
                None => "`file` of [log]".to_owned(),
            };
            eprintln!("hint: let this user write there, or choose another path for {key}");
        }
        RunError::Data { .. } => {
            eprintln!("hint: let this user write there, or choose another directory for `data` of [log]");
        }
        RunError::Log(access_log::Error::Directory(_)) => {
            eprintln!(
                "hint: let this user write there, or choose another directory: `data` of [log], or `dir` of [log.spool]"
            );
        }
        RunError::Bind(bind) if bind.source.kind() == ErrorKind::PermissionDenied => {
            eprintln!("hint: ports below 1024 need CAP_NET_BIND_SERVICE, or choose one above");
        }
        RunError::Admin(AdminError::Running { .. }) => {
            eprintln!("hint: `tollgate status` shows it, `tollgate stop` ends it");
        }
        _ => {}
    }
}

fn exit_code(error: &RunError) -> Exit {
    match error {
        RunError::Bind(_) | RunError::Admin(AdminError::Running { .. }) => Exit::NotPermitted,
        _ => Exit::Failed,
    }
}

/// Four lines: where, how to try it, how to read the log, how to stop. On stderr, so that a log on stdout stays clean.
fn tell(started: &Started, stop: &str, log: &str) {
    let mut out = io::stderr().lock();
    let urls: Vec<String> = started.listeners.iter().map(url).collect();
    let _ = writeln!(out, "serving  {}", urls.join("   "));
    let _ = writeln!(out, "try      {}", try_it(started));
    let _ = writeln!(out, "log      {log}");
    let _ = writeln!(out, "stop     {stop}");
}

fn url((name, address): &(Arc<str>, Address)) -> String {
    match address {
        Address::Tcp(address) => format!("{name}://{address}"),
        Address::Unix(_) => format!("{name} on {address}"),
    }
}

fn try_it(started: &Started) -> String {
    let wanted = if started.has_tls { "https" } else { "http" };
    let listener = started.listeners.iter().find(|(name, _)| **name == *wanted).or(started.listeners.first());
    match listener {
        Some((name, Address::Tcp(address))) => {
            let insecure = if **name == *"https" { "-k " } else { "" };
            let host = &started.host;
            match host.as_str() {
                "localhost" => format!("curl {insecure}{name}://localhost:{}/", address.port()),
                host => format!(
                    "curl {insecure}--connect-to ::127.0.0.1:{0} {name}://{host}:{0}/",
                    address.port()
                ),
            }
        }
        Some((name, Address::Unix(path))) => {
            format!("curl --unix-socket {} {name}://localhost/", path.display())
        }
        None => "nothing listens".to_owned(),
    }
}

fn read_log(started: &Started) -> String {
    match &started.log {
        LogService::Embedded => match started.data.to_str() {
            Some("run/logs") => "tollgate logs tail -f".to_owned(),
            _ => format!("tollgate logs tail -f --data {}", started.data.display()),
        },
        LogService::None => {
            "one line per request where [log] says; `stdout = \"line\"` prints them here".to_owned()
        }
        LogService::Unix(path) => format!("tollgate logs tail -f --service unix:{}", path.display()),
        LogService::Url(url) => format!("tollgate logs tail -f --service {url}"),
    }
}
