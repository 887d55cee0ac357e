//! Rollups: what happened per minute, host, route, upstream, class of status and reason, without looking at a row again.
//!
//! Rows are counted when they become a batch, each with its weight `sw`, so sampling loses nothing here. What was counted of
//! the rows in memory becomes a file together with them (`roll/NNNNNN.tgr`, numbered like the part of the log that it
//! covers), written before the manifest says so: a start keeps those that the manifest covers and takes the others away, as
//! their rows are read from the log again. So each row is counted once whatever happens.
//!
//! Bounded: [`MAX_KEYS`] keys per minute and generation of rows, the largest by count; the rest is one key,
//! [`OTHER`]. [`KEPT_MINUTES`] are kept.

mod answer;
mod cell;
mod files;
mod note;
#[cfg(test)]
mod tests;

pub(crate) use answer::{Asked, answer};
pub(crate) use cell::Packed;
pub(crate) use files::{load, remove_unless_covered, write};
pub(crate) use note::Counting;

/// Keys per minute and generation of rows.
const MAX_KEYS: usize = 256;
/// What stands in all members of the key of the rest.
const OTHER: &str = "(other)";
/// Minutes that are kept.
const KEPT_MINUTES: i64 = 25 * 60;

/// The first minute that is kept at `now`, microseconds since the Unix epoch.
pub(crate) fn oldest_minute(now: i64) -> i64 {
    now.div_euclid(60_000_000) - KEPT_MINUTES
}
