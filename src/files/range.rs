//! Byte ranges: RFC 9110 section 14.

use std::ops::Range;

/// What a `Range` field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// Everything: the field is malformed, of another unit, or asks for more parts than are allowed. Then it is
    /// as if it were not there.
    Whole,
    /// 416: no part lies inside of the content.
    Unsatisfiable,
    /// At least one, none empty, none overlapping another.
    Parts(Vec<Range<u64>>),
}

/// Parts with fewer bytes between them than a part's own head takes are sent as one.
const GAP: u64 = 80;

impl Ranges {
    /// Reads a field value against a content of `size` bytes.
    pub(super) fn parse(value: &[u8], size: u64, max_ranges: usize) -> Self {
        let Some(specs) = strip_unit(value) else { return Self::Whole };
        let mut parts = Vec::new();
        let mut count = 0;
        let items = specs.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        // Empty items are allowed in a list (RFC 9110 section 5.6.1.2).
        for item in items.filter(|item| !item.is_empty()) {
            count += 1;
            let Some(spec) = Spec::parse(item) else { return Self::Whole };
            if count > max_ranges {
                return Self::Whole;
            }
            parts.extend(spec.within(size));
        }
        match (count, parts.len()) {
            (0, _) => Self::Whole,
            (_, 0) => Self::Unsatisfiable,
            _ => Self::Parts(coalesce(parts)),
        }
    }
}

fn strip_unit(value: &[u8]) -> Option<&[u8]> {
    let (unit, specs) = value.split_at_checked(6)?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(specs)
}

enum Spec {
    From { first: u64, last: Option<u64> },
    Last(u64),
}

impl Spec {
    /// `first-last`, `first-` or `-length`.
    fn parse(item: &[u8]) -> Option<Self> {
        let dash = memchr::memchr(b'-', item)?;
        match (&item[..dash], &item[dash + 1..]) {
            (b"", length) => Some(Self::Last(number(length)?)),
            (first, b"") => Some(Self::From { first: number(first)?, last: None }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From { first, last: Some(last) })
            }
        }
    }

    /// The bytes of the content that it means; `None` when there are none.
    fn within(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From { first, last: None } => first..size,
            Self::From { first, last: Some(last) } => first..last.saturating_add(1).min(size),
            Self::Last(length) => size.saturating_sub(length)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

/// Digits only. What does not fit is the largest number: it lies behind the end of any content.
fn number(digits: &[u8]) -> Option<u64> {
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    valid.then(|| digits.iter().fold(0, add))
}

/// Joins parts that overlap or nearly touch. Parts that do not stay in the order in which they were asked for.
fn coalesce(parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted = parts.clone();
    sorted.sort_unstable_by_key(|part| part.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for part in sorted {
        match joined.last_mut() {
            Some(last) if part.start <= last.end.saturating_add(GAP) => last.end = last.end.max(part.end),
            _ => joined.push(part),
        }
    }
    if joined.len() == parts.len() { parts } else { joined }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(value: &str, size: u64) -> Ranges {
        Ranges::parse(value.as_bytes(), size, 5)
    }

    #[test]
    fn reads_what_the_rfc_allows_and_ignores_the_rest() {
        let parts = |parts: &[(u64, u64)]| Ranges::Parts(parts.iter().map(|part| part.0..part.1).collect());
        for (value, expected) in [
            ("bytes=0-499", parts(&[(0, 500)])),
            ("BYTES=0-0", parts(&[(0, 1)])),
            ("bytes=500-", parts(&[(500, 1000)])),
            ("bytes=-1", parts(&[(999, 1000)])),
            ("bytes=-5000", parts(&[(0, 1000)])),
            ("bytes=990-99999999999999999999999999", parts(&[(990, 1000)])),
            ("bytes=0-0, 500-500", parts(&[(0, 1), (500, 501)])),
            ("bytes=500-500,0-0", parts(&[(500, 501), (0, 1)])),
            ("bytes=,, 0-0 ,", parts(&[(0, 1)])),
            ("bytes=0-99,50-149", parts(&[(0, 150)])),
            ("bytes=50-149,0-99", parts(&[(0, 150)])),
            ("bytes=0-99,150-200", parts(&[(0, 201)])),
            ("bytes=0-9,5000-6000", parts(&[(0, 10)])),
            ("bytes=1000-", Ranges::Unsatisfiable),
            ("bytes=5000-6000", Ranges::Unsatisfiable),
            ("bytes=-0", Ranges::Unsatisfiable),
            ("bytes=5-4", Ranges::Whole),
            ("bytes=0-1,5-4", Ranges::Whole),
            ("bytes=", Ranges::Whole),
            ("bytes=-", Ranges::Whole),
            ("bytes=a-b", Ranges::Whole),
            ("bytes=+1-2", Ranges::Whole),
            ("bytes=1-2-3", Ranges::Whole),
            ("bytes=1 -2", Ranges::Whole),
            ("bytes 0-1", Ranges::Whole),
            ("lines=0-1", Ranges::Whole),
            ("", Ranges::Whole),
            ("bytes=0-0,100-100,200-200,300-300,400-400,500-500", Ranges::Whole),
        ] {
            assert_eq!(parse(value, 1000), expected, "{value}");
        }
        assert_eq!(parse("bytes=0-", 0), Ranges::Unsatisfiable);
    }

    proptest! {
        #[test]
        fn parts_are_inside_never_overlap_and_never_sum_up_to_more(
            value in "bytes=([0-9]{0,3}-[0-9]{0,3},? ?){0,8}",
            size in 0_u64..1000,
        ) {
            if let Ranges::Parts(parts) = parse(&value, size) {
                prop_assert!(!parts.is_empty() && parts.len() <= 5);
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
                prop_assert!(parts.iter().map(|part| part.end - part.start).sum::<u64>() <= size);
                let mut sorted = parts.clone();
                sorted.sort_unstable_by_key(|part| part.start);
                prop_assert!(sorted.windows(2).all(|two| two[0].end < two[1].start));
            }
        }

        #[test]
        fn no_bytes_break_the_parser(value in proptest::collection::vec(any::<u8>(), 0..40), size: u64) {
            Ranges::parse(&value, size, 5);
        }
    }
}
