//! [`ClosedFile`]: what a sink for whole files takes; [`Shipped`]: what it has, so that retention keeps the others for it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::files::{Files, Live};
use super::manifest::{self, FileEntry, FileKind};
use crate::log_service::parquet::StoredFile;

/// What one sink has, by the numbers of the files.
#[derive(Debug, Default)]
pub(crate) struct Shipped {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: BTreeSet<u64>,
    /// Dropped for want of room before it was taken, since somebody asked last.
    lost: Lost,
}

/// Files that a sink will never have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Shipped {
    pub(crate) fn of(taken: impl IntoIterator<Item = u64>) -> Self {
        let state = State { taken: taken.into_iter().collect(), lost: Lost::default() };
        Self { state: Mutex::new(state) }
    }

    pub(crate) fn note(&self, number: u64) {
        self.lock().taken.insert(number);
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        self.lock().taken.contains(&number)
    }

    /// Forgets files that are not there any more.
    pub(crate) fn keep_only(&self, live: &BTreeSet<u64>) {
        self.lock().taken.retain(|number| live.contains(number));
    }

    /// Notes files that had to go: of these the sink has some.
    pub(super) fn drop_all<'f>(&self, files: impl Iterator<Item = &'f FileEntry>) {
        let mut state = self.lock();
        for file in files {
            if !state.taken.contains(&file.number) {
                state.lost.files += 1;
                state.lost.bytes += file.bytes;
            }
        }
    }

    /// What was lost since this was asked last.
    pub(crate) fn take_lost(&self) -> Lost {
        std::mem::take(&mut self.lock().lost)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file of a closed hour. One of our own store stays on the disk as long as this is held.
#[derive(Clone)]
pub(crate) struct ClosedFile {
    pub(crate) number: u64,
    /// The hour in which its rows were received, counted from the Unix epoch.
    pub(crate) hour: i64,
    pub(crate) bytes: u64,
    pub(crate) path: PathBuf,
    /// Its path in the data directory: `d=2026-11-21/h=09/00000012.l1.parquet`.
    pub(crate) name: String,
    _file: Option<Arc<StoredFile>>,
}

impl ClosedFile {
    fn of(entry: &FileEntry, file: Option<Arc<StoredFile>>, data: &Path) -> Self {
        let FileEntry { number, hour, bytes, .. } = *entry;
        let name = entry.path(Path::new("")).to_string_lossy().into_owned();
        Self { number, hour, bytes, path: data.join(&name), name, _file: file }
    }

    #[cfg(test)]
    pub(crate) fn at(path: PathBuf, (number, hour): (u64, i64)) -> Self {
        let bytes = std::fs::metadata(&path).unwrap().len();
        let name =
            manifest::path_of(Path::new(""), hour, number, FileKind::L1).to_string_lossy().into_owned();
        Self { number, hour, bytes, path, name, _file: None }
    }
}

/// The files of closed hours, oldest first.
pub(super) fn closed_files(files: &Files) -> Vec<ClosedFile> {
    let of = |live: Arc<Live>| ClosedFile::of(&live.entry, Some(Arc::clone(&live.file)), files.data());
    let closed = files.list().into_iter().filter(|live| live.entry.kind != FileKind::L0);
    in_order(closed.map(of).collect())
}

/// Those of a directory that another process may be writing to, which may take them away at any time.
///
/// # Errors
/// The manifest cannot be read.
pub(crate) fn closed_files_in(data: &Path) -> io::Result<Vec<ClosedFile>> {
    let state = manifest::read_state(data)?;
    let closed = state.files.values().filter(|entry| entry.kind != FileKind::L0);
    Ok(in_order(closed.map(|entry| ClosedFile::of(entry, None, data)).collect()))
}

fn in_order(mut files: Vec<ClosedFile>) -> Vec<ClosedFile> {
    files.sort_by_key(|file| (file.hour, file.number));
    files
}
