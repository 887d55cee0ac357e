//! [`Facts`]: how often each value of each field stands in two sets of requests, and which tell them apart.

use std::collections::HashMap;

use serde_json::Value;

use crate::cli::logs::tally::{PHASES, weight};
use crate::cli::logs::words::{number, text};
use crate::log_service::query::Field;
use crate::log_service::read::Quantiles;

/// Fields with values that may explain something.
const FIELDS: &[&str] = &[
    "host",
    "site",
    "route",
    "path",
    "method",
    "scheme",
    "proto",
    "status",
    "up_status",
    "reason",
    "cause",
    "end_by",
    "end_at",
    "upstream",
    "up_addr",
    "worker",
    "pick",
    "tries",
    "up_reused",
    "proxy",
    "core",
    "cfg",
    "listener",
    "client_ip",
    "user",
    "ua",
    "referer",
    "req_type",
    "resp_type",
    "enc",
    "cache",
    "rl",
    "rl_rule",
    "tls_ver",
    "tls_cipher",
    "tls_alpn",
    "tls_sni",
    "tls_resumed",
];
/// Made from others: the first part of the path, and the minute.
const FOLDER: &str = "path (first part)";
const MINUTE: &str = "minute";
/// Fields that say almost the same as one of the filter.
const SAME: &[(&str, &[&str])] = &[("path", &[FOLDER]), ("ts", &[MINUTE]), ("status", &["up_status"])];
/// Different values per field; a field with more is only looked at as far as that.
const MAX_VALUES: usize = 20_000;
/// Longest value that is told apart.
const MAX_VALUE: usize = 200;
/// 2 × (log-likelihood ratio) that chance exceeds once in ten thousand; fields and values are many.
const CERTAIN: f64 = 15.1;

type Counts = [u64; 2];

pub(super) struct Facts {
    fields: Vec<(&'static str, HashMap<String, Counts>)>,
    phases: Vec<(&'static str, [Quantiles; 2])>,
    all: Counts,
}

/// A value that is more frequent among the selected.
#[derive(Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) field: String,
    pub(super) value: String,
    /// Shares from 0 to 1.
    pub(super) selected: f64,
    pub(super) rest: f64,
    pub(super) also: Vec<(String, String)>,
    score: f64,
}

impl Finding {
    pub(super) fn of(field: String, value: String, selected: f64, rest: f64) -> Self {
        Self { field, value, selected, rest, also: Vec::new(), score: 0.0 }
    }
}

impl Facts {
    /// `asked`: the fields of the filter. That they differ is no discovery.
    pub(super) fn new(asked: &[Field]) -> Self {
        let same = |name: &str| {
            SAME.iter().any(|(field, same)| same.contains(&name) && asked.iter().any(|asked| asked.is(field)))
        };
        let is_open = |name: &&'static str| !asked.iter().any(|asked| asked.is(name)) && !same(name);
        let fields = FIELDS.iter().copied().chain([FOLDER, MINUTE]).filter(is_open);
        let phases = PHASES.iter().map(|(_, member)| *member);
        let phases = ["dur_us"].into_iter().chain(phases).chain(["tx_body_b"]).filter(is_open);
        Self {
            fields: fields.map(|name| (name, HashMap::new())).collect(),
            phases: phases.map(|name| (name, Default::default())).collect(),
            all: [0; 2],
        }
    }

    pub(super) fn selected(&self) -> u64 {
        self.all[0]
    }

    pub(super) fn rest(&self) -> u64 {
        self.all[1]
    }

    pub(super) fn add(&mut self, entry: &Value, is_selected: bool) {
        let (side, weight) = (usize::from(!is_selected), weight(entry));
        self.all[side] += weight;
        for (name, values) in &mut self.fields {
            let Some(value) = value_of(name, entry) else { continue };
            if let Some(counts) = values.get_mut(&value) {
                counts[side] += weight;
            } else if values.len() < MAX_VALUES {
                let mut counts = [0; 2];
                counts[side] = weight;
                values.insert(value, counts);
            }
        }
        for (name, quantiles) in &mut self.phases {
            number(entry, name).into_iter().for_each(|time| quantiles[side].add_many(time, weight));
        }
    }

