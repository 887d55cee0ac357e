//! [`Mark`]: how far the log had come, beside its files, to notice at a start what is gone of them: a file that is not
//! there, or that ends early, says nothing itself.
//!
//! `wal/mark` has two slots of 8 KiB at 0 and 8192, written in turn before senders are answered; the newer one with a right
//! checksum counts. A slot is `CRC-32C of the rest u32 │ length u32 │ generation u64 │ JSON`, little endian. It is not synced:
//! it need only survive the process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::streams::Streams;
use super::{lost, wal_files};
use crate::log_service::entry::{Entry, Stream};

const NAME: &str = "mark";
const SLOT: usize = 8192;
const HEAD: usize = 16;
/// Most that are remembered: the newest.
const FILES: usize = 64;
const STREAMS: usize = 64;
/// Of more pieces the whole span is declared: what came of it counts all the same.
const GAPS: usize = 256;

/// What a mark says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Number and length of the log's files.
    files: Vec<(u64, u64)>,
    /// Proxy, boot, core and last number, those that came last at the end.
    streams: Vec<(String, u64, u64, u64)>,
}

/// The mark as it is written.
#[derive(Debug, Default)]
pub(super) struct Mark {
    path: PathBuf,
    file: Option<File>,
    generation: u64,
    told: Told,
}

impl Told {
    /// Whether files behind `covered` are gone or shorter than they were; `read` is how far each could be read.
    pub(super) fn misses(&self, covered: u64, read: &[(u64, u64)]) -> bool {
        self.files
            .iter()
            .filter(|(number, _)| *number > covered)
            .any(|&(number, bytes)| !read.iter().any(|&(found, place)| found == number && place >= bytes))
    }

    /// Gap records for the numbers that were stored and are not `known`.
    pub(super) fn lost(&self, known: &mut Streams, now: Timestamp) -> Vec<Entry> {
        let mut gaps = Vec::new();
        for (proxy, boot, core, last) in &self.streams {
            let stream = Stream { proxy: proxy.as_str().into(), boot: *boot, core: *core };
            let missing = known.undeclared(&stream, *last);
            for (first, last) in missing.into_iter().take(GAPS) {
                gaps.extend(lost::gap((proxy, *boot, *core), (first, last), "wal_damaged", now));
            }
        }
        gaps
    }
}

impl Mark {
    pub(super) fn open(data: &Path) -> Self {
        let path = wal_files::directory(data).join(NAME);
        let (generation, told) = read(&path).unwrap_or_default();
        Self { path, file: None, generation, told }
    }

    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// These numbers are in the log; written down with [`Self::store`].
    pub(super) fn note(&mut self, stream: &Stream, last: u64) {
        let streams = &mut self.told.streams;
        let same = |one: &(String, u64, u64, u64)| {
            one.1 == stream.boot && one.2 == stream.core && *one.0 == *stream.proxy
        };
        if let Some(known) = streams.iter_mut().find(|one| same(one)) {
            known.3 = known.3.max(last);
            return;
        }
        if streams.len() >= STREAMS {
            streams.remove(0);
        }
        streams.push((stream.proxy.to_string(), stream.boot, stream.core, last));
    }

    /// File `number` of the log has so many bytes now.
    pub(super) fn store(&mut self, number: u64, bytes: u64) -> io::Result<()> {
        let files = &mut self.told.files;
        let is_new = files.last().is_none_or(|(known, _)| *known != number);
        let folder = self.path.parent();
        // What was put into files of the store is not missed.
        let is_there = |known: u64| folder.is_some_and(|folder| wal_files::file_in(folder, known).exists());
        files.retain(|&(known, _)| known != number && (!is_new || is_there(known)));
        if files.len() >= FILES {
            files.remove(0);
        }
        files.push((number, bytes));
        self.generation += 1;
        let slot = slot(self.generation, &mut self.told)?;
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                OpenOptions::new().create(true).truncate(false).write(true).mode(0o640).open(&self.path)?
            }
        };
        file.write_all_at(&slot, self.generation % 2 * SLOT as u64)?;
        self.file = Some(file);
        Ok(())
    }
}

/// Of streams with long names as many as have room.
fn slot(generation: u64, told: &mut Told) -> io::Result<Vec<u8>> {
    let mut json = serde_json::to_vec(told)?;
    while json.len() > SLOT - HEAD && !told.streams.is_empty() {
        told.streams.remove(0);
        json = serde_json::to_vec(told)?;
    }
    let mut slot = vec![0; 4];
    slot.extend_from_slice(&(json.len() as u32).to_le_bytes());
    slot.extend_from_slice(&generation.to_le_bytes());
    slot.extend_from_slice(&json);
    let crc = crc_fast::crc32_iscsi(&slot[4..]);
    slot[..4].copy_from_slice(&crc.to_le_bytes());
    Ok(slot)
}

fn read(path: &Path) -> Option<(u64, Told)> {
    let file = File::open(path).ok()?;
    let slots = [0, SLOT as u64].into_iter().filter_map(|at| read_slot(&file, at));
    slots.max_by_key(|(generation, _)| *generation)
}

fn read_slot(file: &File, at: u64) -> Option<(u64, Told)> {
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, at).ok()?;
    let length = u32::from_le_bytes(*head[4..].first_chunk()?) as usize;
    let mut slot = vec![0; HEAD + length.min(SLOT - HEAD)];
    file.read_exact_at(&mut slot, at).ok()?;
    let is_right = crc_fast::crc32_iscsi(&slot[4..]) == u32::from_le_bytes(*slot.first_chunk()?);
    let generation = u64::from_le_bytes(*slot[8..].first_chunk()?);
    is_right.then(|| serde_json::from_slice(&slot[HEAD..]).ok())?.map(|told| (generation, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_stored_last_and_survives_a_torn_write() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(wal_files::directory(dir.path())).unwrap();
        let stream = Stream { proxy: "edge-1".into(), boot: 7, core: 0 };
        let mut mark = Mark::open(dir.path());
        for last in 1..=3 {
            mark.note(&stream, last);
            mark.store(1, last * 100).unwrap();
            assert_eq!(Mark::open(dir.path()).told(), mark.told());
        }
        let path = wal_files::directory(dir.path()).join(NAME);
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"xx", SLOT as u64 + 30).unwrap();
        assert_eq!(Mark::open(dir.path()).told().streams, [("edge-1".to_owned(), 7, 0, 2)]);
    }

    #[test]
    fn however_many_streams_there_are_the_newest_have_room() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(wal_files::directory(dir.path())).unwrap();
        let mut mark = Mark::open(dir.path());
        for core in 0..200 {
            mark.note(&Stream { proxy: "x".repeat(250).into(), boot: u64::MAX, core }, 1);
            std::fs::write(wal_files::file_in(&wal_files::directory(dir.path()), core), "").unwrap();
            mark.store(core, 1).unwrap();
        }
        let told = Mark::open(dir.path()).told().clone();
        assert_eq!((told.streams.last().unwrap().2, told.files.len()), (199, FILES));
    }
}
