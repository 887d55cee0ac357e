//! [`Follow`]: what is added to a data directory, file after file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::hour::{self, Hour, HourFile};
use super::scan::{Flow, Row, Scan};

/// Read at most so much at a time, so that a reader that fell behind does not take all memory.
const STEP: u64 = 4 << 20;

/// A place in a growing data directory.
pub struct Follow {
    data: PathBuf,
    place: Option<(Hour, u32)>,
    offset: u64,
    /// Bytes after the last line end.
    rest: Vec<u8>,
}

impl Follow {
    /// Starts at the end of what is there now.
    pub fn from_end(data: &Path) -> io::Result<Self> {
        let last = hour::list(data)?.pop();
        let offset = last.as_ref().map_or(0, |file| file.size);
        let place = last.map(|file| (file.hour, file.part));
        Ok(Self { data: data.to_owned(), place, offset, rest: Vec::new() })
    }

    /// Looks at what was added since the last call; false when there was nothing. The caller waits between calls.
    pub fn advance(&mut self, scan: &mut Scan, on_row: &mut dyn FnMut(&Row<'_>) -> Flow) -> io::Result<bool> {
        let files = hour::list(&self.data)?;
        let here = files.iter().find(|file| Some((file.hour, file.part)) == self.place);
        let added = here.map(|file| self.read(file, scan, on_row)).transpose()?.unwrap_or(false);
        let next = files.iter().find(|file| self.place.is_none_or(|place| place < (file.hour, file.part)));
        match next {
            // Only when this file gives nothing more: its writer has gone on to the next.
            Some(next) if !added => {
                self.place = Some((next.hour, next.part));
                self.offset = 0;
                self.rest.clear();
                Ok(true)
            }
            _ => Ok(added),
        }
    }

    fn read(
        &mut self,
        file: &HourFile,
        scan: &mut Scan,
        on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
    ) -> io::Result<bool> {
        let end = file.good_bytes.map_or(file.size, |good| good.min(file.size));
        if end < self.offset {
            // The writer cut a failed write; what stood there was never a stored line.
            self.offset = end;
            self.rest.clear();
        }
        if end == self.offset {
            return Ok(false);
        }
        let mut input = File::open(&file.path)?;
        input.seek(SeekFrom::Start(self.offset))?;
        let read = input.take((end - self.offset).min(STEP)).read_to_end(&mut self.rest)?;
        self.offset += read as u64;
        self.lines(scan, on_row);
        Ok(read > 0)
    }

    fn lines(&mut self, scan: &mut Scan, on_row: &mut dyn FnMut(&Row<'_>) -> Flow) {
        let whole = memchr::memrchr(b'\n', &self.rest).map_or(0, |at| at + 1);
        for line in self.rest[..whole].split_mut(|&byte| byte == b'\n') {
            if !line.is_empty() && scan.line(line, on_row).is_break() {
                break;
            }
        }
        self.rest.drain(..whole);
    }
}
