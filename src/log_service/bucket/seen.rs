//! What the ledgers of a data directory say, for those who ask the disk and no service.
//!
//! Why nothing goes, and which files are refused at the moment, only the service knows.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ledger::Ledger;
use super::standing::{self, Waiting};
use crate::log_service::store::{ClosedFile, closed_files_in};

/// How each sink of a directory stands, by name. Writes nothing; a service may be running.
///
/// # Errors
/// Of the disk. A ledger that cannot be read is told as such: a service would put all files again.
pub(crate) fn told_by_ledgers(data: &Path) -> io::Result<Vec<Value>> {
    let paths = paths(data)?;
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    // Before the ledgers: what is taken in between is not told as waiting.
    let files = closed_files_in(data)?;
    Ok(paths.iter().filter_map(|path| of(path, &files)).collect())
}

fn paths(data: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = match fs::read_dir(data.join("sinks")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        folder => folder?,
    };
    let paths = folder.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    let is_ledger = |path: &PathBuf| path.extension().is_some_and(|end| end == "jsonl");
    let mut paths: Vec<_> = paths.into_iter().filter(is_ledger).collect();
    paths.sort();
    Ok(paths)
}

fn of(path: &Path, files: &[ClosedFile]) -> Option<Value> {
    let (ledger, err) = match Ledger::look(path) {
        Ok(ledger) => (ledger, None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => (Ledger::default(), Some(format!("its ledger cannot be read: {error}"))),
    };
    let has: BTreeSet<u64> = ledger.numbers().collect();
    let waiting = Waiting::of(files, |number| has.contains(&number));
    let mut told =
        standing::told(&path.file_stem()?.to_string_lossy(), ledger.to(), &waiting, ledger.totals());
    // What is under way, or in the way, is not on the disk.
    told["state"] = if err.is_some() { "unreadable" } else { "unknown" }.into();
    told["err"] = json!(err);
    told["last_taken"] = json!(ledger.last_taken());
    told["refused_files"] = Value::Null;
    Some(told)
}
