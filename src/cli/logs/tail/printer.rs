//! [`Printer`]: rows as they come, at most so many a second, and a word about those left out.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::cli::logs::CommandError;
use crate::cli::logs::args::Form;
use crate::cli::logs::line;
use crate::cli::logs::output::{self, Output};
use crate::cli::logs::words::count;
use crate::log_service::read::{Flow, Row};

/// More lines a second than anybody reads on a terminal.
const READABLE: u64 = 200;
const SECOND: Duration = Duration::from_secs(1);

/// Prints rows from inside a walk, where an error cannot be returned: it is kept for the next flush.
pub(super) struct Printer {
    output: Output,
    form: Form,
    failed: Option<std::io::Error>,
    /// Rows a second; `None` shows all.
    rate: Option<u64>,
    second: Instant,
    shown: u64,
    left_out: u64,
    total_left_out: u64,
    total: u64,
}

impl Printer {
    /// `rate` is `200/s`, `200`, or `all`.
    pub(super) fn new(form: Form, rate: Option<&str>) -> Result<Self, CommandError> {
        let default = std::io::stdout().is_terminal().then_some(READABLE);
        let rate = match rate {
            None => default,
            Some("all") => None,
            Some(text) => {
                let number = text.trim_end_matches("/s").parse().ok().filter(|rate| *rate > 0);
                let usage = || CommandError::Usage(format!("`{text}` is no rate: write 200/s or all"));
                Some(number.ok_or_else(usage)?)
            }
        };
        let output = Output::stdout();
        Ok(Self {
            output,
            form,
            failed: None,
            rate,
            second: Instant::now(),
            shown: 0,
            left_out: 0,
            total_left_out: 0,
            total: 0,
        })
    }

    /// What was there before the tail began: all of it.
    pub(super) fn rows(&mut self, rows: &[String]) -> Result<(), CommandError> {
        self.total += rows.len() as u64;
        crate::cli::logs::search::print(&mut self.output, rows, self.form)?;
        self.flush()
    }

    pub(super) fn row(&mut self, row: &Row<'_>) -> Flow {
        if self.second.elapsed() >= SECOND {
            self.next_second();
        }
        if self.rate.is_some_and(|rate| self.shown >= rate) {
            self.left_out += 1;
            return Flow::Continue(());
        }
        self.shown += 1;
        self.total += 1;
        match self.output.line(&line::render(row.value, row.json, self.form)) {
            Ok(()) => Flow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                Flow::Break(())
            }
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), CommandError> {
        if self.left_out > 0 && self.second.elapsed() >= SECOND {
            self.next_second();
        }
        match self.failed.take() {
            Some(error) => Err(error.into()),
            None => Ok(self.output.flush()?),
        }
    }

    /// Says of the last second, too, how many were not shown.
    pub(super) fn end(&mut self) -> Result<(), CommandError> {
        self.next_second();
        self.flush()
    }

    /// How many rows were not shown, as far as that was said.
    pub(super) fn total_left_out(&self) -> u64 {
        self.total_left_out
    }

    /// How many rows were shown, those it began with among them.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    fn next_second(&mut self) {
        if self.left_out > 0 {
            // Before the note: both may go to the same terminal.
            let _ = self.output.flush();
            let all = self.shown + self.left_out;
            output::note(&format!(
                "sampling: {} of {} entries of this second shown (--rate {}/s)",
                count(self.shown),
                count(all),
                self.shown
            ));
            self.total_left_out += self.left_out;
        }
        (self.second, self.shown, self.left_out) = (Instant::now(), 0, 0);
    }
}
