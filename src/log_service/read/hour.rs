//! Hour files by name: `2026-11-21/09.jsonl`, then `09.1.jsonl` when the first had to be sealed. All in UTC.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// An hour in UTC, counted from the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hour(i64);

impl Hour {
    pub(crate) fn of(time: Timestamp) -> Self {
        Self(time.as_second().div_euclid(3600))
    }

    fn parse(day: &str, hour: &str) -> Option<Self> {
        let day: Date = day.parse().ok()?;
        let hour: i8 = hour.parse().ok().filter(|hour| (0..24).contains(hour))?;
        let time = day.at(hour, 0, 0, 0).to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(Self::of(time))
    }
}

/// One file of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HourFile {
    pub(crate) hour: Hour,
    /// 0 for the first file of an hour.
    pub(crate) part: u32,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    /// The file is sealed: only so many bytes of it are known to be good.
    pub(crate) good_bytes: Option<u64>,
}

impl HourFile {
    fn read(day: &str, path: PathBuf) -> Option<Self> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
        let (number, part) = stem.split_once('.').unwrap_or((stem, "0"));
        let (hour, part) = (Hour::parse(day, number)?, part.parse().ok()?);
        let size = fs::metadata(&path).ok()?.len();
        let suspect = fs::read_to_string(suspect_path(&path)).ok();
        // A mark that cannot be read was being written when the disk failed: trust nothing of the file's end.
        let good_bytes = suspect.map(|text| text.trim().parse().unwrap_or(0));
        Some(Self { hour, part, path, size, good_bytes })
    }
}

/// Where the mark of a sealed file stands.
pub(crate) fn suspect_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".suspect");
    PathBuf::from(name)
}

/// All hour files of a directory, oldest first.
pub(crate) fn list(data: &Path) -> io::Result<Vec<HourFile>> {
    let mut files = Vec::new();
    for day in fs::read_dir(data)? {
        let day = day?;
        let name = day.file_name();
        if let Some(name) = name.to_str().filter(|name| name.parse::<Date>().is_ok()) {
            files.extend(files_of_day(name, &day.path())?);
        }
    }
    files.sort_by_key(|file| (file.hour, file.part));
    Ok(files)
}

fn files_of_day(name: &str, path: &Path) -> io::Result<Vec<HourFile>> {
    let mut files = Vec::new();
    for file in fs::read_dir(path)? {
        files.extend(HourFile::read(name, file?.path()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_by_day_and_hour_in_utc() {
        let hour = Hour::of("2026-11-21T10:14:03.5+01:00".parse().unwrap());
        assert_eq!(Hour::parse("2026-11-21", "09"), Some(hour));
        assert_eq!(Hour::parse("2026-11-21", "24"), None);
    }

    #[test]
    fn lists_in_order_and_passes_over_strangers() {
        let data = tempfile::tempdir().unwrap();
        for name in
            ["2026-11-22/00.jsonl", "2026-11-21/09.jsonl", "2026-11-21/09.1.jsonl", "2026-11-21/x", "n/1"]
        {
            let path = data.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "abc").unwrap();
        }
        fs::write(data.path().join("2026-11-21/09.jsonl.suspect"), "2\n").unwrap();
        let files = list(data.path()).unwrap();
        let seen: Vec<_> = files.iter().map(|f| (f.part, f.size, f.good_bytes)).collect();
        assert_eq!(seen, [(0, 3, Some(2)), (1, 3, None), (0, 3, None)]);
    }
}
