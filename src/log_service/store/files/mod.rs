//! [`Files`]: the Parquet files of a data directory, for those who add, merge, drop and read them.
//!
//! ```text
//! d=2026-11-21/h=09/00000012.l0.parquet    rows of some minutes, by the hour of their receipt
//! d=2026-11-21/h=08/00000011.l1.parquet    the normal rows of a closed hour
//! d=2026-11-21/h=08/00000013.err.parquet   its errors and slow requests
//! ```
//!
//! The hour is that of receipt, not of the log time: it never runs backwards, so hours close for good, and no sender can make
//! files in hours of his choice. What a file holds by log time its extent says.
//!
//! A file is written under a temporary name, synced, named, and counts when the manifest says so. It leaves the manifest
//! first and the disk when nobody reads it any more. What a crash leaves unlisted is deleted at the next start.

mod disk;
mod recover;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;

pub(crate) use disk::Disk;

use super::chain::{Chain, Change, Sealed, hash_of};
use super::manifest::{
    Edit, FileEntry, FileKind, KnownStream, Manifest, State, WalPosition, is_uncertain, path_of,
};
use crate::log_service::parquet::{FileWriter, Footers, StoredFile, sorted};
use crate::log_service::part::{Extent, StreamExtent};

/// Bytes of footers that a reader of a directory keeps in memory.
const FOOTER_BYTES: usize = 32 << 20;
const HOUR_US: i64 = 3_600_000_000;

/// A file that counts.
pub(crate) struct Live {
    pub(crate) entry: FileEntry,
    pub(crate) file: Arc<StoredFile>,
}

type LiveFiles = BTreeMap<u64, Arc<Live>>;

pub(crate) struct Files {
    data: PathBuf,
    disk: Disk,
    manifest: Mutex<Manifest>,
    /// Locked while the manifest is.
    chain: Mutex<Chain>,
    live: RwLock<LiveFiles>,
    footers: Arc<Footers>,
    /// What counted and was not there any more.
    gone: Vec<FileEntry>,
}

/// A file on the disk that does not count yet. Dropped, it is deleted.
pub(crate) struct Written {
    entry: FileEntry,
    path: PathBuf,
    extent: Extent,
    sha256: String,
    counts: bool,
}

