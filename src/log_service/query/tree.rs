//! The tree of tests that a filter is, and how an entry is held against it.

use std::fmt;

use serde_json::Value;

use super::field::Field;
use super::pattern::Pattern;

/// Members that a bare word is looked for in.
pub(in crate::log_service) const WORD_MEMBERS: &[&str] =
    &["path", "ua", "err", "line", "msg", "message", "log"];

/// A checked filter as a tree.
#[derive(Clone, Debug)]
pub(in crate::log_service) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Word(Pattern),
    Present(Field),
    /// One of the patterns fits.
    Fits(Field, Vec<Pattern>),
    Compare(Field, Order, Bound),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log_service) enum Order {
    Less,
    AtMost,
    More,
    AtLeast,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::log_service) enum Bound {
    Number(f64),
    Moment(jiff::Timestamp),
}

impl Node {
    pub(super) fn matches(&self, entry: &Value) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.matches(entry)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(entry)),
            Self::Not(node) => !node.matches(entry),
            Self::Word(part) => {
                WORD_MEMBERS.iter().filter_map(|name| entry.get(name)).any(|value| part.matches(value))
            }
            Self::Present(field) => field.of(entry).is_some(),
            Self::Fits(field, patterns) => {
                field.all_of(entry).any(|value| patterns.iter().any(|pattern| pattern.matches(value)))
            }
            Self::Compare(field, order, bound) => {
                field.all_of(entry).any(|value| bound.compare(*order, value))
            }
        }
    }
}

impl Bound {
    /// Later or larger than another one.
    pub(super) fn is_beyond(self, other: Self) -> bool {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one > other,
            (Self::Moment(one), Self::Moment(other)) => one > other,
            _ => false,
        }
    }

    pub(in crate::log_service) fn compare(self, order: Order, value: &Value) -> bool {
        match self {
            Self::Number(bound) => value.as_f64().is_some_and(|value| order.holds(&value, &bound)),
            Self::Moment(bound) => {
                let time = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
                time.is_some_and(|time| order.holds(&time, &bound))
            }
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Moment(moment) => moment.fmt(f),
        }
    }
}

impl Order {
    pub(in crate::log_service) fn holds<T: PartialOrd>(self, value: &T, bound: &T) -> bool {
        match self {
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
            Self::More => value > bound,
            Self::AtLeast => value >= bound,
        }
    }
}
