//! stdout and stderr: buffered, coloured only on a terminal.

use std::io::{self, BufWriter, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};

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

pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const RED: Style = AnsiColor::Red.on_default();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const CYAN: Style = AnsiColor::Cyan.on_default();

/// By class: good, redirected, the client's fault, ours.
pub(super) fn style_of(status: u64) -> Style {
    match status {
        200..300 => GREEN,
        300..400 => CYAN,
        400..500 => YELLOW,
        _ => RED,
    }
}
