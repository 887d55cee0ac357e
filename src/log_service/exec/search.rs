//! `search`: the newest or the slowest rows that match.
//!
//! First only the columns of the filter are read, and the best rows are remembered by part, time and id; then all
//! columns are read for these alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::ControlFlow;

use arrow_array::{Array as _, RecordBatch};

use super::column::{Column, id_at};
use super::complete;
use super::control::{Control, ExecError};
use super::filter::Filter;
use super::mask::Mask;
use super::parts::Parts;
use super::scan::{Asked, Wanted, narrowed, read};
use crate::log_service::columns::{self, RowWriter};
use crate::log_service::part::Prune;
use crate::log_service::read::Report;
use crate::record::Id;

/// Most rows that are held.
pub(crate) const MAX_ROWS: usize = 10_000;
/// Rows of a part that lie closer together, in microseconds, are fetched at once.
const NEAR: i64 = 2_000_000;

/// Which rows come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    #[default]
    Newest,
    /// By `dur_us`; rows without one come last.
    Slowest,
}

#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// JSON objects, best first.
    pub(crate) rows: Vec<String>,
    pub(crate) report: Report,
}

/// Where a row is, ordered by how much it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    key: i64,
    ts: i64,
    id: Id,
    /// Among the parts that were read.
    part: usize,
}

/// The first `count` rows (at most [`MAX_ROWS`]) that match.
pub(crate) fn search(
    parts: &Parts,
    asked: &Asked,
    sort: Sort,
    count: usize,
    control: &Control,
) -> Result<Found, ExecError> {
    let mut filter = asked.filter();
    let mut report = complete::report(parts, filter.window());
    let prune = filter.prune().clone();
    let best = Best::find(parts, &mut filter, &prune, (sort, count.min(MAX_ROWS)), control)?;
    let rows = fetch(parts, &asked.filter(), &prune, best, sort, control)?;
    (report.rows, report.lines) = (rows.len() as u64, control.progress().0);
    Ok(Found { rows, report })
}

