//! `search`: the newest or the slowest rows that match.
//!
//! First only the columns of the filter are read, and the best rows are remembered by part, time and id; then all
//! columns are read for these alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
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
/// Rows among which those next to a moment are looked for.
const MAX_NEAR: usize = 1_000;

/// Which rows come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    #[default]
    Newest,
    /// By `dur_us`; rows without one come last.
    Slowest,
    /// By how far `ts` is from this moment, microseconds.
    NextTo(i64),
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
    let mut report = complete::report(parts, asked.filter().window());
    let rows = first(parts, (asked, &[]), sort, count, control)?;
    (report.rows, report.lines) = (rows.len() as u64, control.progress().0);
    Ok(Found { rows, report })
}

/// [`search`] without its report: the rows, best first. Each row that matches has a value in `any_of` these columns, if any are named.
pub(crate) fn first(
    parts: &Parts,
    (asked, any_of): (&Asked, &'static [&'static str]),
    sort: Sort,
    count: usize,
    control: &Control,
) -> Result<Vec<String>, ExecError> {
    let mut filter = asked.filter();
    let prune = Prune { any_of, ..filter.prune().clone() };
    let best = Best::find(parts, &mut filter, &prune, (sort, count.min(MAX_ROWS)), control)?;
    let count = best.count;
    let mut rows = fetched(parts, &asked.filter(), &prune, best, sort, control)?;
    rows.sort_by_key(|(place, _)| Reverse(*place));
    // Rows of the same time and id have one place each, but all of them are found at it.
    rows.truncate(count);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// The rows that match next to a moment: at most `count` that are not later, `count` that are, and those with `id`, which
/// are not counted; the oldest first.
pub(super) fn around(
    parts: &Parts,
    asked: &Asked,
    (time, id): (i64, Id),
    count: usize,
    control: &Control,
) -> Result<Vec<String>, ExecError> {
    let (mut filter, sort) = (asked.filter(), Sort::NextTo(time));
    let prune = filter.prune().clone();
    let mut best = Best::find(parts, &mut filter, &prune, (sort, MAX_NEAR), control)?;
    best.thin(time, id, count);
    let mut rows = fetched(parts, &asked.filter(), &prune, best, sort, control)?;
    rows.sort_by_key(|(place, _)| place.ts);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
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

    /// Leaves the places next to a moment: see [`around`].
    fn thin(&mut self, time: i64, id: Id, count: usize) {
        let mut places: Vec<Place> = self.places.drain().map(|Reverse(place)| place).collect();
        places.sort_unstable_by(|one, other| other.cmp(one));
        let (mut before, mut after) = (0, 0);
        places.retain(|place| {
            let side = if place.ts <= time { &mut before } else { &mut after };
            *side += usize::from(place.id != id);
            place.id == id || *side <= count
        });
        self.places.extend(places.into_iter().map(Reverse));
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
    let column = Column::of(batch, if sort == Sort::Slowest { "dur_us" } else { "ts" });
    move |row| match (column, sort) {
        (Some(Column::Times(times)), Sort::NextTo(time)) => {
            i64::try_from(times.value(row).abs_diff(time)).map_or(i64::MIN, |far| -far)
        }
        (Some(Column::Times(times)), _) => times.value(row),
        (Some(Column::U64(array)), _) if array.is_valid(row) => {
            i64::try_from(array.value(row)).unwrap_or(i64::MAX)
        }
        _ => -1,
    }
}

/// All rows at these places. To open the columns costs more than to read a few rows of them: a part is read once.
fn fetched(
    parts: &Parts,
    filter: &Filter,
    prune: &Prune,
    best: Best,
    sort: Sort,
    control: &Control,
) -> Result<Vec<(Place, String)>, ExecError> {
    let mut by_part: HashMap<usize, Vec<Place>> = HashMap::new();
    best.places.into_iter().for_each(|Reverse(place)| by_part.entry(place.part).or_default().push(place));
    let mut rows: Vec<(Place, String)> = Vec::new();
    for (at, part) in parts.admitted(prune).enumerate() {
        let Some(places) = by_part.remove(&at) else { continue };
        let times = || places.iter().map(|place| place.ts);
        let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let mut ids: Vec<Id> = places.iter().map(|place| place.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let prune = Prune { ts: Some((first, last)), among: Some(ids.into()), ..prune.clone() };
        let wanted = places.iter().map(|place| (place.ts, place.id)).collect();
        let mut filter = filter.clone();
        let _ = read(part, columns::NAMES, &prune, control, &mut |batch| {
            take(batch, &mut filter, &wanted, (at, sort), &mut rows);
            ControlFlow::Continue(())
        })?;
    }
    Ok(rows)
}

/// Takes the matching rows of a batch that are at one of these places.
fn take(
    batch: &RecordBatch,
    filter: &mut Filter,
    wanted: &HashSet<(i64, Id)>,
    (part, sort): (usize, Sort),
    found: &mut Vec<(Place, String)>,
) {
    let (Some(Column::Times(times)), Some(Column::Id(ids))) =
        (Column::of(batch, "ts"), Column::of(batch, "id"))
    else {
        return;
    };
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
