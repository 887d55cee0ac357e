//! [`Check`]: what a value must be, asked of JSON values and of cells. The answers are the same.

use jiff::Timestamp;
use serde_json::Value;

use crate::log_service::query::{Bound, Order, Part, Pattern};

#[derive(Clone, Debug)]
pub(super) enum Check {
    Present,
    /// One of them fits.
    Fits(Vec<Pattern>),
    Compare(Order, Bound),
}

impl Check {
    /// The text, when nothing but a part of the value is asked for.
    pub(super) fn only_part(&self) -> Option<&Part> {
        match self {
            Self::Fits(patterns) => match patterns.as_slice() {
                [Pattern::Inside(part)] => Some(part),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn on_value(&self, value: &Value) -> bool {
        match self {
            Self::Present => !value.is_null(),
            Self::Fits(patterns) => patterns.iter().any(|pattern| pattern.matches(value)),
            Self::Compare(order, bound) => bound.compare(*order, value),
        }
    }

    pub(super) fn on_text(&self, text: &str) -> bool {
        match self {
            Self::Present => true,
            Self::Fits(patterns) => patterns.iter().any(|pattern| pattern.matches_text(text)),
            Self::Compare(order, Bound::Moment(bound)) => {
                text.parse::<Timestamp>().is_ok_and(|time| order.holds(&time, bound))
            }
            Self::Compare(..) => false,
        }
    }

    pub(super) fn on_flag(&self, flag: bool) -> bool {
        match self {
            Self::Present => true,
            Self::Fits(patterns) => {
                let written = if flag { "true" } else { "false" };
                patterns.iter().any(|pattern| pattern.matches_written(written))
            }
            Self::Compare(..) => false,
        }
    }

    /// Made ready for many numbers.
    pub(super) fn for_numbers(&self) -> Vec<NumberCheck<'_>> {
        match self {
            Self::Present => vec![NumberCheck::Any],
            Self::Compare(order, Bound::Number(bound)) => vec![NumberCheck::Compare(*order, *bound)],
            Self::Compare(_, Bound::Moment(_)) => Vec::new(),
            Self::Fits(patterns) => patterns.iter().filter_map(NumberCheck::of).collect(),
        }
    }

    /// Made ready for many times: the first and the last moment, microseconds; `None` when the text has to be looked at.
    pub(super) fn for_times(&self) -> Option<(i64, i64)> {
        let Self::Compare(order, Bound::Moment(bound)) = self else { return None };
        let micros = bound.as_nanosecond().div_euclid(1_000);
        let is_between = bound.as_nanosecond().rem_euclid(1_000) > 0;
        // Timestamps of jiff fit in 64 bits of microseconds.
        let micros = i64::try_from(micros).ok()?;
        Some(match order {
            Order::Less if is_between => (i64::MIN, micros),
            Order::Less => (i64::MIN, micros - 1),
            Order::AtMost => (i64::MIN, micros),
            Order::AtLeast if !is_between => (micros, i64::MAX),
            Order::More | Order::AtLeast => (micros + 1, i64::MAX),
        })
    }
}

/// A test of a number as JSON writes it: digits without sign and fraction.
pub(super) enum NumberCheck<'p> {
    Any,
    Is(u64),
    Between(f64, f64),
    Compare(Order, f64),
    Written(&'p Pattern),
}

impl<'p> NumberCheck<'p> {
    /// `None` for a pattern that no number fits.
    fn of(pattern: &'p Pattern) -> Option<Self> {
        match pattern {
            Pattern::Between(from, to) => Some(Self::Between(*from, *to)),
            Pattern::Like(text) | Pattern::Exactly(text) => {
                let number: u64 = text.parse().ok()?;
                (number.to_string() == **text).then_some(Self::Is(number))
            }
            Pattern::Inside(_) | Pattern::Expression(_) => Some(Self::Written(pattern)),
            Pattern::Network(_) => None,
        }
    }

    #[inline]
    pub(super) fn holds(&self, number: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Is(wanted) => number == *wanted,
            Self::Between(from, to) => (*from..=*to).contains(&(number as f64)),
            Self::Compare(order, bound) => order.holds(&(number as f64), bound),
            Self::Written(pattern) => pattern.matches_written(itoa::Buffer::new().format(number)),
        }
    }
}
