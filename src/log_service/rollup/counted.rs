//! [`Counted`]: everything that is counted at one moment, in memory and in files; [`Kept`], what of it stays in memory.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cell::Packed;
use super::files::{self, HourFile, MinuteFile};
use super::host::Host;
use super::hours::last_merged;

/// Files that go while they are read are looked for again.
const TRIES: usize = 5;

/// What was counted of the rows of one part of the log.
struct Generation {
    number: u64,
    cells: Arc<Vec<Packed>>,
    bytes: usize,
}

/// What was counted last, within a bound of memory; all but the newest is in files too.
pub(crate) struct Kept {
    generations: VecDeque<Arc<Generation>>,
    /// The last part of the log that was counted.
    last: u64,
    most_bytes: usize,
}

impl Kept {
    /// Of a log that is in files up to file `covered`.
    pub(crate) fn new(covered: u64, most_bytes: usize) -> Self {
        Self { generations: VecDeque::new(), last: covered, most_bytes }
    }

    /// Adds what was counted up to file `number` of the log. Everything before it is in files by now.
    pub(crate) fn add(&mut self, number: u64, cells: Arc<Vec<Packed>>) {
        while self.generations.iter().map(|kept| kept.bytes).sum::<usize>() > self.most_bytes {
            self.generations.pop_front();
        }
        let bytes = cells.iter().map(Packed::bytes).sum();
        self.generations.push_back(Arc::new(Generation { number, cells, bytes }));
        self.last = self.last.max(number);
    }

    /// What is counted now; `newest` is of rows that are in no finished part of the log.
    pub(crate) fn counted(&self, data: &Path, newest: Vec<Packed>) -> Counted {
        let generations = self.generations.iter().map(Arc::clone).collect();
        Counted { data: data.to_owned(), generations, newest, last: self.last }
    }
}

/// What is counted at one moment.
pub(crate) struct Counted {
    data: PathBuf,
    generations: Vec<Arc<Generation>>,
    newest: Vec<Packed>,
    /// Later files belong to rows that are in `newest`.
    last: u64,
}

/// What is to be read: minutes of an hour and later, hours before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Minutes since the Unix epoch, the second not included.
    pub(super) since: i64,
    pub(super) until: i64,
    /// Minutes are kept from this hour on, counted from the Unix epoch; before there are sums of hours only.
    pub(super) first_hour: i64,
    /// Whether these are wanted.
    pub(super) with_hours: bool,
}

impl Wanted {
    /// Whether a file may have something of it. Of its hours any minute may be asked for, of which the whole hour counts.
    fn reaches(&self, file: &MinuteFile) -> bool {
        file.minutes.is_none_or(|(first, last)| {
            last.saturating_add(60) > self.since && first.saturating_sub(60) < self.until
        })
    }
}

/// Takes one cell; breaks when it is too much.
type Each<'e> = dyn FnMut(&Packed) -> ControlFlow<()> + 'e;

impl Counted {
    /// [`Self::each`], of host facts: gives the minute and what was said in it.
    pub(super) fn each_host<T>(
        &self,
        wanted: Wanted,
        begin: &dyn Fn() -> T,
        each: &mut dyn FnMut(&mut T, i64, &Host) -> ControlFlow<()>,
    ) -> io::Result<(T, usize)> {
        self.each_of_all(wanted, begin, &mut |sums, cell| match &cell.host {
            Some(host) => each(sums, cell.minute, host),
            None => ControlFlow::Continue(()),
        })
    }

    /// Gives every cell of requests of the time that is wanted, each row counted in exactly one. Starts from nothing again with what
    /// `begin` gives when a file has gone meanwhile. Returns with it how many files could not be read.
    pub(super) fn each<T>(
        &self,
        wanted: Wanted,
        begin: &dyn Fn() -> T,
        each: &mut dyn FnMut(&mut T, &Packed) -> ControlFlow<()>,
    ) -> io::Result<(T, usize)> {
        self.each_of_all(wanted, begin, &mut |sums, cell| match cell.host {
            Some(_) => ControlFlow::Continue(()),
            None => each(sums, cell),
        })
    }

    fn each_of_all<T>(
        &self,
        wanted: Wanted,
        begin: &dyn Fn() -> T,
        each: &mut dyn FnMut(&mut T, &Packed) -> ControlFlow<()>,
    ) -> io::Result<(T, usize)> {
        let mut tries = 0;
        loop {
            let mut sums = begin();
            tries += 1;
            match self.try_each(wanted, &mut |cell| each(&mut sums, cell)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
                Err(error) => return Err(error),
                Ok(unread) => return Ok((sums, unread)),
            }
        }
    }

    fn try_each(&self, wanted: Wanted, each: &mut Each<'_>) -> io::Result<usize> {
        let mut unread = 0;
        // Hours first: what is merged meanwhile stays a file of minutes for a day.
        let mut hours = files::hours(&self.data);
        hours.retain(|file| file.numbers.1 <= self.last);
        let merged = last_merged(&hours);
        for file in hours.iter().filter(|file| wanted.with_hours && reaches(file, wanted)) {
            let Some(cells) = cells_of(&file.path)? else {
                unread += 1;
                continue;
            };
            let is_hour = |cell: &&Packed| hour_of(cell) < wanted.first_hour && in_hours(cell, wanted);
            if cells.iter().filter(is_hour).try_for_each(&mut *each).is_break() {
                return Ok(unread);
            }
        }
        // In hours already: only what is asked by the minute counts of it.
        let counts = |number: u64, cell: &Packed| {
            let is_minute = hour_of(cell) >= wanted.first_hour;
            match is_minute {
                true => wanted.since <= cell.minute && cell.minute < wanted.until,
                false => number > merged && wanted.with_hours && in_hours(cell, wanted),
            }
        };
        let in_memory: HashSet<u64> = self.generations.iter().map(|kept| kept.number).collect();
        let in_files = files::minutes(&self.data).into_iter();
        let is_wanted = |file: &MinuteFile| file.number <= self.last && !in_memory.contains(&file.number);
        for file in in_files.filter(is_wanted).filter(|file| wanted.reaches(file)) {
            let Some(cells) = cells_of(&file.path)? else {
                unread += 1;
                continue;
            };
            if cells.iter().filter(|cell| counts(file.number, cell)).try_for_each(&mut *each).is_break() {
                return Ok(unread);
            }
        }
        let kept = self.generations.iter().flat_map(|kept| kept.cells.iter().map(|cell| (kept.number, cell)));
        let newest = self.newest.iter().map(|cell| (u64::MAX, cell));
        let mut cells = kept.chain(newest).filter(|(number, cell)| counts(*number, cell));
        let _ = cells.try_for_each(|(_, cell)| each(cell));
        Ok(unread)
    }
}

fn hour_of(cell: &Packed) -> i64 {
    cell.minute.div_euclid(60)
}

/// An hour counts as a whole when its end is asked for.
fn in_hours(cell: &Packed, wanted: Wanted) -> bool {
    let start = hour_of(cell) * 60;
    start + 60 > wanted.since && start < wanted.until
}

fn reaches(file: &HourFile, wanted: Wanted) -> bool {
    let (first, last) = file.hours;
    first < wanted.first_hour
        && (last + 1).saturating_mul(60) > wanted.since
        && first.saturating_mul(60) < wanted.until
}

/// Nothing of what cannot be read, which is told; what is gone is an error.
fn cells_of(path: &Path) -> io::Result<Option<Vec<Packed>>> {
    match files::read(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), %error, "rollups cannot be read");
            Ok(None)
        }
        read => read.map(Some),
    }
}
