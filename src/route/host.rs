//! Host patterns and their index.

use std::collections::HashMap;
use std::fmt;

use crate::http::target::Host;

/// A host that a site serves, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Exact(String),
    /// `*.suffix`; holds the suffix. One label or more stand for the star.
    Wildcard(String),
    /// `*`: whatever no other pattern takes.
    Any,
}

impl HostPattern {
    /// Reads `name`, `*.name` or `*`; brings case, trailing dot and IPv6 into the form of requests. `None`: not a host,
    /// or one with a port.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let (wildcard, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        let host = Host::parse(name).ok().filter(|host| host.port().is_none())?;
        let name = host.name().to_owned();
        Some(if wildcard { Self::Wildcard(name) } else { Self::Exact(name) })
    }

    /// The naive matcher; the index must agree with it.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host == name,
            Self::Wildcard(suffix) => {
                host.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            Self::Any => true,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// From canonical host to the number of a site.
#[derive(Debug, Default)]
pub(super) struct HostIndex {
    exact: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    wildcard: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    /// Longest suffix of a wildcard: longer ones need no look-up, so a host of a hundred labels stays cheap.
    longest: usize,
    any: Option<usize>,
}

impl HostIndex {
    pub(super) fn insert(&mut self, pattern: &HostPattern, site: usize) -> Result<(), ()> {
        let before = match pattern {
            HostPattern::Exact(name) => self.exact.insert(name.as_str().into(), site),
            HostPattern::Wildcard(suffix) => {
                self.longest = self.longest.max(suffix.len());
                self.wildcard.insert(suffix.as_str().into(), site)
            }
            HostPattern::Any => self.any.replace(site),
        };
        // An alias that repeats the site's own name does no harm.
        if before.is_some_and(|before| before != site) { Err(()) } else { Ok(()) }
    }

    pub(super) fn find(&self, host: &str) -> Option<usize> {
        if let Some(&site) = self.exact.get(host) {
            return Some(site);
        }
        if !self.wildcard.is_empty()
            && let Some(site) = self.find_wildcard(host)
        {
            return Some(site);
        }
        self.any
    }

    /// Longest suffix first.
    fn find_wildcard(&self, host: &str) -> Option<usize> {
        let mut rest = host;
        while let Some((label, suffix)) = rest.split_once('.') {
            // A host never begins with a dot; this only keeps the promise that a label stands for the star.
            let served = suffix.len() <= self.longest && !(label.is_empty() && rest.len() == host.len());
            if served && let Some(&site) = self.wildcard.get(suffix) {
                return Some(site);
            }
            rest = suffix;
        }
        None
    }
}
