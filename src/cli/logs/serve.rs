//! `logs serve`: the log service in the foreground.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::args::ServeArgs;
use super::place::DEFAULT_DATA;
use super::{access, output, tell};
use crate::cli::Exit;
use crate::config;
use crate::log_service::{
    DEFAULT_PACKETS, InputKind, Listen, LogService, ServiceError, Settings, Tls, Token,
};

const DEFAULT_HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9600);
/// Parsing and searching beside each other; writing has a thread of its own.
const THREADS: usize = 2;
/// Questions, beginnings of tails and looks at the disk; more wait. Each thread keeps some memory of its own.
const BLOCKING: usize = 8;

pub(super) fn run(args: ServeArgs, quiet: bool) -> Exit {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING)
        .thread_name("logs")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(&error);
            return Exit::Failed;
        }
    };
    // Where an embedded one listens is nobody's business but the proxy's, whose start has four lines of its own.
    let is_silent = quiet || args.embedded;
    let config = match configured(&args) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let settings = match settings(args, config.as_ref()) {
        Ok(settings) => settings,
        Err(error) => {
            tell(&error);
            return Exit::Usage;
        }
    };
    match runtime.block_on(serve(settings, is_silent)) {
        Ok(()) => Exit::Done,
        Err(error) => {
            tell(&error);
            exit_of(&error)
        }
    }
}

/// The configuration that was named. A proxy that has one running knows it was good: what has become of it since must
/// not keep its records from being taken.
fn configured(args: &ServeArgs) -> Result<Option<config::Service>, Exit> {
    let Some(path) = &args.config else { return Ok(None) };
    match config::service(path, &config::process_env) {
        Ok(service) => Ok(Some(service)),
        Err(found) => {
            output::note(found.render(false).trim_end());
            if !args.embedded {
                return Err(Exit::BadConfig);
            }
            tracing::error!(
                "the log service runs without the inputs and alarms of the configuration, which cannot be read"
            );
            Ok(None)
        }
    }
}

/// A file that an argument names cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}", .path.display())]
struct FileError {
    what: &'static str,
    path: PathBuf,
    source: Option<io::Error>,
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |error| FileError { what: "cannot read", path: path.to_owned(), source: Some(error) };
    std::fs::read(path).map_err(failed)
}

fn tokens(path: &Path) -> Result<Vec<Token>, FileError> {
    access::warn_when_open(path);
    let tokens = Token::of_file(&String::from_utf8_lossy(&read(path)?));
    if tokens.is_empty() {
        // Better not to start than to let everybody in.
        return Err(FileError { what: "there is no token in", path: path.to_owned(), source: None });
    }
    Ok(tokens)
}

fn tls(args: &ServeArgs) -> Result<Option<Tls>, FileError> {
    let (Some(cert), Some(key)) = (&args.cert, &args.key) else { return Ok(None) };
    access::warn_when_open(key);
    let client_ca = args.client_ca.as_deref().map(read).transpose()?;
    Ok(Some(Tls { chain: read(cert)?, key: read(key)?, client_ca }))
}

/// By hand (no `--http`) everything is on, at its usual place; started by a proxy only what it asked for.
fn settings(args: ServeArgs, config: Option<&config::Service>) -> Result<Settings, FileError> {
    let tls = tls(&args)?;
    let mut settings = config.map_or_else(|| Settings::new(DEFAULT_DATA.into()), Settings::of);
    settings.data = args.data.unwrap_or(settings.data);
    settings.tls = tls;
    settings.tokens = args.token_file.as_deref().map(tokens).transpose()?.unwrap_or_default();
    settings.sync = args.sync;
    let by_hand = args.http.is_empty();
    let has_packets = settings.inputs.iter().any(|input| input.kind == InputKind::Packets);
    settings.packets = args.packets.or((by_hand && !has_packets).then_some(DEFAULT_PACKETS));
    settings.http = if by_hand { vec![Listen::Tcp(DEFAULT_HTTP)] } else { args.http };
    let limits = &mut settings.limits;
    let hours =
        |days: Option<u32>, limit: &mut u32| *limit = days.map_or(*limit, |days| days.saturating_mul(24));
    hours(args.keep_days, &mut limits.keep_hours);
    hours(args.keep_error_days, &mut limits.keep_error_hours);
    hours(args.keep_rollup_days, &mut limits.keep_rollup_hours);
    let bytes = |mib: u64| mib.saturating_mul(1 << 20);
    limits.keep_bytes = args.keep_mib.map_or(limits.keep_bytes, bytes);
    limits.free_bytes = args.free_mib.map(bytes).or(limits.free_bytes);
    let memory = args.memory_mib.map(|mib| usize::try_from(bytes(mib)).unwrap_or(usize::MAX));
    limits.memory_bytes = memory.unwrap_or(limits.memory_bytes);
    settings.limits.hot_age = Duration::from_secs(args.flush_secs);
    settings.limits.compact_every = Duration::from_secs(args.compact_secs);
    Ok(settings)
}

async fn serve(settings: Settings, is_silent: bool) -> Result<(), ServiceError> {
    let data = settings.data.clone();
    let is_guarded =
        !settings.tokens.is_empty() || settings.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let service = LogService::start(settings).await?;
    if !is_silent {
        for (name, address) in service.inputs() {
            output::note(&format!("log service: input {name} on {address}"));
        }
        for address in service.http() {
            output::note(&format!("log service: http on {address}"));
        }
        if let Some(address) = service.packets() {
            output::note(&format!("log service: packets on {address}"));
        }
        output::note(&format!("log service: keeps its files in {}", data.display()));
    }
    if !is_guarded {
        service.http().iter().for_each(warn_when_open);
    }
    service.packets().map(Listen::Tcp).iter().for_each(warn_when_open);
    service.run(asked_to_stop()).await
}

/// Without a token or client certificates who reaches the address reads and writes the log.
fn warn_when_open(address: &Listen) {
    if let Listen::Tcp(address) = address
        && !address.ip().is_loopback()
    {
        output::note(&format!("warning: everybody who reaches {address} can read and write the log"));
    }
}

async fn asked_to_stop() {
    // Without a handler the signal ends the process at once, which loses nothing that was acknowledged.
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

fn exit_of(error: &ServiceError) -> Exit {
    match error {
        ServiceError::InUse(_) | ServiceError::Bind(..) => Exit::NotPermitted,
        ServiceError::Data(_, error) if error.kind() == io::ErrorKind::PermissionDenied => Exit::NotPermitted,
        ServiceError::Data(..) | ServiceError::Tls(_) | ServiceError::Store => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ServeArgs,
    }

    /// Where a service by hand takes packets with these lines of a configuration, besides its inputs.
    fn packets(lines: &str) -> Option<SocketAddr> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.toml");
        std::fs::write(&path, lines).unwrap();
        let config = config::service(&path, &|_| None).unwrap();
        settings(Line::parse_from(["serve"]).args, Some(&config)).unwrap().packets
    }

    #[test]
    fn packets_have_no_default_port_where_an_input_takes_them() {
        assert_eq!(packets("[log.input.p]\ntype = \"packets\"\nlisten = \"127.0.0.1:9040\"\n"), None);
        let lines = "[log.input.p]\ntype = \"lines\"\nlisten = \"127.0.0.1:9041\"\n";
        assert_eq!([lines, ""].map(packets), [Some(DEFAULT_PACKETS); 2]);
    }
}
