//! The cells of one column while rows come in. A row without a value costs nothing: the missing nulls are added with
//! the next value, or at the end.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder as _, BooleanBuilder, NullBufferBuilder, StringBuilder};
use arrow_array::types::{ArrowPrimitiveType, Int32Type};
use arrow_array::{
    ArrayRef, DictionaryArray, FixedSizeBinaryArray, PrimitiveArray, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use serde_json::value::RawValue;

use crate::record::members;

/// What all columns do.
pub(super) trait Cells {
    fn data_type() -> DataType
    where
        Self: Sized;

    /// Takes a JSON value as the cell of `row`; false when it would not come back as the same text, or when the cell
    /// has a value already.
    fn put_json(&mut self, row: usize, value: &RawValue) -> bool;

    /// The column so far, filled up to `rows`; then it is empty.
    fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError>;
}

/// Numbers that JSON writes without sign and fraction.
pub(super) struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    present: NullBufferBuilder,
}

impl<T: ArrowPrimitiveType> Default for Numbers<T> {
    fn default() -> Self {
        Self { values: Vec::new(), present: NullBufferBuilder::new(0) }
    }
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    #[inline(always)]
    pub(super) fn set(&mut self, row: usize, value: T::Native) {
        if self.values.len() != row {
            self.pad(row);
        }
        self.values.push(value);
        self.present.append_non_null();
    }

    #[inline(always)]
    pub(super) fn set_some(&mut self, row: usize, value: Option<impl Into<T::Native>>) {
        if let Some(value) = value {
            self.set(row, value.into());
        }
    }

    fn pad(&mut self, rows: usize) {
        self.present.append_n_nulls(rows.saturating_sub(self.values.len()));
        self.values.resize(rows, T::Native::default());
    }

    fn take(&mut self, rows: usize) -> Result<PrimitiveArray<T>, ArrowError> {
        let capacity = if self.values.is_empty() { 0 } else { rows };
        self.pad(rows);
        let values = std::mem::replace(&mut self.values, Vec::with_capacity(capacity));
        PrimitiveArray::try_new(values.into(), self.present.finish())
    }
}

impl<T: ArrowPrimitiveType> Cells for Numbers<T>
where
    T::Native: TryFrom<u64>,
{
    fn data_type() -> DataType {
        T::DATA_TYPE
    }

    fn put_json(&mut self, row: usize, value: &RawValue) -> bool {
        let number = plain_number(value.get()).and_then(|number| T::Native::try_from(number).ok());
        let Some(number) = number.filter(|_| self.values.len() <= row) else { return false };
        self.set(row, number);
        true
    }

    fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.take(rows)?))
    }
}

/// A number as it is written by us: digits without a zero in front.
fn plain_number(text: &str) -> Option<u64> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// Points in time: microseconds since the Unix epoch. Every row has one.
#[derive(Default)]
pub(super) struct Times(Vec<i64>);

const UTC: &str = "UTC";

impl Times {
    #[inline(always)]
    pub(super) fn push(&mut self, us: i64) {
        self.0.push(us);
    }
}

impl Cells for Times {
    fn data_type() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
    }

    fn put_json(&mut self, _: usize, _: &RawValue) -> bool {
        false
    }

    fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        let times = std::mem::replace(&mut self.0, Vec::with_capacity(rows));
        Ok(Arc::new(TimestampMicrosecondArray::try_new(times.into(), None)?.with_timezone(UTC)))
    }
}

/// `N` bytes, in JSON `2 * N` lower-case hexadecimal digits.
pub(super) struct Fixed<const N: usize> {
    values: Vec<[u8; N]>,
    present: NullBufferBuilder,
}

impl<const N: usize> Default for Fixed<N> {
    fn default() -> Self {
        Self { values: Vec::new(), present: NullBufferBuilder::new(0) }
    }
}

impl<const N: usize> Fixed<N> {
    #[inline(always)]
    pub(super) fn set(&mut self, row: usize, value: [u8; N]) {
        if self.values.len() != row {
            self.pad(row);
        }
        self.values.push(value);
        self.present.append_non_null();
    }

    #[inline(always)]
    pub(super) fn set_some(&mut self, row: usize, value: Option<[u8; N]>) {
        if let Some(value) = value {
            self.set(row, value);
        }
    }

    fn pad(&mut self, rows: usize) {
        self.present.append_n_nulls(rows.saturating_sub(self.values.len()));
        self.values.resize(rows, [0; N]);
    }
}

impl<const N: usize> Cells for Fixed<N> {
    fn data_type() -> DataType {
        DataType::FixedSizeBinary(N as i32)
    }

