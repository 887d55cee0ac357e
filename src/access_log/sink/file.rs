//! Lines to a file that is rotated by size and reopened on demand.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Fault;
use crate::access_log::handle::Reopen;
use crate::access_log::{Error, FileSettings, Form};
use crate::process::directory;

/// Longer than any line of ours.
const LONGEST_LINE: u64 = 1 << 20;
/// How each JSON line of ours begins.
const OWN_BEGIN: &[u8] = b"{\"v\":";

/// A log file. After a failed write the file is cut back to its last whole line.
#[derive(Debug)]
pub(in crate::access_log) struct FileSink {
    settings: FileSettings,
    /// `None` when it could not be opened again.
    file: Option<File>,
    size: u64,
    /// The file ends within a line that could not be taken back.
    is_torn: bool,
    reopen: Reopen,
    reopened: u32,
    /// How many files it has begun or gone on with.
    opened: u32,
}

impl FileSink {
    pub(super) fn open(settings: FileSettings, reopen: Reopen) -> Result<Self, Error> {
        let reopened = reopen.count();
        let mut sink = Self { settings, file: None, size: 0, is_torn: false, reopen, reopened, opened: 0 };
        match sink.file() {
            Ok(_) => Ok(sink),
            Err(source) => {
                let FileSettings { name, path, .. } = sink.settings;
                Err(Error::File { name, path, source })
            }
        }
    }

    /// Appends all of it, or nothing.
    pub(super) fn write(&mut self, chunks: &[Bytes]) -> Result<(), Fault> {
        self.append(chunks).map_err(|error| Fault::io(&error))
    }

    /// The last thing: what is written shall be on the disk.
    pub(super) fn finish(&mut self) {
        // Pipes and devices cannot be synced; and nobody is left to be told.
        let _ = self.file.as_ref().map(File::sync_data);
    }

    /// The file that was written last, for somebody who syncs it, unless it is the one with this number; and its number.
    pub(super) fn other_than(&self, number: Option<u32>) -> Option<(u32, io::Result<File>)> {
        let file = self.file.as_ref().filter(|_| number != Some(self.opened))?;
        Some((self.opened, file.try_clone()))
    }

    fn append(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        let length: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        self.turn_over(length);
        // Opening sets the size, so it comes first: a file that was just begun is empty.
        self.file()?;
        let (before, is_torn) = (self.size, self.is_torn);
        let mut written = 0;
        let result = write_all(self.file()?, is_torn, chunks, &mut written);
        if result.is_ok() {
            self.size = before + written;
            self.is_torn = false;
        } else if written > 0 {
            self.take_back(before, written);
        }
        result
    }

    /// Begins a new file when it was asked for, or when this one is full.
    fn turn_over(&mut self, more: u64) {
        let asked = self.reopen.count();
        if asked != self.reopened {
            self.reopened = asked;
            self.file = None;
        }
        let limit = self.settings.rotate_bytes;
        if limit > 0 && self.size > 0 && self.size + more > limit && self.file.is_some() {
            match rotate(&self.settings.path, self.settings.keep) {
                Ok(()) => self.file = None,
                // The old file goes on: a log that grows is better than one that stops.
                Err(error) => tracing::warn!(%error, "cannot rotate the log file"),
            }
        }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = open(&self.settings.path)?;
                let torn = torn_end(&self.settings.path, &file, self.settings.form)?;
                // What a death has cut is written again, as the cursor has not passed it.
                let is_cut = torn.is_ours && file.set_len(torn.begins).is_ok();
                self.is_torn = torn.length > 0 && !is_cut;
                self.size = file.metadata()?.len();
                self.opened = self.opened.wrapping_add(1);
                file
            }
        };
        Ok(self.file.insert(file))
    }

    /// Removes a part of a parcel, unless somebody else wrote behind it.
    fn take_back(&mut self, before: u64, written: u64) {
        let cut = self.file.as_ref().is_some_and(|file| {
            let is_ours = file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == before + written);
            is_ours && file.set_len(before).is_ok()
        });
        if !cut {
            self.is_torn = true;
            self.size = before + written;
        }
    }
}

/// Opens the file, and makes it with its directory if they are not there.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            directory::make_parent(path, directory::LOGS)?;
            options.open(path)
        }
        opened => opened,
    }
}

/// How a file ends that somebody was killed while writing: the kernel may stop a write between two pages.
#[derive(Debug, Default)]
struct TornEnd {
    /// Where the line begins that has no end.
    begins: u64,
    length: u64,
    /// It looks like a line of ours, which may be taken back.
    is_ours: bool,
}

