//! Files of rollups: `"TGR1" │ CRC-32C of the rest u32 │ length before compression u32 │ LZ4 block of a JSON array`.
//!
//! ```text
//! roll/000017_29640014-29640018.tgr                minutes 29640014 to 29640018 of the rows of the log up to file 17
//! roll/000017.tgr                                  the same, of an earlier version
//! roll/hours/000001-000012_494000-494001.tgr       hours 494000 to 494001 of the rows of log files 1 to 12
//! roll/hours/000001-000288_494000-494023.merged.tgr    of log files 1 to 288, made of 24 such files
//! ```
//!
//! A file of hours whose numbers lie within those of another is what is left of a merge, and does not count.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crc_fast::{CrcAlgorithm, checksum};

use super::cell::Packed;

const MAGIC: &[u8] = b"TGR1";
const HEAD: usize = 8;
/// Longest content before compression.
const MAX_LEN: usize = 1 << 30;
/// LZ4 makes at most this much of a byte, so a length beyond it is not believed.
const MAX_RATIO: usize = 256;
const END: &str = ".tgr";
const MERGED: &str = ".merged";

fn directory(data: &Path) -> PathBuf {
    data.join("roll")
}

fn hours_directory(data: &Path) -> PathBuf {
    data.join("roll").join("hours")
}

/// Minutes of the rows of one part of the log.
#[derive(Clone, Debug)]
pub(super) struct MinuteFile {
    pub(super) number: u64,
    /// First and last minute since the Unix epoch; older files and those of no minute do not say.
    pub(super) minutes: Option<(i64, i64)>,
    pub(super) path: PathBuf,
}

impl MinuteFile {
    fn named(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(END)?;
        let (number, minutes) = match name.split_once('_') {
            Some((number, minutes)) => (number, Some(span_of(minutes)?)),
            None => (name, None),
        };
        Some(Self { number: number.parse().ok()?, minutes, path })
    }
}

/// Two numbers with a hyphen in between.
fn span_of(text: &str) -> Option<(i64, i64)> {
    // A clock before 1970 gives numbers below zero, of which the first sign is none that divides.
    let at = text.get(1..)?.find('-')? + 1;
    Some((text.get(..at)?.parse().ok()?, text.get(at + 1..)?.parse().ok()?))
}

/// Hours of the rows of several parts of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HourFile {
    /// First and last file of the log.
    pub(super) numbers: (u64, u64),
    /// First and last hour since the Unix epoch.
    pub(super) hours: (i64, i64),
    /// Made of other files of hours.
    pub(super) is_merged: bool,
    pub(super) path: PathBuf,
}

impl HourFile {
    pub(super) fn new(data: &Path, numbers: (u64, u64), hours: (i64, i64), is_merged: bool) -> Self {
        let kind = if is_merged { MERGED } else { "" };
        let name = format!("{:06}-{:06}_{}-{}{kind}{END}", numbers.0, numbers.1, hours.0, hours.1);
        Self { numbers, hours, is_merged, path: hours_directory(data).join(name) }
    }

    fn named(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(END)?;
        let (name, is_merged) = name.strip_suffix(MERGED).map_or((name, false), |name| (name, true));
        let (numbers, hours) = name.split_once('_')?;
        let (first, last) = numbers.split_once('-')?;
        let numbers = (first.parse().ok()?, last.parse().ok()?);
        Some(Self { numbers, hours: span_of(hours)?, is_merged, path })
    }

    fn is_within(&self, other: &Self) -> bool {
        let (own, other) = (self.numbers, other.numbers);
        own != other && other.0 <= own.0 && own.1 <= other.1
    }
}

