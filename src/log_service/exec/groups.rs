//! [`Groups`]: a tally per value of some fields, or per span of time.
//!
//! Rows are grouped by the numbers of their values within a batch; only a value that is new in the batch is looked up
//! among the groups. Memory is bounded: beyond the limit rows of new values are counted together, and of values the smaller
//! half; of spans of time only new ones, so the percentiles of those that there are may go beyond the limit.

use std::collections::HashMap;

use arrow_array::{Array as _, RecordBatch, StringArray};

use super::coded::{self, Coded};
use super::column::Column;
use super::filter::is_same;
use super::mask::Mask;
use super::scan::Wanted;
use super::tally::{Facts, Tally};
use crate::log_service::query::Field;
use crate::log_service::read::Series;

/// How much a query may hold in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Groups; further values are counted together.
    pub(crate) groups: usize,
    /// Bytes of all groups, roughly.
    pub(crate) bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { groups: 100_000, bytes: 256 << 20 }
    }
}

impl Limits {
    pub(crate) fn of_bytes(bytes: usize) -> Self {
        Self { bytes, ..Self::default() }
    }
}

/// By what rows are grouped.
#[derive(Clone, Debug)]
pub(crate) enum Split {
    Fields(Vec<Field>),
    /// Spans of so many microseconds.
    Every(i64),
}

/// The values of a group, one per field; `None` where the field is not there.
pub(crate) type Key = Box<[Option<Box<str>>]>;

const UNRESOLVED: u32 = u32::MAX;
/// A group's own memory beside its name and its percentiles: twice in the end, when groups are taken out to be ranked.
const GROUP_BYTES: usize = 2 * size_of::<Tally>() + 192;
/// Batches between two looks at how much memory the percentiles take.
const LOOK_EVERY: u32 = 4;

pub(super) struct Groups {
    split: Split,
    limits: Limits,
    /// The shortest step of each group's series; `None`: no series is made.
    steps: Option<Option<i64>>,
    /// By the values as [`Names`] writes them.
    places: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    names: Names,
    /// The first one is for rows of values beyond the limit.
    tallies: Vec<Tally>,
    is_full: bool,
    name_bytes: usize,
    sketch_bytes: usize,
    batches: u32,
    /// Places by the numbers of the last dictionary, which may come again.
    kept: Option<(StringArray, Vec<u32>)>,
}

impl Groups {
    pub(super) fn new(split: Split, limits: Limits) -> Self {
        Self {
            split,
            limits,
            steps: None,
            places: HashMap::default(),
            names: Names::default(),
            tallies: vec![Tally::default()],
            is_full: false,
            name_bytes: 0,
            sketch_bytes: 0,
            batches: 0,
            kept: None,
        }
    }

    /// Counts over time in each group, too, in steps of so many microseconds or longer.
    pub(super) fn with_series(mut self, step: Option<i64>) -> Self {
        self.steps = Some(step);
        self
    }

    pub(super) fn add_columns(&self, wanted: &mut Wanted) {
        if self.steps.is_some() {
            wanted.add(&["ts"]);
        }
        match &self.split {
            Split::Fields(fields) => fields.iter().for_each(|field| coded::add_columns(field, &mut wanted.0)),
            Split::Every(_) => wanted.add(&["ts"]),
        }
    }

