//! The store and the executor for a program outside the crate: `tests/bench/store.rs`. Nobody else needs this.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array as _, ArrayRef, FixedSizeBinaryArray, RecordBatch};
use jiff::Timestamp;
use serde_json::Value;

use super::columns::{Builder, Origin};
use super::exec::{self, Control, Limits, Parts, Question, WantedId};
use super::parquet::sorted;
use super::store::{Laid, View};
use crate::record::binary::{self, Tries};

/// Rows per batch while a file is made.
const BATCH: usize = 8192;
const PROXY: &str = "edge-1";
const BOOT: u64 = 1_795_252_000_000;

const HOUR_US: i64 = 3_600_000_000;

/// The rows of one hour, from which the files of many are made: the same rows with other times, ids and numbers.
pub struct Hour {
    /// Sorted by id.
    batches: Vec<RecordBatch>,
    /// Numbers that each core has given out in it.
    numbers: u64,
}

impl Hour {
    /// Makes rows of binary records, each with the core that it comes from; each core's numbers go from 1 to `numbers`.
    ///
    /// # Errors
    /// A record that is none.
    pub fn new(numbers: u64, records: &mut dyn Iterator<Item = (u16, Vec<u8>)>) -> io::Result<Self> {
        let (mut builder, mut batches) = (Builder::new(BATCH), Vec::new());
        for (core, bytes) in records {
            let mut tries = Tries::default();
            let decoded = binary::decode(&bytes, &mut tries).map_err(io::Error::other)?;
            let origin = Origin { proxy: PROXY, boot: BOOT, core };
            let recv = decoded.record.ts_us.saturating_add(1_000_000);
            builder.push_record(&decoded, &origin, recv, "unix").map_err(io::Error::other)?;
            if builder.is_full() {
                batches.push(builder.finish().map_err(io::Error::other)?);
            }
        }
        batches.push(builder.finish().map_err(io::Error::other)?);
        let batches = sorted(&batches).collect::<io::Result<_>>()?;
        Ok(Self { batches, numbers })
    }

    /// Its rows `hours` later.
    fn later(&self, hours: u64) -> impl Iterator<Item = io::Result<RecordBatch>> + '_ {
        self.batches.iter().map(move |batch| {
            let schema = batch.schema();
            let columns = schema.fields().iter().zip(batch.columns());
            let moved = columns.map(|(field, column)| {
                let moved = match field.name().as_str() {
                    "id" => ids_later(column, hours),
                    "ts" | "recv" => times_later(column, hours),
                    "seq" => numbers_later(column, hours * self.numbers),
                    _ => None,
                };
                moved.unwrap_or_else(|| Arc::clone(column))
            });
            RecordBatch::try_new(batch.schema(), moved.collect()).map_err(io::Error::other)
        })
    }
}

fn times_later(column: &ArrayRef, hours: u64) -> Option<ArrayRef> {
    let times = column.as_primitive_opt::<TimestampMicrosecondType>()?;
    let moved = times.unary::<_, TimestampMicrosecondType>(|time| time + hours as i64 * HOUR_US);
    Some(Arc::new(moved.with_data_type(column.data_type().clone())))
}

fn numbers_later(column: &ArrayRef, more: u64) -> Option<ArrayRef> {
    let numbers = column.as_primitive_opt::<UInt64Type>()?;
    Some(Arc::new(numbers.unary::<_, UInt64Type>(|number| number + more)))
}

/// The first 48 bits are milliseconds (RFC 9562, 5.7).
fn ids_later(column: &ArrayRef, hours: u64) -> Option<ArrayRef> {
    let ids = column.as_fixed_size_binary_opt()?;
    let add = u128::from(hours * 3_600_000) << 80;
    let moved = ids.iter().flatten().map(|id| {
        let id: [u8; 16] = id.try_into().unwrap_or_default();
        (u128::from_be_bytes(id) + add).to_be_bytes()
    });
    let moved = FixedSizeBinaryArray::try_from_iter(moved).ok()?;
    Some(Arc::new(moved))
}

/// Adds the hour `hours` after `hour` (counted from the Unix epoch) to a data directory, as compaction would leave it.
/// Returns the size of its files in bytes, `None` when it is there already.
///
/// # Errors
/// Those of writing.
pub fn lay(data: &Path, template: &Hour, hour: i64, hours: u64) -> io::Result<Option<u64>> {
    let (laid, hour) = (Laid::open(data)?, hour + hours as i64);
    if laid.has(hour) {
        return Ok(None);
    }
    laid.add(hour, template.later(hours)).map(Some)
}

/// The files of a directory, open for questions.
pub struct Store(Parts);

impl Store {
    /// The whole directory, or its oldest files with at most so many rows.
    ///
    /// # Errors
    /// Those of reading the directory.
    pub fn open(directory: &Path, most: u64) -> io::Result<Self> {
        let (mut parts, mut rows) = (View::of(directory)?.parts, 0);
        parts.sort_by_key(|part| part.extent().min_ts);
        parts.retain(|part| {
            rows += part.extent().rows;
            rows <= most
        });
        Ok(Self(Parts::new(parts)))
    }

    /// Rows and files.
    pub fn size(&self) -> (u64, usize) {
        (self.0.all().iter().map(|part| part.extent().rows).sum(), self.0.all().len())
    }

    /// Asks as over HTTP. Returns the answer, and how many rows were looked at.
    ///
    /// # Errors
    /// What is wrong with the question or the files, in words.
    pub fn ask(&self, question: &str, arguments: &[(&str, &str)]) -> Result<(Value, u64), String> {
        let question = Question::named(question).ok_or("no such question")?;
        let arguments: HashMap<String, String> =
            arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let control = Control::default();
        let answer =
            exec::answer(question, &arguments, Timestamp::now(), &self.0, Limits::default(), &control);
        Ok((answer.map_err(|error| error.to_string())?, control.progress().0))
    }

    /// The rows with an id, without anything around.
    ///
    /// # Errors
    /// What is wrong with the id or the files, in words.
    pub fn lookup(&self, id: &str) -> Result<(Vec<String>, u64), String> {
        let wanted = WantedId::new(id).ok_or("the id is too short")?;
        let control = Control::default();
        let shown = exec::lookup(&self.0, &wanted, &control).map_err(|error| error.to_string())?;
        Ok((shown.records, control.progress().0))
    }
}
