//! [`WalFiles`]: the files of the write-ahead log as their only writer sees them, and what happens when the disk refuses.
//!
//! Files are numbered from 1 (`wal/000001.tgw`). A start never writes to a file of an earlier start. A file that a
//! write or a sync failed on is sealed: `…tgw.suspect` beside it says how many bytes of it are good.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::claim::Claim;
use super::wal_mark::Mark;
use super::{AppendError, Counts, Settings, make_directory};
use crate::log_service::SyncWhen;

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WalFile {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// The file is sealed: only so many bytes of it are known to be good.
    pub(super) good_bytes: Option<u64>,
}

/// Where the log's files stand.
pub(super) fn directory(data: &Path) -> PathBuf {
    data.join("wal")
}

/// All files of the log, oldest first; none when there is no such directory yet.
pub(super) fn list(data: &Path) -> io::Result<Vec<WalFile>> {
    let entries = match fs::read_dir(directory(data)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        files.extend(WalFile::read(entry?.path()));
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

impl WalFile {
    fn read(path: PathBuf) -> Option<Self> {
        let number = path.file_name()?.to_str()?.strip_suffix(".tgw")?.parse().ok()?;
        // Removed since the listing: then its rows are in a file of the store.
        let size = fs::metadata(&path).ok()?.len();
        let mark = fs::read_to_string(mark_of(&path)).ok();
        // A mark that cannot be read was being written when the disk failed: the blocks' checksums decide.
        let good_bytes = mark.and_then(|text| text.trim().parse().ok());
        Some(Self { number, path, size, good_bytes })
    }

    /// How much of the file may be read.
    pub(super) fn end(&self) -> u64 {
        self.good_bytes.map_or(self.size, |good| good.min(self.size))
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        // Only sealed files have a mark.
        let _ = fs::remove_file(mark_of(&self.path));
        Ok(())
    }
}

fn path_of(data: &Path, number: u64) -> PathBuf {
    file_in(&directory(data), number)
}

pub(super) fn file_in(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:06}.tgw"))
}

fn mark_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".suspect");
    PathBuf::from(name)
}

/// The log as it is written.
pub(super) struct WalFiles {
    settings: Settings,
    counts: Arc<Counts>,
    open: Option<OpenFile>,
    /// Number of the file that is open, or was last.
    number: u64,
    synced: Instant,
    mark: Mark,
}

struct OpenFile {
    path: PathBuf,
    file: File,
    /// Bytes that were acknowledged.
    good: u64,
    /// Bytes were written since the last sync.
    is_dirty: bool,
}

impl WalFiles {
    /// `last` is the highest number that any file had.
    pub(super) fn new(settings: Settings, counts: Arc<Counts>, last: u64) -> Self {
        let mark = Mark::open(&settings.data);
        Self { settings, counts, open: None, number: last, synced: Instant::now(), mark }
    }

    /// These were appended: writes down how far the log has come.
    pub(super) fn mark<'c>(&mut self, claims: impl Iterator<Item = &'c Claim>) {
        claims.for_each(|claim| claim.each_end(|stream, last| self.mark.note(stream, last)));
        let bytes = self.size();
        if bytes > 0
            && let Err(error) = self.mark.store(self.number, bytes)
        {
            tracing::debug!(%error, "cannot write down how far the log has come");
        }
    }

    /// Bytes in the open file.
    pub(super) fn size(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.good)
    }

    /// Appends whole blocks; they may be acknowledged when this returns. On an error nothing of them is left that a
    /// reader would see.
    pub(super) fn append(&mut self, blocks: &[u8]) -> Result<(), AppendError> {
        self.open_file()?;
        let Some(open) = &mut self.open else { return Err(AppendError::Failed) };
        if let Err(error) = self.settings.write(&mut open.file, blocks) {
            let told = told("write", &open.path, &error);
            if open.file.set_len(open.good).is_err() {
                self.seal();
            }
            return Err(told);
        }
        open.is_dirty = true;
        if self.is_sync_due() {
            self.sync()?;
        }
        if let Some(open) = &mut self.open {
            open.good += blocks.len() as u64;
        }
        Counts::add(&self.counts.bytes, blocks.len());
        Ok(())
    }

    /// Makes durable what was written, when the settings want that by now.
    pub(super) fn sync_if_due(&mut self) {
        if self.is_sync_due() {
            // What was acknowledged on the strength of a later sync is in the file still, as far as anyone can tell.
            let _ = self.sync();
        }
    }

    /// Closes the file: what comes next goes to a new one. Returns the closed one's number.
    pub(super) fn turn(&mut self) -> u64 {
        if self.settings.sync != SyncWhen::Never {
            let _ = self.sync();
        }
        self.open = None;
        self.number
    }

    fn is_sync_due(&self) -> bool {
        let is_dirty = self.open.as_ref().is_some_and(|open| open.is_dirty);
        is_dirty
            && match self.settings.sync {
                SyncWhen::Always => true,
                SyncWhen::Every(span) => self.synced.elapsed() >= span,
                SyncWhen::Never => false,
            }
    }

    fn sync(&mut self) -> Result<(), AppendError> {
        let Some(open) = self.open.as_mut().filter(|open| open.is_dirty) else { return Ok(()) };
        self.synced = Instant::now();
        if let Err(error) = self.settings.sync(&open.file) {
            let told = told("sync", &open.path, &error);
            // After a failed sync the kernel may have dropped the pages: nobody knows what the disk holds.
            self.seal();
            return Err(told);
        }
        open.is_dirty = false;
        Counts::add(&self.counts.syncs, 1);
        Ok(())
    }

    fn open_file(&mut self) -> Result<(), AppendError> {
        if self.open.is_none() {
            let opened = OpenFile::create(&self.settings.data, self.number + 1);
            self.open = Some(opened.map_err(|error| told("open", &self.settings.data, &error))?);
            self.number += 1;
        }
        Ok(())
    }

    /// Closes a file for ever. Readers are told how much of it is good; the next blocks go to a new file.
    fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        Counts::add(&self.counts.sealed, 1);
        let marked = fs::write(mark_of(&open.path), format!("{}\n", open.good));
        // Cutting makes the mark unnecessary, the mark makes cutting unnecessary: on a sick disk both are tried.
        let cut = open.file.set_len(open.good);
        tracing::error!(
            file = %open.path.display(),
            good = open.good,
            marked = marked.is_ok(),
            cut = cut.is_ok(),
            "log file sealed: the disk refused it"
        );
    }
}

impl OpenFile {
    fn create(data: &Path, number: u64) -> io::Result<Self> {
        let directory = directory(data);
        if !directory.is_dir() {
            make_directory(&directory)?;
            File::open(data)?.sync_all()?;
        }
        let path = path_of(data, number);
        // Left over only when making it durable failed: it holds nothing.
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(&path)?;
        file.set_len(0)?;
        File::open(&directory)?.sync_all()?;
        Ok(Self { path, file, good: 0, is_dirty: false })
    }
}

pub(super) fn told(step: &str, path: &Path, error: &io::Error) -> AppendError {
    tracing::error!(step, path = %path.display(), %error, "log entries could not be stored");
    AppendError::of(error)
}

impl AppendError {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full
            }
            _ => Self::Failed,
        }
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
