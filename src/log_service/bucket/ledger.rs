//! [`Ledger`]: which files a sink has, durably, in `sinks/NAME.jsonl` of the data directory.
//!
//! The first line says where they went and what was forgotten since, each further one a file that was taken, or some that were lost.
//! A line that a crash has torn is passed over: its file goes once more, as the same object. Files that are gone from the store are
//! forgotten at times, so that it does not grow.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::log_service::store::Lost;
use crate::process::replace::durably;

/// Lines that may be about files that are gone.
const SPARE_LINES: usize = 4096;
/// A ledger that is longer is none.
const MAX_LEN: u64 = 256 << 20;

/// What a sink has taken and lost in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Totals {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) lost_files: u64,
    pub(super) lost_bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Taken(Taken),
    Lost {
        lost_files: u64,
        lost_bytes: u64,
        at: String,
    },
    /// The first one.
    Head {
        to: String,
        before: Totals,
    },
}

/// A file that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) file: u64,
    pub(super) bytes: u64,
    pub(super) object: String,
    pub(super) sha256: String,
    pub(super) at: String,
}

/// What is known of one sink.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    path: PathBuf,
    /// Where the files go.
    to: String,
    /// What the lines of files that are kept do not say.
    before: Totals,
    taken: Vec<Taken>,
    /// Open for one more line; nothing before the first one, and after one that failed.
    file: Option<File>,
}

impl Ledger {
    /// A sink that has nothing; its first line takes the place of whatever is there.
    pub(super) fn empty(data: &Path, name: &str, to: &str) -> Self {
        let path = data.join("sinks").join(format!("{name}.jsonl"));
        Self { path, to: to.to_owned(), ..Self::default() }
    }

    /// Reads what is there. What went elsewhere does not count: all files go to the new place.
    ///
    /// # Errors
    /// Of the disk; a ledger that is not there is empty.
    pub(super) fn open(data: &Path, name: &str, to: &str) -> io::Result<Self> {
        let empty = Self::empty(data, name, to);
        match Self::look(&empty.path) {
            Ok(ledger) if ledger.to == to => Ok(ledger),
            Ok(Self { to: was, .. }) => {
                tracing::info!(sink = name, was, to, "a new place for log files: all that are kept go there");
                Ok(empty)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(empty),
            Err(error) => Err(error),
        }
    }

    /// What is there, wherever its files went.
    ///
    /// # Errors
    /// Of the disk; or it is no ledger.
    pub(super) fn look(path: &Path) -> io::Result<Self> {
        if fs::metadata(path)?.len() > MAX_LEN {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let text = fs::read(path)?;
        let mut lines = text.split(|&byte| byte == b'\n');
        let Some(Ok(Line::Head { to, before })) = lines.next().map(serde_json::from_slice) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut ledger = Self { path: path.to_owned(), to, before, ..Self::default() };
        lines.for_each(|line| ledger.read(line));
        Ok(ledger)
    }

    /// Makes one of a sink that has none, so that who looks at the directory knows of it before it has taken anything.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        if self.path.try_exists()? { Ok(()) } else { self.write_anew() }
    }

    fn read(&mut self, line: &[u8]) {
        match serde_json::from_slice(line) {
            Ok(Line::Taken(taken)) => self.taken.push(taken),
            Ok(Line::Lost { lost_files, lost_bytes, .. }) => self.add_lost(lost_files, lost_bytes),
            Ok(Line::Head { .. }) | Err(_) => {}
        }
    }

    /// Where its files went.
    pub(super) fn to(&self) -> &str {
        &self.to
    }

    /// When it took the last file that it remembers.
    pub(super) fn last_taken(&self) -> Option<&str> {
        self.taken.last().map(|taken| &*taken.at)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.taken.iter().map(|taken| taken.file)
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            files: self.before.files + self.taken.len() as u64,
            bytes: self.before.bytes + self.taken.iter().map(|taken| taken.bytes).sum::<u64>(),
            ..self.before
        }
    }

    /// Notes a file; durable when this returns.
    pub(super) fn take(&mut self, taken: Taken) -> io::Result<()> {
        self.taken.push(taken.clone());
        self.append(&Line::Taken(taken))
    }

    /// Notes files that will never come.
    pub(super) fn lose(&mut self, lost: Lost, at: String) -> io::Result<()> {
        self.add_lost(lost.files, lost.bytes);
        self.append(&Line::Lost { lost_files: lost.files, lost_bytes: lost.bytes, at })
    }

    fn add_lost(&mut self, files: u64, bytes: u64) {
        let before = &mut self.before;
        before.lost_files = before.lost_files.saturating_add(files);
        before.lost_bytes = before.lost_bytes.saturating_add(bytes);
    }

    /// Whether many of its files are gone.
    pub(super) fn is_long(&self, live: &BTreeSet<u64>) -> bool {
        self.taken.len() > live.len() + SPARE_LINES
    }

    /// Forgets files that are gone.
    pub(super) fn tidy(&mut self, live: &BTreeSet<u64>) -> io::Result<()> {
        let totals = self.totals();
        self.taken.retain(|taken| live.contains(&taken.file));
        self.before = Totals::default();
        let kept = self.totals();
        self.before = Totals { files: totals.files - kept.files, bytes: totals.bytes - kept.bytes, ..totals };
        self.write_anew()
    }

