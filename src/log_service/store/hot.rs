//! [`Hot`]: all rows that a query may look at: those in memory, those that are just becoming a file, and the files.
//!
//! One lock guards which rows are in memory; it is held for a group of entries or to take a list, never while a file is
//! written. Rows become a file and leave memory at one moment for all queries: [`Files::view`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chain::Change;
use super::files::Files;
use super::rows::{Rows, RowsPart};
use crate::log_service::part::Part;
use crate::log_service::rollup::{Counted, Kept, Packed};

/// The rows of the store, shared by the writing thread and all queries.
pub(crate) struct Hot {
    files: Arc<Files>,
    state: Mutex<State>,
}

/// Which rows are where.
pub(super) struct State {
    pub(super) rows: Rows,
    /// On their way into files, oldest first.
    pub(super) leaving: Vec<Arc<RowsPart>>,
    /// What was counted of rows that left.
    pub(super) counted: Kept,
}

impl Hot {
    pub(super) fn new(rows: Rows, files: Arc<Files>, counted: Kept) -> Self {
        Self { files, state: Mutex::new(State { rows, leaving: Vec::new(), counted }) }
    }

    /// What is counted, up to now.
    pub(crate) fn rollups(&self) -> Counted {
        let mut state = self.lock();
        let newest = state.rows.counted();
        state.counted.counted(self.files.data(), newest)
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// Changes of files that the chain does not say yet.
    pub(crate) fn unchained(&self) -> Vec<Change> {
        self.files.unchained()
    }

    /// Everything, oldest first, as it is now.
    pub(crate) fn parts(&self) -> Vec<Arc<dyn Part>> {
        let in_memory = || {
            let mut state = self.lock();
            let newest = state.rows.part();
            (state.leaving.clone(), newest)
        };
        let (files, (leaving, newest)) = self.files.view(in_memory);
        let files = files.into_iter().map(|file| file as Arc<dyn Part>);
        let leaving = leaving.into_iter().map(|part| part as Arc<dyn Part>);
        files.chain(leaving).chain([Arc::new(newest) as Arc<dyn Part>]).collect()
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

    /// Begins new rows; those so far, which the log holds up to file `covered`, are on their way.
    pub(super) fn leave(&mut self, covered: u64) -> (Arc<RowsPart>, Arc<Vec<Packed>>) {
        let (part, counted) = (Arc::new(self.rows.part()), Arc::new(self.rows.counted()));
        self.rows = Rows::new();
        self.leaving.push(Arc::clone(&part));
        self.counted.add(covered, Arc::clone(&counted));
        (part, counted)
    }
}
