//! `[log]` of the configuration as the settings of the access log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{log_child, log_sinks};
use crate::access_log::{
    self, FileSettings, Form, Sample, ServiceEndpoint, ServiceSettings, SinkSettings, SpoolSettings,
    StdoutSettings, Sync, Token, recovery,
};
use crate::config::log::{LogSample, LogService, OnFull, SpoolSync, StdoutForm};
use crate::config::log_sink::SinkType;
use crate::config::{Config, bytes_of, path_of};
use crate::process::directory;
use crate::process::machine::host_name;
use crate::tls::CertPair;
use crate::tls::client::Roots;
use crate::units::{Duration, Size};

/// Where the embedded log service keeps its files.
pub(super) fn data_dir(config: &Config) -> PathBuf {
    PathBuf::from(&*config.log.data.value)
}

/// Makes the directory of an embedded log service, which can tell nobody but the log that it cannot write there.
///
/// # Errors
/// It cannot be made or written for a reason that does not pass by itself.
pub(super) fn make_data(config: &Config) -> io::Result<()> {
    if !matches!(config.log.service.value, LogService::Embedded) {
        return Ok(());
    }
    match directory::make_writable(&data_dir(config), directory::LOGS) {
        Err(error) if !directory::is_full(&error) => Err(error),
        _ => Ok(()),
    }
}

/// The embedded log service as the configuration wants it.
pub(super) fn log_child(config: &Config) -> log_child::Settings {
    const DAY_MS: u64 = 86_400_000;
    let keep = &config.log.keep;
    let has_buckets = config.log.sink.iter().any(|(_, sink)| sink.kind.value == SinkType::S3);
    let days = |age: Duration| age.as_millis().div_ceil(DAY_MS).min(u32::MAX.into());
    log_child::Settings {
        data: data_dir(config),
        keep_days: days(keep.age.value),
        keep_error_days: days(keep.errors.value),
        keep_rollup_days: days(keep.rollups.value),
        keep_mib: mib(keep.size.value),
        free_mib: keep.free.as_ref().map(|free| mib(free.value)),
        memory_mib: mib(config.log.memory.value),
        config: (!config.log.input.is_empty() || !config.alerts.rules.is_empty() || has_buckets)
            .then(|| config.sources.main().into()),
        written: written(config),
    }
}

/// What the embedded service reads for itself, to know when it changes.
fn written(config: &Config) -> String {
    let inputs = config.log.input.iter().map(|(name, one)| format!("{} {}", name.value, one.words()));
    let buckets = config.log.sink.iter().filter(|(_, one)| one.kind.value == SinkType::S3);
    let buckets = buckets.map(|(name, one)| format!("{} {}", name.value, one.words()));
    inputs.chain(buckets).chain([config.alerts.words()]).collect::<Vec<_>>().join("\n")
}

fn mib(size: Size) -> u64 {
    size.as_bytes().div_ceil(1 << 20)
}

/// The sinks that the configuration asks for.
pub fn log_settings(config: &Config) -> access_log::Settings {
    let log = &config.log;
    let load = |path: &str| bytes_of(&config.files, path);
    let mut sinks = Vec::new();
    if let Some(form) = log.stdout.form() {
        sinks.push(SinkSettings::Stdout(StdoutSettings { name: None, form: line_form(form) }));
    }
    if let Some(file) = &log.file {
        sinks.push(SinkSettings::File(FileSettings {
            rotate_bytes: log.rotate.size.as_bytes(),
            keep: log.rotate.keep.get(),
            ..FileSettings::new(&*file.value)
        }));
    }
    let endpoint = match &log.service.value {
        LogService::None => None,
        LogService::Embedded => Some(ServiceEndpoint::Unix(log_child::socket(&data_dir(config)))),
        LogService::Unix(path) => Some(ServiceEndpoint::Unix(path.clone())),
        LogService::Url(url) => url.host().map(|host| ServiceEndpoint::Http {
            host: host.to_owned(),
            port: url.port_u16().unwrap_or(9600),
            is_tls: url.scheme_str() == Some("https"),
        }),
    };
    sinks.extend(endpoint.map(|endpoint| {
        SinkSettings::Service(ServiceSettings {
            token: log.token.as_ref().map(|token| Token(token.value.clone())),
            roots: Roots::of(path_of(&log.ca), load),
            identity: CertPair::of(path_of(&log.cert), path_of(&log.key), load).map(Arc::new),
            ..ServiceSettings::new(endpoint)
        })
    }));
    let dead = dead_letters(config);
    sinks.extend(log.sink.iter().filter_map(|(name, sink)| log_sinks::settings(name, sink, &dead, config)));
    // Whoever only looks on keeps nothing, and needs no place for it.
    let is_kept = !sinks.iter().all(|sink| matches!(sink, SinkSettings::Stdout(_)));
    let (spool, sample) = (spool(config, is_kept), log.sample.as_ref().map(|sample| sampling(sample)));
    access_log::Settings { spool, sample, ..access_log::Settings::new(host_name(), sinks) }
}

/// Where refused records are kept, if nobody says where: beside the spool.
fn dead_letters(config: &Config) -> PathBuf {
    let spool = config.log.spool.dir.as_ref().map(|dir| PathBuf::from(&*dir.value));
    spool.as_deref().and_then(Path::parent).map_or_else(|| data_dir(config), Path::to_owned).join("dead")
}

/// Beside the data of the log service, if nobody says where.
fn spool(config: &Config, is_kept: bool) -> SpoolSettings {
    let (log, spool) = (&config.log, &config.log.spool);
    let dir = spool.dir.as_ref().map(|dir| PathBuf::from(&*dir.value));
    SpoolSettings {
        dir: dir.or_else(|| is_kept.then(|| recovery::directory(&data_dir(config)))),
        size: spool.size.as_bytes(),
        segment: spool.segment.as_bytes(),
        sync: match spool.sync.value {
            SpoolSync::Always => Sync::Always,
            SpoolSync::Every(interval) => Sync::Every(interval.to_std()),
            SpoolSync::System => Sync::System,
        },
        memory: log.buffer.to_usize(),
        fails_closed: spool.on_full.value == OnFull::FailClosed,
        blocks_for: (spool.on_full.value == OnFull::Block).then(|| spool.block_for.to_std()),
    }
}

fn sampling(sample: &LogSample) -> Sample {
    Sample { one_in: 100 / u16::from(sample.rate.as_u8()).max(1), slow: sample.slow.to_std() }
}

/// Colours are for terminals.
fn line_form(form: StdoutForm) -> Form {
    let is_terminal = io::IsTerminal::is_terminal(&io::stdout());
    match form {
        StdoutForm::Json => Form::Json,
        StdoutForm::Combined => Form::Combined,
        StdoutForm::Line => Form::Line { colours: is_terminal && std::env::var_os("NO_COLOR").is_none() },
    }
}
