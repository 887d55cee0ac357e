//! [`Builder`]: rows in, a batch out.

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::schema::{Columns, schema};

/// A column of a batch ends at 2 GiB of text; long before that the batch is full.
const MAX_TEXT_BYTES: usize = 256 << 20;
/// Longest single object.
const MAX_OBJECT_BYTES: usize = 256 << 20;

/// Where the records of a frame come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) proxy: &'a str,
    /// Start of the process, milliseconds since the Unix epoch.
    pub(crate) boot: u64,
    pub(crate) core: u16,
}

/// Why a row was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    /// [`Builder::is_full`]: the batch must be finished first.
    #[error("the batch is full")]
    Full,
    #[error("the object is too long")]
    TooLong,
    #[error("not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
}

/// Gathers rows in the order in which they come. Can be used again after [`Builder::finish`], then with the room of the
/// batch before.
pub(crate) struct Builder {
    pub(super) columns: Columns,
    pub(super) rows: usize,
    pub(super) max_rows: usize,
    /// Bytes of text taken so far, roughly.
    pub(super) bytes: usize,
    pub(super) scratch: Scratch,
}

/// Room for what is put together per row.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) text: Vec<u8>,
    pub(super) body: Vec<u8>,
    /// The digits of the configuration's hash seldom change.
    pub(super) cfg: (u64, String),
}

impl Builder {
    /// A builder of batches of at most `max_rows` rows.
    pub(crate) fn new(max_rows: usize) -> Self {
        Self { columns: Columns::default(), rows: 0, max_rows, bytes: 0, scratch: Scratch::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of text and fixed cells taken so far, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the batch must be finished before the next row.
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= self.max_rows || self.bytes >= MAX_TEXT_BYTES
    }

    /// All rows since the last call; none is no error.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let columns = self.columns.finish(rows)?;
        RecordBatch::try_new(schema(), columns)
    }

    pub(super) fn check_room(&self, bytes: usize) -> Result<(), PushError> {
        match () {
            () if self.is_full() => Err(PushError::Full),
            () if bytes > MAX_OBJECT_BYTES => Err(PushError::TooLong),
            () => Ok(()),
        }
    }

    /// Ends the row at hand; its members without a column are in the scratch, each with a comma in front.
    pub(super) fn end_row(&mut self, bytes: usize) {
        let body = &mut self.scratch.body;
        if let Some(first) = body.first_mut() {
            *first = b'{';
            body.push(b'}');
            // Put together from JSON texts only.
            self.columns.body.set(self.rows, std::str::from_utf8(body).unwrap_or("{}"));
            body.clear();
        }
        self.rows += 1;
        self.bytes += bytes;
    }
}
