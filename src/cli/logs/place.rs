//! Where a configuration has the log kept, for commands that are told nothing else.

use std::path::{Path, PathBuf};

use super::CommandError;
use crate::access_log::recovery;
use crate::config::log::LogService;
use crate::config::{self, words};
use crate::log_service::client::Address;

/// The data directory when no configuration names one.
pub(super) const DEFAULT_DATA: &str = "run/logs";

/// What to read.
pub(super) enum Place {
    Directory(PathBuf),
    Service(Address),
}

/// The place that a configuration names, as far as it can be read.
pub(super) fn of(config: &Path) -> Result<Place, CommandError> {
    Ok(match config::records(config, &config::process_env) {
        Some((LogService::Unix(path), _)) => Place::Service(Address::Unix(path)),
        Some((LogService::Url(url), _)) => Place::Service(
            url.to_string().parse().map_err(|error| CommandError::Usage(format!("{url}: {error}")))?,
        ),
        Some((LogService::None, None)) => {
            let what =
                format!("the log service of {} is `none`: read its files with --from", config.display());
            return Err(CommandError::Usage(what));
        }
        found => Place::Directory(named(found.and_then(|(_, data)| data))),
    })
}

/// The data directory that a configuration names, whichever log service takes the records.
pub(super) fn data(config: &Path) -> PathBuf {
    named(config::records(config, &config::process_env).and_then(|(_, data)| data))
}

/// Where the proxy of a configuration keeps its spool and its rings.
pub(super) fn spool(config: &Path) -> PathBuf {
    let named = config::spool(config, &config::process_env);
    named.map_or_else(|| recovery::directory(&data(config)), |dir| PathBuf::from(&*dir))
}

fn named(data: Option<words::Text>) -> PathBuf {
    data.map_or_else(|| DEFAULT_DATA.into(), |data| PathBuf::from(&*data))
}
