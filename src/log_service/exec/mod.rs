//! The query executor: answers questions over [`Parts`] column by column.
//!
//! # How it is used
//!
//! A [`Parts`] is a snapshot of what the store has; making one costs a sort by extent, so it is kept until the store
//! changes. A question is [`Asked`] (a [`Query`](super::query::Query) and a [`Window`](super::read::Window)) and goes
//! to one of
//!
//! * [`search`]: the newest or slowest rows · [`rows`]: all of them, part by part, for export and pipes
//! * [`lookup`]: rows by an id, without a window · [`show`]: with lines that name it and neighbours on the connection
//! * [`stats`]: one set of figures, by field or span of time too · [`top`]: the first groups by value
//! * [`audit`]: what each proxy sent, what is stored and what is lost
//! * [`explain`]: what matching requests have in common · [`compare`]: what differs between two sets
//!
//! or, with the arguments of a URI, to [`answer`], which gives JSON. All of them block: call them on a thread of their
//! own (`spawn_blocking`). A [`Control`], one per question, shared with that thread stops them and shows how far they are. Every answer
//! has a [`Report`](super::read::Report) of what is missing in its window ([`report`] alone costs no reading).
//!
//! # How it works
//!
//! [`filter`] lowers the query to tests of columns and derives what parts may leave out; [`scan`] walks over the
//! parts, newest first, with only the columns that somebody looks at. [`groups`] counts by the numbers of dictionary
//! words. Memory is bounded by [`Limits`] and by counts of rows; what did not fit is told, never dropped silently.
//!
//! Invariants: a filter selects exactly the rows whose JSON form the query matches; long-lived exchanges are counted
//! but stay out of the percentiles; a row that stands for many (`sw`) counts as many, and how far a count may be off
//! is told as `count_off` (`±`).

mod answer;
mod audit;
mod coded;
mod column;
mod compare;
mod complete;
mod control;
mod explain;
mod filter;
mod groups;
mod mask;
mod parts;
mod scan;
mod search;
mod show;
mod significance;
mod stats;
mod tally;
#[cfg(test)]
mod tests;
mod top;

pub(crate) use answer::{AnswerError, Question, answer};
pub(crate) use audit::Audited;
pub(crate) use column::{Column, Keys, Times, word};
pub(crate) use compare::{Compared, Pair};
pub(crate) use complete::report;
pub(crate) use control::{Control, ExecError};
pub(crate) use explain::{Explained, Medians};
pub(crate) use groups::Limits;
pub(crate) use parts::Parts;
pub(crate) use scan::Asked;
pub(crate) use search::{Found, Sort, first, rows, search};
pub(crate) use show::{RECORDS, WantedId, lookup};
pub(crate) use stats::{Phase, Reason, Stats};
pub(crate) use tally::Figures;
pub(crate) use top::{Row, Top};