    fn put_json(&mut self, row: usize, value: &RawValue) -> bool {
        let Some(bytes) = text_of(value).and_then(|text| unhex(&text)) else { return false };
        if self.values.len() > row {
            return false;
        }
        self.set(row, bytes);
        true
    }

    fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.pad(rows);
        let values = std::mem::take(&mut self.values).into_flattened();
        Ok(Arc::new(FixedSizeBinaryArray::try_new(N as i32, values.into(), self.present.finish())?))
    }
}

pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[derive(Default)]
pub(super) struct Flags(BooleanBuilder);

impl Flags {
    #[inline(always)]
    pub(super) fn set_some(&mut self, row: usize, value: Option<bool>) {
        if let Some(value) = value {
            self.pad(row);
            self.0.append_value(value);
        }
    }

    fn pad(&mut self, rows: usize) {
        self.0.append_nulls(rows.saturating_sub(self.0.len()));
    }
}

impl Cells for Flags {
    fn data_type() -> DataType {
        DataType::Boolean
    }

    fn put_json(&mut self, row: usize, value: &RawValue) -> bool {
        let value = value.get().parse().ok().filter(|_| self.0.len() <= row);
        self.set_some(row, value);
        value.is_some()
    }

    fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.pad(rows);
        Ok(Arc::new(self.0.finish()))
    }
}

/// Texts of which each is its own.
#[derive(Default)]
pub(super) struct Texts {
    builder: StringBuilder,
    rows: usize,
}

impl Texts {
    #[inline(always)]
    pub(super) fn set(&mut self, row: usize, text: &str) {
        if self.rows != row {
            self.pad(row);
        }
        self.builder.append_value(text);
        self.rows += 1;
    }

    fn pad(&mut self, rows: usize) {
        self.builder.append_nulls(rows.saturating_sub(self.rows));
        self.rows = rows;
    }
}

impl Cells for Texts {
    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn put_json(&mut self, row: usize, value: &RawValue) -> bool {
        let Some(text) = text_of(value).filter(|_| self.rows <= row) else { return false };
        self.set(row, &text);
        true
    }

    fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.pad(rows);
        self.rows = 0;
        Ok(Arc::new(self.builder.finish()))
    }
}

/// JSON values, kept as their text.
#[derive(Default)]
pub(super) struct JsonTexts(Texts);

impl JsonTexts {
    pub(super) fn set(&mut self, row: usize, text: &str) {
        self.0.set(row, text);
    }
}

impl Cells for JsonTexts {
    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn put_json(&mut self, row: usize, value: &RawValue) -> bool {
        let is_free = self.0.rows <= row;
        if is_free {
            self.set(row, value.get());
        }
        is_free
    }

    fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.0.finish(rows)
    }
}

/// Texts that come again and again: each is kept once, rows keep its number.
#[derive(Default)]
pub(super) struct Words {
    keys: Numbers<Int32Type>,
    words: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, i32, foldhash::fast::RandomState>,
    /// Most words are the same as in the row before.
    last: i32,
}

impl Words {
    #[inline(always)]
    pub(super) fn set(&mut self, row: usize, word: &str) {
        let is_last = self.words.get(self.last as usize).is_some_and(|last| **last == *word);
        if !is_last {
            self.last = self.number(word);
        }
        self.keys.set(row, self.last);
    }

    #[inline(always)]
    pub(super) fn set_some(&mut self, row: usize, word: Option<&str>) {
        if let Some(word) = word {
            self.set(row, word);
        }
    }

    #[inline(never)]
    fn number(&mut self, word: &str) -> i32 {
        if let Some(&number) = self.numbers.get(word) {
            return number;
        }
        // A builder holds far fewer rows.
        let number = self.words.len() as i32;
        let word: Arc<str> = word.into();
        self.words.push(Arc::clone(&word));
        self.numbers.insert(word, number);
        number
    }
}

impl Cells for Words {
    fn data_type() -> DataType {
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
    }

    fn put_json(&mut self, row: usize, value: &RawValue) -> bool {
        let Some(word) = text_of(value).filter(|_| self.keys.values.len() <= row) else { return false };
        self.set(row, &word);
        true
    }

    fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        let keys = self.keys.take(rows)?;
        let words: StringArray = self.words.iter().map(|word| Some(&**word)).collect();
        self.words.clear();
        self.numbers.clear();
        self.last = 0;
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(words))?))
    }
}

/// The text that a JSON string means.
pub(super) fn text_of(value: &RawValue) -> Option<std::borrow::Cow<'_, str>> {
    members::text_of(value.get())
}