impl Written {
    pub(crate) fn bytes(&self) -> u64 {
        self.entry.bytes
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if !self.counts {
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Files {
    /// Reads the manifest and deletes what a crash has left. The caller holds the lock of the directory.
    pub(crate) fn open(data: &Path, disk: Disk) -> io::Result<Self> {
        Self::open_with(data, disk, FOOTER_BYTES)
    }

    /// The same, keeping so many bytes of the ends of files in memory.
    pub(crate) fn open_with(data: &Path, disk: Disk, footer_bytes: usize) -> io::Result<Self> {
        let mut manifest = Manifest::open(data, disk.clone())?;
        let mut chain = Chain::open(data, manifest.state())?;
        let gone = recover::recover(data, &disk, &mut manifest)?;
        chain.note("gone", Vec::new(), gone.iter().map(|entry| entry.number).collect());
        let footers = Arc::new(Footers::new(footer_bytes));
        let live = live_files(data, manifest.state(), &footers);
        Ok(Self {
            data: data.to_owned(),
            disk,
            manifest: Mutex::new(manifest),
            chain: Mutex::new(chain),
            live: RwLock::new(live),
            footers,
            gone,
        })
    }

    /// What counted and had disappeared when they were opened.
    pub(crate) fn gone(&self) -> &[FileEntry] {
        &self.gone
    }

    /// Up to where the write-ahead log is in the files.
    pub(crate) fn wal(&self) -> WalPosition {
        self.manifest().state().wal
    }

    /// Changes that the chain does not say yet.
    pub(crate) fn unchained(&self) -> Vec<Change> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).pending()
    }

    /// The records that are known.
    pub(crate) fn streams(&self) -> Vec<KnownStream> {
        self.manifest().state().streams().cloned().collect()
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// All files together with what `hot` gives, at one point in time: no row of a flush is in both or in none.
    pub(crate) fn view<T>(&self, hot: impl FnOnce() -> T) -> (Vec<Arc<StoredFile>>, T) {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let hot = hot();
        (live.values().map(|live| Arc::clone(&live.file)).collect(), hot)
    }

    pub(crate) fn list(&self) -> Vec<Arc<Live>> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.values().map(Arc::clone).collect()
    }

    /// Stores rows as L0 files, one per hour of receipt, and notes in the same edit up to where the write-ahead log is in
    /// the files now and what is known of streams. `swap` takes the rows out of memory; no [`Files::view`] falls between.
    ///
    /// # Errors
    /// Of the disk. Nothing is stored then (or, if not even that can be told, it will be found at the next start).
    pub(crate) fn flush(
        &self,
        batches: &[RecordBatch],
        wal: WalPosition,
        streams: Vec<KnownStream>,
        swap: impl FnOnce(),
    ) -> io::Result<()> {
        let mut written = Vec::new();
        for (hour, batches) in by_hour(batches)? {
            written.extend(self.write(FileKind::L0, hour, sorted(&batches))?);
        }
        let edit = Edit { wal: Some(wal), streams, ..Edit::default() };
        self.commit(written, edit, swap)
    }

    /// Puts files in the place of others.
    pub(crate) fn replace(&self, old: &[Arc<Live>], new: Vec<Written>) -> io::Result<()> {
        let remove = old.iter().map(|live| live.entry.number).collect();
        self.commit(new, Edit { remove, ..Edit::default() }, || {})
    }

    /// Begins a file; it is given a temporary name.
    pub(crate) fn begin(&self, kind: FileKind, hour: i64) -> io::Result<Draft> {
        let number = self.manifest().next_number();
        let path = path_of(&self.data, hour, number, kind);
        if let Some(folder) = path.parent() {
            self.disk.make_directory(&self.data, folder)?;
        }
        self.disk.step()?;
        let mut temporary = path.clone().into_os_string();
        temporary.push(TEMPORARY);
        let temporary = PathBuf::from(temporary);
        let writer = FileWriter::create(&temporary, kind.level())?;
        Ok(Draft { writer, temporary, path, number, kind, hour, disk: self.disk.clone() })
    }

    fn write(
        &self,
        kind: FileKind,
        hour: i64,
        batches: impl Iterator<Item = io::Result<RecordBatch>>,
    ) -> io::Result<Option<Written>> {
        let mut batches = batches.peekable();
        if batches.peek().is_none() {
            return Ok(None);
        }
        let mut draft = self.begin(kind, hour)?;
        for batch in batches {
            draft.writer.write(&batch?)?;
        }
        draft.finish(None).map(Some)
    }

    /// Makes the change durable, with the new files, and then shows it to readers.
    fn commit(&self, mut new: Vec<Written>, mut edit: Edit, swap: impl FnOnce()) -> io::Result<()> {
        let mut manifest = self.manifest();
        edit.add = new.iter().map(|written| written.entry.clone()).collect();
        let old = edit.remove.clone();
        if let Err(error) = manifest.apply(edit) {
            let keep = is_uncertain(&error);
            new.iter_mut().for_each(|written| written.counts = keep);
            return Err(error);
        }
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        for written in &mut new {
            written.counts = true;
            let file =
                StoredFile::new(written.path.clone(), written.extent.clone(), Arc::clone(&self.footers));
            let entry = written.entry.clone();
            live.insert(entry.number, Arc::new(Live { entry, file: Arc::new(file) }));
        }
        swap();
        let gone: Vec<_> = old.iter().filter_map(|number| live.remove(number)).collect();
        drop(live);
        self.seal(&new, old);
        gone.iter().for_each(|live| live.file.remove());
        Ok(())
    }

    /// Notes a change that counts in the chain.
    fn seal(&self, new: &[Written], old: Vec<u64>) {
        let op = match (new.is_empty(), old.is_empty()) {
            (true, _) => "drop",
            (false, true) => "flush",
            (false, false) => "merge",
        };
        let sealed = new.iter().map(|written| {
            let FileEntry { number: file, bytes, .. } = written.entry;
            Sealed { file, sha256: Some(written.sha256.clone()), bytes }
        });
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        chain.note(op, sealed.collect(), old);
    }

    fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const TEMPORARY: &str = ".tmp";

/// A file that is being written. Dropped, it is deleted.
pub(crate) struct Draft {
    pub(crate) writer: FileWriter,
    temporary: PathBuf,
    path: PathBuf,
    number: u64,
    kind: FileKind,
    hour: i64,
    disk: Disk,
}

impl Draft {
    /// Makes the file durable under its name. `streams` is what the manifest shall say of the streams, instead of what the
    /// rows say.
    pub(crate) fn finish(self, streams: Option<(Vec<StreamExtent>, u64)>) -> io::Result<Written> {
        let Self { writer, temporary, path, number, kind, hour, disk } = self;
        let (mut extent, bytes) = writer.finish()?;
        if let Some((streams, unnumbered)) = streams {
            (extent.streams, extent.unnumbered) = (streams, unnumbered);
        }
        let entry = FileEntry { number, kind, hour, bytes, extent: (&extent).into() };
        // Just written: it is still in memory.
        let sha256 = hash_of(&temporary).inspect_err(|_| drop(fs::remove_file(&temporary)))?;
        let written = Written { entry, path, extent, sha256, counts: false };
        if let Err(error) = disk.rename(&temporary, &written.path) {
            drop(fs::remove_file(&temporary));
            return Err(error);
        }
        Ok(written)
    }
}

fn live_files(data: &Path, state: &State, footers: &Arc<Footers>) -> LiveFiles {
    let live = state.files.values().map(|entry| {
        let file = StoredFile::new(entry.path(data), entry.extent.clone().into(), Arc::clone(footers));
        (entry.number, Arc::new(Live { entry: entry.clone(), file: Arc::new(file) }))
    });
    live.collect()
}

/// The files that the manifest of a directory lists, for a reader beside its writer, or without one.
pub(crate) fn read_only(data: &Path, state: &State) -> Vec<Arc<StoredFile>> {
    let live = live_files(data, state, &Arc::new(Footers::new(FOOTER_BYTES)));
    live.into_values().map(|live| Arc::clone(&live.file)).collect()
}

/// The hour of a moment in microseconds, both counted from the Unix epoch.
pub(crate) fn hour_of(us: i64) -> i64 {
    us.div_euclid(HOUR_US)
}

/// Rows by the hour of their receipt. Most often they are of one.
fn by_hour(batches: &[RecordBatch]) -> io::Result<BTreeMap<i64, Vec<RecordBatch>>> {
    let mut hours: BTreeMap<i64, Vec<RecordBatch>> = BTreeMap::new();
    for batch in batches {
        let recv =
            batch.column_by_name("recv").and_then(|recv| recv.as_primitive_opt::<TimestampMicrosecondType>());
        let Some(recv) = recv else { continue };
        let mut own: Vec<i64> = recv.values().iter().map(|&us| hour_of(us)).collect();
        own.sort_unstable();
        own.dedup();
        for &hour in &own {
            let rows = if own.len() == 1 {
                batch.clone()
            } else {
                let mask: BooleanArray = recv.values().iter().map(|&us| Some(hour_of(us) == hour)).collect();
                filter_record_batch(batch, &mask).map_err(io::Error::other)?
            };
            hours.entry(hour).or_default().push(rows);
        }
    }
    Ok(hours)
}
