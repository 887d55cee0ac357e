//! `explain`: what the matching requests have in common against the rest.

use std::collections::HashMap;
use std::ops::ControlFlow;

use arrow_array::{Array as _, RecordBatch, StringArray};
use serde::{Deserialize, Serialize};

use super::coded::{self, Coded, cut};
use super::column::Column;
use super::complete;
use super::control::{Control, ExecError};
use super::filter::{Filter, is_same};
use super::mask::Mask;
use super::parts::Parts;
use super::scan::{Asked, Wanted, read};
use super::significance::two_shares;
use super::tally::{FACTS, Facts, PHASES};
use crate::log_service::part::Prune;
use crate::log_service::query::{Field, Query};
use crate::log_service::read::{Quantiles, Report};

/// The members whose values are compared: words and small numbers.
const FIELDS: &[&str] = &[
    "proxy",
    "core",
    "cfg",
    "listener",
    "client_ip",
    "peer_ip",
    "method",
    "scheme",
    "host",
    "site",
    "route",
    "path",
    "proto",
    "ua",
    "req_type",
    "status",
    "up_status",
    "resp_type",
    "enc",
    "upstream",
    "up_addr",
    "worker",
    "up_reused",
    "pick",
    "tries",
    "end_by",
    "end_at",
    "reason",
    "cause",
    "rl",
    "rl_rule",
    "tls_ver",
    "tls_cipher",
    "tls_group",
    "tls_alpn",
    "tls_sni",
    "tls_resumed",
    "trace_flags",
    "detail",
    MINUTE,
];
/// Not a member: the minute of `ts`.
const MINUTE: &str = "minute";
const MINUTE_US: i64 = 60_000_000;
/// Different values of a field that are counted.
const MAX_VALUES: usize = 20_000;
/// A value of fewer matching rows says nothing.
const MIN_ROWS: u64 = 3;
/// Whose medians are compared.
fn durations() -> impl Iterator<Item = &'static str> {
    std::iter::once("dur_us").chain(PHASES)
}

/// Chance that a value is told although it is not over-represented, for each value looked at.
const MAX_CHANCE: f64 = 1e-4;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Explained {
    /// Requests that match.
    pub(crate) matching: u64,
    /// The other requests of the window.
    pub(crate) rest: u64,
    /// What is over-represented among the matching, the largest difference of shares first.
    pub(crate) values: Vec<Trait>,
    /// Fields with more different values than were counted.
    pub(crate) cut: Vec<String>,
    /// Durations of both, but those that the filter names.
    pub(crate) phases: Vec<Medians>,
    pub(crate) report: Report,
}

/// A duration of the matching requests and of the rest, microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Medians {
    pub(crate) field: String,
    pub(crate) p50_in: Option<u64>,
    pub(crate) p50_out: Option<u64>,
}

/// A value that the matching requests have more often than the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Trait {
    pub(crate) field: String,
    /// `None`: the field is not there.
    pub(crate) value: Option<String>,
    /// Of the matching requests, 0 to 1.
    pub(crate) share_in: f64,
    /// Of the rest, 0 to 1.
    pub(crate) share_out: f64,
    /// `share_in` / `share_out`; `None` when none of the rest has it.
    pub(crate) lift: Option<f64>,
    /// Matching requests that have it.
    pub(crate) support: u64,
}

/// Weighted requests and rows, among the matching and the rest.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: [u64; 2],
    rows: [u64; 2],
}

impl Counts {
    fn add(&mut self, other: &Self) {
        for side in 0..2 {
            self.requests[side] += other.requests[side];
            self.rows[side] += other.rows[side];
        }
    }

    fn share(&self, all: &Self, side: usize) -> f64 {
        self.requests[side] as f64 / all.requests[side].max(1) as f64
    }
}

