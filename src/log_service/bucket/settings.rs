//! [`Settings`] of one bucket, from the configuration.

use std::sync::Arc;
use std::time::Duration;

use crate::config::log_sink::{LogSink, Remote, SinkType};
use crate::config::words::Name;
use crate::config::{Service, bytes_of, path_of};
use crate::log_service::Secret;
use crate::tls::CertPair;
use crate::tls::client::Roots;

/// A `[log.sink.NAME]` of type `s3`.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) name: String,
    pub(super) to: Remote,
    pub(super) bucket: String,
    pub(super) region: String,
    /// In front of the names of objects; with a slash at its end unless it is empty.
    pub(super) prefix: String,
    pub(super) access_key: Secret,
    pub(super) secret_key: Secret,
    pub(super) roots: Roots,
    pub(super) identity: Option<Arc<CertPair>>,
    /// How long nothing may move.
    pub(super) timeout: Duration,
    /// Longest pause between two tries.
    pub(super) retry_max: Duration,
}

impl Settings {
    /// Those of a configuration that checking has let through.
    pub(in crate::log_service) fn of(config: &Service) -> Vec<Self> {
        let sinks = config.log.sink.iter().filter(|(_, sink)| sink.kind.value == SinkType::S3);
        sinks.filter_map(|(name, sink)| Self::of_one(&name.value, sink, config)).collect()
    }

    fn of_one(name: &Name, sink: &LogSink, config: &Service) -> Option<Self> {
        let to = sink.to.first()?;
        let load = |path: &str| bytes_of(&config.files, path);
        let prefix = sink.prefix.value.trim_matches('/');
        Some(Self {
            name: name.to_string(),
            to: Remote::parse(to, SinkType::S3, false).ok()?,
            bucket: sink.bucket.as_ref()?.value.to_string(),
            region: sink.region.value.to_string(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            access_key: Secret(sink.user.as_ref()?.value.clone()),
            secret_key: Secret(sink.password.as_ref()?.value.clone()),
            roots: Roots::of(path_of(&sink.ca), load),
            identity: CertPair::of(path_of(&sink.cert), path_of(&sink.key), load).map(Arc::new),
            timeout: sink.timeout.to_std(),
            retry_max: sink.retry_max.to_std(),
        })
    }
}
