//! `compare`: what differs between two sets of requests, as far as the data supports it.
//!
//! Error shares are held against each other by a two-proportion z-test, percentiles by the bounds of their ranks: a
//! difference is told only when the bounds do not overlap. The confidence is 95 % for all statements together
//! (Bonferroni), and rows that stand for many count by how many independent rows they are worth (Kish).
//!
//! Of a value that one side does not have nothing is said when that side has values that were not told apart: it may be
//! among them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::column::Column;
use super::complete;
use super::control::{Control, ExecError};
use super::groups::{Groups, Key, Limits, Split};
use super::parts::Parts;
use super::scan::{Asked, Wanted, scan};
use super::significance::{bounds, deviation, two_shares};
use super::tally::{FACTS, Facts, Figures, Tally};
use crate::log_service::query::Field;
use crate::log_service::read::Report;

/// Chance of telling any difference where there is none.
const ALPHA: f64 = 0.05;
/// Statements per group: share, errors, p50, p99.
const STATEMENTS: usize = 4;
/// Percentiles are known this well only, see [`crate::log_service::read::Quantiles`].
const RESOLUTION: f64 = 1.0 + 2.0 / 64.0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Compared {
    pub(crate) overall: Pair,
    /// By the field, those with differences first.
    pub(crate) rows: Vec<Pair>,
    /// How many statements the data supports; 0: no difference that the data supports.
    pub(crate) differences: usize,
    /// Requests of values that were not told apart, by the field; fields of which all were are not in it.
    pub(crate) others: Vec<Pair>,
    /// Seconds that each side spans: its window, else from its first to its last request.
    pub(crate) seconds: [Option<f64>; 2],
    pub(crate) reports: (Report, Report),
}

/// The same group in both sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Pair {
    /// What the value is of; empty for all requests together.
    pub(crate) field: String,
    /// Empty for all requests together.
    pub(crate) values: Vec<Option<Box<str>>>,
    pub(crate) a: Figures,
    pub(crate) b: Figures,
    /// What the data supports.
    pub(crate) differences: Vec<Difference>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Difference {
    /// `share` of all requests of its side (0 to 1), `errors` (shares of the group, 0 to 1), `p50` or `p99` (microseconds).
    pub(crate) of: String,
    pub(crate) a: f64,
    pub(crate) b: f64,
    /// The chance that chance alone did it; of percentiles only that it is below this.
    pub(crate) chance: f64,
}

struct Side {
    whole: Tally,
    /// From the first to the last request.
    seconds: Option<f64>,
    /// By the number of the field and its value.
    groups: BTreeMap<(usize, Key), Tally>,
    /// By the number of the field: rows of values that were not told apart.
    others: Vec<Tally>,
    report: Report,
}

/// Compares two sets of requests as a whole and by the values of some fields.
pub(crate) fn compare(
    parts: &Parts,
    (a, b): (&Asked, &Asked),
    by: &[Field],
    limits: Limits,
    control: &Control,
) -> Result<Compared, ExecError> {
    let spans = [seconds(a), seconds(b)];
    // The groups of the first side are held while the second is read.
    let limits = Limits { bytes: limits.bytes / 2, ..limits };
    let (a, b) = (Side::of(parts, a, by, limits, control)?, Side::of(parts, b, by, limits, control)?);
    let seconds = [spans[0].or(a.seconds), spans[1].or(b.seconds)];
    let none = Tally::default();
    let keys = a.groups.keys().chain(b.groups.keys().filter(|key| !a.groups.contains_key(*key)));
    let known = keys.filter_map(|key| Some((key, a.of_value(key, &none)?, b.of_value(key, &none)?)));
    let known: Vec<(&(usize, Key), &Tally, &Tally)> = known.collect();
    let statements = STATEMENTS * (1 + known.len());
    let alpha = ALPHA / statements as f64;
    let overall = Pair::of(String::new(), Vec::new(), (&a.whole, &b.whole), None, alpha);
    let name = |field: usize| by.get(field).map(|field| field.name().to_owned()).unwrap_or_default();
    let rows = known.into_iter().map(|(key, one, other)| {
        Pair::of(name(key.0), key.1.to_vec(), (one, other), Some((&a.whole, &b.whole)), alpha)
    });
    let mut rows: Vec<Pair> = rows.collect();
    rows.sort_by_key(|pair| std::cmp::Reverse((pair.differences.len(), pair.a.count + pair.b.count)));
    let differences = rows.iter().chain([&overall]).map(|pair| pair.differences.len()).sum();
    let others = a.others.iter().zip(&b.others).enumerate().filter(|(_, (a, b))| a.rows + b.rows > 0);
    let others = others.map(|(field, (a, b))| Pair {
        field: name(field),
        a: a.figures(),
        b: b.figures(),
        ..Pair::default()
    });
    let others = others.collect();
    Ok(Compared { overall, rows, differences, others, seconds, reports: (a.report, b.report) })
}

