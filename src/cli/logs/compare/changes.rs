//! [`Changes`]: single values (a route, a server, a reason) whose share, errors or durations differ.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::side::{Side, deviations, quantile_certainty, share_certainty};
use crate::cli::logs::tally::{Group, share};
use crate::cli::logs::words::{NOTHING, duration_or_nothing};
use crate::log_service::exec::Pair;

pub(super) const FIELDS: &[&str] = &[
    "status",
    "reason",
    "cause",
    "host",
    "route",
    "path",
    "method",
    "upstream",
    "up_addr",
    "worker",
    "cache",
    "proto",
    "client_ip",
    "ua",
];
/// Different values per field that are followed.
const MAX_VALUES: usize = 5_000;
/// Standard deviations that a change must have: many values are looked at.
const SURE: f64 = 3.9;
/// Durations are compared only between groups of so many.
const ENOUGH: u64 = 50;

#[derive(Default)]
pub(super) struct Changes(HashMap<(&'static str, String), [Group; 2]>, HashMap<&'static str, usize>);

pub(super) struct Change {
    pub(super) field: String,
    pub(super) value: String,
    /// `share`, `err%`, `p50` or `p99`.
    pub(super) what: &'static str,
    /// Percent, or microseconds.
    pub(super) numbers: [f64; 2],
    pub(super) z: f64,
}

/// What the executor says of one value.
pub(super) fn of_pair(pair: &Pair) -> Vec<Change> {
    let value = pair.values.first().and_then(Option::as_deref);
    let Some(value) = value else { return Vec::new() };
    // A status or a reason is itself the error.
    let is_error = matches!(&*pair.field, "status" | "reason" | "cause");
    let changes = pair.differences.iter().filter_map(|difference| {
        let (what, factor) = match &*difference.of {
            "share" => ("share", 100.0),
            "errors" if !is_error => ("err%", 100.0),
            "p50" => ("p50", 1.0),
            "p99" => ("p99", 1.0),
            _ => return None,
        };
        let numbers = [difference.a, difference.b].map(|number| number * factor);
        let z = deviations(difference.chance);
        Some(Change { field: pair.field.clone(), value: value.to_owned(), what, numbers, z })
    });
    changes.collect()
}

impl Change {
    /// By how much it changed: of those that are as sure the largest come first.
    pub(super) fn weight(&self) -> f64 {
        let [a, b] = self.numbers;
        match self.what {
            "p50" | "p99" => ((b + 1.0) / (a + 1.0)).ln().abs(),
            _ => (a - b).abs(),
        }
    }

    pub(super) fn shown(&self, side: usize) -> String {
        let number = self.numbers[side];
        match self.what {
            "p50" | "p99" => duration_or_nothing(Some(number as u64)),
            _ if number == 0.0 => NOTHING.to_owned(),
            _ => format!("{number:.2} %"),
        }
    }

    pub(super) fn is_bad_to_grow(&self) -> Option<bool> {
        let fails = self.what != "share"
            || matches!(&*self.field, "reason" | "cause")
            || (self.field == "status" && self.value.starts_with('5'));
        fails.then_some(true)
    }

    pub(super) fn to_json(&self) -> Value {
        let [a, b] = self.numbers;
        json!({ "field": self.field, "value": self.value, "what": self.what, "a": a, "b": b, "z": self.z })
    }
}

impl Changes {
    pub(super) fn add(&mut self, entry: &Value, side: usize) {
        for field in FIELDS {
            let value = match entry.get(*field) {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) => text.chars().take(200).collect(),
                Some(other) => other.to_string(),
            };
            let key = (*field, value);
            if let Some(groups) = self.0.get_mut(&key) {
                groups[side].add(entry);
                continue;
            }
            let known = self.1.entry(*field).or_default();
            if *known < MAX_VALUES {
                *known += 1;
                self.0.entry(key).or_default()[side].add(entry);
            }
        }
    }

    /// What changed beyond chance, the surest first.
    pub(super) fn found(&self, sides: &[Side; 2], most: usize) -> Vec<Change> {
        let all = [0, 1].map(|side| sides[side].group.count);
        // What A and B are told apart by is no change.
        let is_asked = |field: &str| sides.iter().any(|side| side.names(field));
        let groups = self.0.iter().filter(|((field, _), _)| !is_asked(field));
        let mut found: Vec<Change> =
            groups.flat_map(|((field, value), groups)| changes_of(field, value, groups, all)).collect();
        found.sort_by(|a, b| {
            b.z.total_cmp(&a.z).then_with(|| (&a.field, &a.value).cmp(&(&b.field, &b.value)))
        });
        found.truncate(most);
        found
    }
}

fn changes_of(field: &'static str, value: &str, groups: &[Group; 2], all: [u64; 2]) -> Vec<Change> {
    let [a, b] = groups;
    let counts = [a.count, b.count];
    let change =
        |what, numbers, z| Change { field: field.to_owned(), value: value.to_owned(), what, numbers, z };
    let mut changes = vec![change(
        "share",
        [0, 1].map(|side| share(counts[side], all[side])),
        share_certainty(counts, all),
    )];
    // A status or a reason is itself the error.
    if !matches!(field, "status" | "reason" | "cause") {
        let errors = [a.errors, b.errors];
        changes.push(change(
            "err%",
            [0, 1].map(|side| share(errors[side], counts[side])),
            share_certainty(errors, counts),
        ));
    }
    if counts.iter().all(|count| *count >= ENOUGH)
        && let [Some(first), Some(second)] = [a.durations.at(0.5), b.durations.at(0.5)]
        && first.abs_diff(second) > first.max(second) / 10
    {
        // The highest level is as sure as this comparison gets.
        let z = if quantile_certainty(&a.durations, &b.durations, 0.5) >= 3.29 { SURE } else { 0.0 };
        changes.push(change("p50", [first as f64, second as f64], z));
    }
    let has_errors = |change: &Change| change.what != "err%" || change.numbers != [0.0; 2];
    changes.retain(|change| change.z >= SURE && has_errors(change));
    changes
}
