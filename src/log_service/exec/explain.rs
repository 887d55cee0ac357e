//! `explain`: what the matching requests have in common against the rest.

use std::collections::HashMap;
use std::ops::ControlFlow;

use arrow_array::{Array as _, StringArray};
use serde::Serialize;

use super::coded::{self, Coded, cut};
use super::complete;
use super::control::{Control, ExecError};
use super::filter::{Filter, is_same};
use super::mask::Mask;
use super::parts::Parts;
use super::scan::{Asked, Wanted, read};
use super::significance::two_shares;
use super::tally::{FACTS, Facts};
use crate::log_service::part::Prune;
use crate::log_service::query::{Field, Query};
use crate::log_service::read::Report;

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
];
/// Different values of a field that are counted.
const MAX_VALUES: usize = 20_000;
/// A value of fewer matching rows says nothing.
const MIN_ROWS: u64 = 3;
/// Chance that a value is told although it is not over-represented, for each value looked at.
const MAX_CHANCE: f64 = 1e-4;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Explained {
    /// Requests that match.
    pub(crate) matching: u64,
    /// The other requests of the window.
    pub(crate) rest: u64,
    /// What is over-represented among the matching, the largest difference of shares first.
    pub(crate) values: Vec<Trait>,
    /// Fields with more different values than were counted.
    pub(crate) cut: Vec<&'static str>,
    pub(crate) report: Report,
}

/// A value that the matching requests have more often than the rest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Trait {
    pub(crate) field: &'static str,
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

/// The first `count` traits. Fields that the filter itself names are left out.
pub(crate) fn explain(
    parts: &Parts,
    asked: &Asked,
    count: usize,
    control: &Control,
) -> Result<Explained, ExecError> {
    let asked_for: Vec<&str> = asked.query.fields().iter().flat_map(Field::members).collect();
    let fields = FIELDS.iter().filter(|name| !asked_for.contains(name));
    let mut values: Vec<Values> = fields.map(|name| Values::new(name)).collect();
    let mut filter = asked.filter();
    let mut window = Filter::new(&Query::all(), asked.window);
    let mut wanted = Wanted::of(&filter, FACTS);
    window.add_columns(&mut wanted.0);
    values.iter().for_each(|values| coded::add_columns(&values.field, &mut wanted.0));
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
                values.add(&Coded::of(batch, &values.field, &requests), &sides, &in_batch);
            });
            ControlFlow::Continue(())
        })?;
    }
    let mut report = complete::report(parts, window.window());
    (report.rows, report.lines) = (all.rows[0], control.progress().0);
    values.iter_mut().for_each(Values::end_words);
    let beyond = values.iter().filter(|values| values.is_cut).map(|values| values.name).collect();
    let mut traits: Vec<Trait> = values.into_iter().flat_map(|values| values.traits(&all)).collect();
    let difference = |one: &Trait| one.share_in - one.share_out;
    traits.sort_by(|a, b| difference(b).total_cmp(&difference(a)).then_with(|| a.value.cmp(&b.value)));
    traits.truncate(count);
    Ok(Explained { matching: all.requests[0], rest: all.requests[1], values: traits, cut: beyond, report })
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
                field: name,
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
