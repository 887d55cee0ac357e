//! [`Follow`]: what is added to a data directory.

use std::io;
use std::path::Path;

use super::scan::{Flow, Row, Scan};
use crate::log_service::store::Growing;

/// A place in a growing data directory.
pub struct Follow(Growing);

impl Follow {
    /// Starts at the end of what is there now.
    pub fn from_end(data: &Path) -> io::Result<Self> {
        Growing::from_end(data).map(Self)
    }

    /// Looks at what was added since the last call; false when there was nothing. The caller waits between calls.
    pub fn advance(&mut self, scan: &mut Scan, on_row: &mut dyn FnMut(&Row<'_>) -> Flow) -> io::Result<bool> {
        let batches = self.0.advance()?;
        for batch in &batches {
            if scan.batch(batch, &mut |_, row| on_row(row)).is_break() {
                break;
            }
        }
        Ok(!batches.is_empty())
    }
}
