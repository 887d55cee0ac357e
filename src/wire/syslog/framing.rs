//! [`Framing`]: where one message ends and the next begins (RFC 6587 section 3.4).
//!
//! Octet counting: `LEN SP MESSAGE`. Otherwise lines: a message ends at LF, or at NUL as some devices send it. Which of
//! them it is shows at the first byte of a connection: a digit is a count, `<` or anything else begins a line. It does not
//! change later.

use bytes::{Buf, Bytes, BytesMut};

/// Digits of the largest count that is read: what is longer is no count.
const MAX_DIGITS: usize = 9;

/// Cuts what came on one connection into messages. Holds no more than a message may have, and what one read brought.
#[derive(Debug)]
pub struct Framing {
    pub buffer: BytesMut,
    most: usize,
    form: Form,
    /// Bytes at the front that are known to hold no end of a line.
    searched: usize,
    /// What is still to be thrown away of a message that is too long.
    skipping: Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Unknown,
    Counted,
    Lines,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Nothing,
    Bytes(usize),
    Line,
}

/// Why something is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unframed {
    /// It was passed over; what follows is read.
    #[error("a message is too long")]
    TooLong,
    /// What follows cannot be read.
    #[error("where the next message begins is no longer known: there is no count")]
    NoCount,
    #[error("the connection ended in the middle of a message")]
    Torn,
}

impl Framing {
    /// For messages of at most so many bytes, told apart by what comes first.
    pub fn new(most: usize) -> Self {
        Self::of(Form::Unknown, most)
    }

    /// For lines of at most so many bytes.
    pub fn lines(most: usize) -> Self {
        Self::of(Form::Lines, most)
    }

    fn of(form: Form, most: usize) -> Self {
        Self { buffer: BytesMut::new(), most, form, searched: 0, skipping: Skip::Nothing }
    }

    /// The next message, without what ends it; `None` until more has come. A message may be empty.
    ///
    /// # Errors
    /// After [`Unframed::NoCount`] the connection is of no use; after [`Unframed::TooLong`] the next messages can be read.
    pub fn message(&mut self) -> Result<Option<Bytes>, Unframed> {
        if !self.skip() {
            return Ok(None);
        }
        if self.form == Form::Unknown {
            self.form = match form_of(&self.buffer) {
                Some(form) => form,
                None => return Ok(None),
            };
        }
        match self.form {
            Form::Counted => self.counted(),
            Form::Lines | Form::Unknown => self.line(),
        }
    }

    /// What the connection ended with. A line may lack its end.
    ///
    /// # Errors
    /// It ended in the middle of a counted message.
    pub fn end(&mut self) -> Result<Option<Bytes>, Unframed> {
        let rest = std::mem::take(&mut self.buffer).freeze();
        self.searched = 0;
        if rest.is_empty() || self.skipping != Skip::Nothing {
            return Ok(None);
        }
        match self.form {
            Form::Counted if rest.iter().all(is_between) => Ok(None),
            Form::Counted => Err(Unframed::Torn),
            Form::Lines | Form::Unknown => Ok(Some(trimmed(&rest))),
        }
    }

    /// Whether it stands between two messages.
    pub fn is_between(&self) -> bool {
        self.buffer.is_empty() && self.skipping == Skip::Nothing
    }

    /// Throws away what is left of a message that is too long. Tells whether that is done.
    fn skip(&mut self) -> bool {
        match self.skipping {
            Skip::Nothing => {}
            Skip::Bytes(left) => {
                let now = left.min(self.buffer.len());
                self.buffer.advance(now);
                self.skipping = if now == left { Skip::Nothing } else { Skip::Bytes(left - now) };
            }
            Skip::Line => match end_of_line(&self.buffer) {
                Some(at) => {
                    self.buffer.advance(at + 1);
                    self.skipping = Skip::Nothing;
                }
                None => self.buffer.clear(),
            },
        }
        self.skipping == Skip::Nothing
    }

