//! `stats`: rate, errors by reason, percentiles, and where the time went.

use std::collections::HashMap;

use arrow_array::{Array as _, RecordBatch};
use serde::{Deserialize, Serialize};

use super::column::{Column, Keys, word};
use super::complete;
use super::control::{Control, ExecError};
use super::groups::{Groups, Limits, Split};
use super::mask::Mask;
use super::parts::Parts;
use super::scan::{Asked, Wanted, scan};
use super::tally::{FACTS, Facts, Figures, PHASES, Tally};
use super::top::{self, Row};
use crate::log_service::read::{Report, Series};

/// Different reasons that are told apart.
const MAX_REASONS: usize = 1_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Stats {
    #[serde(flatten)]
    pub(crate) whole: Figures,
    /// Requests per second between the first and the last.
    pub(crate) rate: f64,
    /// Times of the first and the last request, microseconds.
    pub(crate) first_us: Option<i64>,
    pub(crate) last_us: Option<i64>,
    /// Requests over time.
    pub(crate) series: Series,
    /// Requests by the hundreds of their status, most first; 0 is no answer.
    pub(crate) statuses: Vec<(u16, u64)>,
    /// Most first.
    pub(crate) reasons: Vec<Reason>,
    /// What the durations consist of, in the order in which it happens.
    pub(crate) phases: Vec<Phase>,
    /// By field or span of time, when that was asked for.
    pub(crate) rows: Vec<Row>,
    /// Requests of values beyond the limits.
    pub(crate) others: Option<Figures>,
    pub(crate) report: Report,
}

/// Why requests ended, and which setting decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reason {
    pub(crate) end_by: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) cause: Option<String>,
    pub(crate) count: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Phase {
    /// The name of its member.
    pub(crate) name: String,
    pub(crate) time_us: u64,
    /// Of the time of all requests, 0 to 1.
    pub(crate) share: f64,
}

type ReasonKey = [Option<Box<str>>; 3];

#[derive(Default)]
struct Sums {
    whole: Tally,
    step: Option<i64>,
    first: Option<i64>,
    last: Option<i64>,
    statuses: [u64; 10],
    reasons: HashMap<ReasonKey, u64>,
    phases: [u64; PHASES.len()],
}

/// The figures of all matching requests, and by field or span of time; counts over time come in steps of `step`
/// microseconds or longer.
pub(crate) fn stats(
    parts: &Parts,
    asked: &Asked,
    (split, step): (Option<Split>, Option<i64>),
    limits: Limits,
    control: &Control,
) -> Result<Stats, ExecError> {
    let mut filter = asked.filter();
    let mut wanted = Wanted::of(&filter, FACTS);
    wanted.add(&["ts", "reason", "cause"]);
    wanted.add(&PHASES);
    let is_by_time = matches!(split, Some(Split::Every(_)));
    let mut groups = split.map(|split| {
        let groups = Groups::new(split, limits);
        if is_by_time { groups } else { groups.with_series(step) }
    });
    if let Some(groups) = &groups {
        groups.add_columns(&mut wanted);
    }
    let mut sums = Sums { step, ..Sums::default() };
    scan(parts, &mut filter, &wanted, control, &mut |batch, rows| {
        let facts = Facts::of(batch);
        sums.add(batch, rows, &facts);
        if let Some(groups) = &mut groups {
            groups.add(batch, rows, &facts);
        }
    })?;
    let mut report = complete::report(parts, filter.window());
    (report.rows, report.lines) = (sums.whole.rows, control.progress().0);
    let (rows, others) = groups.map(Groups::finish).unwrap_or_default();
    let mut rows = top::by_key(rows);
    if !is_by_time {
        rows.sort_by_key(|row| std::cmp::Reverse(row.figures.count));
    }
    let others = Some(others.figures()).filter(|others| others.rows > 0);
    Ok(sums.told(rows, others, report))
}

