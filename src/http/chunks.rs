//! [`Chunks`]: follows a chunked body through the raw bytes, and refuses what only some readers accept.
//!
//! hyper decodes; it also lets pass what RFC 9112 section 7.1 does not know: extensions without a name, control bytes
//! in them, white space in front of the line end. The body goes on with our own framing, so none of that reaches an
//! origin, but a sender who writes it is not to be trusted with a second request on the connection.

use super::headers::Refusal;

/// Chunk sizes of more digits are nobody's honest work.
const MAX_DIGITS: u8 = 16;

/// Where the next byte of the body belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size {
        size: u64,
        digits: u8,
    },
    /// White space behind the size or an extension: only `;` may follow.
    GapBefore,
    /// Behind `;`.
    GapAfter,
    Name,
    /// White space behind the name: `=` or `;`.
    GapName,
    /// Behind `=`.
    GapValue,
    Value,
    Quoted,
    QuotedPair,
    /// Behind a closing quote.
    Closed,
    SizeLf,
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the empty one.
    Line,
    FieldName,
    FieldValue,
    FieldLf,
    EndLf,
    End,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Chunks {
    at: At,
    /// Of the chunk whose line is being read.
    size: u64,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size { size: 0, digits: 0 }, size: 0 }
    }
}

impl Chunks {
    /// Reads on; gives the number of bytes that belong to the body, which is all of them until its end.
    ///
    /// # Errors
    /// The chunks do not follow the grammar.
    pub fn on_read(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut used = 0;
        while used < bytes.len() && self.at != At::End {
            if let At::Data { left } = self.at {
                let taken = left.min((bytes.len() - used) as u64);
                used += taken as usize;
                self.at = if taken == left { At::DataCr } else { At::Data { left: left - taken } };
                continue;
            }
            self.at = self.step(bytes[used])?;
            used += 1;
        }
        Ok(used)
    }

    pub fn is_done(&self) -> bool {
        self.at == At::End
    }

    fn step(&mut self, byte: u8) -> Result<At, Refusal> {
        match self.at {
            At::Size { .. } | At::GapBefore | At::SizeLf => self.size_line(byte),
            At::DataCr => expect(byte, b'\r', At::DataLf),
            At::DataLf => expect(byte, b'\n', At::Size { size: 0, digits: 0 }),
            At::Line | At::FieldName | At::FieldValue | At::FieldLf | At::EndLf => trailer(self.at, byte),
            // Data is skipped as a whole, and nothing follows the end.
            At::Data { .. } | At::End => Ok(self.at),
            at => self.extension(at, byte),
        }
    }

