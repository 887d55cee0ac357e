//! [`Walk`]: the lines of logs, whoever wrote them, as rows that match a filter.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use jiff::Timestamp;
use serde_json::Value;

use super::{Format, Read};
use crate::log_service::query::Query;
use crate::log_service::read::{Flow, Lines, Next, Report, Row, Scan, Window};

/// How the line begins with which an answer in JSON says whether it is complete; it is no entry.
pub const REPORT: &str = "{\"kind\":\"report\",";

/// What a walk over files says about itself beyond its [`Report`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Lines by what they were written in.
    pub formats: BTreeMap<Format, u64>,
    /// Lines that were not understood.
    pub unread: u64,
    /// Where the first of them is: `access.log:17`.
    pub first_unread: Option<String>,
}

/// A walk over the lines of any number of inputs.
pub struct Walk {
    query: Query,
    window: Window,
    /// What every line must be; `None` finds out.
    wanted: Option<Format>,
    /// What the line before was.
    current: Option<Format>,
    /// Reads and counts our own lines.
    scan: Scan,
    rows: u64,
    told: Told,
}

impl Walk {
    pub fn new(query: &Query, window: Window, format: Option<Format>) -> Self {
        let scan = Scan::new(query.clone(), window);
        Self {
            query: query.clone(),
            window,
            wanted: format,
            current: None,
            scan,
            rows: 0,
            told: Told::default(),
        }
    }

    /// Reads all lines of `input`; `name` is what it is called when a line of it is not understood.
    pub fn read(
        &mut self,
        name: &str,
        input: impl BufRead,
        on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
    ) -> io::Result<Flow> {
        let mut lines = Lines::new(input);
        let mut number = 0u64;
        loop {
            number += 1;
            let flow = match lines.next()? {
                Next::End => return Ok(Flow::Continue(())),
                Next::Line(line) => self.line(name, number, line, on_row),
                // Its writer is in the middle of it, or was when it died; one that is whole all the same counts.
                Next::Unfinished(line) => self.line(name, number, line, on_row),
                Next::TooLong => self.unread(name, number),
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
    }

    /// Looks at one line, without its end.
    pub fn line(
        &mut self,
        name: &str,
        number: u64,
        line: &mut [u8],
        on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
    ) -> Flow {
        if line.trim_ascii().is_empty() || line.starts_with(REPORT.as_bytes()) {
            return Flow::Continue(());
        }
        match self.understand(line) {
            None => self.unread(name, number),
            Some((format, Read::Own)) => {
                *self.told.formats.entry(format).or_default() += 1;
                self.scan.line(line, on_row)
            }
            Some((format, Read::Record(value))) => {
                *self.told.formats.entry(format).or_default() += 1;
                self.record(&value, on_row)
            }
        }
    }

    /// What the walk found out so far. Lines of others are never part of what may be missing: they have no numbers.
    pub fn report(&self) -> (Report, Told) {
        let report = self.scan.report();
        let foreign = self.told.formats.iter().filter(|(format, _)| **format != Format::Tollgate);
        let lines = report.lines + self.told.unread + foreign.map(|(_, count)| count).sum::<u64>();
        (Report { rows: report.rows + self.rows, lines, ..report }, self.told.clone())
    }

    fn understand(&mut self, line: &[u8]) -> Option<(Format, Read)> {
        if let Some(format) = self.wanted {
            return Some((format, format.read(line)?));
        }
        // Our own lines are many and their check is quick: their beginning says enough.
        let own = [&b"{\"c\":\""[..], b"{\"v\":1,"].iter().any(|begin| line.starts_with(begin));
        if own {
            return Some((Format::Tollgate, Read::Own));
        }
        let again = self.current.filter(|format| *format != Format::Tollgate);
        if let Some((format, read)) = again.and_then(|format| Some((format, format.read(line)?))) {
            return Some((format, read));
        }
        let found = Format::detect(line)?;
        self.current = Some(found.0);
        Some(found)
    }

    fn record(&mut self, value: &Value, on_row: &mut dyn FnMut(&Row<'_>) -> Flow) -> Flow {
        let time = || value["ts"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        let in_window = self.window.is_open() || time().is_some_and(|time| self.window.contains(time));
        if !in_window || !self.query.matches(value) {
            return Flow::Continue(());
        }
        self.rows += 1;
        on_row(&Row { json: &value.to_string(), value })
    }

    fn unread(&mut self, name: &str, number: u64) -> Flow {
        self.told.unread += 1;
        self.told.first_unread.get_or_insert_with(|| format!("{name}:{number}"));
        Flow::Continue(())
    }
}