    pub(super) fn add(&mut self, batch: &RecordBatch, rows: &Mask, facts: &Facts<'_>) {
        let coded: Vec<Coded<'_>> = match &self.split {
            Split::Fields(fields) => fields.iter().map(|field| Coded::of(batch, field, rows)).collect(),
            Split::Every(span) => vec![Coded::spans(batch, *span, rows)],
        };
        let Some((first, others)) = coded.split_first() else { return };
        // Each further field turns the numbers so far and its own into numbers for both.
        let mut pairs: Vec<Vec<(u32, u32)>> = Vec::new();
        let mut codes = std::borrow::Cow::Borrowed(first.codes.as_slice());
        for other in others {
            let (both, stand_for) = coded::paired(&codes, &other.codes, rows);
            pairs.push(stand_for);
            codes = both.into();
        }
        let different = pairs.last().map_or(first.len(), Vec::len);
        let times = self.steps.zip(Column::of(batch, "ts"));
        let mut places = self.known_places(first, pairs.is_empty(), different);
        for row in rows.rows() {
            let Some(fact) = facts.at(row) else { continue };
            let code = codes[row];
            let mut place = places[code as usize];
            if place == UNRESOLVED {
                self.names.write(&coded, &pairs, code);
                place = self.place_of_names();
                places[code as usize] = place;
            }
            let tally = &mut self.tallies[place as usize];
            tally.add(&fact);
            if let Some((step, Column::Times(times))) = times {
                tally.note_time(times.value(row), step, fact.weight);
            }
        }
        self.kept = first.words.filter(|_| pairs.is_empty()).map(|words| (words.clone(), places));
        self.look_at_memory();
    }

    /// By code; what is not known yet is unresolved.
    fn known_places(&mut self, coded: &Coded<'_>, is_only: bool, different: usize) -> Vec<u32> {
        let kept = self.kept.take().filter(|_| is_only);
        match (kept, coded.words) {
            (Some((words, mut places)), Some(same)) if is_same(&words, same) => {
                // Above the words the numbers mean something else in each batch.
                places.truncate(words.len());
                places.resize(different, UNRESOLVED);
                places
            }
            _ => vec![UNRESOLVED; different],
        }
    }

    fn place_of_names(&mut self) -> u32 {
        let name = self.names.text.as_slice();
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        if self.is_full || self.places.len() >= self.limits.groups || self.bytes() > self.limits.bytes {
            self.is_full = true;
            return 0;
        }
        let place = u32::try_from(self.tallies.len()).unwrap_or(0);
        self.name_bytes += name.len();
        self.tallies.push(Tally::default());
        self.places.insert(name.into(), place);
        place
    }

    fn look_at_memory(&mut self) {
        self.batches += 1;
        if !self.batches.is_multiple_of(LOOK_EVERY) {
            return;
        }
        self.measure();
        self.is_full |= self.bytes() > self.limits.bytes;
        // Spans of time stay as they are: a curve with holes would be read as if nothing had happened there.
        if matches!(self.split, Split::Every(_)) {
            return;
        }
        // The percentiles of groups that were told apart when they were small go on growing.
        while self.bytes() > self.limits.bytes / 4 * 5 && self.places.len() > 1 {
            self.shed();
            self.measure();
        }
    }

    fn measure(&mut self) {
        self.sketch_bytes = self.tallies.iter().map(|tally| tally.durations.heap_bytes()).sum();
    }

    /// Counts the smaller half of the groups together with what is not told apart, from now on too.
    fn shed(&mut self) {
        let mut counts: Vec<u64> = self.tallies.iter().skip(1).map(|tally| tally.count).collect();
        counts.sort_unstable();
        let Some(middle) = counts.get(counts.len() / 2).copied() else { return };
        let larger = counts.len() - counts.partition_point(|count| *count <= middle);
        let mut as_large = (counts.len() / 2).saturating_sub(larger);
        let mut old = std::mem::take(&mut self.tallies);
        self.tallies.push(std::mem::take(&mut old[0]));
        let (tallies, name_bytes) = (&mut self.tallies, &mut self.name_bytes);
        self.places.retain(|name, place| {
            let tally = old.get_mut(*place as usize).map(std::mem::take).unwrap_or_default();
            let is_kept = tally.count > middle || tally.count == middle && as_large > 0;
            if is_kept {
                as_large -= usize::from(tally.count == middle);
                *place = u32::try_from(tallies.len()).unwrap_or(0);
                tallies.push(tally);
                return true;
            }
            *name_bytes -= name.len();
            tallies[0].merge(&tally);
            false
        });
        self.places.shrink_to_fit();
        self.kept = None;
        self.is_full = true;
    }

    /// Percentiles as of the last look.
    fn bytes(&self) -> usize {
        let series = if self.steps.is_some() { Series::MAX_BYTES } else { 0 };
        self.sketch_bytes + 3 * self.name_bytes + self.tallies.len() * (GROUP_BYTES + series)
    }

    /// All groups that have a row, and what did not fit.
    pub(super) fn finish(mut self) -> (Vec<(Key, Tally)>, Tally) {
        let groups = self.places.into_iter().map(|(name, place)| {
            (key(&name), self.tallies.get_mut(place as usize).map(std::mem::take).unwrap_or_default())
        });
        let groups: Vec<_> = groups.collect();
        (groups, self.tallies.swap_remove(0))
    }
}

