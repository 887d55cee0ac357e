//! [`FileWriter`]: sorted batches become a file that is there as a whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;

use super::properties::{Level, properties};
use super::summary::ExtentForm;
use super::{EXTENT_KEY, io_error};
use crate::log_service::columns::{ExtentBuilder, schema};
use crate::log_service::part::Extent;

const BUFFER: usize = 1 << 20;

/// Writes batches that come sorted by `id`. Dropped before [`FileWriter::finish`], it takes its file away.
pub(crate) struct FileWriter {
    path: PathBuf,
    writer: Option<ArrowWriter<BufWriter<File>>>,
    extent: ExtentBuilder,
}

impl FileWriter {
    /// Begins a file at a path that nobody reads yet; whoever wants it gives it its name later.
    pub(crate) fn create(path: &Path, level: Level) -> io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER, File::create(path)?);
        let writer = ArrowWriter::try_new(file, schema(), Some(properties(level))).map_err(io_error)?;
        Ok(Self { path: path.to_owned(), writer: Some(writer), extent: ExtentBuilder::default() })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        self.extent.note(batch);
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write(batch).map_err(io_error)
    }

    /// Ends the file and makes its content durable (not its name). Returns what it holds and its size in bytes.
    pub(crate) fn finish(mut self) -> io::Result<(Extent, u64)> {
        let extent = std::mem::take(&mut self.extent).finish();
        let Some(mut writer) = self.writer.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let summary = serde_json::to_string(&ExtentForm::from(&extent))?;
        writer.append_key_value_metadata(KeyValue::new(EXTENT_KEY.to_owned(), summary));
        let finished = Self::end(writer);
        if finished.is_err() {
            drop(std::fs::remove_file(&self.path));
        }
        finished.map(|bytes| (extent, bytes))
    }

    fn end(writer: ArrowWriter<BufWriter<File>>) -> io::Result<u64> {
        let file = writer.into_inner().map_err(io_error)?.into_inner()?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            drop(std::fs::remove_file(&self.path));
        }
    }
}
