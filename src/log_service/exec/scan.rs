//! The walk over parts that answers every question.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::column::Column;
use super::control::{Control, ExecError};
use super::filter::Filter;
use super::mask::Mask;
use super::parts::Parts;
use crate::log_service::columns;
use crate::log_service::part::{Part, Prune};
use crate::log_service::query::Query;
use crate::log_service::read::Window;

/// What is asked for: which rows, and of which time.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) query: Query,
    pub(crate) window: Window,
}

impl Asked {
    pub(crate) fn new(query: Query, window: Window) -> Self {
        Self { query, window }
    }

    pub(super) fn filter(&self) -> Filter {
        Filter::new(&self.query, self.window)
    }
}

/// Names of columns, gathered from all who look at them.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted(pub(super) BTreeSet<String>);

impl Wanted {
    pub(super) fn of(filter: &Filter, names: &[&str]) -> Self {
        let mut wanted = Self::default();
        filter.add_columns(&mut wanted.0);
        wanted.add(names);
        wanted
    }

    pub(super) fn add(&mut self, names: &[&str]) {
        self.0.extend(names.iter().map(|name| (*name).to_owned()));
    }

    /// In schema order.
    pub(super) fn names(&self) -> Vec<&'static str> {
        columns::NAMES.iter().copied().filter(|name| self.0.contains(*name)).collect()
    }
}

/// Reads one part batch by batch.
pub(super) fn read(
    part: &Arc<dyn Part>,
    columns: &[&str],
    prune: &Prune,
    control: &Control,
    each: &mut dyn FnMut(&RecordBatch) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ExecError> {
    let mut flow = ControlFlow::Continue(());
    part.read(columns, prune, &mut |batch| {
        if control.check().is_err() {
            return Ok(ControlFlow::Break(()));
        }
        control.looked_at(batch.num_rows());
        flow = each(&batch);
        Ok(flow)
    })?;
    control.check()?;
    Ok(flow)
}

/// Reads all parts that can hold a matching row, newest first, and gives each batch with the rows that match.
pub(super) fn scan(
    parts: &Parts,
    filter: &mut Filter,
    wanted: &Wanted,
    control: &Control,
    each: &mut dyn FnMut(&RecordBatch, &Mask),
) -> Result<(), ExecError> {
    let columns = wanted.names();
    let prune = Prune { newest_first: false, ..filter.prune().clone() };
    control.expect(parts.admitted(&prune).map(|part| part.extent().rows).sum());
    for part in parts.admitted(&prune) {
        let _ = read(part, &columns, &prune, control, &mut |batch| {
            let rows = filter.select(batch);
            if !rows.is_empty() {
                each(batch, &rows);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(())
}

/// The same prune with only the time in which `select` finds rows of the part, looking at a few columns; `None` when
/// it finds none. Spares reading all columns of parts that hold nothing.
pub(super) fn narrowed(
    part: &Arc<dyn Part>,
    columns: &[&str],
    prune: &Prune,
    control: &Control,
    select: &mut dyn FnMut(&RecordBatch) -> Mask,
) -> Result<Option<Prune>, ExecError> {
    let mut found: Option<(i64, i64)> = None;
    let _ = read(part, columns, prune, control, &mut |batch| {
        if let Some(Column::Times(times)) = Column::of(batch, "ts") {
            for time in select(batch).rows().map(|row| times.value(row)) {
                let (first, last) = found.unwrap_or((time, time));
                found = Some((first.min(time), last.max(time)));
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(found.map(|found| Prune { ts: Some(found), ..prune.clone() }))
}
