//! [`RowFile`]: rows as JSON objects become one Parquet file with the columns of the store, sorted by `id` as its files are.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::columns::Builder;
use super::parquet::{FileWriter, Footers, Level, Merge, StoredFile, sorted};

/// Rows that are sorted in memory; more of them become files that are merged at the end.
const RUN_ROWS: usize = 500_000;
const BATCH_ROWS: usize = 8_192;

/// A file in the making: it takes its name when it is whole.
pub(crate) struct RowFile {
    wanted: PathBuf,
    builder: Builder,
    batches: Vec<RecordBatch>,
    rows: usize,
    runs: Vec<PathBuf>,
}

impl RowFile {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = Self {
            wanted: path.to_owned(),
            builder: Builder::new(BATCH_ROWS),
            batches: Vec::new(),
            rows: 0,
            runs: Vec::new(),
        };
        // Whether it can be written at all should be known before a long reading.
        fs::File::create(file.beside(".part"))?;
        Ok(file)
    }

    /// Adds a row, a JSON object as the store gives it.
    pub(crate) fn row(&mut self, json: &str) -> io::Result<()> {
        // Values as they are written: a number may have more digits than a float.
        let mut object: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json)?;
        let text = |value: &RawValue| serde_json::from_str::<String>(value.get()).ok();
        let time = |value: Option<&Box<RawValue>>| text(value?)?.parse::<Timestamp>().ok();
        let (mut recv, mut from) = (time(object.get("recv")), String::new());
        if recv.is_some() {
            // The service has added both; they have columns of their own.
            object.remove("recv");
            from = object.remove("from").and_then(|from| text(&from)).unwrap_or_default();
        }
        recv = recv.or_else(|| time(object.get("ts")));
        let recv = recv.unwrap_or_default().as_microsecond();
        if self.builder.is_full() {
            self.cut()?;
        }
        let text = serde_json::to_vec(&object)?;
        let pushed = self.builder.push_object(&text, recv, &from);
        pushed.map_err(io::Error::other)
    }

    /// Makes the file durable under its name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.cut()?;
        let part = self.beside(".part");
        let mut writer = FileWriter::create(&part, Level::L1)?;
        if self.runs.is_empty() {
            sorted(&self.batches).try_for_each(|batch| writer.write(&batch?))?;
        } else {
            self.run()?;
            let footers = Arc::new(Footers::new(32 << 20));
            let open = |path: &PathBuf| StoredFile::open(path.clone(), Arc::clone(&footers)).map(Arc::new);
            let files: Vec<Arc<StoredFile>> = self.runs.iter().map(open).collect::<io::Result<_>>()?;
            Merge::of_files(&files)?.try_for_each(|batch| writer.write(&batch?))?;
        }
        writer.finish()?;
        fs::rename(part, &self.wanted)
    }

    fn cut(&mut self) -> io::Result<()> {
        if self.builder.is_empty() {
            return Ok(());
        }
        self.rows += self.builder.len();
        self.batches.push(self.builder.finish().map_err(io::Error::other)?);
        if self.rows >= RUN_ROWS { self.run() } else { Ok(()) }
    }

    /// Takes what is in memory into a file of its own.
    fn run(&mut self) -> io::Result<()> {
        if self.batches.is_empty() {
            return Ok(());
        }
        let path = self.beside(&format!(".run{}", self.runs.len()));
        let mut writer = FileWriter::create(&path, Level::L0)?;
        self.runs.push(path);
        sorted(&self.batches).try_for_each(|batch| writer.write(&batch?))?;
        writer.finish()?;
        (self.rows, self.batches) = (0, Vec::new());
        Ok(())
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut name = self.wanted.file_name().unwrap_or_default().to_owned();
        name.push(end);
        self.wanted.with_file_name(name)
    }
}

impl Drop for RowFile {
    fn drop(&mut self) {
        for path in self.runs.iter().chain([&self.beside(".part")]) {
            // Gone already when all went well.
            drop(fs::remove_file(path));
        }
    }
}
