//! [`Column`]: a column of a batch by its type, and what a cell looks like in JSON.

use std::borrow::Cow;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Int32Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array as _, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_schema::{DataType, TimeUnit};
use jiff::Timestamp;

use crate::record::escape::hex;
use crate::record::{Id, id};

/// Columns whose text is a JSON value.
const JSON_TEXTS: [&str; 3] = ["try_log", "last_seqs", "cut"];

pub(crate) type Times = PrimitiveArray<TimestampMicrosecondType>;
pub(crate) type Keys = PrimitiveArray<Int32Type>;

#[derive(Clone, Copy)]
pub(crate) enum Column<'b> {
    Words(&'b Keys, &'b StringArray),
    Texts(&'b StringArray),
    Json(&'b StringArray),
    Id(&'b FixedSizeBinaryArray),
    Hex(&'b FixedSizeBinaryArray),
    Flags(&'b BooleanArray),
    Times(&'b Times),
    U8(&'b PrimitiveArray<UInt8Type>),
    U16(&'b PrimitiveArray<UInt16Type>),
    U32(&'b PrimitiveArray<UInt32Type>),
    U64(&'b PrimitiveArray<UInt64Type>),
}

/// Does the same with the array of every variant.
macro_rules! with_array {
    ($column:expr, $array:ident => $what:expr) => {
        match $column {
            Column::Words($array, _) => $what,
            Column::Texts($array) | Column::Json($array) => $what,
            Column::Id($array) | Column::Hex($array) => $what,
            Column::Flags($array) => $what,
            Column::Times($array) => $what,
            Column::U8($array) => $what,
            Column::U16($array) => $what,
            Column::U32($array) => $what,
            Column::U64($array) => $what,
        }
    };
}

impl<'b> Column<'b> {
    /// `None` when the batch has no such column, or one of a type that the store never writes.
    pub(crate) fn of(batch: &'b RecordBatch, name: &str) -> Option<Self> {
        let array = batch.column_by_name(name)?;
        Some(match array.data_type() {
            DataType::Dictionary(_, _) => {
                let words = array.as_dictionary_opt::<Int32Type>()?;
                Self::Words(words.keys(), words.values().as_string_opt()?)
            }
            DataType::Utf8 if JSON_TEXTS.contains(&name) => Self::Json(array.as_string_opt()?),
            DataType::Utf8 => Self::Texts(array.as_string_opt()?),
            DataType::FixedSizeBinary(16) if name == "id" => Self::Id(array.as_fixed_size_binary_opt()?),
            DataType::FixedSizeBinary(_) => Self::Hex(array.as_fixed_size_binary_opt()?),
            DataType::Boolean => Self::Flags(array.as_boolean_opt()?),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Times(array.as_primitive_opt()?),
            DataType::UInt8 => Self::U8(array.as_primitive_opt()?),
            DataType::UInt16 => Self::U16(array.as_primitive_opt()?),
            DataType::UInt32 => Self::U32(array.as_primitive_opt()?),
            DataType::UInt64 => Self::U64(array.as_primitive_opt()?),
            _ => return None,
        })
    }

    pub(crate) fn is_valid(&self, row: usize) -> bool {
        with_array!(self, array => array.is_valid(row))
    }

    /// The number in a cell of a numeric column.
    pub(crate) fn number(&self, row: usize) -> Option<u64> {
        if !self.is_valid(row) {
            return None;
        }
        match self {
            Self::U8(array) => Some(array.value(row).into()),
            Self::U16(array) => Some(array.value(row).into()),
            Self::U32(array) => Some(array.value(row).into()),
            Self::U64(array) => Some(array.value(row)),
            _ => None,
        }
    }

    /// The cell as it is written in JSON, without quotes.
    pub(crate) fn text(&self, row: usize) -> Option<Cow<'b, str>> {
        if !self.is_valid(row) {
            return None;
        }
        Some(match *self {
            Self::Words(keys, words) => return word(keys, words, row).map(Cow::Borrowed),
            Self::Texts(array) | Self::Json(array) => Cow::Borrowed(array.value(row)),
            Self::Id(array) => Cow::Owned(ascii(&id::text(&id_at(array, row)))),
            Self::Hex(array) => {
                let mut digits = Vec::with_capacity(32);
                hex(array.value(row), &mut digits);
                Cow::Owned(ascii(&digits))
            }
            Self::Flags(array) => Cow::Borrowed(if array.value(row) { "true" } else { "false" }),
            Self::Times(array) => Cow::Owned(time_text(array.value(row))),
            _ => Cow::Owned(self.number(row)?.to_string()),
        })
    }
}

/// The word of a row; `None` for null.
pub(crate) fn word<'b>(keys: &Keys, words: &'b StringArray, row: usize) -> Option<&'b str> {
    let key = keys.is_valid(row).then(|| usize::try_from(keys.value(row)).ok())??;
    (key < words.len()).then(|| words.value(key))
}

pub(crate) fn id_at(array: &FixedSizeBinaryArray, row: usize) -> Id {
    array.value(row).try_into().unwrap_or_default()
}

fn ascii(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// RFC 3339 in UTC with six digits of fraction; a time beyond the calendar shows as the epoch with its fraction.
pub(crate) fn time_text(us: i64) -> String {
    let second = Timestamp::from_second(us.div_euclid(1_000_000)).unwrap_or_default();
    let mut text = second.to_string();
    text.pop();
    format!("{text}.{:06}Z", us.rem_euclid(1_000_000))
}
