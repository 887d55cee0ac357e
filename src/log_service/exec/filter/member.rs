//! [`Test`]: one check of one member.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray as _;
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{Array as _, PrimitiveArray, RecordBatch, StringArray};
use memchr::memmem::Finder;
use serde_json::Value;

use super::check::Check;
use crate::log_service::columns;
use crate::log_service::exec::column::{Column, Keys, id_at};
use crate::log_service::exec::mask::Mask;
use crate::log_service::query::{Part, Pattern, lookup};

#[derive(Clone, Debug)]
pub(crate) struct Test {
    member: Box<str>,
    /// The member as far as the first dot: an object or the text of one.
    outer: Box<str>,
    check: Check,
    /// Rows whose `body` does not hold this text do not have the member in it.
    in_body: Finder<'static>,
    kept: Option<Kept>,
}

/// What the words of a dictionary came to.
#[derive(Clone, Debug)]
struct Kept {
    /// Held so that no other dictionary can lie at its place.
    words: StringArray,
    fits: Vec<Fits>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fits {
    /// No row had it so far: of a large dictionary a batch has few words.
    Unknown,
    Yes,
    No,
}

impl Test {
    pub(super) fn new(member: &str, check: Check) -> Self {
        let outer = member.split_once('.').map_or(member, |(outer, _)| outer);
        // Names in `body` are written without escapes when they are made of what a field name may hold.
        let in_body = Finder::new(format!("\"{outer}").as_bytes()).into_owned();
        Self { member: member.into(), outer: outer.into(), check, in_body, kept: None }
    }

    /// Roughly, per row.
    pub(super) fn cost(&self) -> u32 {
        match (&*self.outer, &self.check) {
            ("path" | "query" | "line" | "msg" | "err" | "referer", Check::Fits(_)) => 20,
            ("try_log" | "last_seqs" | "cut", _) => 50,
            (name, _) if columns::NAMES.contains(&name) => 1,
            _ => 10,
        }
    }

    pub(crate) fn add_columns(&self, columns: &mut BTreeSet<String>) {
        let also: &[&str] = match &*self.member {
            "id" => &["trace_id"],
            "ts" => &["recv"],
            _ => &[],
        };
        let own = Some(&*self.outer).filter(|name| *name != "body" && columns::NAMES.contains(name));
        columns.extend(own.iter().chain(also).chain(&["body"]).map(|name| (*name).to_owned()));
    }

    pub(crate) fn select(&mut self, batch: &RecordBatch, among: &Mask) -> Mask {
        let mut found = match Column::of(batch, &self.outer) {
            Some(column) if self.member == self.outer && *self.member != *"body" => {
                let found = self.in_column(column, among);
                self.shown(batch, found)
            }
            Some(Column::Json(texts)) => self.in_json(texts, among),
            _ => Mask::none(among.len()),
        };
        let body = batch.column_by_name("body").and_then(|body| body.as_string_opt::<i32>());
        if let Some(body) = body.filter(|body| body.null_count() < body.len()) {
            self.in_bodies(batch, body, among, &mut found);
        }
        found
    }

