//! The store and the executor for a program outside the crate: `tests/bench/store.rs`. Nobody else needs this.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::columns::{Builder, Origin};
use super::exec::{self, Control, Parts, Question, WantedId};
use super::parquet::{FileWriter, Footers, Level, StoredFile, sorted};
use super::part::Part;
use crate::record::binary::{self, Tries};

/// Rows per batch while a file is made.
const BATCH: usize = 8192;
const PROXY: &str = "edge-1";
const BOOT: u64 = 1_795_252_000_000;

/// Writes one file of binary records, each with the core that it comes from. Returns its size in bytes.
///
/// # Errors
/// Those of writing, and a record that is none.
pub fn write(path: &Path, records: &mut dyn Iterator<Item = (u16, Vec<u8>)>) -> io::Result<u64> {
    let (mut builder, mut batches) = (Builder::new(BATCH), Vec::new());
    for (core, bytes) in records {
        let mut tries = Tries::default();
        let decoded = binary::decode(&bytes, &mut tries).map_err(io::Error::other)?;
        let origin = Origin { proxy: PROXY, boot: BOOT, core };
        let recv = decoded.record.ts_us.saturating_add(1_000_000);
        builder.push_record(&decoded, &origin, recv, "unix").map_err(io::Error::other)?;
        if builder.is_full() {
            batches.push(builder.finish().map_err(io::Error::other)?);
        }
    }
    batches.push(builder.finish().map_err(io::Error::other)?);
    let mut writer = FileWriter::create(path, Level::L1)?;
    for batch in sorted(&batches) {
        writer.write(&batch?)?;
    }
    Ok(writer.finish()?.1)
}

/// The files of a directory, open for questions.
pub struct Store(Parts);

impl Store {
    /// # Errors
    /// Those of reading the directory and the ends of its files.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let footers = Arc::new(Footers::new(10_000));
        let mut parts: Vec<Arc<dyn Part>> = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "parquet") {
                parts.push(Arc::new(StoredFile::open(path, Arc::clone(&footers))?));
            }
        }
        Ok(Self(Parts::new(parts)))
    }

    /// Rows and files.
    pub fn size(&self) -> (u64, usize) {
        (self.0.all().iter().map(|part| part.extent().rows).sum(), self.0.all().len())
    }

    /// Asks as over HTTP. Returns the answer, and how many rows were looked at.
    ///
    /// # Errors
    /// What is wrong with the question or the files, in words.
    pub fn ask(&self, question: &str, arguments: &[(&str, &str)]) -> Result<(Value, u64), String> {
        let question = Question::named(question).ok_or("no such question")?;
        let arguments: HashMap<String, String> =
            arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let control = Control::default();
        let answer = exec::answer(question, &arguments, Timestamp::now(), &self.0, &control);
        Ok((answer.map_err(|error| error.to_string())?, control.progress().0))
    }

    /// The rows with an id, without anything around.
    ///
    /// # Errors
    /// What is wrong with the id or the files, in words.
    pub fn lookup(&self, id: &str) -> Result<(Vec<String>, u64), String> {
        let wanted = WantedId::new(id).ok_or("the id is too short")?;
        let control = Control::default();
        let shown = exec::lookup(&self.0, &wanted, &control).map_err(|error| error.to_string())?;
        Ok((shown.records, control.progress().0))
    }
}
