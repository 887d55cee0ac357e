//! `[log]` of a configuration as the settings of a log service.

use super::{AlertSettings, BucketSettings, InputSettings, Listen, Secret, Settings, Tls};
use crate::config::log_input::LogInput;
use crate::config::words::Listen as Written;
use crate::config::{Service, bytes_of, path_of};
use crate::units::Duration;

impl Settings {
    /// A service as the configuration wants it: what it keeps, its inputs, alarms and buckets. Without sockets of its own.
    pub fn of(config: &Service) -> Self {
        let log = &config.log;
        let mut settings = Self::new((&*log.data.value).into());
        let limits = &mut settings.limits;
        limits.keep_bytes = log.keep.size.as_bytes();
        limits.keep_hours = hours(log.keep.age.value);
        limits.keep_error_hours = hours(log.keep.errors.value);
        limits.keep_rollup_hours = hours(log.keep.rollups.value);
        limits.free_bytes = log.keep.free.as_ref().map(|free| free.as_bytes());
        limits.memory_bytes = log.memory.to_usize();
        let inputs = log.input.iter().map(|(name, one)| input(&name.value, one, config));
        settings.inputs = inputs.collect();
        settings.alerts = AlertSettings::of(config);
        settings.buckets = BucketSettings::of(config);
        settings
    }
}

fn hours(age: Duration) -> u32 {
    u32::try_from(age.as_millis().div_ceil(3_600_000)).unwrap_or(u32::MAX)
}

fn input(name: &str, one: &LogInput, config: &Service) -> InputSettings {
    let load = |path: &str| bytes_of(&config.files, path);
    let tls = path_of(&one.cert).zip(path_of(&one.key)).map(|(cert, key)| Tls {
        chain: load(cert),
        key: load(key),
        client_ca: path_of(&one.client_ca).map(load),
    });
    InputSettings {
        name: name.to_owned(),
        kind: one.kind.value,
        listen: listen(&one.listen.value),
        secret: one.token.as_ref().map(|token| Secret(token.value.clone())),
        tls,
        trusted: one.trusted.value,
    }
}

fn listen(written: &Written) -> Listen {
    match written {
        Written::Any(port) => Listen::Tcp((std::net::Ipv6Addr::UNSPECIFIED, *port).into()),
        Written::Tcp(address) => Listen::Tcp(*address),
        Written::Unix(path) => Listen::Unix(path.clone()),
    }
}
