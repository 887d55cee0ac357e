//! A start: what the log holds that is in no file of the store yet.

use std::fs::File;
use std::io;

use super::files::Files;
use super::replay::{self, Replayed};
use super::rows::Rows;
use super::streams::Streams;
use super::wal_mark::Mark;
use super::{Counts, Settings, flush, lost, wal_files};
use crate::log_service::entry::Entry;
use crate::log_service::rollup;

/// What a start finds in the log.
pub(super) struct Recovered {
    /// Rows that no file of the store has yet.
    pub(super) rows: Rows,
    /// The log is in the files of the store up to this file.
    pub(super) covered: u64,
    /// The highest number that a file of the log had.
    pub(super) last: u64,
    /// What must be declared lost.
    pub(super) lost: Vec<Entry>,
}

/// Reads the log again, one of its files after the other. Rows become files of the store as soon as there are many, so that
/// a start takes no more memory than the work before; not of a log that is damaged, as the file of the store would take the
/// place of what shows the damage, and a start that dies then would forget to declare it.
pub(super) fn recover(
    settings: &Settings,
    files: &Files,
    known: &mut Streams,
    counts: &Counts,
) -> io::Result<Recovered> {
    let data = &settings.data;
    let before = flush::covered_by(files.wal());
    let (mut covered, mut last) = (before, before);
    for file in wal_files::list(data)? {
        last = last.max(file.number);
        if file.number <= before {
            file.remove()?;
        }
    }
    rollup::remove_unless_covered(data, before)?;
    let log = replay::uncovered(data, before)?;
    for file in &log {
        // What only the page cache holds would be called stored when its sender repeats it.
        File::open(&file.path)?.sync_all()?;
    }
    let mark = Mark::open(data);
    // How far each file can be read; before it is read, how long it is.
    let mut places: Vec<(u64, u64)> = log.iter().map(|file| (file.number, file.size)).collect();
    let (mut rows, mut replayed) = (Rows::new(), Replayed::default());
    for file in &log {
        let read = replay::replay(std::slice::from_ref(file), &mut rows, known)?;
        places.retain(|(number, _)| *number != file.number);
        places.extend(&read.places);
        replayed.add(read);
        if rows.bytes() >= settings.hot_bytes && !mark.told().misses(before, &places) {
            let full = std::mem::replace(&mut rows, Rows::new());
            match flush::at_once(files, full, file.number, known.changed()) {
                Ok(()) => {
                    covered = file.number;
                    drop(known.take_changed());
                }
                // On a full disk: the service starts all the same, with what it has.
                Err((error, full)) => {
                    tracing::error!(%error, "rows of an earlier run could not be put into a file");
                    rows = *full;
                }
            }
        }
    }
    Counts::add(&counts.cut_bytes, replayed.torn);
    Counts::add(&counts.damaged_bytes, replayed.damaged);
    if replayed.torn > 0 || replayed.damaged > 0 {
        tracing::warn!(
            half_written = replayed.torn,
            damaged = replayed.damaged,
            rows = replayed.rows,
            "read the log of an earlier run: passed over bytes that are no whole block"
        );
    }
    let now = (settings.clock)();
    let mut lost = lost::of_files(files.gone(), now);
    if mark.told().misses(before, &places) {
        lost.extend(mark.told().lost(known, now));
    }
    Ok(Recovered { rows, covered, last, lost })
}