struct Values {
    name: &'static str,
    field: Field,
    counts: HashMap<Box<str>, Counts, foldhash::fast::RandomState>,
    absent: Counts,
    is_cut: bool,
    /// The dictionary of the last batch, which is that of its whole row group, and what its words came to: names are
    /// looked up once per row group.
    words: Option<StringArray>,
    by_word: Vec<Counts>,
}

/// The first `count` traits, against the rest of those that match `among`. Fields that the filter itself names are left
/// out.
pub(crate) fn explain(
    parts: &Parts,
    (asked, among): (&Asked, &Query),
    count: usize,
    control: &Control,
) -> Result<Explained, ExecError> {
    let asked_for: Vec<&str> = asked.query.fields().iter().flat_map(Field::members).collect();
    let is_told = |name: &&&str| !asked_for.contains(if **name == MINUTE { &"ts" } else { *name });
    let fields = FIELDS.iter().filter(is_told);
    let mut phases: Vec<(&str, [Quantiles; 2])> =
        durations().filter(|name| is_told(&name)).map(|name| (name, Default::default())).collect();
    let mut values: Vec<Values> = fields.map(|name| Values::new(name)).collect();
    let mut filter = asked.filter();
    let mut window = Filter::new(among, asked.window);
    let mut wanted = Wanted::of(&filter, FACTS);
    window.add_columns(&mut wanted.0);
    values.iter().for_each(|values| coded::add_columns(&values.field, &mut wanted.0));
    wanted.add(&["ts"]);
    durations().for_each(|name| wanted.add(&[name]));
    let (columns, prune) = (wanted.names(), Prune { newest_first: false, ..window.prune().clone() });
    let mut all = Counts::default();
    control.expect(parts.admitted(&prune).map(|part| part.extent().rows).sum());
    for part in parts.admitted(&prune) {
        let _ = read(part, &columns, &prune, control, &mut |batch| {
            let facts = Facts::of(batch);
            let mut weights = vec![0u64; batch.num_rows()];
            let requests = window.select(batch).filtered(|row| {
                weights[row] = facts.at(row).map_or(0, |fact| fact.weight);
                weights[row] > 0
            });
            let matching = filter.select_among(batch, &requests);
            let sides = sides(&requests, &matching, &weights);
            let in_batch = counts(&sides);
            all.add(&in_batch);
            values.iter_mut().for_each(|values| {
                values.add(&values.coded(batch, &requests), &sides, &in_batch);
            });
            phases.iter_mut().for_each(|phase| note(phase, batch, (&requests, &matching), &weights));
            ControlFlow::Continue(())
        })?;
    }
    let mut report = complete::report(parts, window.window());
    (report.rows, report.lines) = (all.rows[0], control.progress().0);
    values.iter_mut().for_each(Values::end_words);
    let beyond = values.iter().filter(|values| values.is_cut).map(|values| values.name.to_owned()).collect();
    let phases = phases.into_iter().map(medians).collect();
    let mut traits: Vec<Trait> = values.into_iter().flat_map(|values| values.traits(&all)).collect();
    let difference = |one: &Trait| one.share_in - one.share_out;
    traits.sort_by(|a, b| difference(b).total_cmp(&difference(a)).then_with(|| a.value.cmp(&b.value)));
    traits.truncate(count);
    Ok(Explained {
        matching: all.requests[0],
        rest: all.requests[1],
        values: traits,
        cut: beyond,
        phases,
        report,
    })
}

fn note(
    (name, sides): &mut (&str, [Quantiles; 2]),
    batch: &RecordBatch,
    (requests, matching): (&Mask, &Mask),
    weights: &[u64],
) {
    let Some(column) = Column::of(batch, name) else { return };
    for row in requests.rows() {
        if let Some(micros) = column.number(row) {
            sides[usize::from(!matching.has(row))].add_many(micros, weights[row]);
        }
    }
}

fn medians((field, [matching, rest]): (&str, [Quantiles; 2])) -> Medians {
    Medians { field: field.to_owned(), p50_in: matching.at(0.5), p50_out: rest.at(0.5) }
}

