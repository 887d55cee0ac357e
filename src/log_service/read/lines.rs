//! Lines of bounded length from anything that can be read.

use std::io::{self, BufRead, Read};

/// Longest line that is handed out; the service stores none longer.
pub(super) const MAX_LINE: usize = (1 << 20) + 4096;

/// What [`Lines::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::log_service) enum Next<'a> {
    /// A line without its end.
    Line(&'a mut [u8]),
    /// A line longer than allowed; it was passed over.
    TooLong,
    /// The input ends with a line that has no end (yet).
    Unfinished(&'a mut [u8]),
    End,
}

pub(in crate::log_service) struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(in crate::log_service) fn new(input: R) -> Self {
        Self { input, buffer: Vec::new() }
    }

    pub(in crate::log_service) fn next(&mut self) -> io::Result<Next<'_>> {
        self.buffer.clear();
        (&mut self.input).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut self.buffer)?;
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
            return Ok(Next::Line(&mut self.buffer));
        }
        if self.buffer.len() > MAX_LINE {
            self.input.skip_until(b'\n')?;
            return Ok(Next::TooLong);
        }
        Ok(if self.buffer.is_empty() { Next::End } else { Next::Unfinished(&mut self.buffer) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_passed_over_and_the_next_is_whole() {
        let mut text = vec![b'x'; 3 * MAX_LINE];
        text.extend_from_slice(b"\nok\n\nrest");
        let mut lines = Lines::new(text.as_slice());
        assert_eq!(lines.next().unwrap(), Next::TooLong);
        assert_eq!(lines.next().unwrap(), Next::Line(&mut b"ok".to_vec()));
        assert_eq!(lines.next().unwrap(), Next::Line(&mut []));
        assert_eq!(lines.next().unwrap(), Next::Unfinished(&mut b"rest".to_vec()));
        assert_eq!(lines.next().unwrap(), Next::End);
    }
}
