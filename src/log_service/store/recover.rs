//! After a crash: cut what was half written, make the rest durable, learn again which records are stored.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;

use super::Counts;
use super::streams::Streams;
use crate::log_service::entry::Entry;
use crate::log_service::line;
use crate::log_service::read::hour::{self, HourFile};

/// Files that may have been open when the process died: an hour has few parts.
const REPAIRED_FILES: usize = 4;
/// How much of the newest lines is read to learn which records are stored. Senders keep at most one batch
/// unacknowledged, so this is generous.
const LEARNED_BYTES: u64 = 64 << 20;

/// Repairs the newest files and returns what their records are.
pub(crate) fn recover(data: &Path, counts: &Counts) -> io::Result<Streams> {
    let mut streams = Streams::default();
    let mut budget = LEARNED_BYTES;
    let files = hour::list(data)?;
    for file in files.iter().rev().take(REPAIRED_FILES) {
        let read = match file.good_bytes {
            Some(good) => recall(file, good, budget, &mut streams)?,
            None => repair(file, budget.max(1), &mut streams, counts)?,
        };
        budget = budget.saturating_sub(read);
    }
    Ok(streams)
}

/// A sealed file is left as it is; what it holds is stored all the same.
fn recall(hour: &HourFile, good: u64, budget: u64, streams: &mut Streams) -> io::Result<u64> {
    let window = budget.min(good);
    let mut file = File::open(&hour.path)?;
    file.seek(SeekFrom::Start(good - window))?;
    let mut text = Vec::new();
    file.take(window).read_to_end(&mut text)?;
    learn(&text, streams);
    Ok(window)
}

/// Returns how many bytes were read.
fn repair(hour: &HourFile, budget: u64, streams: &mut Streams, counts: &Counts) -> io::Result<u64> {
    let mut file = OpenOptions::new().read(true).write(true).open(&hour.path)?;
    let size = file.metadata()?.len();
    let mut window = budget.min(size);
    let (start, text, good) = loop {
        let start = size - window;
        let text = read_from(&mut file, start)?;
        match end_of_last_good_line(&text) {
            // Nothing good in the window: an enormous torn group. Look further back.
            0 if start > 0 => window = window.saturating_mul(4).min(size),
            good => break (start, text, good),
        }
    };
    let keep = start + good as u64;
    if keep < size {
        tracing::warn!(file = %hour.path.display(), bytes = size - keep, "cut a half-written end");
        Counts::add(&counts.cut_bytes, size - keep);
        file.set_len(keep)?;
    }
    // Lines that only the page cache holds would be called stored when their sender repeats them.
    file.sync_all()?;
    learn(&text[..good], streams);
    Ok(window)
}

fn read_from(file: &mut File, start: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut text)?;
    Ok(text)
}

/// Walks back from the end. Damage further up is left: readers skip it, and good lines follow it.
fn end_of_last_good_line(text: &[u8]) -> usize {
    let mut end = memchr::memrchr(b'\n', text).map_or(0, |at| at + 1);
    while end > 0 {
        let before = &text[..end - 1];
        let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        if line::is_whole(&before[start..]) {
            break;
        }
        end = start;
    }
    end
}

fn learn(text: &[u8], streams: &mut Streams) {
    for line in text.split(|&byte| byte == b'\n').filter(|line| line::is_whole(line)) {
        let object = [b"{", line::members(line)].concat();
        if let Ok(entry) = Entry::recall(Bytes::from(object)) {
            streams.note(&entry);
        }
    }
}