/// The values of a group in one piece, so that looking one up allocates nothing: each as a byte that says whether it is
/// there, four bytes of length, and its text.
#[derive(Default)]
struct Names {
    text: Vec<u8>,
    codes: Vec<u32>,
}

const ABSENT: u8 = 0;
const PRESENT: u8 = 1;

impl Names {
    /// Writes the values behind a code.
    fn write(&mut self, coded: &[Coded<'_>], pairs: &[Vec<(u32, u32)>], mut code: u32) {
        self.text.clear();
        self.codes.clear();
        for pairs in pairs.iter().rev() {
            let (before, own) = pairs.get(code as usize).copied().unwrap_or_default();
            self.codes.push(own);
            code = before;
        }
        self.codes.push(code);
        for (coded, code) in coded.iter().zip(self.codes.iter().rev()) {
            match coded.name(*code) {
                None => self.text.push(ABSENT),
                Some(name) => {
                    self.text.push(PRESENT);
                    // Names are cut to far less than four gigabytes.
                    self.text.extend_from_slice(&(name.len() as u32).to_le_bytes());
                    self.text.extend_from_slice(name.as_bytes());
                }
            }
        }
    }
}

/// Reads what [`Names`] has written.
fn key(mut text: &[u8]) -> Key {
    let mut values = Vec::new();
    while let Some((first, rest)) = text.split_first() {
        let name = rest.split_first_chunk::<4>().filter(|_| *first == PRESENT);
        let name =
            name.and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        text = name.map_or(rest, |(_, rest)| rest);
        values.push(name.map(|(name, _)| String::from_utf8_lossy(name).into()));
    }
    values.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::log_service::columns::Builder;

    /// A request per path, of a duration that no other request of it has.
    fn batch(paths: u64, round: u64) -> RecordBatch {
        let mut builder = Builder::new(1 << 20);
        for path in 0..paths {
            // The first paths come twice as often.
            for twice in 0..if path < 10 { 2 } else { 1 } {
                let dur = 1u64 << ((round * 2 + twice) % 40);
                let row =
                    json!({"kind": "request", "status": 200, "path": format!("/{path}"), "dur_us": dur});
                builder.push_object(row.to_string().as_bytes(), 5, "a").unwrap();
            }
        }
        builder.finish().unwrap()
    }

    #[test]
    fn groups_that_grow_stay_within_the_limit_and_all_told_counts_are_exact() {
        let limits = Limits { groups: 1_000, bytes: 1 << 20 };
        let mut groups = Groups::new(Split::Fields(vec![Field::named("path")]), limits);
        for round in 0..200 {
            let batch = batch(500, round);
            groups.add(&batch, &Mask::all(batch.num_rows()), &Facts::of(&batch));
            assert!(
                !groups.batches.is_multiple_of(LOOK_EVERY) || groups.bytes() <= limits.bytes / 4 * 5,
                "{round}"
            );
        }
        let (told, others) = groups.finish();
        assert!(told.len() >= 10 && told.len() < 500, "{}", told.len());
        for (key, tally) in &told {
            let path: u64 = key[0].as_deref().unwrap()[1..].parse().unwrap();
            assert_eq!(tally.count, if path < 10 { 400 } else { 200 }, "{path}");
        }
        assert_eq!(told.iter().map(|(_, tally)| tally.count).sum::<u64>() + others.count, 200 * 510);
    }

    #[test]
    fn spans_of_time_that_were_begun_keep_all_their_rows() {
        let limits = Limits { groups: 1_000, bytes: 8 << 10 };
        let mut groups = Groups::new(Split::Every(1_000_000), limits);
        let mut builder = Builder::new(1 << 20);
        for number in 0..100u64 {
            // Until every span has more durations than a short list holds.
            let ts = jiff::Timestamp::from_second((number % 2) as i64).unwrap();
            let row = json!({"kind": "request", "status": 200, "ts": format!("{ts:.6}"), "dur_us": 1u64 << (number % 40)});
            builder.push_object(row.to_string().as_bytes(), 5, "a").unwrap();
        }
        let batch = builder.finish().unwrap();
        for _ in 0..2 * LOOK_EVERY {
            groups.add(&batch, &Mask::all(batch.num_rows()), &Facts::of(&batch));
        }
        assert!(groups.bytes() > limits.bytes / 4 * 5, "{}", groups.bytes());
        let (told, others) = groups.finish();
        assert_eq!((told.len(), others.count), (2, 0));
    }
}