/// A request: its row, 0 for the matching and 1 for the rest, and how many it stands for.
type Side = (u32, u8, u64);

/// The requests of a batch, once for all fields.
fn sides(requests: &Mask, matching: &Mask, weights: &[u64]) -> Vec<Side> {
    // A batch has far fewer rows than 32 bits count.
    requests.rows().map(|row| (row as u32, u8::from(!matching.has(row)), weights[row])).collect()
}

fn counts(sides: &[Side]) -> Counts {
    let mut counts = Counts::default();
    for &(_, side, weight) in sides {
        counts.requests[usize::from(side)] += weight;
        counts.rows[usize::from(side)] += 1;
    }
    counts
}

impl Values {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            field: Field::named(name),
            counts: HashMap::default(),
            absent: Counts::default(),
            is_cut: false,
            words: None,
            by_word: Vec::new(),
        }
    }

    fn coded<'b>(&self, batch: &'b RecordBatch, requests: &Mask) -> Coded<'b> {
        if self.name == MINUTE {
            return Coded::spans(batch, MINUTE_US, requests);
        }
        Coded::of(batch, &self.field, requests)
    }

    fn add(&mut self, coded: &Coded<'_>, sides: &[Side], all: &Counts) {
        if coded.len() == 1 {
            return self.note(coded.name(0).as_deref(), all);
        }
        let base = coded.words.map_or(0, StringArray::len);
        let is_known = match (&self.words, coded.words) {
            (Some(words), Some(same)) => is_same(words, same),
            (words, other) => words.is_none() && other.is_none(),
        };
        if !is_known {
            self.end_words();
            self.words = coded.words.cloned();
        }
        self.by_word.resize(coded.len(), Counts::default());
        for &(row, side, weight) in sides {
            let counts = &mut self.by_word[coded.codes[row as usize] as usize];
            counts.requests[usize::from(side)] += weight;
            counts.rows[usize::from(side)] += 1;
        }
        // Above the words the numbers mean something else in each batch.
        let more = self.by_word.split_off(base);
        for (code, counts) in (0..).map(|code: u32| base as u32 + code).zip(&more) {
            self.note(coded.name(code).as_deref(), counts);
        }
    }

    /// Counts what came with the words of a dictionary that does not come again.
    fn end_words(&mut self) {
        let by_word = std::mem::take(&mut self.by_word);
        if let Some(words) = self.words.take() {
            (0..)
                .zip(&by_word)
                .for_each(|(at, counts)| self.note(Some(&cut(words.value(at).into())), counts));
        }
    }

    fn note(&mut self, value: Option<&str>, counts: &Counts) {
        if counts.rows == [0, 0] {
            return;
        }
        let Some(value) = value else {
            self.absent.add(counts);
            return;
        };
        if let Some(known) = self.counts.get_mut(value) {
            known.add(counts);
        } else if self.counts.len() < MAX_VALUES {
            self.counts.insert(value.into(), *counts);
        } else {
            self.is_cut = true;
        }
    }

    fn traits(self, all: &Counts) -> Vec<Trait> {
        let name = self.name;
        let values = self.counts.into_iter().map(|(value, counts)| (Some(value), counts));
        let traits = values.chain([(None, self.absent)]).filter_map(|(value, counts)| {
            let (share_in, share_out) = (counts.share(all, 0), counts.share(all, 1));
            let chance = two_shares(
                (counts.rows[0] as f64, all.rows[0] as f64),
                (counts.rows[1] as f64, all.rows[1] as f64),
            );
            let says_something = counts.rows[0] >= MIN_ROWS && share_in > share_out && chance < MAX_CHANCE;
            says_something.then(|| Trait {
                field: name.to_owned(),
                value: value.map(String::from),
                share_in,
                share_out,
                lift: (share_out > 0.0).then(|| share_in / share_out),
                support: counts.requests[0],
            })
        });
        traits.collect()
    }
}
