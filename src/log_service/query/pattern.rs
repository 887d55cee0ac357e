//! [`Pattern`]: one value of a test, and how values of entries are held against it.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::field::Field;
use super::part::Part;

/// Bytes of a compiled expression; a filter may come from another machine.
const REGEX_BYTES: usize = 1 << 20;

/// What a value must look like.
#[derive(Clone, Debug)]
pub(in crate::log_service) enum Pattern {
    /// Ignores ASCII case.
    Like(Box<str>),
    Exactly(Box<str>),
    /// Somewhere inside, ignoring ASCII case.
    Inside(Part),
    Expression(Regex),
    Between(f64, f64),
    Network(IpNet),
}

impl Pattern {
    /// For `field:text`, where `*` stands for anything (unless the text was quoted).
    pub(super) fn like(field: &Field, text: &str, quoted: bool) -> Result<Self, String> {
        if field.is_address() && text.contains('/') {
            return text
                .parse()
                .map(Self::Network)
                .map_err(|_| format!("`{text}` is no network such as 10.0.0.0/8"));
        }
        // One address can be written in several ways.
        if let Some(address) = text.parse::<Ipv6Addr>().ok().filter(|_| field.is_address() && !quoted) {
            return Ok(Self::Network(IpAddr::V6(address).to_canonical().into()));
        }
        if let Some(class) = status_class(text).filter(|_| !quoted) {
            return Ok(Self::Between(class * 100.0, class * 100.0 + 99.0));
        }
        if text.contains('*') && !quoted {
            return glob(text);
        }
        Ok(Self::Like(text.into()))
    }

    /// For a bare word: a part of the value.
    pub(super) fn part(text: &str, quoted: bool) -> Result<Self, String> {
        if let Some(part) = Part::new(text).filter(|_| quoted || !text.contains('*')) {
            return Ok(Self::Inside(part));
        }
        let pieces: Vec<String> = if quoted { vec![text.to_owned()] } else { split_globs(text) };
        expression(&format!(
            "(?is){}",
            pieces.iter().map(|p| regex::escape(p)).collect::<Vec<_>>().join(".*")
        ))
    }

    pub(super) fn expression(text: &str) -> Result<Self, String> {
        expression(text)
    }

    pub(in crate::log_service) fn matches(&self, value: &Value) -> bool {
        match value {
            Value::Null => false,
            Value::String(text) => self.matches_text(text),
            // The text is made only for those that look at it.
            other => match self {
                Self::Between(from, to) => value.as_f64().is_some_and(|value| (*from..=*to).contains(&value)),
                _ => self.matches_written(&other.to_string()),
            },
        }
    }

    /// The same as [`Self::matches`] for a JSON string.
    pub(in crate::log_service) fn matches_text(&self, text: &str) -> bool {
        match self {
            Self::Between(..) => false,
            Self::Network(network) => {
                text.parse::<IpAddr>().is_ok_and(|address| network.contains(&address.to_canonical()))
            }
            _ => self.matches_written(text),
        }
    }

    /// Numbers and booleans are matched as they are written; lists and objects by their JSON.
    pub(in crate::log_service) fn matches_written(&self, written: &str) -> bool {
        match self {
            Self::Like(text) => written.eq_ignore_ascii_case(text),
            Self::Exactly(text) => *written == **text,
            Self::Inside(part) => part.find(written.as_bytes(), 0).is_some(),
            Self::Expression(regex) => regex.is_match(written),
            Self::Between(..) | Self::Network(_) => false,
        }
    }
}

pub(super) fn status_class(text: &str) -> Option<f64> {
    match text.as_bytes() {
        [class @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => Some(f64::from(class - b'0')),
        _ => None,
    }
}

fn glob(text: &str) -> Result<Pattern, String> {
    let pieces: Vec<String> = split_globs(text).iter().map(|piece| regex::escape(piece)).collect();
    expression(&format!("(?is)^{}$", pieces.join(".*")))
}

fn split_globs(text: &str) -> Vec<String> {
    text.split('*').map(str::to_owned).collect()
}

fn expression(text: &str) -> Result<Pattern, String> {
    let built = RegexBuilder::new(text).size_limit(REGEX_BYTES).dfa_size_limit(2 * REGEX_BYTES).build();
    built.map(Pattern::Expression).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the expression is too large".to_owned(),
        error => error.to_string().lines().last().unwrap_or("not an expression").to_owned(),
    })
}
