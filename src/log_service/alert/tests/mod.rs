mod delivery;
mod engine;
mod facts;
mod golden;
mod watch;

use std::collections::BTreeMap;

use super::facts::Reading;
use super::rule::Rule;
use crate::config::{self, Service};

/// 2026-11-22T09:14:00Z, a Sunday.
const NOW: i64 = 1_795_338_840_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60_000;

/// The alarms of a configuration.
fn service(tables: &str) -> Service {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.toml");
    std::fs::write(&file, tables).unwrap();
    config::service(&file, &|_| None).unwrap_or_else(|found| panic!("{}", found.render(false)))
}

fn rule(keys: &str) -> Rule {
    Rule::of(&service(&format!("[alert.a]\n{keys}")).alerts.rules[0])
}

/// By what the rule tells apart.
fn by(values: &[(&str, f64)]) -> Reading {
    Reading::Values(values.iter().map(|(key, value)| (Box::from(*key), *value)).collect::<BTreeMap<_, _>>())
}

fn whole(value: f64) -> Reading {
    by(&[("", value)])
}
