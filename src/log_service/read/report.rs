//! [`Report`]: what an answer says about itself, above all whether anything is missing.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::record::json::OPEN_END;

/// The reason of a `gap` that declares what sampling left out.
pub const SAMPLED: &str = "sampled";

/// How an answer came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Rows that matched.
    pub rows: u64,
    /// Lines read.
    pub lines: u64,
    /// Lines that were cut, changed or no JSON object.
    pub damaged: u64,
    /// Numbered records that should be among the lines read but are not.
    pub missing: Vec<Missing>,
    /// Numbered records that sampling left out, as it was told to.
    pub sampled: u64,
    /// Entries without a number that a proxy declared lost.
    pub unnumbered: u64,
    /// Too many streams or holes to tell what is missing.
    pub unknown: bool,
}

impl Report {
    /// How many records are known to be missing.
    pub fn missing_count(&self) -> u64 {
        self.lost().map(Missing::count).fold(self.unnumbered, u64::saturating_add)
    }

    /// How many records sampling left out.
    pub fn sampled_count(&self) -> u64 {
        let told = self.missing.iter().filter(|missing| missing.is_sampled());
        told.map(Missing::count).fold(self.sampled, u64::saturating_add)
    }

    /// What is missing though nobody wanted it so.
    pub fn lost(&self) -> impl Iterator<Item = &Missing> {
        self.missing.iter().filter(|missing| !missing.is_sampled())
    }

    /// Losses that nobody can count.
    pub fn open(&self) -> impl Iterator<Item = &Missing> {
        self.missing.iter().filter(|missing| missing.is_open())
    }

    pub fn is_complete(&self) -> bool {
        self.missing_count() == 0 && self.open().next().is_none() && !self.unknown && self.damaged == 0
    }
}

/// Records that are missing: numbers `from..=to` of one core of one run of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub proxy: String,
    pub boot: u64,
    pub core: u64,
    pub from: u64,
    /// [`OPEN_END`], in JSON `null`: nobody knows how many, if any.
    #[serde(with = "end")]
    pub to: u64,
    /// Why, when the proxy itself declared them lost; `None` is unexplained.
    pub why: Option<String>,
    /// Of a loss without an end: it happened between these times, microseconds since the Unix epoch, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between_us: Option<(i64, i64)>,
}

/// The written form of a last number.
mod end {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::OPEN_END;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
    pub(super) fn serialize<S: Serializer>(to: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        Some(*to).filter(|to| *to != OPEN_END).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.unwrap_or(OPEN_END))
    }
}

impl Missing {
    /// Numbers of the stream of a proxy, a start of it and a core.
    pub(in crate::log_service) fn new(
        (proxy, boot, core): (&str, u64, u64),
        range: RangeInclusive<u64>,
        why: Option<String>,
    ) -> Self {
        let (from, to) = range.into_inner();
        Self { proxy: proxy.to_owned(), boot, core, from, to, why, between_us: None }
    }

    pub fn is_sampled(&self) -> bool {
        self.why.as_deref() == Some(SAMPLED)
    }

    /// Whether nobody knows how many are missing.
    pub fn is_open(&self) -> bool {
        self.to == OPEN_END
    }

    /// Zero when it [is open](Self::is_open).
    pub fn count(&self) -> u64 {
        if self.is_open() {
            return 0;
        }
        (self.to - self.from.min(self.to)).saturating_add(1)
    }
}
