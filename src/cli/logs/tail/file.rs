//! Following log files of any format: what is appended, through truncation and rotation, or what comes by stdin.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Printer, Watch};
use crate::cli::logs::CommandError;
use crate::cli::logs::source::{self, Asked, Files, Source, Told};
use crate::log_service::foreign::{self, Walk};
use crate::log_service::read::{Flow, Row};

/// Read at a time.
const STEP: usize = 256 << 10;
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
    let watch = Watch::beside(&files.paths);
    let begin = Source::Files(Files { paths: files.paths.clone(), format: files.format });
    printer.rows(&begin.newest(asked, count)?.0)?;
    loop {
        for file in &mut growing {
            let read = file.advance(&mut walk, &mut |row| printer.row(row));
            read.map_err(|error| source::cannot_read(&file.path, error))?;
        }
        printer.flush()?;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            () = watch.changed() => {}
        }
    }
    printer.end()?;
    Ok(Told { left_out: printer.total_left_out(), ..told(&walk) })
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

    fn advance(&mut self, walk: &mut Walk, on_row: &mut dyn FnMut(&Row<'_>) -> Flow) -> io::Result<()> {
        let mut buffer = vec![0; STEP];
        loop {
            let read = self.file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            self.rest.extend_from_slice(&buffer[..read]);
            let whole = memchr::memrchr(b'\n', &self.rest).map_or(0, |at| at + 1);
            let name = self.path.display().to_string();
            for line in self.rest[..whole].split_mut(|&byte| byte == b'\n') {
                self.line += 1;
                if walk.line(&name, self.line, line, on_row).is_break() {
                    return Ok(());
                }
            }
            self.rest.drain(..whole);
            if self.rest.len() > MAX_LINE {
                self.rest.clear();
            }
        }
        self.reopen()
    }

    /// Goes back to the beginning of a file that was cut, and on to the one that has taken its name.
    fn reopen(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() < self.file.stream_position()? {
            self.file.seek(SeekFrom::Start(0))?;
            self.rest.clear();
        }
        // Between rename and create there is none: the next look finds it.
        if let Ok(now) = self.path.metadata()
            && now.ino() != self.inode
        {
            self.file = File::open(&self.path)?;
            self.inode = now.ino();
            self.rest.clear();
        }
        Ok(())
    }
}