    fn size_line(&mut self, byte: u8) -> Result<At, Refusal> {
        match (self.at, byte) {
            (At::Size { size, digits }, b) if b.is_ascii_hexdigit() && digits < MAX_DIGITS => {
                let digit = char::from(b).to_digit(16).unwrap_or(0);
                // Sixteen digits fit.
                Ok(At::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (At::Size { size, digits }, b) if digits > 0 => {
                self.size = size;
                self.after_size(b)
            }
            (At::GapBefore, b';' | b' ' | b'\t') => self.after_size(byte),
            (At::SizeLf, b'\n') if self.size == 0 => Ok(At::Line),
            (At::SizeLf, b'\n') => Ok(At::Data { left: self.size }),
            (At::SizeLf, _) => bad("bare CR in a chunk line"),
            _ => bad("invalid chunk size"),
        }
    }

    /// Behind a size, or behind a whole extension.
    fn after_size(&self, byte: u8) -> Result<At, Refusal> {
        match byte {
            b';' => Ok(At::GapAfter),
            b' ' | b'\t' => Ok(At::GapBefore),
            b'\r' => Ok(At::SizeLf),
            _ => bad("invalid chunk line"),
        }
    }

    fn extension(&self, at: At, byte: u8) -> Result<At, Refusal> {
        let is_gap = matches!(byte, b' ' | b'\t');
        match (at, byte) {
            (At::GapAfter | At::GapName | At::GapValue, _) if is_gap => Ok(at),
            (At::GapAfter | At::Name, b) if is_token(b) => Ok(At::Name),
            (At::Name, _) if is_gap => Ok(At::GapName),
            (At::Name | At::GapName, b'=') => Ok(At::GapValue),
            (At::Name, b) => self.after_size(b),
            (At::GapName, b';') => Ok(At::GapAfter),
            (At::GapValue, b'"') => Ok(At::Quoted),
            (At::GapValue | At::Value, b) if is_token(b) => Ok(At::Value),
            (At::Value | At::Closed, b) => self.after_size(b),
            (At::Quoted, b'"') => Ok(At::Closed),
            (At::Quoted, b'\\') => Ok(At::QuotedPair),
            (At::Quoted | At::QuotedPair, b) if is_text(b) => Ok(At::Quoted),
            _ => bad("invalid chunk extension"),
        }
    }
}

fn trailer(at: At, byte: u8) -> Result<At, Refusal> {
    match (at, byte) {
        (At::Line, b'\r') => Ok(At::EndLf),
        (At::Line | At::FieldName, b) if is_token(b) => Ok(At::FieldName),
        (At::FieldName, b':') => Ok(At::FieldValue),
        (At::FieldValue, b'\r') => Ok(At::FieldLf),
        (At::FieldValue, b) if is_text(b) => Ok(At::FieldValue),
        (At::FieldLf, b'\n') => Ok(At::Line),
        (At::EndLf, b'\n') => Ok(At::End),
        _ => bad("invalid trailer"),
    }
}

fn expect(byte: u8, wanted: u8, next: At) -> Result<At, Refusal> {
    if byte == wanted { Ok(next) } else { bad("chunk longer than its size") }
}

fn bad(detail: &'static str) -> Result<At, Refusal> {
    Err(Refusal::bad(detail))
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whatever may stand in a quoted string or a field value.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut chunks = Chunks::default();
        let used = chunks.on_read(bytes)?;
        Ok((used, chunks.is_done()))
    }

    #[test]
    fn follows_a_body_to_its_end_and_no_further() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "00005\r\nhello\r\n000\r\n\r\n",
            "5;name\r\nhello\r\n0;a=b;c=\"d;\\\"\te\" ; f = g\r\n\r\n",
            "A\r\n0\r\n\r\n12345\r\n0\r\nX-One: 1\r\nX-Two:\r\n\r\n",
            "5 ;a\r\nhello\r\n0\r\n\r\n",
        ] {
            let more = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(read(more.as_bytes()).unwrap(), (body.len(), true), "{body:?}");
        }
    }

    #[test]
    fn waits_for_an_unfinished_body() {
        let body = b"5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n";
        for end in 0..body.len() {
            assert_eq!(read(&body[..end]).unwrap(), (end, false), "{end}");
        }
    }

    #[test]
    fn refuses_what_only_some_readers_accept() {
        for body in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+5\r\n",
            "0x5\r\n",
            " 5\r\n",
            "5_0\r\n",
            "5 \r\n",
            "5\t\r\n",
            "5\n",
            "5\rX",
            "5;\r\n",
            "5;;a\r\n",
            "5;a=\r\n",
            "5;a[=b\r\n",
            "5;a\u{0}\r\n",
            "5;\u{0}a\r\n",
            "5;a\rb\r\n",
            "5;a\n",
            "5;a=\"b\n\"\r\n",
            "5;a=\"b\r\n",
            "5;a=\"\u{7f}\"\r\n",
            "5;a=\"b\"c\r\n",
            "5;a b\r\n",
            "5;a \r\n",
            "00000000000000005\r\n",
            "fffffffffffffffff\r\n",
            "5\r\nhelloX",
            "5\r\nhello\n",
            "5\r\nhello\rX",
            "0\r\n\n",
            "0\r\n\rX",
            "0\r\n bad\r\n",
            "0\r\nX : a\r\n",
            "0\r\nX\r\n",
            "0\r\n: a\r\n",
            "0\r\nX: a\n",
            "0\r\nX: a\rb",
            "0\r\nX: \u{0}\r\n",
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn does_not_depend_on_how_the_bytes_are_cut(bytes in "[0-9a-c;=\"\r\n :x]{0,40}", cut in 0_usize..40) {
            let bytes = bytes.as_bytes();
            let cut = cut.min(bytes.len());
            let mut chunks = Chunks::default();
            let parts = chunks.on_read(&bytes[..cut]).and_then(|first| {
                Ok(first + chunks.on_read(&bytes[cut..])?)
            });
            let whole = read(bytes);
            prop_assert_eq!(parts.is_err(), whole.is_err());
            if let (Ok(parts), Ok((used, is_done))) = (parts, whole) {
                prop_assert_eq!((parts, chunks.is_done()), (used, is_done));
            }
        }
    }
}
