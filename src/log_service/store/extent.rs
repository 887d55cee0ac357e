//! What several parts hold together.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::log_service::intervals::Intervals;
use crate::log_service::part::{Extent, StreamExtent};

/// Holes that are told per stream.
const MAX_RANGES: usize = 1 << 16;

/// One extent that covers all of these.
pub(super) fn joined<'e>(extents: impl Iterator<Item = &'e Extent>) -> Extent {
    let mut all = Extent::default();
    let mut streams: BTreeMap<Name<'_>, Told> = BTreeMap::new();
    for extent in extents {
        all.rows += extent.rows;
        (all.min_ts, all.max_ts) = (all.min_ts.min(extent.min_ts), all.max_ts.max(extent.max_ts));
        (all.min_end, all.max_end) = (all.min_end.min(extent.min_end), all.max_end.max(extent.max_end));
        (all.min_id, all.max_id) = (all.min_id.min(extent.min_id), all.max_id.max(extent.max_id));
        all.unnumbered = all.unnumbered.saturating_add(extent.unnumbered);
        for stream in &extent.streams {
            let key = (stream.proxy.as_str(), stream.boot, stream.core);
            let (numbers, all) = streams.entry(key).or_insert_with(|| {
                (
                    Intervals::bounded(MAX_RANGES),
                    StreamExtent { proxy: stream.proxy.clone(), ..StreamExtent::default() },
                )
            });
            stream.numbers.iter().for_each(|&(first, last)| numbers.insert_range(first..=last));
            (all.boot, all.core) = (stream.boot, stream.core);
            all.gaps.extend(stream.gaps.iter().cloned());
            all.numbered += stream.numbered_rows();
            all.sampled += stream.sampled;
            all.declarations += stream.declaring_rows();
            all.last = stream.last.max(all.last);
        }
    }
    all.streams = streams.into_values().map(stream_of).collect();
    all
}

/// Proxy, boot, core.
type Name<'e> = (&'e str, u64, u16);
/// Its numbers, and all else.
type Told = (Intervals, StreamExtent);

fn stream_of((numbers, mut all): Told) -> StreamExtent {
    all.gaps.sort_unstable();
    all.gaps.dedup();
    all.numbers = numbers.ranges().map(RangeInclusive::into_inner).collect();
    all
}
