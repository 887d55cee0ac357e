//! stdout and stderr: buffered, coloured only on a terminal.

use std::io::{self, BufWriter, Write};

use anstream::AutoStream;

pub(super) use crate::record::line::style::{BOLD, CYAN, DIM, GREEN, RED, YELLOW, style_of};

/// Where results go. Colours are dropped unless stdout is a terminal; NO_COLOR and CLICOLOR_FORCE are obeyed.
pub(super) struct Output {
    stream: BufWriter<AutoStream<io::Stdout>>,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self { stream: BufWriter::new(AutoStream::auto(io::stdout())) }
    }

    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes())?;
        self.stream.write_all(b"\n")
    }

    /// Shows what is buffered; also how a closed pipe is noticed.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A line on stderr. That it cannot be written is no reason to fail.
pub(super) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}
