//! `[log]` of the configuration as the settings of the access log.

use std::io;
use std::path::PathBuf;

use super::log_child;
use crate::access_log::{
    self, FileSettings, Form, ServiceEndpoint, ServiceSettings, SinkSettings, StdoutSettings, recovery,
};
use crate::config::Config;
use crate::config::log::{LogService, StdoutForm};

/// Where the embedded log service keeps its files.
pub(super) fn data_dir(config: &Config) -> PathBuf {
    PathBuf::from(&*config.log.data.value)
}

/// The sinks that the configuration asks for.
pub(super) fn log_settings(config: &Config) -> access_log::Settings {
    let log = &config.log;
    let mut sinks = Vec::new();
    if let Some(form) = log.stdout.form() {
        sinks.push(SinkSettings::Stdout(StdoutSettings {
            form: line_form(form),
            ..StdoutSettings::default()
        }));
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
        }),
    };
    sinks.extend(endpoint.map(|endpoint| {
        SinkSettings::Service(ServiceSettings {
            queue_bytes: log.buffer.to_usize(),
            ..ServiceSettings::new(endpoint)
        })
    }));
    // Whoever only looks on keeps nothing, and needs no place for it.
    let is_kept = !sinks.iter().all(|sink| matches!(sink, SinkSettings::Stdout(_)));
    let directory = is_kept.then(|| recovery::directory(&data_dir(config)));
    access_log::Settings { directory, ..access_log::Settings::new(host_name(), sinks) }
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

/// The name of this proxy in its records: the machine's.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