    fn counted(&mut self) -> Result<Option<Bytes>, Unframed> {
        // Some senders end a counted message with a line end that they have not counted.
        let between = self.buffer.iter().take_while(|byte| is_between(byte)).count();
        self.buffer.advance(between);
        let digits = self.buffer.iter().take(MAX_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
        let Some(after) = self.buffer.get(digits) else { return Ok(None) };
        if *after != b' ' || digits == 0 || digits > MAX_DIGITS {
            return Err(Unframed::NoCount);
        }
        // At most nine digits.
        let count = self.buffer[..digits].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        if count > self.most {
            self.buffer.advance(digits + 1);
            self.skipping = Skip::Bytes(count);
            self.skip();
            return Err(Unframed::TooLong);
        }
        if self.buffer.len() < digits + 1 + count {
            return Ok(None);
        }
        self.buffer.advance(digits + 1);
        Ok(Some(trimmed(&self.buffer.split_to(count).freeze())))
    }

    fn line(&mut self) -> Result<Option<Bytes>, Unframed> {
        let found = end_of_line(&self.buffer[self.searched..]).map(|at| self.searched + at);
        match found {
            Some(at) => {
                let line = self.buffer.split_to(at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                if line.len() > self.most { Err(Unframed::TooLong) } else { Ok(Some(trimmed(&line))) }
            }
            None if self.buffer.len() > self.most => {
                self.buffer.clear();
                (self.searched, self.skipping) = (0, Skip::Line);
                Err(Unframed::TooLong)
            }
            None => {
                self.searched = self.buffer.len();
                Ok(None)
            }
        }
    }
}

/// `None` as long as it can be a count.
fn form_of(bytes: &[u8]) -> Option<Form> {
    let digits = bytes.iter().take(MAX_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if bytes.first() == Some(&b'0') || digits > MAX_DIGITS {
        return Some(Form::Lines);
    }
    let after = bytes.get(digits)?;
    Some(if digits > 0 && *after == b' ' { Form::Counted } else { Form::Lines })
}

fn end_of_line(bytes: &[u8]) -> Option<usize> {
    memchr::memchr2(b'\n', 0, bytes)
}

fn is_between(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r' | 0)
}

fn trimmed(message: &Bytes) -> Bytes {
    let len = message.len() - message.iter().rev().take_while(|byte| is_between(byte)).count();
    message.slice(..len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(framing: &mut Framing, bytes: &[u8]) -> Vec<Result<String, Unframed>> {
        framing.buffer.extend_from_slice(bytes);
        let mut found = Vec::new();
        loop {
            match framing.message() {
                Ok(None) => return found,
                Ok(Some(message)) => found.push(Ok(String::from_utf8_lossy(&message).into_owned())),
                Err(error) => {
                    found.push(Err(error));
                    if error == Unframed::NoCount {
                        return found;
                    }
                }
            }
        }
    }

    fn texts(texts: &[&str]) -> Vec<Result<String, Unframed>> {
        texts.iter().map(|text| Ok((*text).to_owned())).collect()
    }

    #[test]
    fn the_first_byte_tells_counts_from_lines() {
        let cases: [(&str, &[&str]); 7] = [
            ("5 <1>ab6 <1>abc", &["<1>ab", "<1>abc"]),
            ("6 <1>ab\n6 <1>abc\n", &["<1>ab", "<1>abc"]),
            ("5 <1>ab\n5 <1>cd\n", &["<1>ab", "<1>cd"]),
            ("<1>ab\n<1>5 abc\r\n", &["<1>ab", "<1>5 abc"]),
            ("<1>ab\0<1>cd\0", &["<1>ab", "<1>cd"]),
            ("2026-11-22 it begins with a digit\n", &["2026-11-22 it begins with a digit"]),
            ("0 x\n12345678901 y\n", &["0 x", "12345678901 y"]),
        ];
        for (bytes, expected) in cases {
            let mut framing = Framing::new(64);
            assert_eq!(all(&mut framing, bytes.as_bytes()), texts(expected), "{bytes:?}");
            assert!(framing.is_between(), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_passed_over_and_the_next_is_read() {
        let long = "x".repeat(50);
        for (sent, expected) in [
            (format!("3 abc50 {long}3 def"), [Ok("abc".into()), Err(Unframed::TooLong), Ok("def".into())]),
            (format!("abc\n{long}\ndef\n"), [Ok("abc".into()), Err(Unframed::TooLong), Ok("def".into())]),
        ] {
            for piece in [1, 7, 200] {
                let mut framing = Framing::new(10);
                let mut found = Vec::new();
                for bytes in sent.as_bytes().chunks(piece) {
                    found.extend(all(&mut framing, bytes));
                    assert!(framing.buffer.len() <= 10 + 4, "what is too long is not kept");
                }
                assert_eq!(found, expected, "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn without_a_count_the_rest_cannot_be_read() {
        for bad in ["3 abcx", "3 abc<1>", "3 abc1234567890 x"] {
            let found = all(&mut Framing::new(100), bad.as_bytes());
            assert_eq!(found, [Ok("abc".to_owned()), Err(Unframed::NoCount)], "{bad}");
        }
    }

    #[test]
    fn the_end_of_a_connection_ends_a_line_but_no_counted_message() {
        let mut lines = Framing::new(10);
        assert_eq!(all(&mut lines, b"a\nb"), texts(&["a"]));
        assert_eq!(lines.end(), Ok(Some(Bytes::from_static(b"b"))));
        let mut counted = Framing::new(10);
        assert_eq!(all(&mut counted, b"1 a5 b"), texts(&["a"]));
        assert_eq!(counted.end(), Err(Unframed::Torn));
        let mut whole = Framing::new(10);
        assert_eq!(all(&mut whole, b"1 a\n"), texts(&["a"]));
        assert_eq!(whole.end(), Ok(None));
    }

    proptest! {
        #[test]
        fn cutting_does_not_depend_on_how_bytes_arrive(
            messages in proptest::collection::vec("<[0-9]>[ -~é]{0,20}", 1..8),
            counted: bool,
            piece in 1usize..30,
        ) {
            let sent: String = messages
                .iter()
                .map(|text| if counted { format!("{} {text}", text.len()) } else { format!("{text}\n") })
                .collect();
            let mut framing = Framing::new(100);
            let mut found = Vec::new();
            for bytes in sent.as_bytes().chunks(piece) {
                found.extend(all(&mut framing, bytes));
            }
            let expected: Vec<_> = messages.into_iter().map(Ok).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_cut_or_refused_within_bounds(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..10),
        ) {
            let mut framing = Framing::new(16);
            for piece in pieces {
                all(&mut framing, &piece);
                if framing.buffer.first().is_some_and(|byte| !byte.is_ascii_digit()) && framing.form == Form::Counted {
                    return Ok(());
                }
                prop_assert!(framing.buffer.len() <= 16 + MAX_DIGITS + 1);
            }
            let _ = framing.end();
            prop_assert_eq!(framing.message(), Ok(None));
        }
    }
}