    fn in_column(&mut self, column: Column<'_>, among: &Mask) -> Mask {
        if matches!(self.check, Check::Present) {
            return among.filtered(|row| match column {
                // Kept as it was written, and a null is no value.
                Column::Json(texts) => texts.is_valid(row) && texts.value(row) != "null",
                _ => column.is_valid(row),
            });
        }
        let check = &self.check;
        match column {
            Column::Words(keys, words) => self.in_words(keys, words, among),
            Column::Texts(texts) => {
                if let Some(part) = check.only_part() {
                    return with_part(texts, part, among);
                }
                among.filtered(|row| texts.is_valid(row) && check.on_text(texts.value(row)))
            }
            Column::Json(texts) => self.in_json(texts, among),
            Column::Id(array) | Column::Hex(array) => {
                let wanted = wanted_bytes(check);
                among.filtered(|row| {
                    let may_be = array.is_valid(row)
                        && wanted
                            .as_ref()
                            .is_none_or(|wanted| wanted.iter().any(|id| id[..] == *array.value(row)));
                    may_be && column.text(row).is_some_and(|text| check.on_text(&text))
                })
            }
            Column::Flags(flags) => {
                let fits = [check.on_flag(false), check.on_flag(true)];
                among.filtered(|row| flags.is_valid(row) && fits[usize::from(flags.value(row))])
            }
            Column::Times(times) => match check.for_times() {
                Some((first, last)) => among.filtered(|row| (first..=last).contains(&times.value(row))),
                None => among.filtered(|row| column.text(row).is_some_and(|text| check.on_text(&text))),
            },
            Column::U8(array) => numbers(array, check, among),
            Column::U16(array) => numbers(array, check, among),
            Column::U32(array) => numbers(array, check, among),
            Column::U64(array) => numbers(array, check, among),
        }
    }

    fn in_words(&mut self, keys: &Keys, words: &StringArray, among: &Mask) -> Mask {
        let kept = self.kept.take().filter(|kept| is_same(&kept.words, words));
        let mut kept = kept.unwrap_or_else(|| Kept { words: words.clone(), fits: self.fits_of(words) });
        let (known, check) = (&mut kept.fits, &self.check);
        let mut fits = |key: i32| {
            let Some(known) = usize::try_from(key).ok().and_then(|key| known.get_mut(key)) else {
                return false;
            };
            if *known == Fits::Unknown {
                // The key is not negative and below the number of words.
                *known = if check.on_text(words.value(key as usize)) { Fits::Yes } else { Fits::No };
            }
            *known == Fits::Yes
        };
        let values = keys.values();
        let found = match keys.nulls() {
            None => among.filtered(|row| fits(values[row])),
            Some(nulls) => among.filtered(|row| nulls.is_valid(row) && fits(values[row])),
        };
        self.kept = Some(kept);
        found
    }

    /// A part is looked for in all words at once, everything else only in those that rows have.
    fn fits_of(&self, words: &StringArray) -> Vec<Fits> {
        let Some(part) = self.check.only_part() else { return vec![Fits::Unknown; words.len()] };
        let found = with_part(words, part, &Mask::all(words.len()));
        (0..words.len()).map(|word| if found.has(word) { Fits::Yes } else { Fits::No }).collect()
    }

    /// In a column of JSON texts.
    fn in_json(&self, texts: &StringArray, among: &Mask) -> Mask {
        let inner = self.member.strip_prefix(&*self.outer).and_then(|rest| rest.strip_prefix('.'));
        among.filtered(|row| {
            let value = texts.is_valid(row).then(|| serde_json::from_str::<Value>(texts.value(row)).ok());
            value.flatten().is_some_and(|value| match inner {
                None => self.check.on_value(&value),
                Some(inner) => lookup(&value, inner).is_some_and(|value| self.check.on_value(value)),
            })
        })
    }

    /// Without the rows in which the column's value is not shown; see the head of `columns`.
    fn shown(&self, batch: &RecordBatch, found: Mask) -> Mask {
        match &*self.member {
            "id" => {
                let Some(Column::Id(ids)) = Column::of(batch, "id") else { return found };
                let traces = Column::of(batch, "trace_id");
                found.filtered(|row| {
                    let id = id_at(ids, row);
                    let is_trace = matches!(traces, Some(Column::Hex(traces))
                        if traces.is_valid(row) && traces.value(row) == id);
                    !columns::is_made(&id) && !is_trace
                })
            }
            "ts" => match (Column::of(batch, "ts"), Column::of(batch, "recv")) {
                (Some(Column::Times(times)), Some(Column::Times(recv))) => {
                    found.filtered(|row| times.value(row) != recv.value(row))
                }
                _ => found,
            },
            "kind" => match Column::of(batch, "kind") {
                Some(column) => found.filtered(|row| column.text(row).is_some_and(|kind| !kind.is_empty())),
                None => found,
            },
            _ => found,
        }
    }

