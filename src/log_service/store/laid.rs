//! [`Laid`]: closed hours put into a directory without a service, as compaction would leave them. For benchmarks.

use std::fs::File;
use std::io;
use std::path::Path;

use arrow_array::RecordBatch;

use super::compact::{self, Output};
use super::files::{Disk, Files};
use crate::log_service::columns::{ExtentBuilder, union_of_streams};

/// A data directory that nobody serves meanwhile: its lock is held.
pub(crate) struct Laid {
    files: Files,
    _lock: File,
}

impl Laid {
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(data)?;
        // Before anything is read: a start deletes what no manifest lists.
        let _lock = super::lock(data).map_err(io::Error::other)?;
        Ok(Self { files: Files::open(data, Disk::default())?, _lock })
    }

    /// Whether there is a file of that hour, counted from the Unix epoch.
    pub(crate) fn has(&self, hour: i64) -> bool {
        self.files.list().iter().any(|live| live.entry.hour == hour)
    }

    /// Adds an hour whose rows are sorted by id. Returns the bytes of its files.
    pub(crate) fn add(
        &self,
        hour: i64,
        batches: impl Iterator<Item = io::Result<RecordBatch>>,
    ) -> io::Result<u64> {
        let (mut output, mut extent) = (Output::new(&self.files, hour), ExtentBuilder::default());
        let slow_us = compact::Settings::default().slow_us;
        for batch in batches {
            let batch = batch?;
            extent.note(&batch);
            output.write_closed(&batch, slow_us)?;
        }
        let extent = extent.finish();
        let written = output.finish(union_of_streams(std::iter::once(&extent)))?;
        let bytes = written.iter().map(|written| written.bytes()).sum();
        self.files.replace(&[], written)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_laid_where_somebody_writes() {
        let data = tempfile::tempdir().unwrap();
        let first = Laid::open(data.path()).unwrap();
        assert!(Laid::open(data.path()).is_err());
        drop(first);
        assert!(Laid::open(data.path()).is_ok());
    }
}
