//! `GET /rollups?since=…&until=…&by=route,class&step=1m`: rollups as JSON.
//!
//! `{"step_s":60,"complete":true,"rows":[{"time":"2026-11-21T09:14:00Z","route":"/a","count":17,"rx_b":…,"tx_b":…,"p50_us":…,"p90_us":…,
//! "p99_us":…,"wait_p50_us":…,"wait_p99_us":…,"clients":3}]}`; by `host`, `route`, `upstream`, `class`, `reason`. Percentiles are
//! within 1 % of a value that occurred, `clients` within about 2 %.
//!
//! `GET /rollups?of=host&since=…&step=1m`: what `host` records said, by proxy: `{"time":…,"proxy":"edge-1","records":6,
//! "cpu_pct_mean":12.5,"cpu_pct_max":31.0,"restarts":0,…}`, see [`super::HostMinute`].
//!
//! Steps of whole hours go back as far as rollups are kept, others as far as minutes are: where more is asked for, `since` says
//! from when on there are any. When files could not be read, `complete` is false and `unread` says how many.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sketches_ddsketch::DDSketch;

use super::cell::{Cell, Key};
use super::counted::{Counted, Wanted};
use super::first_hour_of_minutes;
use super::host::{HostAsked, HostMinute, host_minutes};

/// Longest step.
const MAX_STEP: i64 = 24 * 60;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Minutes since the Unix epoch: from the first on, before the second.
    pub(crate) since: Option<i64>,
    pub(crate) until: Option<i64>,
    by: Vec<&'static str>,
    /// Minutes.
    step: i64,
}

const FIELDS: [&str; 5] = ["host", "route", "upstream", "class", "reason"];

