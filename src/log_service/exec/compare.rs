//! `compare`: what differs between two sets of requests, as far as the data supports it.
//!
//! Error shares are held against each other by a two-proportion z-test, percentiles by the bounds of their ranks: a
//! difference is told only when the bounds do not overlap. The confidence is 95 % for all statements together
//! (Bonferroni), and rows that stand for many count by how many independent rows they are worth (Kish).

use std::collections::BTreeMap;

use serde::Serialize;

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
/// Statements per group: errors, p50, p99.
const STATEMENTS: usize = 3;
/// Percentiles are known this well only, see [`crate::log_service::read::Quantiles`].
const RESOLUTION: f64 = 1.0 + 2.0 / 64.0;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) overall: Pair,
    /// By the field, those with differences first.
    pub(crate) rows: Vec<Pair>,
    /// How many statements the data supports; 0: no difference that the data supports.
    pub(crate) differences: usize,
    /// Requests per second of both, when both windows have an end and a beginning.
    pub(crate) rates: Option<(f64, f64)>,
    pub(crate) reports: (Report, Report),
}

/// The same group in both sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Pair {
    /// Empty for all requests together.
    pub(crate) values: Vec<Option<Box<str>>>,
    pub(crate) a: Figures,
    pub(crate) b: Figures,
    /// What the data supports.
    pub(crate) differences: Vec<Difference>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Difference {
    /// `errors` (shares, 0 to 1), `p50` or `p99` (microseconds).
    pub(crate) of: &'static str,
    pub(crate) a: f64,
    pub(crate) b: f64,
    /// The chance that chance alone did it; of percentiles only that it is below this.
    pub(crate) chance: f64,
}

struct Side {
    whole: Tally,
    groups: BTreeMap<Key, Tally>,
    report: Report,
}

/// Compares two sets of requests as a whole and by a field (as a rule `route`).
pub(crate) fn compare(
    parts: &Parts,
    (a, b): (&Asked, &Asked),
    by: &Field,
    limits: Limits,
    control: &Control,
) -> Result<Compared, ExecError> {
    let rates = seconds(a).zip(seconds(b));
    let (a, b) = (Side::of(parts, a, by, limits, control)?, Side::of(parts, b, by, limits, control)?);
    let rates = rates.map(|(of_a, of_b)| (a.whole.count as f64 / of_a, b.whole.count as f64 / of_b));
    let (none, keys) =
        (Tally::default(), a.groups.keys().chain(b.groups.keys().filter(|key| !a.groups.contains_key(*key))));
    let statements = STATEMENTS * (1 + keys.clone().count());
    let alpha = ALPHA / statements as f64;
    let overall = Pair::of(Vec::new(), &a.whole, &b.whole, alpha);
    let of = |key: &Key| {
        let (one, other) = (a.groups.get(key).unwrap_or(&none), b.groups.get(key).unwrap_or(&none));
        Pair::of(key.to_vec(), one, other, alpha)
    };
    let mut rows: Vec<Pair> = keys.map(of).collect();
    rows.sort_by_key(|pair| std::cmp::Reverse((pair.differences.len(), pair.a.count + pair.b.count)));
    let differences = rows.iter().chain([&overall]).map(|pair| pair.differences.len()).sum();
    Ok(Compared { overall, rows, differences, rates, reports: (a.report, b.report) })
}

fn seconds(asked: &Asked) -> Option<f64> {
    let (since, until) = asked.window.since.zip(asked.window.until)?;
    Some(until.duration_since(since).as_secs_f64()).filter(|seconds| *seconds > 0.0)
}

impl Side {
    fn of(
        parts: &Parts,
        asked: &Asked,
        by: &Field,
        limits: Limits,
        control: &Control,
    ) -> Result<Self, ExecError> {
        let mut filter = asked.filter();
        let mut groups = Groups::new(Split::Fields(vec![by.clone()]), limits);
        let mut wanted = Wanted::of(&filter, FACTS);
        groups.add_columns(&mut wanted);
        let before = control.progress().0;
        scan(parts, &mut filter, &wanted, control, &mut |batch, rows| {
            groups.add(batch, rows, &Facts::of(batch));
        })?;
        let (groups, mut whole) = groups.finish();
        groups.iter().for_each(|(_, tally)| whole.merge(tally));
        let mut report = complete::report(parts, filter.window());
        (report.rows, report.lines) = (whole.rows, control.progress().0 - before);
        Ok(Self { whole, groups: groups.into_iter().collect(), report })
    }
}

impl Pair {
    fn of(values: Vec<Option<Box<str>>>, a: &Tally, b: &Tally, alpha: f64) -> Self {
        let percentiles = [("p50", 0.5), ("p99", 0.99)];
        let slower = percentiles.into_iter().filter_map(|(of, share)| percentile(of, share, (a, b), alpha));
        let differences = errors(a, b, alpha).into_iter().chain(slower).collect();
        Self { values, a: a.figures(), b: b.figures(), differences }
    }
}

fn errors(a: &Tally, b: &Tally, alpha: f64) -> Option<Difference> {
    let of = |tally: &Tally| (tally.error_share() * tally.independent(), tally.independent());
    let chance = two_shares(of(a), of(b));
    (chance < alpha).then(|| Difference { of: "errors", a: a.error_share(), b: b.error_share(), chance })
}

fn percentile(of: &'static str, share: f64, (a, b): (&Tally, &Tally), alpha: f64) -> Option<Difference> {
    let z = deviation(alpha);
    let (low_a, high_a) = bounds(a, share, z)?;
    let (low_b, high_b) = bounds(b, share, z)?;
    let is_above = |low: u64, high: u64| low as f64 > high as f64 * RESOLUTION;
    let (value_a, value_b) = (a.durations.at(share)?, b.durations.at(share)?);
    let differs = is_above(low_a, high_b) || is_above(low_b, high_a);
    differs.then_some(Difference { of, a: value_a as f64, b: value_b as f64, chance: alpha })
}
