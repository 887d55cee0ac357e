//! Where a configuration has the log kept, for commands that are told nothing else.

use std::path::{Path, PathBuf};

use super::CommandError;
use super::access::Known;
use crate::access_log::recovery;
use crate::app::log_child::socket;
use crate::config::log::LogService;
use crate::config::{self, words};
use crate::log_service::client::Address;

/// The data directory when no configuration names one.
pub(super) const DEFAULT_DATA: &str = "run/logs";
/// Where `logs serve` listens without a configuration.
const DEFAULT_SERVICE: &str = "127.0.0.1:9600";

/// What to read.
pub(super) enum Place {
    Directory(PathBuf),
    /// And what the configuration has it shown.
    Service(Address, Known),
}

/// The place that a configuration names, as far as it can be read.
pub(super) fn of(config: &Path) -> Result<Place, CommandError> {
    let Some(records) = config::records(config, &config::process_env) else {
        return Ok(Place::Directory(named(None)));
    };
    let known = Known::of(&records);
    Ok(match (records.service, records.data) {
        (LogService::Unix(path), _) => Place::Service(Address::Unix(path), known),
        (LogService::Url(url), _) => {
            let address = url.to_string().parse();
            Place::Service(address.map_err(|error| CommandError::Usage(format!("{url}: {error}")))?, known)
        }
        (LogService::None, None) => {
            let what = format!(
                "the log service of {} is `none`: read its files with --from, or name a service with --service",
                config.display()
            );
            return Err(CommandError::Usage(what));
        }
        (_, data) => Place::Directory(named(data)),
    })
}

/// The service that takes what a configuration has kept: where the embedded one listens, or the one that is named.
pub(super) fn service(config: &Path) -> Result<(Address, Known), CommandError> {
    Ok(match of(config)? {
        Place::Service(address, known) => (address, known),
        Place::Directory(data) => (Address::Unix(socket(&data)), Known::default()),
    })
}

/// The same, and without a configuration the service that was started by hand, if that is the one that there is.
pub(super) fn service_or_default(config: &Path) -> Result<(Address, Known), CommandError> {
    let (address, known) = service(config)?;
    match &address {
        Address::Unix(socket) if !config.exists() && !socket.exists() => {
            Ok((Address::Http(DEFAULT_SERVICE.to_owned()), known))
        }
        _ => Ok((address, known)),
    }
}

/// Where the proxy of a configuration keeps its spool and its rings.
pub(super) fn spool(config: &Path) -> PathBuf {
    let records = config::records(config, &config::process_env);
    let (spool, data) = records.map_or((None, None), |records| (records.spool, records.data));
    spool.map_or_else(|| recovery::directory(&named(data)), |dir| PathBuf::from(&*dir))
}

fn named(data: Option<words::Text>) -> PathBuf {
    data.map_or_else(|| DEFAULT_DATA.into(), |data| PathBuf::from(&*data))
}
