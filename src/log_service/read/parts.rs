//! The walk over the rows of a store: each becomes a JSON object again.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;

use super::Report;
use super::scan::{Flow, Newest, Row, Scan, Window};
use crate::log_service::columns::{self, RowWriter};
use crate::log_service::part::{Part, Prune};
use crate::log_service::query::Query;
use crate::log_service::store::View;

impl Scan {
    /// Reads the rows of a directory's store, oldest files first.
    pub(super) fn store(
        &mut self,
        data: &Path,
        on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
    ) -> io::Result<Flow> {
        let view = View::of(data)?;
        if view.damaged > 0 {
            let _ = self.damaged();
        }
        self.parts(&view.parts, on_row)
    }

    /// Reads the rows of parts, in their order.
    pub(crate) fn parts(
        &mut self,
        parts: &[Arc<dyn Part>],
        on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
    ) -> io::Result<Flow> {
        for part in parts {
            if self.part(part.as_ref(), &mut |_, row| on_row(row))?.is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(Flow::Continue(()))
    }

    fn part(&mut self, part: &dyn Part, on_row: &mut dyn FnMut(i64, &Row<'_>) -> Flow) -> io::Result<Flow> {
        let extent = part.extent();
        if !self.window().may_lie_in(extent.min_ts, extent.max_ts) {
            return Ok(Flow::Continue(()));
        }
        self.note_extent(extent);
        let mut flow = Flow::Continue(());
        let prune = Prune { ts: self.window().bounds(), ..Prune::default() };
        part.read(columns::NAMES, &prune, &mut |batch| {
            flow = self.batch(&batch, on_row);
            Ok(flow)
        })?;
        Ok(flow)
    }

    /// Looks at the rows of a batch that has all columns; whose numbers they are is not noted.
    pub(crate) fn batch(
        &mut self,
        batch: &RecordBatch,
        on_row: &mut dyn FnMut(i64, &Row<'_>) -> Flow,
    ) -> Flow {
        let times = batch
            .column_by_name("ts")
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let Some(times) = times else { return self.damaged() };
        let (writer, mut text) = (RowWriter::new(batch), Vec::new());
        for row in 0..batch.num_rows() {
            let ts = times.value(row);
            self.count_line();
            if !self.window().holds(ts) {
                continue;
            }
            text.clear();
            writer.write(row, &mut text);
            let Ok(text) = std::str::from_utf8(&text) else { continue };
            if self.wanted(text, &mut |row| on_row(ts, row)).is_break() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

impl Newest {
    /// The newest rows of parts by their time, oldest first.
    pub(crate) fn of_parts(
        parts: &[Arc<dyn Part>],
        query: &Query,
        window: Window,
        count: usize,
    ) -> io::Result<Self> {
        let mut scan = Scan::new(query.clone(), window);
        let mut rows: VecDeque<(i64, String)> = VecDeque::new();
        let mut order: Vec<&Arc<dyn Part>> = parts.iter().collect();
        // Newest last in the list, so of equal ones the later stays later.
        order.sort_by_key(|part| part.extent().max_ts);
        for part in order.into_iter().rev() {
            let least = rows.front().map(|(ts, _)| *ts);
            if rows.len() >= count && least.is_some_and(|least| part.extent().max_ts < least) {
                continue;
            }
            let mut found: Vec<(i64, String)> = Vec::new();
            let _ = scan.part(part.as_ref(), &mut |ts, row| {
                found.push((ts, row.json.to_owned()));
                if found.len() > 2 * count {
                    keep_newest(&mut found, count);
                }
                Flow::Continue(())
            })?;
            keep_newest(&mut found, count);
            // Older parts go in front of what newer ones gave.
            found.extend(rows);
            keep_newest(&mut found, count);
            rows = found.into();
        }
        let report = Report { rows: rows.len() as u64, ..scan.report() };
        Ok(Self { rows: rows.into_iter().map(|(_, row)| row).collect(), report })
    }
}

/// Keeps the order of rows of the same time.
fn keep_newest(rows: &mut Vec<(i64, String)>, count: usize) {
    rows.sort_by_key(|(ts, _)| *ts);
    rows.drain(..rows.len().saturating_sub(count));
}
