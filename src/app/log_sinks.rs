//! `[log.sink.NAME]` of the configuration as settings of the access log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::access_log::{
    Credentials, DeadLetter, FileSettings, Form, Remote, ShippingSettings, SinkSettings, StdoutSettings,
    Target, Token,
};
use crate::config::log_sink::{self, LogSink, SinkForm, SinkType};
use crate::config::words::Name;
use crate::config::{Config, bytes_of, path_of};
use crate::tls::CertPair;
use crate::tls::client::Roots;

/// First pause after a failure.
const BACKOFF: Duration = Duration::from_millis(100);

/// `None` for those that are not the proxy's: sealed segments are shipped by the log service. `dead` is where refused records
/// are kept if the sink says nothing else.
pub(super) fn settings(name: &Name, sink: &LogSink, dead: &Path, config: &Config) -> Option<SinkSettings> {
    let name = name.to_string();
    let form = form(sink.form.value, sink.kind.value);
    let target = match sink.kind.value {
        SinkType::S3 => return None,
        SinkType::Stdout => return Some(SinkSettings::Stdout(StdoutSettings { name: Some(name), form })),
        SinkType::File => {
            let path: PathBuf = sink.to.first().map(|to| PathBuf::from(&*to.value))?;
            let (rotate_bytes, keep) = (sink.rotate.size.as_bytes(), sink.rotate.keep.get());
            return Some(SinkSettings::File(FileSettings {
                name: Some(name),
                path,
                form,
                rotate_bytes,
                keep,
            }));
        }
        _ => target(sink)?,
    };
    // A sink of OTLP makes its own messages of what is known.
    let form = if target == Target::Otlp { Form::Json } else { form };
    let (batch_bytes, linger) = target.pace();
    let load = |path: &str| bytes_of(&config.files, path);
    Some(SinkSettings::Shipping(Box::new(ShippingSettings {
        target,
        to: remotes(sink),
        form,
        credentials: credentials(sink),
        headers: sink.headers.iter().map(|(name, value)| (name.value.clone(), value.value.clone())).collect(),
        roots: Roots::of(path_of(&sink.ca), load),
        identity: CertPair::of(path_of(&sink.cert), path_of(&sink.key), load).map(Arc::new),
        compress: sink.compress.value,
        batch_bytes: sink.batch.as_ref().map_or(batch_bytes, |size| size.to_usize()),
        batch_records: sink.batch_records.get() as usize,
        linger: sink.linger.as_ref().map_or(linger, |linger| linger.to_std()),
        timeout: sink.timeout.to_std(),
        backoff: BACKOFF,
        backoff_max: sink.retry_max.to_std(),
        dead_letter: Some(DeadLetter {
            path: match &sink.dead_letter {
                Some(path) => PathBuf::from(&*path.value),
                None => dead.join(format!("{name}.jsonl")),
            },
            rotate_bytes: sink.rotate.size.as_bytes(),
            keep: sink.rotate.keep.get(),
        }),
        name,
    })))
}

fn target(sink: &LogSink) -> Option<Target> {
    let text = |text: &str| text.to_owned();
    Some(match sink.kind.value {
        SinkType::Elasticsearch => Target::Elasticsearch { index: text(&sink.index) },
        SinkType::Loki => Target::Loki {
            labels: sink.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        },
        SinkType::Otlp => Target::Otlp,
        SinkType::ClickHouse => Target::ClickHouse { table: text(&sink.table) },
        SinkType::Kafka => Target::Kafka { topic: text(&sink.topic) },
        SinkType::Forward => Target::Forward {
            tag: text(&sink.tag),
            key: sink.token.as_ref().map(|token| Token(token.value.clone())),
        },
        SinkType::Lumberjack => Target::Lumberjack,
        SinkType::Syslog => Target::Syslog { facility: sink.facility.code(), app_name: text(&sink.tag) },
        SinkType::Packets => Target::Packets { is_distributor: sink.distributor.value },
        SinkType::Http => Target::Http,
        SinkType::File | SinkType::Stdout | SinkType::S3 => return None,
    })
}

/// Checking has refused addresses that cannot be read.
fn remotes(sink: &LogSink) -> Vec<Remote> {
    let read = |to: &str| log_sink::Remote::parse(to, sink.kind.value, sink.distributor.value).ok();
    let remotes = sink.to.iter().filter_map(|to| read(to));
    remotes.map(|log_sink::Remote { host, port, is_tls, path }| Remote { host, port, is_tls, path }).collect()
}

fn credentials(sink: &LogSink) -> Credentials {
    match (&sink.user, &sink.password, &sink.token) {
        (Some(user), Some(password), _) => {
            Credentials::User { name: user.to_string(), password: Token(password.value.clone()) }
        }
        (_, _, Some(token)) => Credentials::Token(Token(token.value.clone())),
        _ => Credentials::None,
    }
}

fn form(form: SinkForm, kind: SinkType) -> Form {
    match form {
        SinkForm::Native => Form::Json,
        SinkForm::Ecs => Form::Ecs,
        SinkForm::Otel => Form::Otel,
        SinkForm::Combined => Form::Combined,
        SinkForm::Haproxy => Form::Haproxy { has_heading: kind != SinkType::Syslog },
    }
}
