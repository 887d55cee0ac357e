//! Conditions of a route besides its path.

use std::borrow::Cow;

use http::{HeaderName, Method};
use regex::bytes::Regex;

use super::Head;

/// One condition; a route has them joined by "and".
#[derive(Clone, Debug)]
pub enum Condition {
    /// One of these.
    Method(Vec<Method>),
    /// One line of this field fits.
    Header(HeaderName, ValuePattern),
    /// One parameter of this name fits, escapes and `+` decoded.
    Query(String, ValuePattern),
}

/// A value, exact or with `*` for any characters. Case counts.
#[derive(Clone, Debug)]
pub enum ValuePattern {
    /// `*`: there, whatever it is.
    Any,
    Exact(String),
    /// Compiled from a pattern with stars; kept with its text.
    Glob(String, Regex),
}

/// A value pattern too large to compile.
#[derive(Clone, Debug, thiserror::Error)]
#[error("value pattern is too large")]
pub struct ConditionError(#[source] regex::Error);

impl ValuePattern {
    /// Reads the user's spelling. A regular expression does the work, for its time is linear in hostile values.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if !text.contains('*') {
            return Ok(Self::Exact(text.to_owned()));
        }
        let parts: Vec<String> = text.split('*').map(regex::escape).collect();
        let expression = format!("(?s-u)^{}$", parts.join(".*"));
        Regex::new(&expression).map(|regex| Self::Glob(text.to_owned(), regex)).map_err(ConditionError)
    }

    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.as_bytes() == value,
            Self::Glob(_, regex) => regex.is_match(value),
        }
    }

    /// As the user wrote it.
    pub fn text(&self) -> &str {
        match self {
            Self::Any => "*",
            Self::Exact(text) | Self::Glob(text, _) => text,
        }
    }
}

impl Condition {
    pub fn holds(&self, head: &Head<'_>) -> bool {
        match self {
            Self::Method(methods) => methods.contains(head.method),
            Self::Header(name, value) => {
                head.headers.get_all(name).iter().any(|line| value.matches(line.as_bytes()))
            }
            Self::Query(name, value) => head.query.is_some_and(|query| has_parameter(query, name, value)),
        }
    }

    /// Equal ones hold for the same requests, whatever the order of methods.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Method(a), Self::Method(b)) => {
                a.iter().all(|method| b.contains(method)) && b.iter().all(|method| a.contains(method))
            }
            (Self::Header(a, x), Self::Header(b, y)) => a == b && x.text() == y.text(),
            (Self::Query(a, x), Self::Query(b, y)) => a == b && x.text() == y.text(),
            _ => false,
        }
    }
}

/// Both lists hold the same conditions, in any order.
pub(super) fn same_conditions(a: &[Condition], b: &[Condition]) -> bool {
    let within = |a: &[Condition], b: &[Condition]| a.iter().all(|one| b.iter().any(|other| one.same(other)));
    a.len() == b.len() && within(a, b) && within(b, a)
}

fn has_parameter(query: &str, name: &str, value: &ValuePattern) -> bool {
    query.split('&').any(|pair| {
        let (key, text) = pair.split_once('=').unwrap_or((pair, ""));
        *decoded(key) == *name.as_bytes() && value.matches(&decoded(text))
    })
}

/// A form's escapes; borrows where there are none.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('+') {
        return percent_encoding::percent_decode_str(text).into();
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_encoding::percent_decode_str(&spaced).collect())
}
