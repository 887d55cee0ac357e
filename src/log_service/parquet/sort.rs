//! Rows of several batches in the order of their ids.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_select::interleave::interleave_record_batch;

use super::{PAGE_ROWS, io_error};
use crate::record::Id;

/// The rows of `batches` sorted by `id`, in batches of at most 8 192 rows. Rows of the same id keep their order.
pub(crate) fn sorted(batches: &[RecordBatch]) -> impl Iterator<Item = std::io::Result<RecordBatch>> + '_ {
    let order = order(batches);
    let chunks = order.len().div_ceil(PAGE_ROWS);
    (0..chunks).map(move |chunk| {
        let rows = order.iter().skip(chunk * PAGE_ROWS).take(PAGE_ROWS);
        pick(batches, rows.map(|(_, batch, row)| (*batch as usize, *row as usize)))
    })
}

fn order(batches: &[RecordBatch]) -> Vec<(Id, u32, u32)> {
    let mut order = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for (number, batch) in (0u32..).zip(batches) {
        let ids = batch.column_by_name("id").and_then(|ids| ids.as_fixed_size_binary_opt());
        let Some(ids) = ids else { continue };
        order.extend(
            (0u32..)
                .zip(ids.iter())
                .map(|(row, id)| (id.and_then(|id| id.try_into().ok()).unwrap_or_default(), number, row)),
        );
    }
    order.sort_unstable();
    order
}

/// One batch of the named rows. Batches that give none do not take part: their dictionaries would only cost.
pub(super) fn pick(
    batches: &[RecordBatch],
    rows: impl Iterator<Item = (usize, usize)>,
) -> std::io::Result<RecordBatch> {
    let mut places = vec![None; batches.len()];
    let mut used = Vec::new();
    let rows: Vec<(usize, usize)> = rows
        .map(|(batch, row)| {
            let place = *places[batch].get_or_insert_with(|| {
                used.push(&batches[batch]);
                used.len() - 1
            });
            (place, row)
        })
        .collect();
    if used.is_empty() {
        return Ok(RecordBatch::new_empty(crate::log_service::columns::schema()));
    }
    interleave_record_batch(&used, &rows).map_err(io_error)
}
