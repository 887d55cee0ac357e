//! [`Letters`]: the file of what will never be taken, one JSON line each, with the reason.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::shortened;

use crate::access_log::handle::Reopen;
use crate::access_log::metrics::{Reason, SinkMetrics};
use crate::access_log::shipping::DeadLetter;
use crate::access_log::sink::file::FileSink;
use crate::access_log::{FileSettings, Form};
use crate::record::id;

/// Refusals are told so often at most; each is in the file and in the counters.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// One refused record.
#[derive(Debug)]
pub(super) struct Letter<'a> {
    pub(super) id: crate::record::Id,
    /// The line that was refused, as it was sent.
    pub(super) line: &'a [u8],
    /// What the other side answered; 0 where the form has no numbers.
    pub(super) status: u16,
    pub(super) why: &'a str,
}

#[derive(Debug)]
pub(super) struct Letters {
    settings: Option<DeadLetter>,
    file: Option<FileSink>,
    reopen: Reopen,
    metrics: Arc<SinkMetrics>,
    told: Option<Instant>,
    told_lost: Option<Instant>,
}

#[derive(serde::Serialize)]
struct Line<'a> {
    ts: String,
    sink: &'a str,
    id: String,
    status: u16,
    why: &'a str,
    /// An object as it is, anything else as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<String>,
}

impl Letters {
    pub(super) fn new(settings: Option<DeadLetter>, reopen: Reopen, metrics: Arc<SinkMetrics>) -> Self {
        Self { settings, file: None, reopen, metrics, told: None, told_lost: None }
    }

    /// Keeps it, or counts it as lost where that cannot be done.
    pub(super) fn write(&mut self, letter: &Letter<'_>) {
        let why = shortened(letter.why);
        self.tell(letter, why);
        self.metrics.refused.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.keep(letter, why) {
            self.metrics.dropped.add(Reason::Rejected, 1);
            if let Some(error) = error
                && is_due(&mut self.told_lost)
            {
                tracing::error!(
                    sink = self.metrics.name,
                    error,
                    "a refused record cannot be kept: it is lost"
                );
            }
        }
    }

    /// Counts refused records that nobody can name.
    pub(super) fn count(&self, refused: u64) {
        self.metrics.refused.fetch_add(refused, Ordering::Relaxed);
        self.metrics.dropped.add(Reason::Rejected, refused);
    }

    fn keep(&mut self, letter: &Letter<'_>, why: &str) -> Result<(), Option<String>> {
        let settings = self.settings.as_ref().ok_or(None)?;
        let record = serde_json::from_slice(letter.line).ok();
        let line = Line {
            ts: Timestamp::now().to_string(),
            sink: &self.metrics.name,
            id: String::from_utf8_lossy(&id::text(&letter.id)).into_owned(),
            status: letter.status,
            why,
            record,
            line: record.is_none().then(|| String::from_utf8_lossy(letter.line).into_owned()),
        };
        let mut text = serde_json::to_vec(&line).map_err(|error| Some(error.to_string()))?;
        text.push(b'\n');
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(settings, &self.reopen).map_err(Some)?),
        };
        file.write(&[Bytes::from(text)]).map_err(|fault| Some(format!("{fault:?}")))
    }

    fn tell(&mut self, letter: &Letter<'_>, why: &str) {
        if !is_due(&mut self.told) {
            return;
        }
        tracing::warn!(
            sink = self.metrics.name,
            status = letter.status,
            why = %why.escape_debug(),
            kept = self.settings.as_ref().map(|settings| tracing::field::display(settings.path.display())),
            "a record is refused for ever"
        );
    }
}

/// Whether it is time to tell again; if so, it is told now.
fn is_due(told: &mut Option<Instant>) -> bool {
    let is_due = told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
    if is_due {
        *told = Some(Instant::now());
    }
    is_due
}

fn open(settings: &DeadLetter, reopen: &Reopen) -> Result<FileSink, String> {
    let settings = FileSettings {
        form: Form::Json,
        rotate_bytes: settings.rotate_bytes,
        keep: settings.keep,
        ..FileSettings::new(&settings.path)
    };
    FileSink::open(settings, reopen.clone()).map_err(|error| error.to_string())
}
