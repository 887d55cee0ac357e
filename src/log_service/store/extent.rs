//! What several parts hold together.

use crate::log_service::columns::union_of_streams;
use crate::log_service::part::Extent;

/// One extent that covers all of these.
pub(super) fn joined<'e>(extents: impl Iterator<Item = &'e Extent> + Clone) -> Extent {
    let mut all = Extent::default();
    for extent in extents.clone() {
        all.rows += extent.rows;
        (all.min_ts, all.max_ts) = (all.min_ts.min(extent.min_ts), all.max_ts.max(extent.max_ts));
        (all.min_end, all.max_end) = (all.min_end.min(extent.min_end), all.max_end.max(extent.max_end));
        (all.min_id, all.max_id) = (all.min_id.min(extent.min_id), all.max_id.max(extent.max_id));
    }
    (all.streams, all.unnumbered) = union_of_streams(extents);
    all
}
