//! From the body of `POST /logs` (or the `params` of a packet) to entries.
//!
//! Good entries of a batch are kept even when others are bad: a sender that repeats a poisoned batch for ever would
//! block everything behind it. What was refused is counted and told, with line and reason.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::entry::{Entry, Trust, is_json};

/// How many refusals are told one by one; the rest is only counted.
const TOLD: usize = 20;

/// What a body looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One object per line.
    Lines,
    /// An object, an array of objects, or (told by looking) lines.
    Any,
}

impl Shape {
    /// By `Content-Type`; many clients send lines as `application/json` or with no fitting type at all.
    pub(crate) fn of(content_type: Option<&str>) -> Self {
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let lines =
            ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];
        if lines.iter().any(|name| media.eq_ignore_ascii_case(name)) { Self::Lines } else { Self::Any }
    }
}

/// Bounds of one batch, and who sends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) entry_bytes: usize,
    pub(crate) entries: usize,
    pub(crate) trust: Trust,
}

/// What came out of a body.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) entries: Vec<Entry>,
    /// The first refusals.
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) rejected_count: usize,
}

/// One entry that was not taken.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Rejected {
    /// Line of the body, or place in the array, from 1.
    pub(crate) line: usize,
    pub(crate) reason: String,
}

/// Takes a body apart.
pub(crate) fn parse(body: &Bytes, shape: Shape, bounds: Bounds) -> Parsed {
    let mut parsed = Parsed::default();
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    match (shape, first) {
        (_, None) => {}
        (Shape::Any, Some(b'[')) => parsed.array(body, bounds),
        (Shape::Lines, _) => parsed.lines(body, bounds),
        (Shape::Any, _) => parsed.object_or_lines(body, bounds),
    }
    parsed
}

impl Parsed {
    fn object_or_lines(&mut self, body: &Bytes, bounds: Bounds) {
        let has_lines = memchr::memchr(b'\n', body.trim_ascii()).is_some();
        if has_lines && !is_json(body) {
            return self.lines(body, bounds);
        }
        self.take(1, body.slice_ref(body.trim_ascii()), bounds);
    }

    fn lines(&mut self, body: &Bytes, bounds: Bounds) {
        for (index, line) in body.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if !line.is_empty() {
                self.take(index + 1, body.slice_ref(line), bounds);
            }
        }
    }

    fn array(&mut self, body: &Bytes, bounds: Bounds) {
        let mut items = Items { body, bounds, parsed: Self::default() };
        let mut json = serde_json::Deserializer::from_slice(body);
        let outcome = (&mut json).deserialize_seq(&mut items).and_then(|()| json.end());
        match outcome {
            Ok(()) => *self = items.parsed,
            Err(error) => self.reject(error.line().max(1), error.to_string()),
        }
    }

    /// One entry; `line` is its place for a refusal.
    pub(crate) fn take(&mut self, line: usize, text: Bytes, bounds: Bounds) {
        if text.len() > bounds.entry_bytes {
            return self.reject(line, format!("larger than {} bytes", bounds.entry_bytes));
        }
        if self.entries.len() >= bounds.entries {
            return self.reject(line, format!("more than {} entries in one batch", bounds.entries));
        }
        match Entry::of_sender(text, bounds.trust) {
            Ok(entry) => self.entries.push(entry),
            Err(error) => self.reject(line, error.to_string()),
        }
    }

    /// Each reason of the refusals once, with how many there were.
    pub(crate) fn reasons(&self) -> Vec<(&str, usize)> {
        let mut reasons: Vec<(&str, usize)> = Vec::new();
        for rejected in &self.rejected {
            match reasons.iter_mut().find(|(reason, _)| *reason == rejected.reason) {
                Some((_, count)) => *count += 1,
                None => reasons.push((&rejected.reason, 1)),
            }
        }
        let further = self.rejected_count - self.rejected.len();
        match &mut *reasons {
            // All that are known are alike: the others will be, too.
            [(_, count)] => *count += further,
            _ if further > 0 => reasons.push(("further ones of the same chunk", further)),
            _ => {}
        }
        reasons
    }

    pub(crate) fn reject(&mut self, line: usize, reason: String) {
        self.rejected_count += 1;
        if self.rejected.len() < TOLD {
            self.rejected.push(Rejected { line, reason });
        }
    }
}

