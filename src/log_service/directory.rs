//! Questions to a data directory, in this process, whether or not a service writes to it.
//!
//! What is asked is the directory at one moment: the files that the manifest names, and what only the log holds. A file
//! that a running service takes away meanwhile (its rows are then in another one) makes the question start again.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use super::bucket;
use super::exec::{self, AnswerError, Asked, Control, ExecError, Found, Limits, Parts, Question, Sort};
use super::query::Query;
use super::read::{Report, Window, hour};
use super::store::View;
use super::verify;

/// A busy compaction takes a file away every few seconds at most.
const TRIES: usize = 8;

/// A data directory as one command sees it: what only the log holds is read once for all its questions, which are then
/// about the same moment.
pub(crate) struct Directory {
    data: PathBuf,
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone)]
struct Seen {
    view: Arc<View>,
    parts: Parts,
    /// Its files are held open.
    is_held: bool,
}

impl Directory {
    pub(crate) fn new(data: PathBuf) -> Self {
        Self { data, seen: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.data
    }

    /// Answers as a service does at `GET /logs/…`.
    pub(crate) fn answer(
        &self,
        question: Question,
        values: &HashMap<String, String>,
        control: &Control,
    ) -> Result<Value, AnswerError> {
        let now = Timestamp::now();
        verify::answer(question, values, (&self.data, &Vec::new), control, |values| {
            self.again(|| {
                let seen = self.seen(false).map_err(ExecError::Read)?;
                let mut told = exec::answer(question, values, now, &seen.parts, Limits::default(), control)?;
                note_damage(&mut told, seen.view.damaged);
                if question == Question::Audit {
                    told["sinks"] = self.sinks().map_err(ExecError::Read)?.into();
                }
                Ok(told)
            })
        })
    }

    /// The newest or slowest rows that match, best first.
    pub(crate) fn search(
        &self,
        (query, window): (&Query, Window),
        (sort, count): (Sort, usize),
        control: &Control,
    ) -> Result<Found, AnswerError> {
        let asked = Asked::new(query.clone(), window);
        self.again(|| {
            let seen = self.seen(false).map_err(ExecError::Read)?;
            let mut found = exec::search(&seen.parts, &asked, sort, count, control)?;
            found.report.damaged += u64::from(seen.view.damaged > 0);
            Ok(found)
        })
    }

    /// Hands out all rows that match, the oldest part first, until `each` breaks.
    pub(crate) fn rows(
        &self,
        (query, window): (&Query, Window),
        control: &Control,
        each: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Report, ExecError> {
        // Rows that were handed out cannot be taken back: the files are held open from the beginning.
        let held = self.again(|| Ok(self.seen(true).map_err(ExecError::Read)?));
        let seen = held.map_err(|error| match error {
            AnswerError::Exec(error) => error,
            AnswerError::Question(text) => ExecError::Read(io::Error::other(text)),
        })?;
        let asked = Asked::new(query.clone(), window);
        let mut report = exec::rows(&seen.parts, &asked, control, each)?;
        report.damaged += u64::from(seen.view.damaged > 0);
        Ok(report)
    }

    /// The Parquet files that count, oldest first, and how many rows are in none of them yet. With `newest` these are
    /// written to a file of that name, the last one.
    pub(crate) fn files(&self, newest: Option<&Path>) -> io::Result<(Vec<PathBuf>, u64)> {
        self.seen(false)?.view.files(newest)
    }

    /// How far behind sinks for files of closed hours are, as far as the disk knows.
    pub(crate) fn sinks(&self) -> io::Result<Vec<Value>> {
        bucket::told_by_ledgers(&self.data)
    }

    /// Whether files of an earlier version lie there, which only a service makes part of the store.
    pub(crate) fn has_hours(&self) -> io::Result<bool> {
        Ok(!hour::list(&self.data)?.is_empty())
    }

    fn seen(&self, hold: bool) -> io::Result<Seen> {
        let mut kept = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = kept.as_ref().filter(|seen| seen.is_held || !hold) {
            return Ok(seen.clone());
        }
        let view = Arc::new(if hold { View::held(&self.data)? } else { View::of(&self.data)? });
        let seen = Seen { parts: Parts::new(view.parts.clone()), view, is_held: hold };
        Ok(kept.insert(seen).clone())
    }

    /// Looks at the directory anew when a file of it has gone.
    fn again<T>(&self, mut ask: impl FnMut() -> Result<T, AnswerError>) -> Result<T, AnswerError> {
        let mut tries = 1;
        loop {
            match ask() {
                Err(AnswerError::Exec(ExecError::Read(error)))
                    if error.kind() == io::ErrorKind::NotFound && tries < TRIES =>
                {
                    *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    tries += 1;
                }
                told => return told,
            }
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
