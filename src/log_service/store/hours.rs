//! [`HourFiles`]: one file per hour of receive time, only ever appended to, and what happens when the disk refuses.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::{AppendError, Counts, Settings, make_directory, retain};
use crate::log_service::read::hour::{self, Hour, HourFile};

/// The hour files of one data directory, as their only writer sees them.
pub(crate) struct HourFiles {
    settings: Settings,
    counts: Arc<Counts>,
    open: Option<OpenHour>,
    latest: Timestamp,
}

struct OpenHour {
    hour: Hour,
    path: PathBuf,
    file: File,
    /// Bytes that are known to be on the disk.
    durable: u64,
}

impl HourFiles {
    pub(crate) fn new(settings: Settings, counts: Arc<Counts>) -> Self {
        Self { settings, counts, open: None, latest: Timestamp::MIN }
    }

    /// The receive time of what is written next; never earlier than the one before.
    pub(crate) fn now(&mut self) -> Timestamp {
        self.latest = self.latest.max((self.settings.clock)());
        self.latest
    }

    /// Appends whole lines to the file of that hour and makes them durable. On an error nothing of them is left
    /// that a reader would see.
    pub(crate) fn append(&mut self, now: Timestamp, lines: &[u8]) -> Result<(), AppendError> {
        if lines.is_empty() {
            return Ok(());
        }
        self.turn_to(Hour::of(now)).map_err(|error| told("open", &self.settings.data, &error))?;
        let Some(open) = &mut self.open else { return Err(AppendError::Failed) };
        if let Err(error) = self.settings.write(&mut open.file, lines) {
            let told = told("write", &open.path, &error);
            if open.file.set_len(open.durable).is_err() {
                self.seal();
            }
            return Err(told);
        }
        if let Err(error) = self.settings.sync(&open.file) {
            let told = told("sync", &open.path, &error);
            // After a failed sync the kernel may have dropped the pages: nobody knows what the disk holds.
            self.seal();
            return Err(told);
        }
        open.durable += lines.len() as u64;
        Counts::add(&self.counts.bytes, lines.len());
        Counts::add(&self.counts.syncs, 1);
        Ok(())
    }

    fn turn_to(&mut self, hour: Hour) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| open.hour == hour) {
            return Ok(());
        }
        self.open = None;
        self.open = Some(OpenHour::open(&self.settings.data, hour)?);
        retain::retain(&self.settings, hour, &self.counts);
        Ok(())
    }

    /// Closes a file for ever. Readers are told how much of it is good; the next entries go to a new file.
    fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        Counts::add(&self.counts.sealed, 1);
        let marked = fs::write(hour::suspect_path(&open.path), format!("{}\n", open.durable));
        // Cutting makes the mark unnecessary, the mark makes cutting unnecessary: on a sick disk both are tried.
        let cut = open.file.set_len(open.durable);
        tracing::error!(
            file = %open.path.display(),
            durable = open.durable,
            marked = marked.is_ok(),
            cut = cut.is_ok(),
            "log file sealed: the disk refused it"
        );
    }
}

impl OpenHour {
    /// Opens the last file of that hour that is not sealed, or makes a new one.
    fn open(data: &Path, hour: Hour) -> io::Result<Self> {
        let day = hour.directory(data);
        if !day.is_dir() {
            make_directory(&day)?;
            File::open(data)?.sync_all()?;
        }
        let parts = hour::files_of(data, hour)?;
        let usable = parts.last().filter(|last| last.good_bytes.is_none());
        let part = usable.map_or_else(|| parts.last().map_or(0, |last| last.part + 1), |last| last.part);
        let path = HourFile::path_of(data, hour, part);
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(&path)?;
        File::open(&day)?.sync_all()?;
        let durable = file.metadata()?.len();
        Ok(Self { hour, path, file, durable })
    }
}

fn told(step: &str, path: &Path, error: &io::Error) -> AppendError {
    tracing::error!(step, path = %path.display(), %error, "log entries could not be stored");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            AppendError::Full
        }
        _ => AppendError::Failed,
    }
}

impl Settings {
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Some(error) = self.faults.take_write() {
            file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        if let Some(error) = self.faults.take_sync() {
            return Err(error);
        }
        file.sync_data()
    }
}

/// Errors that a test lets the disk return, once each.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) write: Arc<std::sync::Mutex<Vec<io::ErrorKind>>>,
    pub(crate) sync: Arc<std::sync::Mutex<Vec<io::ErrorKind>>>,
}

#[cfg(test)]
impl Faults {
    fn take_write(&self) -> Option<io::Error> {
        self.write.lock().unwrap().pop().map(io::Error::from)
    }

    fn take_sync(&self) -> Option<io::Error> {
        self.sync.lock().unwrap().pop().map(io::Error::from)
    }
}
