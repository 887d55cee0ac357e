//! Parquet files of the store: the only place that names the `parquet` crate.
//!
//! A file holds rows sorted by `id` (near to their order in time), in row groups of 131 072 rows and pages of at most
//! 8 192 rows, so that one id costs one page of ids and the same rows of the other columns. Any reader of Parquet reads them:
//! ids are plain fixed-length bytes without the UUID logical type, by which some readers order wrongly. What the file says
//! of its rows as a whole stands in the key-value metadata, under [`EXTENT_KEY`].

mod file;
mod merge;
mod properties;
mod prune;
mod sort;
mod summary;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use file::{Footers, StoredFile};
pub(crate) use merge::Merge;
pub(crate) use properties::Level;
pub(crate) use sort::sorted;
pub(crate) use summary::ExtentForm;
pub(crate) use write::FileWriter;

/// Key of the file's [`crate::log_service::part::Extent`], as JSON.
pub(crate) const EXTENT_KEY: &str = "tollgate.extent";

/// Rows per row group.
const ROW_GROUP_ROWS: usize = 131_072;
/// Most rows per page, and rows per batch of what is read in order.
const PAGE_ROWS: usize = 8192;
/// Rows per batch of what is counted; divides a row group.
const BATCH_ROWS: usize = 32_768;

fn io_error(error: impl std::error::Error + Send + Sync + 'static) -> std::io::Error {
    std::io::Error::other(error)
}
