//! Rollups: what happened per minute, host, route, upstream, class of status and reason, without looking at a row again.
//!
//! Rows are counted when they become a batch, each with its weight `sw`, so sampling loses nothing here. What was counted of
//! the rows in memory becomes a file together with them (`roll/NNNNNN_FIRST-LAST.tgr`, numbered like the part of the log that it
//! covers), written before the manifest says so: a start keeps those that the manifest covers and takes the others away, as
//! their rows are read from the log again. So each row is counted once whatever happens.
//!
//! Minutes are kept for [`KEPT_MINUTES`]; before they go they are added up to hours ([`hours`]), which are kept for as long
//! as the settings say. What was counted last is also in memory, within a bound.
//!
//! Bounded: [`MAX_KEYS`] keys per minute and generation of rows, and per hour, the largest by count; the rest is one key,
//! [`OTHER`]. What `host` records say is counted beside it, see [`host`].

mod answer;
mod cell;
mod counted;
mod files;
pub(crate) mod host;
mod hours;
mod note;
mod recent;
#[cfg(test)]
mod tests;

pub(crate) use answer::{Asked, Bounds, RollupError, answer, host_answer};
pub(crate) use cell::Packed;
pub(crate) use counted::{Counted, Kept};
pub(crate) use files::{remove_unless_covered, write};
pub(crate) use hours::keep_house;
pub(crate) use note::Counting;
pub(crate) use recent::{Recent, recent};

/// Keys per minute and generation of rows, and per hour.
const MAX_KEYS: usize = 256;
/// What stands in all members of the key of the rest.
const OTHER: &str = "(other)";
/// Minutes that are kept.
const KEPT_MINUTES: i64 = 25 * 60;

/// The key of what is not told apart.
fn rest() -> cell::Key {
    cell::Key {
        host: OTHER.into(),
        route: OTHER.into(),
        upstream: OTHER.into(),
        class: 0,
        reason: OTHER.into(),
    }
}

/// The first hour, counted from the Unix epoch, of which minutes are kept at `now`, microseconds since the Unix epoch.
fn first_hour_of_minutes(now: i64) -> i64 {
    (now.div_euclid(60_000_000) - KEPT_MINUTES).div_euclid(60) + 1
}