fn seconds(asked: &Asked) -> Option<f64> {
    let (since, until) = asked.window.since.zip(asked.window.until)?;
    Some(until.duration_since(since).as_secs_f64()).filter(|seconds| *seconds > 0.0)
}

impl Side {
    fn of(
        parts: &Parts,
        asked: &Asked,
        by: &[Field],
        limits: Limits,
        control: &Control,
    ) -> Result<Self, ExecError> {
        let mut filter = asked.filter();
        let limits = Limits { bytes: limits.bytes / by.len().max(1), ..limits };
        let of = |field: &Field| Groups::new(Split::Fields(vec![field.clone()]), limits);
        let mut groups: Vec<Groups> = by.iter().map(of).collect();
        let mut whole = Tally::default();
        let mut span: Option<(i64, i64)> = None;
        let mut wanted = Wanted::of(&filter, FACTS);
        wanted.add(&["ts"]);
        groups.iter().for_each(|groups| groups.add_columns(&mut wanted));
        let before = control.progress().0;
        scan(parts, &mut filter, &wanted, control, &mut |batch, rows| {
            let facts = Facts::of(batch);
            let times = Column::of(batch, "ts");
            for row in rows.rows() {
                let Some(fact) = facts.at(row) else { continue };
                whole.add(&fact);
                if let Some(Column::Times(times)) = times {
                    let time = times.value(row);
                    let (first, last) = span.unwrap_or((time, time));
                    span = Some((first.min(time), last.max(time)));
                }
            }
            groups.iter_mut().for_each(|groups| groups.add(batch, rows, &facts));
        })?;
        let (mut told, mut others) = (BTreeMap::new(), Vec::new());
        for (field, groups) in groups.into_iter().enumerate() {
            let (groups, rest) = groups.finish();
            told.extend(groups.into_iter().map(|(key, tally)| ((field, key), tally)));
            others.push(rest);
        }
        let mut report = complete::report(parts, filter.window());
        (report.rows, report.lines) = (whole.rows, control.progress().0 - before);
        let seconds = span.map(|(first, last)| (last - first) as f64 / 1e6).filter(|seconds| *seconds > 0.0);
        Ok(Self { whole, seconds, groups: told, others, report })
    }

    /// Nothing of a value that may be among those that were not told apart; no row of one that is not there.
    fn of_value<'t>(&'t self, key: &(usize, Key), none: &'t Tally) -> Option<&'t Tally> {
        let is_complete = self.others.get(key.0).is_none_or(|others| others.rows == 0);
        self.groups.get(key).or_else(|| is_complete.then_some(none))
    }
}

impl Pair {
    /// `all`: the requests of both sides, of which these are a part.
    fn of(
        field: String,
        values: Vec<Option<Box<str>>>,
        (a, b): (&Tally, &Tally),
        all: Option<(&Tally, &Tally)>,
        alpha: f64,
    ) -> Self {
        let percentiles = [("p50", 0.5), ("p99", 0.99)];
        let slower = percentiles.into_iter().filter_map(|(of, share)| percentile(of, share, (a, b), alpha));
        let shares = all.and_then(|all| share_of((a, b), all, alpha));
        let differences = shares.into_iter().chain(errors(a, b, alpha)).chain(slower).collect();
        Self { field, values, a: a.figures(), b: b.figures(), differences }
    }
}

fn share_of((a, b): (&Tally, &Tally), (all_a, all_b): (&Tally, &Tally), alpha: f64) -> Option<Difference> {
    let share = |part: &Tally, all: &Tally| part.count as f64 / all.count.max(1) as f64;
    let of = |part: &Tally, all: &Tally| (share(part, all) * all.independent(), all.independent());
    let chance = two_shares(of(a, all_a), of(b, all_b));
    let of = "share".to_owned();
    (chance < alpha).then(|| Difference { of, a: share(a, all_a), b: share(b, all_b), chance })
}

fn errors(a: &Tally, b: &Tally, alpha: f64) -> Option<Difference> {
    let of = |tally: &Tally| (tally.error_share() * tally.independent(), tally.independent());
    let chance = two_shares(of(a), of(b));
    (chance < alpha).then(|| Difference {
        of: "errors".to_owned(),
        a: a.error_share(),
        b: b.error_share(),
        chance,
    })
}

fn percentile(of: &str, share: f64, (a, b): (&Tally, &Tally), alpha: f64) -> Option<Difference> {
    let z = deviation(alpha);
    let (low_a, high_a) = bounds(a, share, z)?;
    let (low_b, high_b) = bounds(b, share, z)?;
    let is_above = |low: u64, high: u64| low as f64 > high as f64 * RESOLUTION;
    let (value_a, value_b) = (a.durations.at(share)?, b.durations.at(share)?);
    let differs = is_above(low_a, high_b) || is_above(low_b, high_a);
    differs.then(|| Difference { of: of.to_owned(), a: value_a as f64, b: value_b as f64, chance: alpha })
}
