//! [`Scan`]: the walk over lines that answers every question.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::hour::{self, Hour, HourFile};
use super::lines::{Lines, Next};
use super::report::Report;
use super::seen::Seen;
use crate::log_service::entry::Head;
use crate::log_service::line::{self, Line};
use crate::log_service::part::Extent;
use crate::log_service::query::Query;
use crate::log_service::store::View;

const BUFFER: usize = 256 << 10;
/// Entries are filed by receive time but asked for by their own time: clocks differ by so much at most …
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(1);
/// … and entries arrive so late at most (a long tunnel, a service that was down).
const ARRIVES_LATE: SignedDuration = SignedDuration::from_hours(24);

/// Go on or stop.
pub type Flow = ControlFlow<()>;

/// The times that are asked for: `since <= time < until`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Window {
    pub(in crate::log_service) fn is_open(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    pub(in crate::log_service) fn contains(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
    }

    /// Whether a time, microseconds since the Unix epoch, is asked for.
    pub(super) fn holds(&self, us: i64) -> bool {
        self.since.is_none_or(|since| since.as_microsecond() <= us)
            && self.until.is_none_or(|until| us < until.as_microsecond())
    }

    /// First and last time that is asked for, microseconds since the Unix epoch; nothing when all are.
    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        let first = self.since.map_or(i64::MIN, |since| since.as_microsecond());
        let last = self.until.map_or(i64::MAX, |until| until.as_microsecond());
        (!self.is_open()).then_some((first, last))
    }

    /// Whether what is asked for, or what proves that it is complete, may lie between these times.
    pub(super) fn may_lie_in(&self, first: i64, last: i64) -> bool {
        let near = CLOCKS_DIFFER.as_micros() as i64;
        self.since.is_none_or(|since| since.as_microsecond().saturating_sub(near) <= last)
            && self.until.is_none_or(|until| first < until.as_microsecond().saturating_add(near))
    }

    fn may_hold(&self, hour: Hour) -> bool {
        let first =
            self.since.map(|since| Hour::of(since.checked_sub(CLOCKS_DIFFER).unwrap_or(Timestamp::MIN)));
        let last =
            self.until.map(|until| Hour::of(until.checked_add(ARRIVES_LATE).unwrap_or(Timestamp::MAX)));
        first.is_none_or(|first| first <= hour) && last.is_none_or(|last| hour <= last)
    }
}

/// One entry that matched.
#[derive(Debug)]
pub struct Row<'a> {
    /// The stored JSON object.
    pub json: &'a str,
    pub value: &'a Value,
}

/// A walk over lines. One scan may read several inputs; its [`Report`] is about all of them.
pub struct Scan {
    query: Query,
    window: Window,
    /// Only lines with this text in them can match; saves parsing the others.
    needle: Option<Box<[u8]>>,
    seen: Seen,
    report: Report,
}

impl Scan {
    pub fn new(query: Query, window: Window) -> Self {
        Self { query, window, needle: None, seen: Seen::default(), report: Report::default() }
    }

    /// Only lines that hold this text literally are looked at; what is missing is still told for all.
    #[must_use]
    pub fn with_needle(mut self, needle: &str) -> Self {
        self.needle = Some(needle.as_bytes().into());
        self
    }

