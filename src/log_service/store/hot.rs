//! [`Hot`]: all rows that a query may look at: those in memory, those that are just becoming a file, and the files.
//!
//! One lock guards which rows are where, so that no query sees rows twice or not at all while they move. It is held for a
//! group of entries or to take a list, never while a file is written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rows::{Rows, RowsPart};
use crate::log_service::part::Part;
use crate::log_service::rollup::{self, Packed};

/// The rows of the store, shared by the writing thread and all queries.
pub(crate) struct Hot {
    state: Mutex<State>,
}

/// Which rows are where.
pub(super) struct State {
    pub(super) rows: Rows,
    /// On their way into files, oldest first.
    pub(super) leaving: Vec<Arc<RowsPart>>,
    pub(super) files: Vec<Arc<dyn Part>>,
    /// What was counted of all rows that left, of a day.
    pub(super) counted: Vec<Arc<Vec<Packed>>>,
}

impl Hot {
    pub(super) fn new(rows: Rows, files: Vec<Arc<dyn Part>>, counted: Vec<Packed>) -> Self {
        let counted = vec![Arc::new(counted)];
        Self { state: Mutex::new(State { rows, leaving: Vec::new(), files, counted }) }
    }

    /// What was counted of a day, up to now.
    pub(crate) fn rollups(&self) -> Vec<Arc<Vec<Packed>>> {
        let mut state = self.lock();
        let newest = state.rows.counted();
        let mut counted = state.counted.clone();
        counted.push(Arc::new(newest));
        counted
    }

    /// Everything, oldest first, as it is now.
    pub(crate) fn parts(&self) -> Vec<Arc<dyn Part>> {
        let mut state = self.lock();
        let newest = state.rows.part();
        let mut parts = state.files.clone();
        parts.extend(state.leaving.iter().map(|part| Arc::clone(part) as Arc<dyn Part>));
        parts.push(Arc::new(newest));
        parts
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in between leaves lists that are whole: nothing is taken out before its successor is in.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Bytes of rows in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes() + self.leaving.iter().map(|part| part.bytes()).sum::<usize>()
    }

    /// Begins new rows; those so far are on their way. `now` is microseconds since the Unix epoch.
    pub(super) fn leave(&mut self, now: i64) -> (Arc<RowsPart>, Arc<Vec<Packed>>) {
        let (part, counted) = (Arc::new(self.rows.part()), Arc::new(self.rows.counted()));
        self.rows = Rows::new();
        self.leaving.push(Arc::clone(&part));
        let oldest = rollup::oldest_minute(now);
        self.counted.retain(|cells| cells.iter().any(|cell| cell.minute() >= oldest));
        self.counted.push(Arc::clone(&counted));
        (part, counted)
    }
}
