//! [`RowWriter`]: a row as the JSON object that it came from.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Int32Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, BooleanArray, DictionaryArray, FixedSizeBinaryArray, PrimitiveArray, RecordBatch, StringArray,
};
use arrow_schema::{DataType, TimeUnit};
use jiff::Timestamp;

use super::is_made;
use super::object::names_other;
use super::schema::JSON_TEXTS;
use crate::record::escape::{hex, json_string};
use crate::record::members::Members;
use crate::record::{Id, id};

/// Appends one row as a JSON object; [`RowWriter`] is faster for many.
#[cfg(test)]
pub(crate) fn render(batch: &RecordBatch, row: usize, out: &mut String) {
    let mut bytes = std::mem::take(out).into_bytes();
    RowWriter::new(batch).write(row, &mut bytes);
    // JSON is UTF-8.
    *out = String::from_utf8(bytes).unwrap_or_default();
}

/// Writes rows of a batch as JSON objects. A batch may have any of the columns; a column that is not of the schema is
/// left out.
pub(crate) struct RowWriter<'b> {
    cells: Vec<(&'b str, Vec<u8>, Cells<'b>)>,
    body: Option<&'b StringArray>,
    heading: Heading<'b>,
    /// Second and text of the last time written.
    second: std::cell::RefCell<(i64, Vec<u8>)>,
}

/// The columns that decide what is shown of `id` and `ts`.
#[derive(Default)]
struct Heading<'b> {
    id: Option<&'b FixedSizeBinaryArray>,
    trace_id: Option<&'b FixedSizeBinaryArray>,
    ts: Option<&'b PrimitiveArray<TimestampMicrosecondType>>,
    recv: Option<&'b PrimitiveArray<TimestampMicrosecondType>>,
    kind: Option<&'b DictionaryArray<Int32Type>>,
}

