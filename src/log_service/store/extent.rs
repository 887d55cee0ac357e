//! What a batch holds, in numbers.

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, RecordBatch};

use crate::log_service::part::Extent;

/// Times and ids of the rows; streams are not looked at.
pub(super) fn of(batch: &RecordBatch) -> Extent {
    let mut extent = Extent { rows: batch.num_rows() as u64, ..Extent::default() };
    let times = batch.column_by_name("ts").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let spans = batch.column_by_name("dur_us").and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let ids = batch.column_by_name("id").and_then(|column| column.as_fixed_size_binary_opt());
    for row in 0..batch.num_rows() {
        if let Some(times) = times {
            let ts = times.value(row);
            let span = spans.filter(|spans| spans.is_valid(row)).map_or(0, |spans| spans.value(row));
            let end = ts.saturating_add_unsigned(span);
            (extent.min_ts, extent.max_ts) = (extent.min_ts.min(ts), extent.max_ts.max(ts));
            (extent.min_end, extent.max_end) = (extent.min_end.min(end), extent.max_end.max(end));
        }
        if let Some(id) = ids.and_then(|ids| <[u8; 16]>::try_from(ids.value(row)).ok()) {
            (extent.min_id, extent.max_id) = (extent.min_id.min(id), extent.max_id.max(id));
        }
    }
    extent
}

/// Makes `extent` cover `other` too; streams are not looked at.
pub(super) fn join(extent: &mut Extent, other: &Extent) {
    extent.rows += other.rows;
    extent.min_ts = extent.min_ts.min(other.min_ts);
    extent.max_ts = extent.max_ts.max(other.max_ts);
    extent.min_end = extent.min_end.min(other.min_end);
    extent.max_end = extent.max_end.max(other.max_end);
    extent.min_id = extent.min_id.min(other.min_id);
    extent.max_id = extent.max_id.max(other.max_id);
}
