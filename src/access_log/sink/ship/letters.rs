//! [`Letters`]: the file of what will never be taken, one JSON line each, with the reason.
//!
//! They are on the disk before the cursor passes them. Who is killed before it does has some of them refused again at the next
//! start: what stands at the end of the file already is not written twice.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
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

/// How much of the end of the file is looked at: what one parcel may leave there, and more.
const TAIL: u64 = 4 << 20;

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
    known: Known,
    /// Files with letters that the disk may not have yet, each with its number.
    unsynced: Vec<(u32, File)>,
    reopen: Reopen,
    metrics: Arc<SinkMetrics>,
    told: Option<Instant>,
    told_lost: Option<Instant>,
    #[cfg(test)]
    synced: usize,
}

/// What an earlier start has left at the end of the file: hashes of sink, id and record.
#[derive(Debug, Default)]
struct Known {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

/// As much of a letter as it takes to know it again.
#[derive(serde::Deserialize)]
struct Left<'a> {
    sink: String,
    id: String,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    line: Option<String>,
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
        let (known, unsynced) = (Known::default(), Vec::new());
        Self {
            settings,
            file: None,
            known,
            unsynced,
            reopen,
            metrics,
            told: None,
            told_lost: None,
            #[cfg(test)]
            synced: 0,
        }
    }

    /// How many files were synced.
    #[cfg(test)]
    pub(super) fn synced(&self) -> usize {
        self.synced
    }

    /// Waits until the disk has all of them.
    pub(super) async fn sync(&mut self) {
        for (_, file) in std::mem::take(&mut self.unsynced) {
            let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
            let synced = synced.map_err(io::Error::other).and_then(|synced| synced);
            #[cfg(test)]
            {
                self.synced += usize::from(synced.is_ok());
            }
            // Pipes and devices cannot be synced.
            if let Err(error) = synced
                && error.kind() != io::ErrorKind::InvalidInput
                && is_due(&mut self.told_lost)
            {
                tracing::error!(sink = self.metrics.name, %error, "refused records may not be on the disk");
            }
        }
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
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                self.known.read(&settings.path);
                none.insert(open(settings, &self.reopen).map_err(Some)?)
            }
        };
        let line = Line {
            ts: Timestamp::now().to_string(),
            sink: &self.metrics.name,
            id: String::from_utf8_lossy(&id::text(&letter.id)).into_owned(),
            status: letter.status,
            why,
            record,
            line: record.is_none().then(|| String::from_utf8_lossy(letter.line).into_owned()),
        };
        if self.known.forget(&line) {
            return Ok(());
        }
        let mut text = serde_json::to_vec(&line).map_err(|error| Some(error.to_string()))?;
        text.push(b'\n');
        file.write(&[Bytes::from(text)]).map_err(|fault| Some(format!("{fault:?}")))?;
        if let Some((number, Ok(other))) = file.other_than(self.unsynced.last().map(|(number, _)| *number)) {
            self.unsynced.push((number, other));
        }
        Ok(())
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

impl Known {
    /// What cannot be read is not known.
    fn read(&mut self, path: &Path) {
        let Ok(tail) = tail(path) else { return };
        for line in tail.split(|byte| *byte == b'\n') {
            if let Ok(Left { sink, id, record, line }) = serde_json::from_slice(line) {
                self.hashes.insert(self.hash(&sink, &id, record, line.as_deref()));
            }
        }
    }

    /// Tells whether it is there already; each is so once.
    fn forget(&mut self, line: &Line<'_>) -> bool {
        !self.hashes.is_empty()
            && self.hashes.remove(&self.hash(line.sink, &line.id, line.record, line.line.as_deref()))
    }

    fn hash(&self, sink: &str, id: &str, record: Option<&RawValue>, line: Option<&str>) -> u64 {
        self.hasher.hash_one((sink, id, record.map(RawValue::get), line))
    }
}

/// The last whole lines of a file; of the first of them maybe only a part.
fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let (meta, mut tail) = (std::fs::metadata(path)?, Vec::new());
    // Opening a pipe would wait for somebody.
    if meta.is_file() {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(meta.len().saturating_sub(TAIL)))?;
        file.take(TAIL).read_to_end(&mut tail)?;
        tail.truncate(memchr::memrchr(b'\n', &tail).map_or(0, |at| at + 1));
    }
    Ok(tail)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_has_written_is_not_written_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead.jsonl");
        let start = || {
            let settings = DeadLetter { path: path.clone(), rotate_bytes: 0, keep: 0 };
            Letters::new(Some(settings), Reopen::default(), Arc::default())
        };
        let letter =
            |number: u8, line: &'static [u8]| Letter { id: [number; 16], line, status: 400, why: "no" };
        let mut letters = start();
        letters.write(&letter(1, b"{\"a\": 1}"));
        letters.write(&letter(2, b"no object"));
        let mut letters = start();
        letters.write(&letter(1, b"{\"a\": 1}"));
        letters.write(&letter(2, b"no object"));
        // Not what was written: an end has the id of its beginning.
        letters.write(&letter(2, b"{\"a\": 2}"));
        letters.write(&letter(3, b"no object"));
        // What this start has written is another matter.
        letters.write(&letter(3, b"no object"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert_eq!(letters.metrics.refused.load(Ordering::Relaxed), 5);
    }
}