    /// What could not be appended is in memory: then all of it is written anew.
    fn append(&mut self, line: &Line) -> io::Result<()> {
        let Some(mut file) = self.file.take() else { return self.write_anew() };
        file.write_all(&json_line(line)?)?;
        file.sync_data()?;
        self.file = Some(file);
        Ok(())
    }

    fn write_anew(&mut self) -> io::Result<()> {
        self.file = None;
        let mut text = json_line(&Line::Head { to: self.to.clone(), before: self.before })?;
        for taken in &self.taken {
            text.extend(json_line(&Line::Taken(taken.clone()))?);
        }
        fs::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))?;
        durably(&self.path, &text, 0o640)?;
        self.file = Some(File::options().append(true).open(&self.path)?);
        Ok(())
    }
}

fn json_line(line: &Line) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(file: u64) -> Taken {
        let text = |text: &str| text.to_owned();
        Taken { file, bytes: 10, object: text("o"), sha256: text("h"), at: text("2026-11-22T09:00:00Z") }
    }

    fn read(data: &Path) -> (Vec<u64>, Totals) {
        let ledger = Ledger::open(data, "a", "x").unwrap();
        (ledger.numbers().collect(), ledger.totals())
    }

    #[test]
    fn what_was_taken_and_lost_is_known_again() {
        let data = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(data.path(), "a", "x").unwrap();
        (1..=3).for_each(|file| ledger.take(taken(file)).unwrap());
        ledger.lose(Lost { files: 2, bytes: 7 }, "now".to_owned()).unwrap();
        let totals = Totals { files: 3, bytes: 30, lost_files: 2, lost_bytes: 7 };
        assert_eq!(ledger.totals(), totals);
        assert_eq!(read(data.path()), (vec![1, 2, 3], totals));
        // The next one writes it anew.
        let mut ledger = Ledger::open(data.path(), "a", "x").unwrap();
        ledger.take(taken(4)).unwrap();
        ledger.take(taken(5)).unwrap();
        let totals = Totals { files: 5, bytes: 50, ..totals };
        assert_eq!(read(data.path()), (vec![1, 2, 3, 4, 5], totals));
        assert_eq!(read(data.path()).1, ledger.totals());
    }

    #[test]
    fn a_torn_line_costs_only_itself_wherever_it_is_torn() {
        let data = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(data.path(), "a", "x").unwrap();
        ledger.take(taken(1)).unwrap();
        let whole = fs::read(&ledger.path).unwrap().len();
        ledger.take(taken(2)).unwrap();
        let text = fs::read(&ledger.path).unwrap();
        // Without its end alone a line is whole.
        for end in whole..text.len() - 1 {
            fs::write(&ledger.path, &text[..end]).unwrap();
            assert_eq!(read(data.path()).0, [1], "{end}");
            let mut next = Ledger::open(data.path(), "a", "x").unwrap();
            next.take(taken(3)).unwrap();
            assert_eq!(read(data.path()).0, [1, 3], "{end}");
        }
    }

    #[test]
    fn another_place_has_nothing_and_what_is_no_ledger_is_said() {
        let data = tempfile::tempdir().unwrap();
        Ledger::open(data.path(), "a", "x").unwrap().take(taken(1)).unwrap();
        assert_eq!(Ledger::open(data.path(), "a", "y").unwrap().numbers().count(), 0);
        assert_eq!(Ledger::open(data.path(), "b", "x").unwrap().numbers().count(), 0);
        fs::write(data.path().join("sinks/a.jsonl"), "nonsense\n").unwrap();
        assert!(Ledger::open(data.path(), "a", "x").is_err());
    }

    #[test]
    fn files_that_are_gone_are_forgotten_and_stay_counted() {
        let data = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(data.path(), "a", "x").unwrap();
        ledger.taken = (0..5000).map(taken).collect();
        ledger.lose(Lost { files: 1, bytes: 1 }, String::new()).unwrap();
        let totals = ledger.totals();
        assert!(!ledger.is_long(&(0..4000).collect()) && ledger.is_long(&BTreeSet::from([4999])));
        ledger.tidy(&BTreeSet::from([4999])).unwrap();
        assert_eq!(ledger.totals(), totals);
        assert_eq!(read(data.path()), (vec![4999], totals));
        ledger.take(taken(5001)).unwrap();
        assert_eq!(read(data.path()), (vec![4999, 5001], Totals { files: 5001, bytes: 50_010, ..totals }));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn whatever_stands_there_is_read_without_harm(
            more in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        ) {
            let data = tempfile::tempdir().unwrap();
            let mut ledger = Ledger::open(data.path(), "a", "x").unwrap();
            ledger.take(taken(1)).unwrap();
            let mut text = fs::read(&ledger.path).unwrap();
            text.extend(more);
            fs::write(&ledger.path, text).unwrap();
            proptest::prop_assert!(read(data.path()).0.contains(&1));
        }
    }
}
