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

/// A file as it was when the configuration was loaded.
#[derive(Clone, Debug)]
pub struct LoadedFile {
    pub bytes: Arc<[u8]>,
    /// Permission bits.
    pub mode: u32,
}

/// By the path that the configuration names.
pub type LoadedFiles = BTreeMap<PathBuf, LoadedFile>;

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
        read_one(&pair.cert, "certificate", &mut files, sink);
        if let Some(key) = read_one(&pair.key, "private key", &mut files, sink) {
            check_mode(&pair.key, key.mode, sink);
        }
    }
    of_log(&config.log, &mut files, sink);
    of_alerts(&config.alerts, &mut files, sink);
    files
}

/// Reads every file that `[notify.NAME]` names.
pub(super) fn of_alerts(alerts: &Alerts, files: &mut LoadedFiles, sink: &mut Sink) {
    for ca in alerts.notifies.iter().filter_map(|notify| notify.body.ca.as_ref()) {
        read_one(ca, "authorities' file", files, sink);
    }
}

/// Reads every file that `[log]` names.
pub(super) fn of_log(log: &Log, files: &mut LoadedFiles, sink: &mut Sink) {
    for (path, what) in [(&log.ca, "authorities' file"), (&log.cert, "certificate")] {
        path.iter().for_each(|path| drop(read_one(path, what, files, sink)));
    }
    if let Some(path) = &log.key {
        read_key_file(path, files, sink);
    }
    let of_sinks = log.sink.iter().flat_map(|(_, one)| one.files());
    let of_inputs = log.input.iter().flat_map(|(_, one)| one.files());
    for (path, what) in of_sinks.chain(of_inputs) {
        match what {
            "private key" => read_key_file(path, files, sink),
            what => drop(read_one(path, what, files, sink)),
        }
    }
}

fn read_key_file(path: &At<Text>, files: &mut LoadedFiles, sink: &mut Sink) {
    if let Some(key) = read_one(path, "private key", files, sink) {
        check_mode(path, key.mode, sink);
    }
}

fn read_one(path: &At<Text>, what: &str, files: &mut LoadedFiles, sink: &mut Sink) -> Option<LoadedFile> {
    let name = PathBuf::from(&*path.value);
    if let Some(file) = files.get(&name) {
        return Some(file.clone());
    }
    match LoadedFile::read(&name) {
        Ok(file) => {
            files.insert(name, file.clone());
            Some(file)
        }
        Err(error) => {
            let message = format!("cannot read the {what} `{}`: {}", path.escape_debug(), reason(&error));
            let wrong = Diagnostic::error(codes::UNREADABLE_FILE, message).at(&path.place, "");
            let is_relative = name.is_relative() && error.kind() == io::ErrorKind::NotFound;
            let hint = "paths begin at the directory that tollgate is started in";
            sink.push(if is_relative { wrong.help(hint) } else { wrong });
            None
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
