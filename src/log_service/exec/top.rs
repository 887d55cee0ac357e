//! `top`: groups of requests, the most frequent, slowest or most failing first.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::complete;
use super::control::{Control, ExecError};
use super::groups::{Groups, Key, Limits, Split};
use super::parts::Parts;
use super::scan::{Asked, Wanted, scan};
use super::tally::{CONFIDENCE, FACTS, Facts, Figures, Tally};
use crate::log_service::query::Field;
use crate::log_service::read::{Report, Series};

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum By {
    #[default]
    Count,
    Errors,
    /// The share of errors that is certain with 95 % confidence, so that one failed request does not come first.
    ErrShare,
    P50,
    P99,
    /// Sum of the durations.
    Time,
    Bytes,
    /// Sum of what the proxy itself took.
    Own,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Row {
    /// One per field, `None` where it is not there; for spans of time the beginning.
    pub(crate) values: Vec<Option<Box<str>>>,
    #[serde(flatten)]
    pub(crate) figures: Figures,
    /// Requests over time, of `stats` by a field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) series: Option<Box<Series>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Top {
    pub(crate) fields: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// All requests that match.
    pub(crate) total: Figures,
    /// How many different groups there were, as far as they were told apart.
    pub(crate) groups: usize,
    /// Requests of values beyond the limits, which were not told apart.
    pub(crate) others: Option<Figures>,
    pub(crate) report: Report,
}

/// The first `count` groups by the values of some fields: of requests, or of all entries when requests have none of
/// the fields.
pub(crate) fn top(
    parts: &Parts,
    asked: &Asked,
    fields: &[Field],
    (by, count): (By, usize),
    limits: Limits,
    control: &Control,
) -> Result<Top, ExecError> {
    let mut filter = asked.filter();
    let mut groups = Groups::new(Split::Fields(fields.to_vec()), limits);
    let mut wanted = Wanted::of(&filter, FACTS);
    groups.add_columns(&mut wanted);
    let with_lines = !fields.iter().any(Field::is_of_requests);
    scan(parts, &mut filter, &wanted, control, &mut |batch, rows| {
        groups.add(batch, rows, &Facts::of(batch).with_lines(with_lines));
    })?;
    let (groups, others) = groups.finish();
    let mut total = others.clone();
    groups.iter().for_each(|(_, tally)| total.merge(tally));
    let mut report = complete::report(parts, filter.window());
    (report.rows, report.lines) = (total.rows, control.progress().0);
    Ok(Top {
        fields: fields.iter().map(|field| field.name().to_owned()).collect(),
        groups: groups.len(),
        rows: first(groups, by, count),
        total: total.figures(),
        others: Some(others.figures()).filter(|others| others.rows > 0),
        report,
    })
}

fn first(groups: Vec<(Key, Tally)>, by: By, count: usize) -> Vec<Row> {
    let mut ranked: Vec<(f64, Key, Tally)> =
        groups.into_iter().map(|(key, tally)| (rank(&tally, by), key, tally)).collect();
    let order = |a: &(f64, Key, Tally), b: &(f64, Key, Tally)| {
        b.0.total_cmp(&a.0).then(b.2.count.cmp(&a.2.count)).then_with(|| a.1.cmp(&b.1))
    };
    if ranked.len() > count && count > 0 {
        ranked.select_nth_unstable_by(count - 1, order);
    }
    ranked.truncate(count);
    ranked.sort_by(order);
    ranked.into_iter().map(|(_, key, tally)| row(key, &tally)).collect()
}

pub(super) fn row(key: Key, tally: &Tally) -> Row {
    Row { values: key.into_vec(), figures: tally.figures(), series: tally.series.clone() }
}

/// Groups of spans in the order of time.
pub(super) fn by_key(groups: Vec<(Key, Tally)>) -> Vec<Row> {
    let mut rows: Vec<Row> = groups.into_iter().map(|(key, tally)| row(key, &tally)).collect();
    rows.sort_by(|a, b| a.values.partial_cmp(&b.values).unwrap_or(Ordering::Equal));
    rows
}

fn rank(tally: &Tally, by: By) -> f64 {
    let at = |share| tally.durations.at(share).unwrap_or(0) as f64;
    match by {
        By::Count => tally.count as f64,
        By::Errors => tally.errors as f64,
        By::ErrShare => certain_share(tally.error_share(), tally.independent()),
        By::P50 => at(0.5),
        By::P99 => at(0.99),
        By::Time => tally.time() as f64,
        By::Bytes => tally.bytes as f64,
        By::Own => tally.own as f64,
    }
}

/// The lower end of Wilson's interval for a share of `n` rows.
fn certain_share(share: f64, n: f64) -> f64 {
    if n <= 0.0 {
        return 0.0;
    }
    let z2 = CONFIDENCE * CONFIDENCE;
    let spread = CONFIDENCE * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    ((share + z2 / (2.0 * n) - spread) / (1.0 + z2 / n)).max(0.0)
}