    /// Reads a data directory: hour files of earlier versions first, then the store.
    pub fn directory(&mut self, data: &Path, on_row: &mut dyn FnMut(&Row<'_>) -> Flow) -> io::Result<Flow> {
        let window = self.window;
        for file in hour::list(data)?.iter().filter(|file| window.may_hold(file.hour)) {
            if self.hour_file(file, on_row)?.is_break() {
                return Ok(Flow::Break(()));
            }
        }
        self.store(data, on_row)
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    pub(super) fn note_extent(&mut self, extent: &Extent) {
        self.seen.note_extent(extent);
    }

    pub(super) fn count_line(&mut self) {
        self.report.lines += 1;
    }

    /// Looks at one object whose time is asked for.
    pub(super) fn wanted(&mut self, text: &str, on_row: &mut dyn FnMut(&Row<'_>) -> Flow) -> Flow {
        if self.needle.as_ref().is_some_and(|needle| memchr::memmem::find(text.as_bytes(), needle).is_none())
        {
            return Flow::Continue(());
        }
        self.object(text, on_row)
    }

    /// Reads JSON lines: stored ones or the proxy's own file.
    pub fn read(
        &mut self,
        input: impl BufRead,
        on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
    ) -> io::Result<Flow> {
        let mut lines = Lines::new(input);
        loop {
            let flow = match lines.next()? {
                Next::End => return Ok(Flow::Continue(())),
                Next::Line(line) => self.line(line, on_row),
                Next::TooLong => self.damaged(),
                // The writer is in the middle of it, or was when it died; a whole object without line end is fine.
                Next::Unfinished(line) => match line::check(line) {
                    Line::Plain(text) if serde_json::from_slice::<Head<'_>>(text).is_ok() => {
                        self.line(line, on_row)
                    }
                    _ => Flow::Continue(()),
                },
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
    }

    /// Looks at one line, without its end.
    pub fn line(&mut self, line: &mut [u8], on_row: &mut dyn FnMut(&Row<'_>) -> Flow) -> Flow {
        let text = match line::check(line) {
            Line::Stored(text) | Line::Plain(text) => text,
            Line::Damaged => return self.damaged(),
        };
        if text.trim_ascii().is_empty() {
            return Flow::Continue(());
        }
        self.report.lines += 1;
        let Some((text, head)) = read_head(text) else { return self.damaged() };
        self.seen.note(&head);
        if head.is_stop()
            && let Ok(stop) = serde_json::from_str(text)
        {
            self.seen.note_stop(&head, &stop);
        }
        if !self.window.is_open() && !head.time().is_some_and(|time| self.window.contains(time)) {
            return Flow::Continue(());
        }
        self.wanted(text, on_row)
    }

    /// What the walk found out so far.
    pub fn report(&self) -> Report {
        let unknown = self.seen.overflowed();
        let missing = if unknown { Vec::new() } else { self.seen.missing() };
        let (sampled, unnumbered) = (self.seen.sampled(), self.seen.unnumbered());
        Report { missing, unknown, sampled, unnumbered, ..self.report.clone() }
    }

    pub(crate) fn hour_file(
        &mut self,
        file: &HourFile,
        on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
    ) -> io::Result<Flow> {
        let input = match File::open(&file.path) {
            Ok(input) => input.take(file.good_bytes.unwrap_or(u64::MAX)),
            // Deleted for its age since the listing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Flow::Continue(())),
            Err(error) => return Err(error),
        };
        self.read(BufReader::with_capacity(BUFFER, input), on_row)
    }

    fn object(&mut self, text: &str, on_row: &mut dyn FnMut(&Row<'_>) -> Flow) -> Flow {
        let Ok(value) = serde_json::from_str::<Value>(text) else { return self.damaged() };
        if !self.query.matches(&value) {
            return Flow::Continue(());
        }
        self.report.rows += 1;
        on_row(&Row { json: text, value: &value })
    }

    pub(super) fn damaged(&mut self) -> Flow {
        self.report.damaged += 1;
        Flow::Continue(())
    }
}

fn read_head(text: &[u8]) -> Option<(&str, Head<'_>)> {
    let text = std::str::from_utf8(text).ok()?;
    Some((text, serde_json::from_str(text).ok()?))
}

/// The last rows of a directory, without reading all of it.
pub struct Newest {
    pub rows: Vec<String>,
    pub report: Report,
}

impl Newest {
    /// Reads the store, then hour files of earlier versions from the newest back until `count` rows are found.
    pub fn of(data: &Path, query: &Query, window: Window, count: usize) -> io::Result<Self> {
        let hours = hour::list(data)?;
        let newest = Self::of_parts(&View::of(data)?.parts, query, window, count)?;
        if hours.is_empty() {
            return Ok(newest);
        }
        let older = Self::of_hours(&hours, query, window, count.saturating_sub(newest.rows.len()))?;
        Ok(older.followed_by(newest))
    }

    fn of_hours(files: &[HourFile], query: &Query, window: Window, count: usize) -> io::Result<Self> {
        let mut scan = Scan::new(query.clone(), window);
        let mut rows: VecDeque<String> = VecDeque::new();
        for file in files.iter().rev().filter(|file| window.may_hold(file.hour)) {
            if rows.len() >= count {
                break;
            }
            let room = count - rows.len();
            let mut last = VecDeque::new();
            let _ = scan.hour_file(file, &mut |row| {
                if last.len() == room {
                    last.pop_front();
                }
                last.push_back(row.json.to_owned());
                Flow::Continue(())
            })?;
            while let Some(row) = last.pop_back() {
                rows.push_front(row);
            }
        }
        let report = Report { rows: rows.len() as u64, ..scan.report() };
        Ok(Self { rows: rows.into(), report })
    }

    fn followed_by(mut self, newer: Self) -> Self {
        self.rows.extend(newer.rows);
        let (old, new) = (self.report, newer.report);
        self.report = Report {
            rows: self.rows.len() as u64,
            lines: old.lines + new.lines,
            damaged: old.damaged + new.damaged,
            missing: old.missing.into_iter().chain(new.missing).collect(),
            sampled: old.sampled + new.sampled,
            unnumbered: old.unnumbered + new.unnumbered,
            unknown: old.unknown || new.unknown,
        };
        self
    }
}
