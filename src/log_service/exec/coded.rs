//! [`Coded`]: the values of a field in a batch as small numbers, so that grouping hashes each value once.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, RecordBatch, StringArray};
use serde_json::Value;

use super::column::{Column, Keys};
use super::filter::presence;
use super::mask::Mask;
use crate::log_service::columns;
use crate::log_service::query::{Field, lookup};

/// Longest value that is kept as a group's name.
const MAX_NAME: usize = 512;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A number per row, and what the numbers stand for.
pub(super) struct Coded<'b> {
    /// Only meaningful for the rows that were asked for.
    pub(super) codes: Vec<u32>,
    /// What the lowest numbers stand for.
    pub(super) words: Option<&'b StringArray>,
    /// What the numbers above stand for.
    more: Vec<Option<Cow<'b, str>>>,
}

/// Adds the columns that [`Coded::of`] looks at.
pub(super) fn add_columns(field: &Field, wanted: &mut BTreeSet<String>) {
    for member in field.members() {
        presence(member).add_columns(wanted);
    }
}

impl<'b> Coded<'b> {
    /// The field's values in these rows.
    pub(super) fn of(batch: &'b RecordBatch, field: &Field, rows: &Mask) -> Self {
        let mut members = field.members();
        let only = members.next().filter(|_| members.next().is_none());
        let plain =
            only.filter(|name| !matches!(*name, "id" | "ts" | "body") && columns::NAMES.contains(name));
        let column = plain.and_then(|name| Some((name, Column::of(batch, name)?)));
        match column {
            // An empty column is not read at all.
            None if plain.is_some() && !has_bodies(batch) => {
                Self { codes: vec![0; rows.len()], words: None, more: vec![None] }
            }
            Some((_, Column::Json(_))) | None => Self::by_text(batch, field, rows),
            Some((name, column)) => {
                let mut coded = Self::of_column(column, rows);
                coded.hear_bodies(batch, name, rows);
                coded
            }
        }
    }

    /// Spans of time: each row's `ts`, microseconds, rounded down to a multiple of `span`.
    pub(super) fn spans(batch: &'b RecordBatch, span: i64, rows: &Mask) -> Self {
        let Some(Column::Times(times)) = Column::of(batch, "ts") else {
            return Self { codes: vec![0; rows.len()], words: None, more: vec![None] };
        };
        let start = |row: usize| Some(times.value(row).div_euclid(span.max(1)).saturating_mul(span));
        let name = |start: &i64| {
            Cow::Owned(format!("{:.0}", jiff::Timestamp::from_microsecond(*start).unwrap_or_default()))
        };
        Self::interned(rows, start, name)
    }

    /// How many numbers are in use; all are below.
    pub(super) fn len(&self) -> usize {
        self.base() + self.more.len()
    }

