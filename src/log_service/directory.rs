//! Questions to a data directory, in this process, whether or not a service writes to it.
//!
//! What is asked is the directory at one moment: the files that the manifest names, and what only the log holds. A file
//! that a running service takes away meanwhile (its rows are then in another one) makes the question start again.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use super::exec::{self, AnswerError, Asked, Control, ExecError, Found, Limits, Parts, Question, Sort};
use super::query::Query;
use super::read::{Report, Window, hour};
use super::store::{self, View};
use super::verify;

/// A busy compaction takes a file away every few seconds at most.
const TRIES: usize = 8;

/// Answers as a service does at `GET /logs/…`.
pub(crate) fn answer(
    data: &Path,
    question: Question,
    values: &HashMap<String, String>,
    control: &Control,
) -> Result<Value, AnswerError> {
    let now = Timestamp::now();
    verify::answer(question, values, (data, &Vec::new), control, |values| {
        again(|| {
            let view = view(data, false)?;
            let damaged = view.damaged;
            let mut told =
                exec::answer(question, values, now, &Parts::new(view.parts), Limits::default(), control)?;
            note_damage(&mut told, damaged);
            Ok(told)
        })
    })
}

/// The newest or slowest rows that match, best first.
pub(crate) fn search(
    data: &Path,
    (query, window): (&Query, Window),
    (sort, count): (Sort, usize),
    control: &Control,
) -> Result<Found, AnswerError> {
    let asked = Asked::new(query.clone(), window);
    again(|| {
        let view = view(data, false)?;
        let damaged = view.damaged;
        let mut found = exec::search(&Parts::new(view.parts), &asked, sort, count, control)?;
        found.report.damaged += u64::from(damaged > 0);
        Ok(found)
    })
}

/// Hands out all rows that match, the oldest part first, until `each` breaks.
pub(crate) fn rows(
    data: &Path,
    (query, window): (&Query, Window),
    control: &Control,
    each: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Report, ExecError> {
    // Rows that were handed out cannot be taken back: the files are held open from the beginning.
    let held = again(|| Ok(view(data, true)?));
    let view = held.map_err(|error| match error {
        AnswerError::Exec(error) => error,
        AnswerError::Question(text) => ExecError::Read(io::Error::other(text)),
    })?;
    let asked = Asked::new(query.clone(), window);
    let mut report = exec::rows(&Parts::new(view.parts), &asked, control, each)?;
    report.damaged += u64::from(view.damaged > 0);
    Ok(report)
}

/// The Parquet files that count, oldest first, and how many rows are in none of them yet. With `newest` these are written
/// to a file of that name, the last one.
pub(crate) fn files(data: &Path, newest: Option<&Path>) -> io::Result<(Vec<PathBuf>, u64)> {
    store::files_of(data, newest)
}

/// Whether files of an earlier version lie there, which only a service makes part of the store.
pub(crate) fn has_hours(data: &Path) -> io::Result<bool> {
    Ok(!hour::list(data)?.is_empty())
}

fn view(data: &Path, hold: bool) -> Result<View, ExecError> {
    Ok(if hold { View::held(data)? } else { View::of(data)? })
}

fn again<T>(mut ask: impl FnMut() -> Result<T, AnswerError>) -> Result<T, AnswerError> {
    let mut tries = 1;
    loop {
        match ask() {
            Err(AnswerError::Exec(ExecError::Read(error)))
                if error.kind() == io::ErrorKind::NotFound && tries < TRIES =>
            {
                tries += 1;
            }
            told => return told,
        }
    }
}

fn note_damage(told: &mut Value, damaged: u64) {
    if damaged == 0 {
        return;
    }
    let note = |report: &mut Value| report["damaged"] = (report["damaged"].as_u64().unwrap_or(0) + 1).into();
    told.get_mut("report").into_iter().for_each(note);
    told.get_mut("reports").and_then(Value::as_array_mut).into_iter().flatten().for_each(note);
}
