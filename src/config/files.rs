//! The files that a configuration names: read once, when it is loaded, so that compiling does no I/O.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Config;
use super::alert::Alerts;
use super::codes;
use super::diagnostic::Diagnostic;
use super::log::Log;
use super::place::At;
use super::read::Sink;
use super::server::ErrorPage;
use super::words::Text;

/// Certificates, keys and error pages are small; anything larger is a mistake.
const MAX_FILE: u64 = 1 << 20;

const AUTHORITIES: &str = "authorities' file";
const CERTIFICATE: &str = "certificate";
/// Others must not be able to read it.
const PRIVATE_KEY: &str = "private key";

/// A file as it was when the configuration was loaded.
#[derive(Clone, Debug)]
pub struct LoadedFile {
    pub bytes: Arc<[u8]>,
    /// Permission bits.
    pub mode: u32,
}

/// By the path that the configuration names.
pub type LoadedFiles = BTreeMap<PathBuf, LoadedFile>;

/// The path that a key names, if it is written.
pub fn path_of(key: &Option<At<Text>>) -> Option<&str> {
    key.as_ref().map(|path| &*path.value)
}

/// The content of a file that the configuration names; nothing of one that was not loaded, which was an error before.
pub fn bytes_of(files: &LoadedFiles, path: &str) -> Vec<u8> {
    files.get(Path::new(path)).map(|file| file.bytes.to_vec()).unwrap_or_default()
}

impl LoadedFile {
    /// # Errors
    /// What the file system says; `FileTooLarge` above 1 MiB.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::read_at_most(path, MAX_FILE)
    }

    pub(super) fn read_at_most(path: &Path, most: u64) -> io::Result<Self> {
        let file = std::fs::File::open(path)?;
        let facts = file.metadata()?;
        if facts.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Self { bytes: bytes.into(), mode: facts.permissions().mode() & 0o7777 })
    }
}

/// Reads every file that `config` names.
pub(super) fn read_all(config: &Config, sink: &mut Sink) -> LoadedFiles {
    let mut files = LoadedFiles::new();
    for (_, page) in config.server.error_pages.iter() {
        if let ErrorPage::File(page) = &page.value {
            read_one(&page.file, "error page", &mut files, sink);
        }
    }
    let tls = config.sites.iter().filter_map(|site| site.body.tls.as_ref());
    for pair in tls.flat_map(|tls| tls.pairs()) {
        read_one(&pair.cert, CERTIFICATE, &mut files, sink);
        read_one(&pair.key, PRIVATE_KEY, &mut files, sink);
    }
    of_log(&config.log, &mut files, sink);
    of_alerts(&config.alerts, &mut files, sink);
    files
}

/// Reads every file that `[notify.NAME]` names.
pub(super) fn of_alerts(alerts: &Alerts, files: &mut LoadedFiles, sink: &mut Sink) {
    for ca in alerts.notifies.iter().filter_map(|notify| notify.body.ca.as_ref()) {
        read_one(ca, AUTHORITIES, files, sink);
    }
}

/// Reads every file that `[log]` names.
pub(super) fn of_log(log: &Log, files: &mut LoadedFiles, sink: &mut Sink) {
    let of_sinks = log.sink.iter().map(|(_, one)| [&one.ca, &one.cert, &one.key]);
    let of_inputs = log.input.iter().map(|(_, one)| [&one.client_ca, &one.cert, &one.key]);
    for paths in std::iter::once([&log.ca, &log.cert, &log.key]).chain(of_sinks).chain(of_inputs) {
        for (path, what) in paths.into_iter().zip([AUTHORITIES, CERTIFICATE, PRIVATE_KEY]) {
            path.iter().for_each(|path| read_one(path, what, files, sink));
        }
    }
}

/// Reads a file once, whoever names it; of a key everybody who names it hears that others can read it.
fn read_one(path: &At<Text>, what: &str, files: &mut LoadedFiles, sink: &mut Sink) {
    let name = PathBuf::from(&*path.value);
    let file = files.get(&name).cloned().map_or_else(|| LoadedFile::read(&name), Ok);
    match file {
        Ok(file) => {
            if what == PRIVATE_KEY {
                check_mode(path, file.mode, sink);
            }
            files.insert(name, file);
        }
        Err(error) => {
            let message = format!("cannot read the {what} `{}`: {}", path.escape_debug(), reason(&error));
            let wrong = Diagnostic::error(codes::UNREADABLE_FILE, message).at(&path.place, "");
            let is_relative = name.is_relative() && error.kind() == io::ErrorKind::NotFound;
            let hint = "paths begin at the directory that tollgate is started in";
            sink.push(if is_relative { wrong.help(hint) } else { wrong });
        }
    }
}

fn check_mode(path: &At<Text>, mode: u32, sink: &mut Sink) {
    if mode & 0o044 == 0 {
        return;
    }
    let message =
        format!("the private key `{}` is readable by others (mode {mode:04o})", path.escape_debug());
    sink.push(
        Diagnostic::warning(codes::OPEN_KEY, message)
            .at(&path.place, "")
            .help(format!("chmod 600 {}", path.escape_debug())),
    );
}

/// Without the number of the system error, which differs between systems.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::FileTooLarge => "it is too large".to_owned(),
        _ => error.to_string(),
    }
}
