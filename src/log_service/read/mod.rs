//! Reading stored entries: straight from a data directory or from any JSON lines, with or without a service running.
//!
//! Here live the names of an earlier version's files ([`hour`]), the walk over rows and lines ([`Scan`]), what is missing among them
//! ([`Report`]), following a growing directory ([`Follow`]) and [`Quantiles`]. How a row looks is not here.
//!
//! Invariant: a line that is not whole is never handed out; it is counted.

mod follow;
pub(crate) mod hour;
pub(super) mod lines;
mod parts;
mod quantiles;
mod report;
mod scan;
mod seen;
mod series;
#[cfg(test)]
mod tests;

pub use follow::Follow;
pub(super) use lines::{Lines, Next};
pub use quantiles::Quantiles;
pub use report::{Missing, Report, SAMPLED};
pub use scan::{Flow, Newest, Row, Scan, Window};
pub use series::Series;

use std::path::Path;

/// How many files of entries a directory holds and their size in bytes.
pub fn size_of(data: &Path) -> std::io::Result<(usize, u64)> {
    let hours = hour::list(data)?;
    let (files, bytes) = crate::log_service::store::size_of(data)?;
    Ok((files + hours.len(), bytes + hours.iter().map(|file| file.size).sum::<u64>()))
}