    /// What sets the selected apart, the most telling first. Values of the very same requests stand together.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let values = self
            .fields
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |(value, counts)| (*name, value, *counts)));
        let mut found: Vec<(Counts, Finding)> = values
            .filter_map(|(name, value, counts)| Some((counts, self.finding(name, value, counts)?)))
            .collect();
        found.sort_by(|a, b| {
            b.1.score.total_cmp(&a.1.score).then_with(|| place(&a.1.field).cmp(&place(&b.1.field)))
        });
        let mut findings: Vec<(Counts, Finding)> = Vec::new();
        for (counts, finding) in found {
            match findings.iter_mut().find(|(known, first)| *known == counts && first.field != finding.field)
            {
                Some((_, first)) => first.also.push((finding.field, finding.value)),
                None => findings.push((counts, finding)),
            }
        }
        findings.into_iter().map(|(_, finding)| finding).collect()
    }

    fn finding(&self, field: &'static str, value: &str, counts: Counts) -> Option<Finding> {
        let [selected, rest] = [0, 1].map(|side| counts[side] as f64 / (self.all[side] as f64).max(1.0));
        let is_more = selected > rest * 1.3 && selected >= 0.02;
        let is_certain = likelihood(counts, self.all) >= CERTAIN;
        // How much of what is selected it explains, and how well it leaves out the rest.
        let score = selected * ((selected + 0.001) / (rest + 0.001)).ln();
        (is_more && is_certain).then(|| Finding {
            field: field.to_owned(),
            value: value.to_owned(),
            selected,
            rest,
            also: Vec::new(),
            score,
        })
    }

    /// Medians of the phases that differ, the largest difference first.
    pub(super) fn phases(&self) -> Vec<(&'static str, Option<u64>, Option<u64>)> {
        let medians = self
            .phases
            .iter()
            .filter(|(name, _)| name.ends_with("_us"))
            .map(|(name, [selected, rest])| (*name, selected.at(0.5), rest.at(0.5)));
        let gap =
            |selected: Option<u64>, rest: Option<u64>| selected.unwrap_or(0).abs_diff(rest.unwrap_or(0));
        let mut medians: Vec<_> = medians
            .filter(|(_, selected, rest)| {
                gap(*selected, *rest) > selected.unwrap_or(0).max(rest.unwrap_or(0)) / 5
                    && gap(*selected, *rest) > 100
            })
            .collect();
        medians.sort_by_key(|(_, selected, rest)| std::cmp::Reverse(gap(*selected, *rest)));
        medians
    }
}

/// Where a field stands in the list: of equal findings the first is named.
fn place(field: &str) -> usize {
    FIELDS.iter().position(|name| *name == field).unwrap_or(FIELDS.len())
}

fn value_of(name: &str, entry: &Value) -> Option<String> {
    let mut value = match name {
        FOLDER => folder(text(entry, "path")?)?,
        MINUTE => text(entry, "ts")?.get(..16)?.to_owned(),
        _ => match entry.get(name)? {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
    };
    if let Some((at, _)) = value.char_indices().nth(MAX_VALUE) {
        value.truncate(at);
        value.push('…');
    }
    Some(value)
}

/// `/api/*` of `/api/cart/7`; nothing when there is only one part.
fn folder(path: &str) -> Option<String> {
    let rest = path.strip_prefix('/')?;
    let (first, _) = rest.split_once('/')?;
    Some(format!("/{first}/*"))
}

/// G, twice the log of how much likelier the counts are with two shares than with one.
pub(in crate::cli::logs) fn likelihood(counts: Counts, all: Counts) -> f64 {
    let [a, b, all_a, all_b] = [counts[0], counts[1], all[0], all[1]].map(|count| count as f64);
    let whole = (all_a + all_b).max(1.0);
    let (with, without) = (a + b, whole - a - b);
    let term = |seen: f64, expected: f64| {
        if seen > 0.0 && expected > 0.0 { seen * (seen / expected).ln() } else { 0.0 }
    };
    2.0 * (term(a, all_a * with / whole)
        + term(b, all_b * with / whole)
        + term(all_a - a, all_a * without / whole)
        + term(all_b - b, all_b * without / whole))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_the_server_that_fails_and_not_what_all_share() {
        let wanted = crate::log_service::query::Query::parse("status:5xx").unwrap();
        let mut facts = Facts::new(wanted.fields());
        for index in 0..1_000u64 {
            let fails = index % 50 == 0;
            let (address, status) = if fails { ("10.0.0.7", 504) } else { ("10.0.0.8", 200) };
            let entry = json!({"kind": "request", "status": status, "up_status": status, "up_addr": address, "host": "shop", "path": "/api/cart",
                "worker": if fails { "w7" } else { "w8" }, "method": if index % 2 == 0 { "GET" } else { "POST" }, "t_wait_us": if fails { 30_000_000 } else { 2_000 }});
            facts.add(&entry, wanted.matches(&entry));
        }
        let findings = facts.findings();
        assert_eq!(findings[0].field, "up_addr");
        assert_eq!(
            (findings[0].value.as_str(), findings[0].selected, findings[0].rest),
            ("10.0.0.7", 1.0, 0.0)
        );
        assert_eq!(findings[0].also, [("worker".to_owned(), "w7".to_owned())]);
        assert!(
            findings.iter().all(|finding| finding.field != "host" && !finding.field.contains("status")),
            "{findings:?}"
        );
        assert_eq!(facts.phases()[0].0, "t_wait_us");
    }

    #[test]
    fn chance_explains_nothing() {
        assert!(likelihood([1, 20], [10, 1_000]) < CERTAIN);
        assert!(likelihood([50, 20], [100, 1_000]) > CERTAIN);
        assert!(likelihood([0, 0], [0, 0]).abs() < 1e-9);
    }
}
