//! [`Merge`]: the rows of several sorted files in one order, holding a few batches of each at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::file::StoredFile;
use super::sort::pick;
use super::{PAGE_ROWS, io_error};
use crate::record::Id;

/// Batches in the order of their ids.
pub(crate) type Source = Box<dyn Iterator<Item = io::Result<RecordBatch>> + Send>;

/// Gives batches of at most 8 192 rows, sorted by `id`.
pub(crate) struct Merge {
    sources: Vec<Source>,
    /// Of each source the next row: id, source, batch in `held`, row.
    next: BinaryHeap<Reverse<(Id, usize, usize, usize)>>,
    /// Batches of which rows are still wanted.
    held: Vec<RecordBatch>,
    /// Which of `held` is the batch at hand of each source.
    current: Vec<Option<usize>>,
}

impl Merge {
    pub(crate) fn of_files(files: &[Arc<StoredFile>]) -> io::Result<Self> {
        // Fewer rows of each when there are many files, so that memory does not grow with them.
        let rows = (16 * PAGE_ROWS / files.len().max(1)).clamp(512, PAGE_ROWS);
        let open = |file: &Arc<StoredFile>| {
            let reader: ParquetRecordBatchReader = file.scan(rows)?;
            Ok(Box::new(reader.map(|batch| batch.map_err(io_error))) as Source)
        };
        Self::new(files.iter().map(open).collect::<io::Result<_>>()?)
    }

    pub(crate) fn new(sources: Vec<Source>) -> io::Result<Self> {
        let current = vec![None; sources.len()];
        let mut merge = Self { sources, next: BinaryHeap::new(), held: Vec::new(), current };
        for source in 0..merge.sources.len() {
            merge.refill(source)?;
        }
        Ok(merge)
    }

    fn refill(&mut self, source: usize) -> io::Result<()> {
        self.current[source] = None;
        for batch in self.sources[source].by_ref() {
            let batch = batch?;
            if batch.num_rows() > 0 {
                let held = self.held.len();
                self.next.push(Reverse((id_at(&batch, 0), source, held, 0)));
                self.held.push(batch);
                self.current[source] = Some(held);
                break;
            }
        }
        Ok(())
    }

    fn next_batch(&mut self) -> io::Result<Option<RecordBatch>> {
        self.forget_used();
        let mut rows = Vec::with_capacity(PAGE_ROWS);
        while rows.len() < PAGE_ROWS
            && let Some(Reverse((_, source, held, row))) = self.next.pop()
        {
            rows.push((held, row));
            let next = row + 1;
            if next < self.held[held].num_rows() {
                self.next.push(Reverse((id_at(&self.held[held], next), source, held, next)));
            } else {
                self.refill(source)?;
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        pick(&self.held, rows.into_iter()).map(Some)
    }

    /// Keeps only the batch at hand of each source.
    fn forget_used(&mut self) {
        let mut held = Vec::with_capacity(self.sources.len());
        let mut places = vec![None; self.held.len()];
        for current in self.current.iter_mut().flatten() {
            places[*current] = Some(held.len());
            held.push(self.held[*current].clone());
            *current = held.len() - 1;
        }
        self.held = held;
        let next = std::mem::take(&mut self.next).into_iter();
        self.next = next
            .filter_map(|Reverse((id, source, held, row))| Some(Reverse((id, source, places[held]?, row))))
            .collect();
    }
}

impl Iterator for Merge {
    type Item = io::Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

fn id_at(batch: &RecordBatch, row: usize) -> Id {
    let ids = batch.column_by_name("id").and_then(|ids| ids.as_fixed_size_binary_opt());
    ids.filter(|ids| row < ids.len()).and_then(|ids| ids.value(row).try_into().ok()).unwrap_or_default()
}
