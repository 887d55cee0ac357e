//! Following log files of any format: what is appended, through truncation and rotation, or what comes by stdin.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Printer, Watch, interrupts};
use crate::cli::logs::CommandError;
use crate::cli::logs::source::{self, Asked, Files, Source, Told};
use crate::log_service::foreign::{self, Walk};
use crate::log_service::read::{Flow, Row};

/// Read at a time.
const STEP: usize = 256 << 10;
/// Read of one file before the others have their turn.
const TURN: usize = STEP;
/// Longest line that is waited for.
const MAX_LINE: usize = 1 << 20;

/// A growing file: what has been read of it, and the beginning of a line whose end is still to come.
struct Growing {
    path: PathBuf,
    file: File,
    inode: u64,
    rest: Vec<u8>,
    line: u64,
}

pub(super) async fn follow(
    files: &Files,
    asked: &Asked,
    count: usize,
    mut printer: Printer,
) -> Result<Told, CommandError> {
    let mut walk = Walk::new(&asked.query, asked.window, files.format);
    if files.paths.iter().any(|path| path == Path::new("-")) {
        return pipe(&mut walk, printer);
    }
    // Opened at the end before looking back: a line in between is shown twice rather than never.
    let mut growing = Vec::new();
    for path in &files.paths {
        growing.push(Growing::at_end(path).map_err(|error| source::cannot_read(path, error))?);
    }
    let (watch, mut interrupted) = (Watch::beside(&files.paths), interrupts()?);
    let begin = Source::Files(Files { paths: files.paths.clone(), format: files.format });
    printer.rows(&begin.newest(asked, count)?.0)?;
    loop {
        let mut more = false;
        for file in &mut growing {
            let read = file.advance(&mut walk, &mut |row| printer.row(row));
            more |= read.map_err(|error| source::cannot_read(&file.path, error))?;
        }
        printer.flush()?;
        tokio::select! {
            biased;
            _ = interrupted.recv() => break,
            // Also while lines come as fast as they are printed the runtime must see signals.
            () = tokio::task::yield_now(), if more => {}
            () = watch.changed(), if !more => {}
        }
    }
    printer.end()?;
    let mut told = told(&walk);
    told.report.rows = printer.total();
    Ok(Told { left_out: printer.total_left_out(), ..told })
}

/// Until the writer closes its end; each line is shown as it comes.
fn pipe(walk: &mut Walk, mut printer: Printer) -> Result<Told, CommandError> {
    let failed = |error| source::cannot_read(Path::new("-"), error);
    let input = foreign::open(Path::new("-"), |_| {}).map_err(failed)?;
    let mut closed = None;
    let mut show = |row: &Row<'_>| {
        let flow = printer.row(row);
        match printer.flush() {
            Ok(()) => flow,
            Err(error) => {
                closed = Some(error);
                Flow::Break(())
            }
        }
    };
    let _ = walk.read("-", input, &mut show).map_err(failed)?;
    if let Some(error) = closed {
        return Err(error);
    }
    printer.end()?;
    Ok(Told { left_out: printer.total_left_out(), ..told(walk) })
}

fn told(walk: &Walk) -> Told {
    let (report, foreign) = walk.report();
    Told { report, foreign, ..Told::default() }
}

impl Growing {
    fn at_end(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(0))?;
        let inode = file.metadata()?.ino();
        Ok(Self { path: path.to_owned(), file, inode, rest: Vec::new(), line: 0 })
    }

    /// Shows what has come; whether there may be more at once.
    fn advance(&mut self, walk: &mut Walk, on_row: &mut dyn FnMut(&Row<'_>) -> Flow) -> io::Result<bool> {
        if self.read(walk, on_row)? {
            return Ok(true);
        }
        self.rewind_if_cut()?;
        self.switch_if_moved(walk, on_row)
    }

    /// Up to the end of the file; whether it stopped before that.
    fn read(&mut self, walk: &mut Walk, on_row: &mut dyn FnMut(&Row<'_>) -> Flow) -> io::Result<bool> {
        let (mut buffer, mut total) = (vec![0; STEP], 0);
        while total < TURN {
            let read = self.file.read(&mut buffer)?;
            if read == 0 {
                return Ok(false);
            }
            total += read;
            self.rest.extend_from_slice(&buffer[..read]);
            let whole = memchr::memrchr(b'\n', &self.rest).map_or(0, |at| at + 1);
            let name = self.path.display().to_string();
            for line in self.rest[..whole].split_mut(|&byte| byte == b'\n') {
                self.line += 1;
                if walk.line(&name, self.line, line, on_row).is_break() {
                    // Nobody reads what is shown: the next flush says so.
                    return Ok(false);
                }
            }
            self.rest.drain(..whole);
            if self.rest.len() > MAX_LINE {
                self.rest.clear();
            }
        }
        Ok(true)
    }

    /// Goes back to the beginning of a file that was cut.
    fn rewind_if_cut(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() < self.file.stream_position()? {
            self.file.seek(SeekFrom::Start(0))?;
            self.rest.clear();
        }
        Ok(())
    }

    /// Goes on to the file that has taken the name of this one; whether there may be more at once.
    fn switch_if_moved(
        &mut self,
        walk: &mut Walk,
        on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
    ) -> io::Result<bool> {
        // Between rename and create there is none: the next look finds it.
        if !self.path.metadata().is_ok_and(|now| now.ino() != self.inode) {
            return Ok(false);
        }
        // What was written to the old one between the last read and the rename. More than that: the next time.
        if self.read(walk, on_row)? {
            return Ok(true);
        }
        let Ok(file) = File::open(&self.path) else { return Ok(false) };
        (self.inode, self.file) = (file.metadata()?.ino(), file);
        self.rest.clear();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::log_service::query::Query;
    use crate::log_service::read::Window;

    #[test]
    fn what_comes_just_before_a_file_is_renamed_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.jsonl");
        let append = |name: &str| {
            let mut file = File::options().append(true).create(true).open(&path).unwrap();
            writeln!(file, r#"{{"kind":"request","path":"{name}"}}"#).unwrap();
        };
        append("/before");
        let mut growing = Growing::at_end(&path).unwrap();
        let mut walk = Walk::new(&Query::all(), Window::default(), None);
        let mut shown = Vec::new();
        let mut show = |row: &Row<'_>| {
            shown.push(row.value["path"].as_str().unwrap().to_owned());
            Flow::Continue(())
        };
        assert!(!growing.advance(&mut walk, &mut show).unwrap());
        // It comes after the read and before the look at the name.
        append("/last");
        std::fs::rename(&path, directory.path().join("access.jsonl.1")).unwrap();
        append("/first");
        assert!(growing.switch_if_moved(&mut walk, &mut show).unwrap());
        assert!(!growing.advance(&mut walk, &mut show).unwrap());
        assert_eq!(shown, ["/last", "/first"]);
    }
}