/// Looks back for the last line feed, no further than our longest line; pipes and devices have no end.
fn torn_end(path: &Path, file: &File, form: Form) -> io::Result<TornEnd> {
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() == 0 {
        return Ok(TornEnd::default());
    }
    let from = meta.len().saturating_sub(LONGEST_LINE);
    let mut tail = Vec::new();
    // Appending does not need the right to read: then nothing is known.
    let Ok(mut reader) = File::open(path) else { return Ok(TornEnd::default()) };
    reader.seek(SeekFrom::Start(from))?;
    reader.take(LONGEST_LINE).read_to_end(&mut tail)?;
    let whole = memchr::memrchr(b'\n', &tail).map_or(0, |at| at + 1);
    let torn = &tail[whole..];
    let is_whole_line = whole > 0 || from == 0;
    let is_ours = is_whole_line
        && form == Form::Json
        && torn.starts_with(&OWN_BEGIN[..torn.len().min(OWN_BEGIN.len())]);
    Ok(TornEnd {
        begins: from + whole as u64,
        length: torn.len() as u64,
        is_ours: is_ours && !torn.is_empty(),
    })
}

fn write_all(file: &mut File, is_torn: bool, chunks: &[Bytes], written: &mut u64) -> io::Result<()> {
    let line_end: &[u8] = if is_torn { b"\n" } else { b"" };
    for mut rest in std::iter::once(line_end).chain(chunks.iter().map(|chunk| &chunk[..])) {
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    *written += count as u64;
                    rest = &rest[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// `path` becomes `path.1`, that `path.2`, and so on; what would be beyond `keep` is deleted.
fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    if keep == 0 {
        return fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(path: &Path, rotate_bytes: u64, keep: u32) -> (FileSink, Reopen) {
        let reopen = Reopen::default();
        let settings = FileSettings { rotate_bytes, keep, ..FileSettings::new(path) };
        (FileSink::open(settings, reopen.clone()).unwrap(), reopen)
    }

    fn write(sink: &mut FileSink, text: &'static str) {
        sink.write(&[Bytes::from_static(text.as_bytes())]).unwrap();
    }

    #[test]
    fn begins_a_new_file_before_one_gets_too_long_and_keeps_as_many_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (mut sink, _) = sink(&path, 8, 2);
        for text in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
            write(&mut sink, text);
        }
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(read(path.clone()), "five\n");
        assert_eq!(read(numbered(&path, 1)), "four\n");
        assert_eq!(read(numbered(&path, 2)), "three\n");
        assert!(!numbered(&path, 3).exists());
    }

    #[test]
    fn goes_on_where_the_file_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        fs::write(&path, "old\n").unwrap();
        let (mut sink, _) = sink(&path, 0, 0);
        write(&mut sink, "new\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\nnew\n");
        assert_eq!(sink.size, 8);
    }

    #[test]
    fn a_line_that_a_death_has_cut_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        for (before, after) in [
            ("{\"v\":1}\n{\"v\":1,\"ki", "{\"v\":1}\nnew\n"),
            ("{\"v", "new\n"),
            ("of somebody else", "of somebody else\nnew\n"),
        ] {
            fs::write(&path, before).unwrap();
            let (mut sink, _) = sink(&path, 0, 0);
            write(&mut sink, "new\n");
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn opens_the_file_by_name_again_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (mut sink, reopen) = sink(&path, 0, 0);
        write(&mut sink, "one\n");
        fs::rename(&path, dir.path().join("moved")).unwrap();
        write(&mut sink, "two\n");
        reopen.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        write(&mut sink, "three\n");
        assert_eq!(fs::read_to_string(dir.path().join("moved")).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn says_when_the_disk_is_full() {
        let (mut sink, _) = sink(Path::new("/dev/full"), 0, 0);
        let fault = sink.write(&[Bytes::from_static(b"x\n")]).unwrap_err();
        assert_eq!(fault, Fault::passing(crate::access_log::Reason::DiskFull));
    }

    #[test]
    fn takes_a_half_written_parcel_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (mut sink, _) = sink(&path, 0, 0);
        write(&mut sink, "whole\n");
        sink.file().unwrap().write_all(b"half").unwrap();
        sink.take_back(6, 4);
        write(&mut sink, "next\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nnext\n");
    }

    #[test]
    fn ends_a_torn_line_that_it_cannot_take_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (mut sink, _) = sink(&path, 0, 0);
        fs::write(&path, "half, and another writer").unwrap();
        sink.take_back(0, 4);
        write(&mut sink, "next\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "half, and another writer\nnext\n");
    }

    #[test]
    fn refuses_to_open_what_cannot_be_there() {
        let settings = FileSettings::new("/dev/null/all.log");
        assert!(matches!(FileSink::open(settings, Reopen::default()), Err(Error::File { .. })));
    }
}
