//! What a reader sees of a data directory, with or without a service that writes to it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::manifest::{self, State, WalPosition};
use super::rows::{Rows, RowsPart};
use super::streams::Streams;
use super::wal_read::Blocks;
use super::{files, flush, replay};
use crate::log_service::parquet::{FileWriter, Level, StoredFile, sorted};
use crate::log_service::part::Part;

/// While files move from the log to the store a reader may have to look again.
const TRIES: usize = 5;

/// All rows of a directory at one moment.
pub(crate) struct View {
    /// Oldest first.
    pub(crate) parts: Vec<Arc<dyn Part>>,
    /// The Parquet files among them, and the rows that only the log holds.
    paths: Vec<PathBuf>,
    newest: Arc<RowsPart>,
    /// Bytes of the log that were changed.
    pub(crate) damaged: u64,
}

impl View {
    /// Reads what the manifest names, and into memory what only the log holds (bounded: it is what a few minutes bring).
    pub(crate) fn of(data: &Path) -> io::Result<Self> {
        Self::read(data, &mut |_| Ok(()))
    }

    /// The same with the files held open as far as the process may: their rows stay readable when a service removes them.
    pub(crate) fn held(data: &Path) -> io::Result<Self> {
        Self::read(data, &mut |file| file.hold())
    }

    fn read(data: &Path, on_file: &mut dyn FnMut(&StoredFile) -> io::Result<()>) -> io::Result<Self> {
        let mut tries = 0;
        loop {
            let state = manifest::read_state(data)?;
            let files = files::read_only(data, &state);
            let (mut rows, mut known) = (Rows::new(), Streams::of(state.streams().cloned()));
            let log = replay::uncovered(data, flush::covered_by(state.wal))?;
            let replayed = replay::replay(&log, &mut rows, &mut known)?;
            tries += 1;
            // Has a file of the log gone since the manifest was read? Then its rows are in neither list.
            if tries < TRIES && position(data)? != state.wal {
                continue;
            }
            files.iter().try_for_each(|file| on_file(file))?;
            let files = files.into_iter().map(|file| file as Arc<dyn Part>);
            let newest = Arc::new(rows.part());
            let parts = files.chain([Arc::clone(&newest) as Arc<dyn Part>]).collect();
            return Ok(Self { parts, paths: paths_of(data, &state), newest, damaged: replayed.damaged });
        }
    }

    /// The Parquet files, oldest first, and how many rows only the log holds. With `newest` these are written to a file of
    /// that name, which is then one of them.
    pub(crate) fn files(&self, newest: Option<&Path>) -> io::Result<(Vec<PathBuf>, u64)> {
        let (mut files, rows) = (self.paths.clone(), self.newest.extent().rows);
        if let Some(newest) = newest.filter(|_| rows > 0) {
            let mut writer = FileWriter::create(newest, Level::L0)?;
            for batch in sorted(&self.newest.batches()) {
                writer.write(&batch?)?;
            }
            writer.finish()?;
            files.push(newest.to_owned());
        }
        Ok((files, rows))
    }
}

fn paths_of(data: &Path, state: &State) -> Vec<PathBuf> {
    let mut files: Vec<_> = state.files.values().collect();
    files.sort_by_key(|entry| (entry.hour, entry.number));
    files.into_iter().map(|entry| entry.path(data)).collect()
}

fn position(data: &Path) -> io::Result<WalPosition> {
    Ok(manifest::read_state(data)?.wal)
}

/// What is added to a directory by the service that writes to it.
pub(crate) struct Growing {
    data: PathBuf,
    known: Streams,
    open: Option<(u64, Blocks)>,
}

impl Growing {
    /// Starts at the end of what is there now.
    pub(crate) fn from_end(data: &Path) -> io::Result<Self> {
        let state = manifest::read_state(data)?;
        let known = Streams::of(state.streams().cloned());
        let mut growing = Self { data: data.to_owned(), known, open: None };
        let mut last = flush::covered_by(state.wal);
        while growing.go_on(last)? {
            let mut rows = Rows::new();
            growing.read(&mut rows)?;
            last = growing.open.as_ref().map_or(last, |(number, _)| *number);
        }
        Ok(growing)
    }

    /// The rows that were added since the last call.
    pub(crate) fn advance(&mut self) -> io::Result<Vec<RecordBatch>> {
        let mut rows = Rows::new();
        self.read(&mut rows)?;
        // Only when this file gives nothing more: its writer has gone on to the next.
        let number = self.open.as_ref().map_or(0, |(number, _)| *number);
        if rows.len() == 0 && self.go_on(number)? {
            self.read(&mut rows)?;
        }
        rows.cut();
        Ok(rows.batches_from(0))
    }

    fn go_on(&mut self, behind: u64) -> io::Result<bool> {
        for file in replay::uncovered(&self.data, behind)? {
            match Blocks::open(&file.path, file.end()) {
                Ok(blocks) => {
                    self.open = Some((file.number, blocks));
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn read(&mut self, rows: &mut Rows) -> io::Result<()> {
        let Some((_, blocks)) = &mut self.open else { return Ok(()) };
        blocks.look_again()?;
        while let Some(block) = blocks.next()? {
            replay::take(&block, rows, &mut self.known);
        }
        Ok(())
    }
}