/// Writes what was counted of the rows that the log holds up to file `covered`; durable when this returns. Counts that no
/// file can hold are lost, and told: the rows must not wait for them.
pub(crate) fn write(data: &Path, covered: u64, cells: &[Packed]) -> io::Result<()> {
    let minutes = cells.iter().map(|cell| cell.minute);
    let span = minutes.clone().min().zip(minutes.max());
    let span = span.map(|(first, last)| format!("_{first}-{last}")).unwrap_or_default();
    let path = directory(data).join(format!("{covered:06}{span}{END}"));
    match put(&path, cells) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            tracing::error!(%error, cells = cells.len(), "counts of a part of the log are lost");
            put(&path, &[])?;
        }
        written => written?,
    }
    // Of a try that failed later, with other rows.
    let others = minutes_of(data, covered).into_iter().filter(|other| *other != path);
    others.into_iter().try_for_each(fs::remove_file)
}

fn minutes_of(data: &Path, number: u64) -> Vec<PathBuf> {
    minutes(data).into_iter().filter(|file| file.number == number).map(|file| file.path).collect()
}

/// Writes a file that is there as a whole or not at all; durable when this returns. [`io::ErrorKind::FileTooLarge`]: [`read`]
/// would refuse it, and nothing was written.
pub(super) fn put(path: &Path, cells: &[Packed]) -> io::Result<()> {
    put_within(path, cells, MAX_LEN)
}

pub(super) fn put_within(path: &Path, cells: &[Packed], most: usize) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let raw = serde_json::to_vec(cells)?;
    if raw.len() > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut rest = u32::try_from(raw.len()).map_err(io::Error::other)?.to_le_bytes().to_vec();
    rest.extend_from_slice(&lz4_flex::block::compress(&raw));
    let crc = checksum(CrcAlgorithm::Crc32Iscsi, &rest) as u32;
    let temporary = directory.join("new.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&[MAGIC, &crc.to_le_bytes(), &rest].concat())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

/// Takes away what was counted of rows that are read from the log again. Hours of a log that is no longer known
/// (somebody took the manifest away) are put aside.
pub(crate) fn remove_unless_covered(data: &Path, covered: u64) -> io::Result<()> {
    for file in minutes(data).into_iter().filter(|file| file.number > covered) {
        fs::remove_file(file.path)?;
    }
    for file in hours(data).into_iter().filter(|file| file.numbers.1 > covered) {
        tracing::error!(file = %file.path.display(), "rollups of a log that is not known; kept under another name");
        let mut aside = file.path.clone().into_os_string();
        aside.push(".orphan");
        fs::rename(file.path, aside)?;
    }
    Ok(())
}

/// The files of minutes, oldest first.
pub(super) fn minutes(data: &Path) -> Vec<MinuteFile> {
    let mut files: Vec<MinuteFile> = paths(&directory(data)).filter_map(MinuteFile::named).collect();
    files.sort_unstable_by_key(|file| file.number);
    files
}

/// The files of hours that count, oldest first.
pub(super) fn hours(data: &Path) -> Vec<HourFile> {
    split_hours(data).0
}

/// The files of hours that count, oldest first, and what merges have left.
pub(super) fn split_hours(data: &Path) -> (Vec<HourFile>, Vec<HourFile>) {
    let all: Vec<HourFile> = paths(&hours_directory(data)).filter_map(HourFile::named).collect();
    let (left, mut counted): (Vec<HourFile>, Vec<HourFile>) =
        all.iter().cloned().partition(|file| all.iter().any(|other| file.is_within(other)));
    counted.sort_unstable_by_key(|file| file.numbers);
    (counted, left)
}

fn paths(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The cells of one file. It is believed only as a whole.
pub(super) fn read(path: &Path) -> io::Result<Vec<Packed>> {
    let bytes = fs::read(path)?;
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let (head, rest) = bytes.split_at_checked(HEAD).ok_or_else(bad)?;
    let crc = (checksum(CrcAlgorithm::Crc32Iscsi, rest) as u32).to_le_bytes();
    if head != [MAGIC, &crc].concat() {
        return Err(bad());
    }
    let (length, packed) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_LEN.min(packed.len().saturating_mul(MAX_RATIO)) {
        return Err(bad());
    }
    let raw = lz4_flex::block::decompress(packed, length).map_err(|_| bad())?;
    Ok(serde_json::from_slice(&raw)?)
}
