//! [`Filter`]: a query over the columns of a batch. It selects exactly the rows whose JSON form the query matches.
//!
//! A member is looked for in its column; what the row has in `body` wins over the column. Dictionary words are tested
//! once each. Cheap tests go first, and later ones see only the rows that are left.

mod check;
mod member;
mod prune;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use arrow_array::RecordBatch;

use super::column::Column;
use super::mask::Mask;
use crate::log_service::part::Prune;
use crate::log_service::query::{Node, Query, WORD_MEMBERS};
use crate::log_service::read::Window;

use check::Check;
pub(super) use member::{Test, is_same};

/// A query and a window of time, ready to look at batches.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    step: Step,
    /// Microseconds, both ends included.
    window: Option<(i64, i64)>,
    prune: Prune,
}

#[derive(Clone, Debug)]
enum Step {
    All(Vec<Step>),
    Any(Vec<Step>),
    Not(Box<Step>),
    Test(Box<Test>),
}

impl Filter {
    pub(crate) fn new(query: &Query, window: Window) -> Self {
        let window = prune::micros(window);
        let prune = prune::of(query.root(), window);
        Self { step: Step::of(query.root()), window, prune }
    }

    /// Only rows of this time, microseconds, or later are still of interest.
    pub(crate) fn not_before(&mut self, micros: i64) {
        let (first, last) = self.window.unwrap_or((i64::MIN, i64::MAX));
        self.window = Some((first.max(micros), last));
    }

    /// What parts may leave out.
    pub(crate) fn prune(&self) -> &Prune {
        &self.prune
    }

    /// The window, microseconds, both ends included.
    pub(crate) fn window(&self) -> Option<(i64, i64)> {
        self.window
    }

    /// Adds the columns that [`Self::select`] looks at.
    pub(crate) fn add_columns(&self, columns: &mut BTreeSet<String>) {
        if self.window.is_some() {
            columns.insert("ts".to_owned());
        }
        self.step.add_columns(columns);
    }

    /// The rows that match. Results for the words of a dictionary are kept for the next batch with the same one.
    pub(crate) fn select(&mut self, batch: &RecordBatch) -> Mask {
        self.select_among(batch, &Mask::all(batch.num_rows()))
    }

    /// Those of some rows that match.
    pub(crate) fn select_among(&mut self, batch: &RecordBatch, among: &Mask) -> Mask {
        let mut rows = among.clone();
        if let Some((first, last)) = self.window
            && let Some(Column::Times(times)) = Column::of(batch, "ts")
        {
            let times = times.values();
            rows = rows.filtered(|row| (first..=last).contains(&times[row]));
        }
        self.step.select(batch, &rows)
    }
}

impl Step {
    fn of(node: &Node) -> Self {
        match node {
            Node::All(nodes) => {
                let mut steps: Vec<Self> = nodes.iter().map(Self::of).collect();
                steps.sort_by_key(Self::cost);
                Self::All(steps)
            }
            Node::Any(nodes) => Self::Any(nodes.iter().map(Self::of).collect()),
            Node::Not(node) => Self::Not(Box::new(Self::of(node))),
            Node::Word(part) => any(WORD_MEMBERS.iter().copied(), &Check::Fits(vec![part.clone()])),
            Node::Present(field) => any(field.members(), &Check::Present),
            Node::Fits(field, patterns) => any(field.members(), &Check::Fits(patterns.clone())),
            Node::Compare(field, order, bound) => any(field.members(), &Check::Compare(*order, *bound)),
        }
    }

    fn cost(&self) -> u32 {
        match self {
            Self::All(steps) | Self::Any(steps) => steps.iter().map(Self::cost).sum(),
            Self::Not(step) => step.cost(),
            Self::Test(test) => test.cost(),
        }
    }

    fn add_columns(&self, columns: &mut BTreeSet<String>) {
        match self {
            Self::All(steps) | Self::Any(steps) => steps.iter().for_each(|step| step.add_columns(columns)),
            Self::Not(step) => step.add_columns(columns),
            Self::Test(test) => test.add_columns(columns),
        }
    }

    /// Those of the rows that match.
    fn select(&mut self, batch: &RecordBatch, among: &Mask) -> Mask {
        if among.is_empty() {
            return among.clone();
        }
        match self {
            Self::All(steps) => steps.iter_mut().fold(among.clone(), |left, step| step.select(batch, &left)),
            Self::Any(steps) => {
                let (mut found, mut left) = (Mask::none(among.len()), among.clone());
                for step in steps {
                    let more = step.select(batch, &left);
                    left.remove(&more);
                    found.add(&more);
                }
                found
            }
            Self::Not(step) => {
                let mut left = among.clone();
                left.remove(&step.select(batch, among));
                left
            }
            Self::Test(test) => test.select(batch, among),
        }
    }
}

/// Finds the rows that have a member.
pub(super) fn presence(member: &str) -> Test {
    Test::new(member, Check::Present)
}

fn any<'n>(members: impl Iterator<Item = &'n str>, check: &Check) -> Step {
    let mut steps: Vec<Step> =
        members.map(|member| Step::Test(Box::new(Test::new(member, check.clone())))).collect();
    match steps.pop() {
        Some(only) if steps.is_empty() => only,
        last => {
            steps.extend(last);
            Step::Any(steps)
        }
    }
}
