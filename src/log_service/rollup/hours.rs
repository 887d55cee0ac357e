//! Hours: the minutes of some parts of the log, added up, kept long after the minutes are gone.
//!
//! A part of the log is in exactly one file of hours that counts, so hours are the sum of all their minutes whenever rows
//! came. A merge writes its file under a name that covers those it is made of, and only then takes them away.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::cell::{Cell, Key, Packed, pack};
use super::files::{self, HourFile, MinuteFile};
use super::host::Hosts;
use super::rest;

const HOUR: i64 = 60;
/// Files of minutes that are added up at a time at least; a service makes one every five minutes.
const MINUTE_FILES: usize = 12;
/// Files of hours that become one, when there are twice as many.
const HOUR_FILES: usize = 24;
/// Hours and keys at a time; beyond it everything new is the rest of its hour.
const MAX_CELLS: usize = 1 << 15;
/// Files of minutes are deleted when they are so old: all their minutes are older than what is asked of minutes.
const MINUTES_KEPT: Duration = Duration::from_secs((super::KEPT_MINUTES as u64 + 60) * 60);

/// Drops minutes and hours that need not be kept (hours are for `kept` after they were written, whatever time their rows
/// say), then adds minutes of the log up to file `covered` up to hours, when there are enough. What fails is told, and ends
/// nothing else: what is not added up counts all the same, and the next call tries again.
pub(crate) fn keep_house(data: &Path, covered: u64, kept: Duration) {
    drop_old(data, kept);
    for merged in [merge_minutes(data, covered, MINUTE_FILES), merge_hours(data)] {
        if let Err(error) = merged {
            tracing::warn!(%error, "counts of the log cannot be added up to hours");
        }
    }
}

/// Room is made first: on a full disk nothing else would go on.
fn drop_old(data: &Path, kept: Duration) {
    let (counted, left) = files::split_hours(data);
    let merged = last_merged(&counted);
    let minutes = files::minutes(data).into_iter();
    let minutes = minutes.filter(|file| file.number <= merged && is_older(&file.path, MINUTES_KEPT));
    let old = counted.into_iter().filter(|file| is_older(&file.path, kept)).map(|file| file.path);
    // Minutes before their hours: without these they would count as not added up.
    left.into_iter()
        .map(|file| file.path)
        .chain(minutes.map(|file| file.path))
        .chain(old)
        .for_each(|path| remove(&path));
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(file = %path.display(), %error, "a file of counts cannot be deleted");
    }
}

/// The last file of the log whose rows are in hours.
pub(super) fn last_merged(hours: &[HourFile]) -> u64 {
    hours.iter().map(|file| file.numbers.1).max().unwrap_or(0)
}

/// Adds up all minutes that are in no hours yet, when there are at least so many files.
pub(super) fn merge_minutes(data: &Path, covered: u64, least: usize) -> io::Result<()> {
    let merged = last_merged(&files::hours(data));
    let new: Vec<MinuteFile> = files::minutes(data)
        .into_iter()
        .filter(|file| (merged + 1..=covered).contains(&file.number))
        .collect();
    if new.len() < least { Ok(()) } else { merge_span(data, &new) }
}

/// One file of hours of all of them; of what one file cannot hold, several.
fn merge_span(data: &Path, new: &[MinuteFile]) -> io::Result<()> {
    let (Some(first), Some(last)) = (new.first(), new.last()) else { return Ok(()) };
    let merged = merge(data, (first.number, last.number), false, new.iter().map(|file| &*file.path));
    match merged {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge && new.len() > 1 => {
            let (older, newer) = new.split_at(new.len() / 2);
            merge_span(data, older)?;
            merge_span(data, newer)
        }
        merged => merged,
    }
}

/// Makes one file of the oldest of many small ones.
fn merge_hours(data: &Path) -> io::Result<()> {
    let mut small = files::hours(data);
    small.retain(|file| !file.is_merged);
    if small.len() < 2 * HOUR_FILES {
        return Ok(());
    }
    small.truncate(HOUR_FILES);
    // Others in between would lie within the name and no longer count.
    let numbers = (small[0].numbers.0, small[HOUR_FILES - 1].numbers.1);
    let within = files::hours(data)
        .into_iter()
        .filter(|file| numbers.0 <= file.numbers.0 && file.numbers.1 <= numbers.1);
    let within: Vec<HourFile> = within.collect();
    merge(data, numbers, true, within.iter().map(|file| &*file.path))?;
    within.iter().for_each(|file| remove(&file.path));
    Ok(())
}

fn merge<'p>(
    data: &Path,
    numbers: (u64, u64),
    is_merged: bool,
    paths: impl Iterator<Item = &'p Path>,
) -> io::Result<()> {
    let mut hours = Hours::default();
    for path in paths {
        match files::read(path) {
            Ok(cells) => cells.iter().for_each(|cell| hours.add(cell)),
            Err(error) if is_lost(&error) => {
                tracing::error!(file = %path.display(), %error, "counts of the log are lost: the file cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    let cells = hours.packed();
    let span = cells.iter().map(|cell| cell.minute.div_euclid(HOUR));
    let span = (span.clone().min().unwrap_or(0), span.max().unwrap_or(0));
    files::put(&HourFile::new(data, numbers, span, is_merged).path, &cells)
}

/// Whether trying again will not help: the content is damaged, or the disk is.
fn is_lost(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
        || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

fn is_older(path: &Path, than: Duration) -> bool {
    let written = fs::metadata(path).and_then(|metadata| metadata.modified());
    written.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > than))
}

/// Cells by hour.
#[derive(Default)]
struct Hours(BTreeMap<(i64, Key), Cell>, Hosts);

impl Hours {
    fn add(&mut self, packed: &Packed) {
        let hour = packed.minute.div_euclid(HOUR);
        if let Some(host) = &packed.host {
            return self.1.add(hour, host);
        }
        let place = (hour, packed.key.clone());
        let is_full = self.0.len() >= MAX_CELLS && !self.0.contains_key(&place);
        let place = if is_full { (hour, rest()) } else { place };
        // The rest of an hour that was never seen goes with what is there: absurd clocks must not take memory.
        let is_full = self.0.len() >= 2 * MAX_CELLS && !self.0.contains_key(&place);
        let first = self.0.first_key_value().filter(|_| is_full).map(|((hour, _), _)| *hour);
        let place = first.map_or(place, |hour| (hour, rest()));
        self.0.entry(place).or_insert_with(Cell::new).merge(&packed.open());
    }

    fn packed(&self) -> Vec<Packed> {
        let mut all = pack(self.0.iter().map(|((hour, key), cell)| (hour * HOUR, key, cell)));
        all.extend(self.1.packed(HOUR));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_clocks_do_not_take_memory() {
        let mut hours = Hours::default();
        let cell = Cell::new();
        for hour in 0..2 * MAX_CELLS as i64 + 1_000 {
            hours.0.entry((hour, rest())).or_insert_with(Cell::new);
            if hours.0.len() >= 2 * MAX_CELLS {
                break;
            }
        }
        for minute in [i64::MIN, -7_000_000, 900_000_000_000] {
            hours.add(&Packed::new(minute, Key::default(), &cell));
        }
        assert_eq!(hours.0.len(), 2 * MAX_CELLS);
    }
}