    pub(super) fn name(&self, code: u32) -> Option<Cow<'_, str>> {
        let code = code as usize;
        let name = match (self.words, code.checked_sub(self.base())) {
            (Some(words), None) => Cow::Borrowed(words.value(code)),
            (_, Some(at)) => Cow::Borrowed(&**self.more.get(at)?.as_ref()?),
            _ => return None,
        };
        Some(cut(name))
    }

    fn base(&self) -> usize {
        self.words.map_or(0, |words| words.len())
    }

    fn of_column(column: Column<'b>, rows: &Mask) -> Self {
        match column {
            Column::Words(keys, words) => Self::of_words(keys, words),
            Column::Texts(texts) => Self::interned(
                rows,
                |row| texts.is_valid(row).then(|| texts.value(row)),
                |text| Cow::Borrowed(*text),
            ),
            Column::U8(_) | Column::U16(_) | Column::U32(_) | Column::U64(_) => {
                Self::interned(rows, |row| column.number(row), |number| Cow::Owned(number.to_string()))
            }
            _ => Self::interned(rows, |row| column.text(row), |text| Cow::Owned(text.to_string())),
        }
    }

    fn of_words(keys: &Keys, words: &'b StringArray) -> Self {
        let absent = words.len() as u32;
        let code = |key: i32| u32::try_from(key).unwrap_or(absent).min(absent);
        let codes = match keys.nulls() {
            None => keys.values().iter().map(|key| code(*key)).collect(),
            Some(nulls) => {
                let codes = keys.values().iter().zip(nulls.iter());
                codes.map(|(key, is_valid)| if is_valid { code(*key) } else { absent }).collect()
            }
        };
        Self { codes, words: Some(words), more: vec![None] }
    }

    fn interned<K: Hash + Eq>(
        rows: &Mask,
        value: impl Fn(usize) -> Option<K>,
        name: impl Fn(&K) -> Cow<'b, str>,
    ) -> Self {
        let mut coded = Self { codes: vec![0; rows.len()], words: None, more: vec![None] };
        let mut known: Map<K, u32> = Map::default();
        for row in rows.rows() {
            let Some(value) = value(row) else { continue };
            coded.codes[row] = match known.get(&value) {
                Some(code) => *code,
                None => {
                    let code = coded.more.len() as u32;
                    coded.more.push(Some(name(&value)));
                    known.insert(value, code);
                    code
                }
            };
        }
        coded
    }

    /// What `body` says wins over the column.
    fn hear_bodies(&mut self, batch: &RecordBatch, name: &str, rows: &Mask) {
        let mut known: Map<String, u32> = Map::default();
        for (row, body) in bodies_with(batch, name, rows) {
            let Some(value) = body.get(name) else { continue };
            self.codes[row] = match text_of(value) {
                None => self.absent(),
                Some(text) => *known.entry(text).or_insert_with_key(|text| {
                    self.more.push(Some(Cow::Owned(text.clone())));
                    (self.len() - 1) as u32
                }),
            };
        }
    }

    /// The first of `more` is always the absent value.
    fn absent(&self) -> u32 {
        self.base() as u32
    }

    /// For fields that stand for several members, for objects, and for members without a column.
    fn by_text(batch: &'b RecordBatch, field: &Field, rows: &Mask) -> Self {
        let mut texts: Vec<Option<String>> = vec![None; rows.len()];
        let mut left = rows.clone();
        for member in field.members() {
            let present = presence(member).select(batch, &left);
            let outer = member.split_once('.').map_or(member, |(outer, _)| outer);
            let column = Column::of(batch, outer).filter(|_| member != "body");
            present.rows().for_each(|row| {
                texts[row] = column.and_then(|column| match column {
                    Column::Json(json) if json.is_valid(row) => inner(json.value(row), member, outer),
                    Column::Json(_) => None,
                    column => column.text(row).map(Cow::into_owned),
                });
            });
            for (row, body) in bodies_with(batch, outer, &present) {
                let value = lookup(&body, member);
                texts[row] = value.and_then(text_of).or_else(|| texts[row].take());
            }
            left.remove(&present);
        }
        let mut coded = Self { codes: vec![0; rows.len()], words: None, more: vec![None] };
        let mut known: Map<String, u32> = Map::default();
        for row in rows.rows() {
            let Some(text) = texts[row].take() else { continue };
            coded.codes[row] = *known.entry(text).or_insert_with_key(|text| {
                coded.more.push(Some(Cow::Owned(text.clone())));
                (coded.more.len() - 1) as u32
            });
        }
        coded
    }
}

/// Two fields as one: a number per row, and the numbers that it stands for.
pub(super) fn paired(one: &[u32], other: &[u32], rows: &Mask) -> (Vec<u32>, Vec<(u32, u32)>) {
    let mut codes = vec![0; rows.len()];
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let mut known: Map<(u32, u32), u32> = Map::default();
    for row in rows.rows() {
        let pair = (one[row], other[row]);
        codes[row] = *known.entry(pair).or_insert_with(|| {
            pairs.push(pair);
            (pairs.len() - 1) as u32
        });
    }
    (codes, pairs)
}

/// The rows whose `body` has this member.
fn bodies_with<'b>(
    batch: &'b RecordBatch,
    name: &str,
    rows: &'b Mask,
) -> impl Iterator<Item = (usize, Value)> + 'b {
    let bodies = batch.column_by_name("body").and_then(|body| body.as_string_opt::<i32>());
    let bodies = bodies.filter(|bodies| bodies.null_count() < bodies.len());
    let needle = memchr::memmem::Finder::new(format!("\"{name}").as_bytes()).into_owned();
    bodies.into_iter().flat_map(|bodies| rows.rows().map(move |row| (row, bodies))).filter_map(
        move |(row, bodies)| {
            let text = bodies.is_valid(row).then(|| bodies.value(row))?;
            needle.find(text.as_bytes())?;
            Some((row, serde_json::from_str(text).ok()?))
        },
    )
}

fn has_bodies(batch: &RecordBatch) -> bool {
    batch.column_by_name("body").is_some_and(|body| body.null_count() < body.len())
}

fn inner(json: &str, member: &str, outer: &str) -> Option<String> {
    let value: Value = serde_json::from_str(json).ok()?;
    let path = member.strip_prefix(outer).and_then(|rest| rest.strip_prefix('.'));
    text_of(path.map_or(Some(&value), |path| lookup(&value, path))?)
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A name as it is kept: long ones are shortened.
pub(super) fn cut(name: Cow<'_, str>) -> Cow<'_, str> {
    // Nearly all are so short that their characters need not be counted.
    if name.len() <= MAX_NAME {
        return name;
    }
    match name.char_indices().nth(MAX_NAME) {
        Some((at, _)) => Cow::Owned(format!("{}…", &name[..at])),
        None => name,
    }
}
