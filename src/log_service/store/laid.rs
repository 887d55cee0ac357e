//! [`Laid`]: closed hours put into a directory without a service, as compaction would leave them. For benchmarks.

use std::io;
use std::path::Path;

use arrow_array::RecordBatch;

use super::compact::{self, Output};
use super::files::{Disk, Files};
use crate::log_service::columns::{ExtentBuilder, union_of_streams};

/// A data directory that nobody serves meanwhile.
pub(crate) struct Laid(Files);

impl Laid {
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(data)?;
        Files::open(data, Disk::default()).map(Self)
    }

    /// Whether there is a file of that hour, counted from the Unix epoch.
    pub(crate) fn has(&self, hour: i64) -> bool {
        self.0.list().iter().any(|live| live.entry.hour == hour)
    }

    /// Adds an hour whose rows are sorted by id. Returns the bytes of its files.
    pub(crate) fn add(
        &self,
        hour: i64,
        batches: impl Iterator<Item = io::Result<RecordBatch>>,
    ) -> io::Result<u64> {
        let (mut output, mut extent) = (Output::new(&self.0, hour), ExtentBuilder::default());
        let slow_us = compact::Settings::default().slow_us;
        for batch in batches {
            let batch = batch?;
            extent.note(&batch);
            output.write_closed(&batch, slow_us)?;
        }
        let extent = extent.finish();
        let written = output.finish(union_of_streams(std::iter::once(&extent)))?;
        let bytes = written.iter().map(|written| written.bytes()).sum();
        self.0.replace(&[], written)?;
        Ok(bytes)
    }
}