    fn in_bodies(&self, batch: &RecordBatch, bodies: &StringArray, among: &Mask, found: &mut Mask) {
        let is_id = *self.member == *"id";
        for row in among.rows().filter(|row| bodies.is_valid(*row)) {
            let text = bodies.value(row);
            let may_be_other = is_id && found.has(row);
            if !may_be_other && self.in_body.find(text.as_bytes()).is_none() {
                continue;
            }
            let Ok(body) = serde_json::from_str::<Value>(text) else { continue };
            if body.get(&*self.member).is_some() || body.get(&*self.outer).is_some() {
                found.put(row, lookup(&body, &self.member).is_some_and(|value| self.check.on_value(value)));
            } else if may_be_other && is_id_of_other(batch, row, text) {
                found.put(row, false);
            }
        }
    }
}

/// Whether the row's id comes from another member, and so is not shown as `id`.
fn is_id_of_other(batch: &RecordBatch, row: usize, body: &str) -> bool {
    let Some(Column::Id(ids)) = Column::of(batch, "id") else { return false };
    columns::is_of_other(&id_at(ids, row), body)
}

fn numbers<T>(array: &PrimitiveArray<T>, check: &Check, among: &Mask) -> Mask
where
    T: ArrowPrimitiveType,
    T::Native: Into<u64>,
{
    let checks = check.for_numbers();
    let values = array.values();
    let holds = |row: usize| checks.iter().any(|check| check.holds(values[row].into()));
    match array.nulls() {
        None => among.filtered(holds),
        Some(nulls) => among.filtered(|row| nulls.is_valid(row) && holds(row)),
    }
}

/// The rows whose text has the part: the texts of a batch lie one behind the other and are searched as one.
fn with_part(texts: &StringArray, part: &Part, among: &Mask) -> Mask {
    let mut found = Mask::none(among.len());
    let ends: &[i32] = texts.value_offsets();
    let at = |row: usize| ends.get(row).and_then(|end| usize::try_from(*end).ok()).unwrap_or(usize::MAX);
    let bytes = texts.value_data().get(..at(texts.len())).unwrap_or_default();
    let (mut from, mut row) = (at(0), 0);
    while let Some(start) = part.find(bytes, from) {
        // The row in which it begins; it may end in a later one.
        row += ends.get(row + 1..).map_or(0, |ends| ends.partition_point(|end| (*end as usize) <= start));
        let is_inside = start + part.len() <= at(row + 1);
        if is_inside && texts.is_valid(row) && among.has(row) {
            found.put(row, true);
        }
        from = if is_inside { at(row + 1) } else { start + 1 };
    }
    found
}

/// Whether two dictionaries are the same one in memory; the first must be alive.
pub(crate) fn is_same(one: &StringArray, other: &StringArray) -> bool {
    one.len() == other.len()
        && std::ptr::eq(one.value_data().as_ptr(), other.value_data().as_ptr())
        && std::ptr::eq(one.value_offsets().as_ptr(), other.value_offsets().as_ptr())
}

/// The bytes of which one must be the cell's, when whole values are asked for; text that is no id gives none.
fn wanted_bytes(check: &Check) -> Option<Vec<Vec<u8>>> {
    let Check::Fits(patterns) = check else { return None };
    let bytes = patterns.iter().map(|pattern| match pattern {
        Pattern::Like(text) | Pattern::Exactly(text) => Some(bytes_of(text)),
        Pattern::Between(..) | Pattern::Network(_) => Some(Vec::new()),
        Pattern::Inside(_) | Pattern::Expression(_) => None,
    });
    bytes.collect()
}

/// The bytes that a text of hexadecimal digits, with or without the hyphens of an id, stands for; else nothing.
pub(super) fn bytes_of(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let pairs = digits.as_chunks::<2>().0.iter();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect::<Option<Vec<u8>>>().unwrap_or_default()
}
