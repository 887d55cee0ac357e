//! The seam between the store and the executor: rows that a query may look at, wherever they lie.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::RecordBatch;
use serde::{Deserialize, Serialize};

/// Rows that a query may look at: one Parquet file, or what is still in memory. A part does not change while a query
/// holds it: of what grows, a part is a snapshot.
pub(crate) trait Part: Send + Sync {
    /// What is known without reading a row.
    fn extent(&self) -> &Extent;

    /// Gives batches with these columns (in schema order, whatever the order of `columns`), leaving out what `prune`
    /// shows cannot match (row groups, pages). It may yield rows that do not match, and never leaves out one that does.
    /// A name without a column is not an error: it is left out, and so may be a column that is empty in all rows of the
    /// batch. Ends early when `each` breaks.
    ///
    /// # Errors
    /// Those of reading, and those that `each` returns.
    fn read(&self, columns: &[&str], prune: &Prune, each: &mut Each<'_>) -> io::Result<()>;
}

/// Takes one batch; breaks when no more are wanted.
pub(crate) type Each<'a> = dyn FnMut(RecordBatch) -> io::Result<ControlFlow<()>> + 'a;

/// What a query needs of a part, for leaving out rows that cannot match. Everything given must hold of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Prune {
    /// `ts` in microseconds, first and last moment that can match, both included.
    pub(crate) ts: Option<(i64, i64)>,
    pub(crate) id: Option<[u8; 16]>,
    /// One of these ids, which are sorted: for rows that were found before and are fetched now.
    pub(crate) among: Option<Arc<[[u8; 16]]>>,
    /// Column (`rid`, `trace_id`, `client_ip`) and the bytes that the value must be: the text, or the 16 bytes of
    /// `trace_id`.
    pub(crate) keys: Vec<(&'static str, Vec<u8>)>,
    /// A row has a value in one of these columns; none are named: it need not.
    pub(crate) any_of: &'static [&'static str],
    /// The newest row groups are wanted first. A hint: the order is never relied upon.
    pub(crate) newest_first: bool,
}

/// What a part holds, in numbers. An empty part has `min` above `max` everywhere ([`Extent::default`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) rows: u64,
    /// `ts` in microseconds since the epoch.
    pub(crate) min_ts: i64,
    pub(crate) max_ts: i64,
    /// `ts` + `dur_us`, in microseconds since the epoch.
    pub(crate) min_end: i64,
    pub(crate) max_end: i64,
    pub(crate) min_id: [u8; 16],
    pub(crate) max_id: [u8; 16],
    pub(crate) streams: Vec<StreamExtent>,
    /// Entries that proxies declared lost and that never had a number.
    pub(crate) unnumbered: u64,
}

/// The numbers of one stream (one core of one start of one proxy) that a part holds, and those that it knows to be lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct StreamExtent {
    pub(crate) proxy: String,
    pub(crate) boot: u64,
    pub(crate) core: u16,
    /// Intervals, both ends included, sorted, not touching.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) numbers: Vec<(u64, u64)>,
    /// Declared losses: first and last number (both included; `OPEN_END` when nobody knows it) and the reason. Rows that the
    /// store itself took away between others that stay (retention by kind of row) belong here too, or they would count as lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) gaps: Vec<(u64, u64, String)>,
    /// Rows that have a number. 0 with `numbers` and nothing sampled: written before this was counted, so all of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) numbered: u64,
    /// Numbers that sampling left out: they count among `numbers`, as nothing is missing there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) sampled: u64,
    /// Rows that declare what is not there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) declarations: u64,
    /// The last number that was given out, once the proxy has said so (`last_seqs` of its `stop`); 0 before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) last: u64,
}

/// Left out of what is written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl StreamExtent {
    /// Rows that have a number.
    pub(crate) fn numbered_rows(&self) -> u64 {
        match (self.numbered, self.sampled) {
            (0, 0) => self.numbers.iter().map(|(first, last)| last - first + 1).sum(),
            (numbered, _) => numbered,
        }
    }

    /// Rows that declare what is not there.
    pub(crate) fn declaring_rows(&self) -> u64 {
        self.declarations.max(self.gaps.len() as u64)
    }
}

impl Default for Extent {
    fn default() -> Self {
        Self {
            rows: 0,
            min_ts: i64::MAX,
            max_ts: i64::MIN,
            min_end: i64::MAX,
            max_end: i64::MIN,
            min_id: [0xff; 16],
            max_id: [0; 16],
            streams: Vec::new(),
            unnumbered: 0,
        }
    }
}

impl Prune {
    /// The ids that a row may have, sorted; `None`: any.
    pub(crate) fn ids(&self) -> Option<&[[u8; 16]]> {
        self.id.as_ref().map(std::slice::from_ref).or(self.among.as_deref())
    }

    /// Whether a part of this extent can hold a row that is looked for.
    pub(crate) fn admits(&self, extent: &Extent) -> bool {
        let in_window = self.ts.is_none_or(|(first, last)| extent.min_ts <= last && extent.max_ts >= first);
        let in_ids = self.id.is_none_or(|id| extent.min_id <= id && id <= extent.max_id);
        extent.rows > 0 && in_window && in_ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_admitted_only_when_window_and_id_can_lie_in_it() {
        let extent =
            Extent { rows: 1, min_ts: 10, max_ts: 20, min_id: [1; 16], max_id: [3; 16], ..Extent::default() };
        let window = |first, last| Prune { ts: Some((first, last)), ..Prune::default() };
        assert!(window(20, 30).admits(&extent) && window(0, 10).admits(&extent));
        assert!(!window(21, 30).admits(&extent) && !window(0, 9).admits(&extent));
        assert!(Prune { id: Some([2; 16]), ..Prune::default() }.admits(&extent));
        assert!(!Prune { id: Some([4; 16]), ..Prune::default() }.admits(&extent));
        assert!(!Prune::default().admits(&Extent::default()));
    }
}
