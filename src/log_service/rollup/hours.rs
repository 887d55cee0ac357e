//! Hours: the minutes of some parts of the log, added up, kept long after the minutes are gone.
//!
//! A part of the log is in exactly one file of hours that counts, so hours are the sum of all their minutes whenever rows
//! came. A merge writes its file under a name that covers those it is made of, and only then takes them away.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::cell::{Cell, Key, Packed};
use super::files::{self, HourFile, MinuteFile};
use super::{MAX_KEYS, rest};

const HOUR: i64 = 60;
/// Files of minutes that are added up at a time at least; a service makes one every five minutes.
const MINUTE_FILES: usize = 12;
/// Files of hours that become one, when there are twice as many.
const HOUR_FILES: usize = 24;
/// Hours and keys at a time; beyond it everything new is the rest of its hour.
const MAX_CELLS: usize = 1 << 15;
/// Files of minutes are deleted when they are so old: all their minutes are older than what is asked of minutes.
const MINUTES_KEPT: Duration = Duration::from_secs((super::KEPT_MINUTES as u64 + 60) * 60);

/// Adds minutes of the log up to file `covered` up to hours, when there are enough; drops minutes and hours (before hour
/// `oldest`, counted from the Unix epoch) that need not be kept.
pub(crate) fn keep_house(data: &Path, covered: u64, oldest: i64) -> io::Result<()> {
    merge_minutes(data, covered, MINUTE_FILES)?;
    merge_hours(data)?;
    let (counted, left) = files::split_hours(data);
    let merged = last_merged(&counted);
    let old = counted.into_iter().filter(|file| file.hours.1 < oldest).map(|file| file.path);
    let minutes = files::minutes(data).into_iter().filter(|file| file.number <= merged && is_old(&file.path));
    for path in left.into_iter().map(|file| file.path).chain(old).chain(minutes.map(|file| file.path)) {
        fs::remove_file(path)?;
    }
    Ok(())
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
    let (Some(first), Some(last)) = (new.first(), new.last()) else { return Ok(()) };
    if new.len() < least {
        return Ok(());
    }
    merge(data, (first.number, last.number), false, new.iter().map(|file| &*file.path))
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
    within.into_iter().try_for_each(|file| fs::remove_file(file.path))
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
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(file = %path.display(), %error, "rollups cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    let cells = hours.packed();
    let span = cells.iter().map(|cell| cell.minute.div_euclid(HOUR));
    let span = (span.clone().min().unwrap_or(0), span.max().unwrap_or(0));
    files::put(&HourFile::new(data, numbers, span, is_merged).path, &cells)
}

fn is_old(path: &Path) -> bool {
    let written = fs::metadata(path).and_then(|metadata| metadata.modified());
    written.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > MINUTES_KEPT))
}

/// Cells by hour.
#[derive(Default)]
struct Hours(BTreeMap<(i64, Key), Cell>);

impl Hours {
    fn add(&mut self, packed: &Packed) {
        let hour = packed.minute.div_euclid(HOUR);
        let place = (hour, packed.key.clone());
        let is_full = self.0.len() >= MAX_CELLS && !self.0.contains_key(&place);
        let place = if is_full { (hour, rest()) } else { place };
        self.0.entry(place).or_insert_with(Cell::new).merge(&packed.open());
    }

    /// By hour the largest, and the others as one.
    fn packed(self) -> Vec<Packed> {
        let mut hours: BTreeMap<i64, Vec<(Key, Cell)>> = BTreeMap::new();
        for ((hour, key), cell) in self.0 {
            hours.entry(hour).or_default().push((key, cell));
        }
        let mut all = Vec::new();
        for (hour, mut cells) in hours {
            cells.sort_by_key(|(_, cell)| std::cmp::Reverse(cell.count));
            let mut others = Cell::new();
            let small = cells.split_off(cells.len().min(MAX_KEYS));
            small.iter().for_each(|(_, cell)| others.merge(cell));
            if !small.is_empty() {
                match cells.iter_mut().find(|(key, _)| *key == rest()) {
                    Some((_, known)) => known.merge(&others),
                    None => cells.push((rest(), others)),
                }
            }
            all.extend(cells.into_iter().map(|(key, cell)| Packed::new(hour * HOUR, key, &cell)));
        }
        all
    }
}