impl Asked {
    /// `by` are names with commas, `step` is `1m` to `24h`.
    pub(crate) fn new(
        (since, until): (Option<Timestamp>, Option<Timestamp>),
        by: &str,
        step: &str,
    ) -> Result<Self, String> {
        let minute = |time: Timestamp| time.as_second().div_euclid(60);
        let mut asked =
            Self { since: since.map(minute), until: until.map(|time| minute(time) + 1), ..Self::default() };
        for name in by.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let field = FIELDS.iter().find(|field| **field == name);
            asked.by.push(field.ok_or_else(|| format!("`{name}`: there is {}", FIELDS.join(", ")))?);
        }
        let (number, unit) = step.split_at(step.find(|c: char| !c.is_ascii_digit()).unwrap_or(step.len()));
        let minutes = match unit {
            "m" => 1,
            "h" => 60,
            _ => return Err("step is a number of minutes or hours: 1m, 1h".to_owned()),
        };
        let step = number.parse::<i64>().ok().and_then(|number| number.checked_mul(minutes));
        asked.step = step.filter(|step| (1..=MAX_STEP).contains(step)).ok_or("step is 1m to 24h")?;
        Ok(asked)
    }

    /// The same of host facts; they are told apart by proxy only.
    pub(crate) fn of_hosts(&self) -> HostAsked {
        let (since, until) = (self.since.unwrap_or(i64::MIN), self.until.unwrap_or(i64::MAX));
        HostAsked { since, until, step: self.step }
    }

    fn wanted(&self, now: i64) -> Wanted {
        Wanted {
            since: self.since.unwrap_or(i64::MIN),
            until: self.until.unwrap_or(i64::MAX),
            first_hour: first_hour_of_minutes(now),
            with_hours: self.step % 60 == 0,
        }
    }

    fn reduce(&self, key: &Key) -> Key {
        let text = |name, text: &str| if self.by.contains(&name) { text.into() } else { Box::default() };
        Key {
            host: text("host", &key.host),
            route: text("route", &key.route),
            upstream: text("upstream", &key.upstream),
            class: if self.by.contains(&"class") { key.class } else { 0 },
            reason: text("reason", &key.reason),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RollupError {
    #[error("that would be more than {0} rows: ask for longer steps, less time or fewer fields")]
    TooMany(usize),
    #[error("the rollups cannot be read")]
    Read(#[from] io::Error),
}

type Groups = BTreeMap<(i64, Key), Cell>;

/// How far an answer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Most rows.
    pub(crate) rows: usize,
    /// Hours that are kept.
    pub(crate) hours: u32,
}

/// Merges what is asked for; `now` is microseconds since the Unix epoch.
pub(crate) fn answer(
    counted: &Counted,
    asked: &Asked,
    now: i64,
    bounds: Bounds,
) -> Result<Value, RollupError> {
    let most = bounds.rows;
    let wanted = asked.wanted(now);
    let (groups, unread) = counted.each(wanted, &Groups::new, &mut |groups, packed| {
        let time = packed.minute.div_euclid(asked.step) * asked.step;
        groups.entry((time, asked.reduce(&packed.key))).or_insert_with(Cell::new).merge(&packed.open());
        if groups.len() <= most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if groups.len() > most {
        return Err(RollupError::TooMany(most));
    }
    let rows: Vec<Value> =
        groups.iter().map(|((time, key), cell)| row(*time, key, cell, &asked.by)).collect();
    let mut told = json!({ "step_s": asked.step * 60, "complete": unread == 0, "rows": rows });
    if unread > 0 {
        told["unread"] = unread.into();
    }
    let first_kept = now.div_euclid(3_600_000_000).saturating_sub(bounds.hours.into());
    let first = if wanted.with_hours { first_kept.min(wanted.first_hour) } else { wanted.first_hour };
    let first = first.saturating_mul(60);
    if wanted.since < first {
        told["since"] = time_text(first).into();
    }
    Ok(told)
}

/// Merges the host facts that are asked for: a row for each step and proxy. `now` is microseconds since the Unix epoch.
pub(crate) fn host_answer(
    counted: &Counted,
    asked: &Asked,
    now: i64,
    bounds: Bounds,
) -> Result<Value, RollupError> {
    let (hosts, unread) = host_minutes(counted, asked.of_hosts(), now)?;
    if hosts.len() > bounds.rows {
        return Err(RollupError::TooMany(bounds.rows));
    }
    let row = |host: &HostMinute| {
        let mut row = serde_json::to_value(host).unwrap_or_default();
        row["time"] = time_text(host.minute).into();
        row
    };
    let rows: Vec<Value> = hosts.iter().map(row).collect();
    let mut told = json!({ "step_s": asked.step * 60, "complete": unread == 0, "rows": rows });
    if unread > 0 {
        told["unread"] = unread.into();
    }
    Ok(told)
}

fn time_text(minute: i64) -> String {
    Timestamp::from_second(minute.saturating_mul(60)).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn row(minute: i64, key: &Key, cell: &Cell, by: &[&str]) -> Value {
    let mut row = Map::new();
    row.insert("time".to_owned(), time_text(minute).into());
    for name in by {
        let text = match *name {
            "host" => &*key.host,
            "route" => &*key.route,
            "upstream" => &*key.upstream,
            "reason" => &*key.reason,
            _ => {
                row.insert((*name).to_owned(), format!("{}xx", key.class).into());
                continue;
            }
        };
        row.insert((*name).to_owned(), text.into());
    }
    for (name, number) in [("count", cell.count), ("rx_b", cell.rx_b), ("tx_b", cell.tx_b)] {
        row.insert(name.to_owned(), number.into());
    }
    for (name, sketch, share) in [
        ("p50_us", &cell.dur_us, 0.5),
        ("p90_us", &cell.dur_us, 0.9),
        ("p99_us", &cell.dur_us, 0.99),
        ("wait_p50_us", &cell.wait_us, 0.5),
        ("wait_p99_us", &cell.wait_us, 0.99),
    ] {
        row.extend(quantile(sketch, share).map(|number| (name.to_owned(), number.into())));
    }
    row.insert("clients".to_owned(), cell.clients.estimate().into());
    Value::Object(row)
}

fn quantile(sketch: &DDSketch, share: f64) -> Option<u64> {
    // Durations are whole microseconds; the cast saturates.
    sketch.quantile(share).ok().flatten().map(|us| us.round() as u64)
}