struct Items<'b> {
    body: &'b Bytes,
    bounds: Bounds,
    parsed: Parsed,
}

impl<'de> Visitor<'de> for &mut Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of JSON objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut place = 0;
        while let Some(item) = items.next_element::<&'de RawValue>()? {
            place += 1;
            // The raw text points into the body, except if serde_json ever copies it: then copy it here.
            let text = item.get().as_bytes();
            let within = self.body.as_ptr_range().contains(&text.as_ptr());
            let text = if within { self.body.slice_ref(text) } else { Bytes::copy_from_slice(text) };
            self.parsed.take(place, text, self.bounds);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { entry_bytes: 64, entries: 3, trust: Trust::Stranger };

    fn take(body: &str, shape: Shape) -> (usize, Vec<usize>) {
        let parsed = parse(&Bytes::copy_from_slice(body.as_bytes()), shape, BOUNDS);
        assert_eq!(parsed.rejected.len(), parsed.rejected_count);
        (parsed.entries.len(), parsed.rejected.iter().map(|r| r.line).collect())
    }

    #[test]
    fn takes_object_array_and_lines_without_being_told() {
        for body in ["{\"a\":1}", "{\n\"a\":\n1}\n", "[{\"a\":1}]", "\n{\"a\":1}\r\n\n"] {
            assert_eq!(take(body, Shape::Any), (1, vec![]), "{body}");
        }
        assert_eq!(take("{\"a\":1}\n{\"b\":2}\n", Shape::Any), (2, vec![]));
        assert_eq!(take("  ", Shape::Any), (0, vec![]));
    }

    #[test]
    fn keeps_good_lines_and_names_the_bad_ones() {
        assert_eq!(take("{\"a\":1}\nnonsense\n{\"b\":2}\n{\"c\"", Shape::Lines), (2, vec![2, 4]));
        assert_eq!(take("[{\"a\":1},7,{}]", Shape::Any), (2, vec![2]));
    }

    #[test]
    fn a_broken_array_is_refused_whole() {
        assert_eq!(take("[{\"a\":1},\n{\"b\":}]", Shape::Any), (0, vec![2]));
        assert_eq!(take("[{\"a\":1}] x", Shape::Any), (0, vec![1]));
    }

    #[test]
    fn bounds_hold() {
        assert_eq!(take(&"{}\n".repeat(5), Shape::Lines), (3, vec![4, 5]));
        assert_eq!(take(&format!("{{\"a\":\"{}\"}}", "x".repeat(99)), Shape::Any), (0, vec![1]));
        let many = parse(&Bytes::from("x\n".repeat(500)), Shape::Lines, BOUNDS);
        assert_eq!((many.rejected.len(), many.rejected_count), (TOLD, 500));
    }

    #[test]
    fn content_type_decides() {
        assert_eq!(Shape::of(Some("application/X-NDJSON; charset=utf-8")), Shape::Lines);
        assert_eq!(Shape::of(Some("application/json")), Shape::Any);
        assert_eq!(take("{\n}", Shape::Lines), (0, vec![1, 2]));
    }

    proptest! {
        #[test]
        fn every_line_is_taken_or_named(lines in proptest::collection::vec("[^\n]{0,20}", 0..20)) {
            let body = Bytes::from(lines.join("\n"));
            let parsed = parse(&body, Shape::Lines, Bounds { entry_bytes: 1000, entries: 1000, trust: Trust::Stranger });
            let filled = lines.iter().filter(|line| !line.as_bytes().trim_ascii().is_empty()).count();
            prop_assert_eq!(parsed.entries.len() + parsed.rejected_count, filled);
        }
    }
}
