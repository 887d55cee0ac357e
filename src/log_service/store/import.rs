//! [`Import`]: hour files of earlier versions (`2026-11-21/09.jsonl`) become files of the store, once, then go to `old/`.
//!
//! The manifest notes the lines that were taken as numbers of a stream of its own per file, in the same edit that names the new
//! file: an end at any moment neither loses nor doubles a line. It runs beside the service, so that a large log does not
//! hold up its start.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use jiff::Timestamp;

use super::files::Files;
use super::rows::{Receipt, Rows};
use super::streams::Streams;
use crate::log_service::entry::{Entry, Stream};
use crate::log_service::query::Query;
use crate::log_service::read::hour::{self, HourFile};
use crate::log_service::read::{Row, Scan, Window};

/// Rows per file that is made.
const MAX_ROWS: usize = 200_000;
/// In front of the name of a stream that is a file.
const PREFIX: &str = "(hour file) ";
/// Newest lines that are read at a start to know their records: a sender may repeat what it sent last to the earlier version.
const LEARNED_BYTES: u64 = 64 << 20;

/// The thread that imports.
pub(super) struct Import {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Import {
    /// Starts when there is something to do.
    pub(super) fn start(files: Arc<Files>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let hours = hour::list(files.data())?;
        if hours.is_empty() {
            return Ok(Self { stop, thread: None });
        }
        let work = Work { files, stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name("log-import".into()).spawn(move || work.run(&hours))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops at the next line; the next start goes on.
    pub(super) fn close(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// Notes the records of the newest lines.
pub(super) fn learn(data: &Path, known: &mut Streams) -> io::Result<()> {
    let mut budget = LEARNED_BYTES;
    for file in hour::list(data)?.iter().rev() {
        let Some(left) = budget.checked_sub(file.size) else { break };
        budget = left;
        let _ = Scan::new(Query::all(), Window::default()).hour_file(file, &mut |row| {
            if let Ok(entry) = Entry::parse(Bytes::copy_from_slice(row.json.as_bytes()))
                && let (Some(stream), None, 1..) = (&entry.stream, &entry.gap, entry.seq)
            {
                known.note(stream, entry.seq);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(())
}

struct Work {
    files: Arc<Files>,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn run(&self, hours: &[HourFile]) {
        for file in hours {
            if let Err(error) = self.file(file) {
                return tracing::error!(file = %file.path.display(), %error, "an hour file cannot be imported; it stays");
            }
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn file(&self, file: &HourFile) -> io::Result<()> {
        let name = file.path.strip_prefix(self.files.data()).unwrap_or(&file.path).to_path_buf();
        let stream = Stream { proxy: format!("{PREFIX}{}", name.display()).into(), boot: 0, core: 0 };
        let own = self.files.streams().into_iter().filter(|known| *known.proxy == *stream.proxy);
        let mut known = Streams::of(own);
        let (mut rows, mut line, mut failed) = (Rows::new(), 0, None);
        let mut take = |row: &Row<'_>| {
            line += 1;
            if known.note(&stream, line) {
                put(row.json, file, &mut rows);
            }
            if rows.len() >= MAX_ROWS
                && let Err(error) = self.flush(&mut rows, &mut known)
            {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut scan = Scan::new(Query::all(), Window::default());
        let flow = scan.hour_file(file, &mut take)?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.flush(&mut rows, &mut known)?;
        if flow.is_break() {
            return Ok(());
        }
        tracing::info!(file = %file.path.display(), lines = line, damaged = scan.report().damaged, "imported an hour file");
        self.put_away(file, &name)
    }

    fn flush(&self, rows: &mut Rows, known: &mut Streams) -> io::Result<()> {
        let part = std::mem::replace(rows, Rows::new()).part();
        self.files.flush(&part.batches(), self.files.wal(), known.take_changed(), || {})
    }

    fn put_away(&self, file: &HourFile, name: &Path) -> io::Result<()> {
        let target: PathBuf = self.files.data().join("old").join(name);
        target.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::rename(&file.path, &target)?;
        // Only sealed files have a mark.
        let _ = fs::rename(hour::suspect_path(&file.path), hour::suspect_path(&target));
        // Fails while other hours of the day are there; that is the wish.
        file.path.parent().map(fs::remove_dir);
        Ok(())
    }
}

/// Adds a stored line with its own time of receipt and sender.
fn put(json: &str, file: &HourFile, rows: &mut Rows) {
    let (recv, from, object) = open(json).unwrap_or_else(|| {
        let written = fs::metadata(&file.path).and_then(|metadata| metadata.modified()).ok();
        let written = written.and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_default();
        (written.as_microsecond(), "import", json.to_owned())
    });
    if let Ok(entry) = Entry::parse(Bytes::from(object)) {
        rows.object(&entry, Receipt { recv, from });
    }
}

/// A stored line begins `{"recv":"…","from":"…"`; both were written by the service and hold nothing escaped.
fn open(json: &str) -> Option<(i64, &str, String)> {
    let (recv, rest) = json.strip_prefix(r#"{"recv":""#)?.split_once('"')?;
    let (from, rest) = rest.strip_prefix(r#","from":""#)?.split_once('"')?;
    let recv: Timestamp = recv.parse().ok()?;
    Some((recv.as_microsecond(), from, format!("{{{}", rest.strip_prefix(',').unwrap_or(rest))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{append, read, records, settings};
    use super::super::{Appended, open as open_store};
    use super::*;
    use crate::log_service::line;

    fn hour_file(data: &Path, name: &str, objects: &[&str]) {
        let mut text = Vec::new();
        objects.iter().for_each(|object| {
            line::write(&mut text, "2026-11-21T09:14:03.512804Z", "unix:7", object.as_bytes())
        });
        let path = data.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn until_away(data: &Path) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !hour::list(data).unwrap().is_empty() {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test]
    async fn hour_files_are_readable_before_and_after_they_are_imported_once() {
        let data = tempfile::tempdir().unwrap();
        let record = r#"{"proxy":"edge-1","boot":7,"core":0,"seq":1,"n":1.50}"#;
        let objects = [record, r#"{"msg":"a"}"#, "{}"];
        hour_file(data.path(), "2026-11-21/09.jsonl", &objects);
        hour_file(data.path(), "2026-11-21/10.1.jsonl", &[r#"{"msg":"b"}"#]);
        let before = read(data.path()).0;
        assert_eq!(before.len(), 4);
        let store = open_store(&settings(data.path())).unwrap();
        let again = append(&store, records(1..=2)).await.unwrap();
        assert_eq!(again, Appended { accepted: 1, duplicates: 1 }, "what the earlier version had is known");
        until_away(data.path()).await;
        store.close().await.unwrap();
        assert!(
            data.path().join("old/2026-11-21/09.jsonl").exists() && !data.path().join("2026-11-21").exists()
        );
        // As if the process had ended before the file was put away.
        hour_file(data.path(), "2026-11-21/09.jsonl", &objects);
        let store = open_store(&settings(data.path())).unwrap();
        until_away(data.path()).await;
        store.close().await.unwrap();
        let mut after = read(data.path()).0;
        after.retain(|row| row["seq"] != 2);
        let key = |row: &serde_json::Value| row.to_string();
        let (mut before, mut after): (Vec<_>, Vec<_>) =
            (before.iter().map(key).collect(), after.iter().map(key).collect());
        before.sort();
        after.sort();
        assert_eq!(before, after, "the same objects with the same times and senders");
    }
}