impl Sums {
    fn add(&mut self, batch: &RecordBatch, rows: &Mask, facts: &Facts<'_>) {
        let phases = PHASES.map(|name| Column::of(batch, name));
        let status = Column::of(batch, "status");
        let times = Column::of(batch, "ts");
        let mut reasons = Reasons::of(batch);
        for row in rows.rows() {
            let Some(fact) = facts.at(row) else { continue };
            self.whole.add(&fact);
            if let Some(Column::Times(times)) = times {
                let time = times.value(row);
                self.first = Some(self.first.map_or(time, |first| first.min(time)));
                self.whole.note_time(time, self.step, fact.weight);
                self.last = Some(self.last.map_or(time, |last| last.max(time)));
            }
            let class = status.and_then(|status| status.number(row)).unwrap_or(0) / 100;
            self.statuses[class.min(9) as usize] += fact.weight;
            if fact.micros.is_some() {
                for (sum, phase) in self.phases.iter_mut().zip(&phases) {
                    let micros = phase.as_ref().and_then(|phase| phase.number(row)).unwrap_or(0);
                    *sum = sum.saturating_add(micros.saturating_mul(fact.weight));
                }
            }
            reasons.add(row, fact.weight);
        }
        for (key, count) in reasons.named() {
            if self.reasons.len() < MAX_REASONS || self.reasons.contains_key(&key) {
                *self.reasons.entry(key).or_default() += count;
            }
        }
    }

    fn told(self, rows: Vec<Row>, others: Option<Figures>, report: Report) -> Stats {
        let seconds = self.first.zip(self.last).map_or(0.0, |(first, last)| (last - first) as f64 / 1e6);
        let time = self.whole.time();
        let share = |part: u64| if time == 0 { 0.0 } else { part as f64 / time as f64 };
        let mut statuses: Vec<(u16, u64)> = (0..).map(|class: u16| class * 100).zip(self.statuses).collect();
        statuses.retain(|(_, count)| *count > 0);
        statuses.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let reasons = self.reasons.into_iter().map(|([end_by, reason, cause], count)| {
            let text = |word: Option<Box<str>>| word.map(String::from);
            Reason { end_by: text(end_by), reason: text(reason), cause: text(cause), count }
        });
        let mut reasons: Vec<Reason> = reasons.collect();
        reasons.sort_by(|a, b| {
            b.count.cmp(&a.count).then_with(|| (&a.reason, &a.cause).cmp(&(&b.reason, &b.cause)))
        });
        let phases = PHASES.iter().zip(self.phases);
        Stats {
            rate: if seconds > 0.0 { self.whole.count as f64 / seconds } else { 0.0 },
            series: self.whole.series.as_deref().cloned().unwrap_or_default(),
            first_us: self.first,
            last_us: self.last,
            statuses,
            reasons,
            phases: phases
                .map(|(name, time_us)| Phase { name: (*name).to_owned(), time_us, share: share(time_us) })
                .collect(),
            rows,
            others,
            report,
            whole: self.whole.figures(),
        }
    }
}

/// The reasons in one batch, counted by the numbers of their words.
struct Reasons<'b> {
    columns: [Option<(&'b Keys, &'b arrow_array::StringArray)>; 3],
    /// By the keys, with a row that has them.
    counts: HashMap<[Option<i32>; 3], (usize, u64), foldhash::fast::RandomState>,
}

impl<'b> Reasons<'b> {
    fn of(batch: &'b RecordBatch) -> Self {
        let columns = ["end_by", "reason", "cause"].map(|name| match Column::of(batch, name) {
            Some(Column::Words(keys, words)) => Some((keys, words)),
            _ => None,
        });
        Self { columns, counts: HashMap::default() }
    }

    fn add(&mut self, row: usize, weight: u64) {
        if !self.columns[1].is_some_and(|(keys, _)| keys.is_valid(row)) {
            return;
        }
        let keys = self
            .columns
            .map(|column| column.filter(|(keys, _)| keys.is_valid(row)).map(|(keys, _)| keys.value(row)));
        self.counts.entry(keys).or_insert((row, 0)).1 += weight;
    }

    fn named(self) -> impl Iterator<Item = (ReasonKey, u64)> {
        let columns = self.columns;
        self.counts.into_values().map(move |(row, count)| {
            let name = |column: Option<(&Keys, &'b arrow_array::StringArray)>| {
                column.and_then(|(keys, words)| word(keys, words, row)).map(Box::from)
            };
            (columns.map(name), count)
        })
    }
}
