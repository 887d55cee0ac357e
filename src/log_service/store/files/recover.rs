//! What a crash has left beside the files that count.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Disk, TEMPORARY};
use crate::log_service::store::manifest::{Edit, FileEntry, Manifest};

const FILE: &str = ".parquet";
const ORPHAN: &str = ".orphan";

/// Deletes temporary and unlisted files, and takes files that are gone out of the manifest; returns these.
pub(super) fn recover(data: &Path, disk: &Disk, manifest: &mut Manifest) -> io::Result<Vec<FileEntry>> {
    let found = found(data)?;
    let listed: HashSet<PathBuf> = manifest.state().files.values().map(|entry| entry.path(data)).collect();
    let has_files = found.iter().any(|path| has_end(path, FILE));
    // Somebody has taken the manifest away: what it listed is not ours to delete.
    let is_lost = manifest.is_damaged() || (manifest.is_new() && has_files);
    for path in found.iter().filter(|path| !listed.contains(*path)) {
        if has_end(path, TEMPORARY) || (has_end(path, FILE) && !is_lost) {
            tracing::info!(file = %path.display(), "deleted what a crash has left");
            disk.remove(path)?;
        } else if has_end(path, FILE) {
            let mut orphan = path.clone().into_os_string();
            orphan.push(ORPHAN);
            tracing::error!(file = %path.display(), "the manifest does not list this file; kept under another name");
            disk.rename(path, Path::new(&orphan))?;
        }
    }
    let found: HashSet<&PathBuf> = found.iter().collect();
    let files = manifest.state().files.values();
    let gone: Vec<FileEntry> = files.filter(|entry| !found.contains(&entry.path(data))).cloned().collect();
    if !gone.is_empty() {
        tracing::error!(files = gone.len(), "files of the log store have disappeared");
        let remove = gone.iter().map(|entry| entry.number).collect();
        manifest.apply(Edit { remove, ..Edit::default() })?;
    }
    Ok(gone)
}

fn has_end(path: &Path, end: &str) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(end.as_bytes()))
}

/// Everything in `d=…/h=…/`.
fn found(data: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for day in folders(data, "d=")? {
        for hour in folders(&day, "h=")? {
            for entry in fs::read_dir(hour)? {
                files.push(entry?.path());
            }
        }
    }
    Ok(files)
}

fn folders(parent: &Path, start: &str) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(start.as_bytes()) && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}
