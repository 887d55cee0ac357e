//! Path patterns: `/x` exact, `/x/*` prefix, `~expression`.

use regex::Regex;

use crate::http::headers::Refusal;
use crate::http::target::canonical_path;

/// Which paths a route serves. Patterns are kept in the canonical form of requests, so `/~joe` and `/%7ejoe` are one.
#[derive(Clone, Debug)]
pub enum PathPattern {
    Exact(String),
    /// `/x/*` is kept as `/x/`: it serves `/x/` and everything below, not `/x`.
    Prefix(String),
    /// Searched for anywhere in the canonical path; `^` and `$` anchor it.
    Regex(Regex),
}

/// Why a path pattern cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PatternError {
    #[error("a path begins with `/`, or with `~` for a regular expression")]
    NoSlash,
    #[error("`*` stands only at the end, after a `/`")]
    Star,
    #[error("no request has such a path: {0}")]
    NotCanonical(#[source] Refusal),
    #[error("not a regular expression")]
    Regex(#[source] regex::Error),
}

impl PathPattern {
    /// Reads the user's spelling.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if let Some(expression) = text.strip_prefix('~') {
            return Regex::new(expression.trim_start()).map(Self::Regex).map_err(PatternError::Regex);
        }
        if !text.starts_with('/') {
            return Err(PatternError::NoSlash);
        }
        let (path, prefix) = text.strip_suffix('*').map_or((text, false), |path| (path, true));
        if path.contains('*') || (prefix && !path.ends_with('/')) {
            return Err(PatternError::Star);
        }
        let path = canonical(path)?;
        Ok(if prefix { Self::Prefix(path) } else { Self::Exact(path) })
    }

    /// The naive matcher; the indexes of a site must agree with it.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Regex(expression) => expression.is_match(path),
        }
    }

    /// Both serve exactly the same paths, as far as their text tells.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }

    /// Where the rest begins in a path that matches.
    pub(super) fn rest_of(&self, path: &str) -> usize {
        match self {
            Self::Exact(_) => path.len(),
            Self::Prefix(prefix) => prefix.len(),
            Self::Regex(_) => 1,
        }
    }
}

/// The form in which a request would bring this path. Spaces and letters outside ASCII may stand in a file as they
/// are; a request has them escaped.
fn canonical(path: &str) -> Result<String, PatternError> {
    const RAW: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b' ');
    let escaped = percent_encoding::utf8_percent_encode(path, RAW).to_string();
    canonical_path(&escaped).map(|canonical| canonical.path.into_owned()).map_err(PatternError::NotCanonical)
}