enum Cells<'b> {
    Id(&'b FixedSizeBinaryArray),
    Hex(&'b FixedSizeBinaryArray),
    Time(&'b PrimitiveArray<TimestampMicrosecondType>),
    Words(&'b DictionaryArray<Int32Type>, &'b StringArray),
    Texts(&'b StringArray),
    Json(&'b StringArray),
    Flags(&'b BooleanArray),
    U8(&'b PrimitiveArray<UInt8Type>),
    U16(&'b PrimitiveArray<UInt16Type>),
    U32(&'b PrimitiveArray<UInt32Type>),
    U64(&'b PrimitiveArray<UInt64Type>),
}

impl<'b> RowWriter<'b> {
    pub(crate) fn new(batch: &'b RecordBatch) -> Self {
        let column = |name: &str| batch.column_by_name(name);
        let heading = Heading {
            id: column("id").and_then(|array| array.as_fixed_size_binary_opt()),
            trace_id: column("trace_id").and_then(|array| array.as_fixed_size_binary_opt()),
            ts: column("ts").and_then(|array| array.as_primitive_opt()),
            recv: column("recv").and_then(|array| array.as_primitive_opt()),
            kind: column("kind").and_then(|array| array.as_dictionary_opt()),
        };
        let body = column("body").and_then(|array| array.as_string_opt());
        let schema = batch.schema_ref();
        let named = schema.fields().iter().zip(batch.columns()).filter(|(field, _)| field.name() != "body");
        let cells = named
            .filter_map(|(field, array)| {
                let name = field.name().as_str();
                Some((name, format!("\"{name}\":").into_bytes(), Cells::of(name, array.as_ref())?))
            })
            .collect();
        Self { cells, body, heading, second: Default::default() }
    }

    /// Appends one row, without a line end. `row` is less than the rows of the batch.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        let body = self.body.filter(|body| body.is_valid(row)).map(|body| body.value(row));
        let hidden = self.heading.hidden(row, body);
        out.push(b'{');
        let start = out.len();
        for (name, key, cells) in &self.cells {
            if !cells.is_valid(row) || hidden.has(name) {
                continue;
            }
            out.extend_from_slice(key);
            self.write_cell(cells, row, out);
            out.push(b',');
        }
        match body.and_then(|body| body.strip_prefix('{')) {
            Some(members) => out.extend_from_slice(members.as_bytes()),
            None if out.len() > start => {
                out.pop();
                out.push(b'}');
            }
            None => out.push(b'}'),
        }
    }

    fn write_cell(&self, cells: &Cells<'_>, row: usize, out: &mut Vec<u8>) {
        match cells {
            Cells::Id(array) => quoted(out, |out| out.extend_from_slice(&id::text(&id_at(array, row)))),
            Cells::Hex(array) => quoted(out, |out| hex(array.value(row), out)),
            Cells::Time(array) => quoted(out, |out| self.write_time(array.value(row), out)),
            Cells::Words(array, words) => match array.key(row).filter(|&key| key < words.len()) {
                Some(key) => _ = json_string(words.value(key).as_bytes(), out),
                None => out.extend_from_slice(b"null"),
            },
            Cells::Texts(array) => _ = json_string(array.value(row).as_bytes(), out),
            Cells::Json(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Cells::Flags(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Cells::U8(array) => number(array.value(row).into(), out),
            Cells::U16(array) => number(array.value(row).into(), out),
            Cells::U32(array) => number(array.value(row).into(), out),
            Cells::U64(array) => number(array.value(row), out),
        }
    }

    /// The text up to the second is the same for many rows.
    fn write_time(&self, us: i64, out: &mut Vec<u8>) {
        let mut kept = self.second.borrow_mut();
        let (second, text) = &mut *kept;
        if *second != us.div_euclid(MICROS) || text.is_empty() {
            *second = us.div_euclid(MICROS);
            text.clear();
            write_second(*second, text);
        }
        out.extend_from_slice(text);
        write_fraction(us, out);
    }
}

const MICROS: i64 = 1_000_000;

/// Appends microseconds since the Unix epoch as RFC 3339 in UTC, with six digits of fraction. As in `record::json`, a
/// time beyond the calendar shows as the epoch with its fraction.
pub(crate) fn write_time(us: i64, out: &mut Vec<u8>) {
    write_second(us.div_euclid(MICROS), out);
    write_fraction(us, out);
}

fn write_second(second: i64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let time = Timestamp::from_second(second).unwrap_or_default();
    // Writing to a Vec cannot fail. The `Z` goes behind the fraction.
    let _ = write!(out, "{time}");
    out.pop();
}

fn write_fraction(us: i64, out: &mut Vec<u8>) {
    let mut fraction = *b".000000Z";
    let mut rest = us.rem_euclid(MICROS);
    for digit in fraction[1..7].iter_mut().rev() {
        // A digit is less than ten.
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&fraction);
}

fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn id_at(array: &FixedSizeBinaryArray, row: usize) -> Id {
    array.value(row).try_into().unwrap_or_default()
}

impl<'b> Cells<'b> {
    fn of(name: &str, array: &'b dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::FixedSizeBinary(16) if name == "id" => Self::Id(array.as_fixed_size_binary_opt()?),
            DataType::FixedSizeBinary(_) => Self::Hex(array.as_fixed_size_binary_opt()?),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Time(array.as_primitive_opt()?),
            DataType::Dictionary(_, _) => {
                let array = array.as_dictionary_opt()?;
                Self::Words(array, array.values().as_string_opt()?)
            }
            DataType::Utf8 if JSON_TEXTS.contains(&name) => Self::Json(array.as_string_opt()?),
            DataType::Utf8 => Self::Texts(array.as_string_opt()?),
            DataType::Boolean => Self::Flags(array.as_boolean_opt()?),
            DataType::UInt8 => Self::U8(array.as_primitive_opt()?),
            DataType::UInt16 => Self::U16(array.as_primitive_opt()?),
            DataType::UInt32 => Self::U32(array.as_primitive_opt()?),
            DataType::UInt64 => Self::U64(array.as_primitive_opt()?),
            _ => return None,
        })
    }

    fn is_valid(&self, row: usize) -> bool {
        match self {
            Self::Id(array) | Self::Hex(array) => array.is_valid(row),
            Self::Time(array) => array.is_valid(row),
            Self::Words(array, _) => array.is_valid(row),
            Self::Texts(array) | Self::Json(array) => array.is_valid(row),
            Self::Flags(array) => array.is_valid(row),
            Self::U8(array) => array.is_valid(row),
            Self::U16(array) => array.is_valid(row),
            Self::U32(array) => array.is_valid(row),
            Self::U64(array) => array.is_valid(row),
        }
    }
}

/// Columns that are not shown in a row.
#[derive(Default)]
struct Hidden {
    id: bool,
    ts: bool,
    kind: bool,
}

impl Hidden {
    fn has(&self, name: &str) -> bool {
        match name {
            "id" => self.id,
            "ts" => self.ts,
            "kind" => self.kind,
            _ => false,
        }
    }
}

impl Heading<'_> {
    fn hidden(&self, row: usize, body: Option<&str>) -> Hidden {
        let Members(members) = body.and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
        let says = |name: &str| members.iter().any(|member| member.0 == name);
        let id = self.id.map(|array| id_at(array, row));
        let trace_id = self.trace_id.filter(|array| array.is_valid(row)).map(|array| id_at(array, row));
        let is_other = |id| trace_id == Some(id) || names_other(&members, &id);
        Hidden {
            id: says("id") || id.is_some_and(|id| is_made(&id) || is_other(id)),
            ts: says("ts")
                || self.ts.zip(self.recv).is_some_and(|(ts, recv)| ts.value(row) == recv.value(row)),
            kind: says("kind") || self.has_no_kind(row),
        }
    }

    fn has_no_kind(&self, row: usize) -> bool {
        let Some(kinds) = self.kind else { return false };
        let words = kinds.values().as_string_opt::<i32>();
        words.zip(kinds.key(row)).is_some_and(|(words, key)| key < words.len() && words.value(key).is_empty())
    }
}
