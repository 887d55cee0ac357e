//! [`Part`]: text that is looked for inside other text.

use memchr::memmem::Finder;

/// A piece of ASCII text, found wherever it stands, ignoring ASCII case.
#[derive(Clone, Debug)]
pub(in crate::log_service) struct Part {
    text: Box<[u8]>,
    anchor: Anchor,
    /// Where the anchor lies in `text`.
    at: usize,
}

/// What is searched for quickly; the rest is compared where it is found.
#[derive(Clone, Debug)]
enum Anchor {
    /// Bytes without letters, which have no case.
    Bytes(Box<Finder<'static>>),
    /// A letter in both cases.
    Letter(u8, u8),
}

/// Letters by how often English text has them, seldom ones first.
const SELDOM: &[u8] = b"zqxjkvbpygfwmucldrhsnioate";

impl Part {
    /// `None` for text that is empty or not ASCII: its case is not a matter of single bytes.
    pub(super) fn new(text: &str) -> Option<Self> {
        let text = text.is_ascii().then(|| text.as_bytes().to_ascii_lowercase())?;
        let runs = text.split(u8::is_ascii_alphabetic);
        let (at, anchor) = match runs.max_by_key(|run| run.len()).filter(|run| !run.is_empty()) {
            Some(run) => {
                let finder = Finder::new(run).into_owned();
                (finder_at(&text, run), Anchor::Bytes(Box::new(finder)))
            }
            None => {
                let rank = |byte: &u8| SELDOM.iter().position(|letter| letter == byte);
                let (at, letter) = text.iter().enumerate().min_by_key(|(_, byte)| rank(byte))?;
                (at, Anchor::Letter(*letter, letter.to_ascii_uppercase()))
            }
        };
        Some(Self { text: text.into(), anchor, at })
    }

    pub(in crate::log_service) fn len(&self) -> usize {
        self.text.len()
    }

    /// Where it first stands in `text`, at or after `from`.
    pub(in crate::log_service) fn find(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut next = from.checked_add(self.at)?;
        loop {
            let rest = text.get(next..)?;
            let found = match &self.anchor {
                Anchor::Bytes(finder) => finder.find(rest)?,
                Anchor::Letter(lower, upper) => memchr::memchr2(*lower, *upper, rest)?,
            };
            // `next` never lies before the anchor's own place.
            let start = next + found - self.at;
            let candidate = text.get(start..start + self.text.len())?;
            if candidate.eq_ignore_ascii_case(&self.text) {
                return Some(start);
            }
            next += found + 1;
        }
    }
}

fn finder_at(text: &[u8], run: &[u8]) -> usize {
    memchr::memmem::find(text, run).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_a_plain_search_finds(text in "[aAbB/1é]{0,30}", part in "[aAbB/1]{1,4}", from in 0usize..5) {
            let found = Part::new(&part).unwrap().find(text.as_bytes(), from);
            let lower = text.to_ascii_lowercase();
            let tail = lower.as_bytes().get(from..).unwrap_or_default();
            let expected = memchr::memmem::find(tail, part.to_ascii_lowercase().as_bytes());
            prop_assert_eq!(found, expected.map(|at| at + from));
        }
    }

    #[test]
    fn what_has_no_single_bytes_is_left_to_others() {
        assert!(Part::new("").is_none() && Part::new("é").is_none());
    }
}