/// All rows that match, part by part, the oldest first; rows of a part come as they lie. Ends early when `each` breaks.
pub(crate) fn rows(
    parts: &Parts,
    asked: &Asked,
    control: &Control,
    each: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Report, ExecError> {
    let mut filter = asked.filter();
    let mut report = complete::report(parts, filter.window());
    let prune = Prune { newest_first: false, ..filter.prune().clone() };
    let mut admitted: Vec<_> = parts.admitted(&prune).collect();
    // Not by the first time: a single late row may be far older than the rest of its part.
    admitted.sort_by_key(|part| part.extent().max_ts);
    control.expect(admitted.iter().map(|part| part.extent().rows).sum());
    let mut text = Vec::new();
    let few = Wanted::of(&filter, &["ts"]).names();
    for part in admitted {
        let narrowed = narrowed(part, &few, &prune, control, &mut |batch| filter.select(batch))?;
        let Some(prune) = narrowed else { continue };
        let flow = read(part, columns::NAMES, &prune, control, &mut |batch| {
            let writer = RowWriter::new(batch);
            for row in filter.select(batch).rows() {
                text.clear();
                writer.write(row, &mut text);
                report.rows += 1;
                // JSON is UTF-8.
                if each(std::str::from_utf8(&text).unwrap_or_default()).is_break() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        if flow.is_break() {
            break;
        }
    }
    report.lines = control.progress().0;
    Ok(report)
}

/// The best places so far, the worst of them on top.
struct Best {
    places: BinaryHeap<Reverse<Place>>,
    sort: Sort,
    count: usize,
}

impl Best {
    fn find(
        parts: &Parts,
        filter: &mut Filter,
        prune: &Prune,
        (sort, count): (Sort, usize),
        control: &Control,
    ) -> Result<Self, ExecError> {
        let mut best = Self { places: BinaryHeap::with_capacity(count + 1), sort, count };
        let sorts_by: &[&str] = if sort == Sort::Slowest { &["dur_us"] } else { &[] };
        let mut wanted = Wanted::of(filter, &["ts", "id"]);
        wanted.add(sorts_by);
        let columns = wanted.names();
        control.expect(parts.admitted(prune).map(|part| part.extent().rows).sum());
        for (at, part) in parts.admitted(prune).enumerate() {
            // With an id the parts do not come in the order of time.
            let may_stop = sort == Sort::Newest && prune.id.is_none();
            if count == 0 || may_stop && best.worst().is_some_and(|worst| part.extent().max_ts < worst.ts) {
                break;
            }
            let _ = read(part, &columns, prune, control, &mut |batch| {
                if let (Sort::Newest, Some(worst)) = (sort, best.worst()) {
                    filter.not_before(worst.ts);
                }
                let rows = filter.select(batch);
                best.look_at(batch, &rows, at);
                ControlFlow::Continue(())
            })?;
        }
        Ok(best)
    }

    /// The worst place, once there are enough.
    fn worst(&self) -> Option<Place> {
        self.places.peek().map(|Reverse(place)| *place).filter(|_| self.places.len() >= self.count)
    }

    fn look_at(&mut self, batch: &RecordBatch, rows: &Mask, part: usize) {
        let (Some(Column::Times(times)), Some(Column::Id(ids))) =
            (Column::of(batch, "ts"), Column::of(batch, "id"))
        else {
            return;
        };
        let key = keys(batch, self.sort);
        for row in rows.rows() {
            let place = Place { key: key(row), ts: times.value(row), id: id_at(ids, row), part };
            if self.worst().is_some_and(|worst| place <= worst) {
                continue;
            }
            self.places.push(Reverse(place));
            if self.places.len() > self.count {
                self.places.pop();
            }
        }
    }
}

/// By what rows of a batch are sorted, the highest first.
fn keys<'b>(batch: &'b RecordBatch, sort: Sort) -> impl Fn(usize) -> i64 + 'b {
    let name = if sort == Sort::Newest { "ts" } else { "dur_us" };
    let column = Column::of(batch, name);
    move |row| match column {
        Some(Column::Times(times)) => times.value(row),
        Some(Column::U64(array)) if array.is_valid(row) => {
            i64::try_from(array.value(row)).unwrap_or(i64::MAX)
        }
        _ => -1,
    }
}

/// The rows of these places, best first.
fn fetch(
    parts: &Parts,
    filter: &Filter,
    prune: &Prune,
    best: Best,
    sort: Sort,
    control: &Control,
) -> Result<Vec<String>, ExecError> {
    let mut by_part: HashMap<usize, Vec<Place>> = HashMap::new();
    best.places.into_iter().for_each(|Reverse(place)| by_part.entry(place.part).or_default().push(place));
    let mut rows: Vec<(Place, String)> = Vec::new();
    for (at, part) in parts.admitted(prune).enumerate() {
        let Some(mut places) = by_part.remove(&at) else { continue };
        places.sort_by_key(|place| place.ts);
        for near in places.chunk_by(|one, next| next.ts - one.ts <= NEAR) {
            let (Some(first), Some(last)) = (near.first(), near.last()) else { continue };
            let id = Some(first.id).filter(|id| near.iter().all(|place| place.id == *id));
            let prune = Prune { ts: Some((first.ts, last.ts)), id: id.or(prune.id), ..prune.clone() };
            let mut filter = filter.clone();
            let _ = read(part, columns::NAMES, &prune, control, &mut |batch| {
                take(batch, &mut filter, near, at, sort, &mut rows);
                ControlFlow::Continue(())
            })?;
        }
    }
    rows.sort_by_key(|(place, _)| Reverse(*place));
    // Rows of the same time and id have one place each, but all of them are found at it.
    rows.truncate(best.count);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// Takes the matching rows of a batch that are at one of these places, which are sorted by time.
fn take(
    batch: &RecordBatch,
    filter: &mut Filter,
    near: &[Place],
    part: usize,
    sort: Sort,
    found: &mut Vec<(Place, String)>,
) {
    let (Some(Column::Times(times)), Some(Column::Id(ids))) =
        (Column::of(batch, "ts"), Column::of(batch, "id"))
    else {
        return;
    };
    let wanted: std::collections::HashSet<(i64, Id)> =
        near.iter().map(|place| (place.ts, place.id)).collect();
    let at_place =
        Mask::all(batch.num_rows()).filtered(|row| wanted.contains(&(times.value(row), id_at(ids, row))));
    let key = keys(batch, sort);
    let writer = RowWriter::new(batch);
    for row in filter.select_among(batch, &at_place).rows() {
        let place = Place { key: key(row), ts: times.value(row), id: id_at(ids, row), part };
        let mut text = Vec::new();
        writer.write(row, &mut text);
        found.push((place, String::from_utf8(text).unwrap_or_default()));
    }
}
