//! What a start finds missing of what was stored before: told as `gap` records of the log service's own.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::manifest::FileEntry;
use crate::log_service::entry::Entry;
use crate::log_service::part::{Extent, StreamExtent};

/// Numbers `first..=last` of one core of one run of a proxy.
pub(super) fn gap(
    (proxy, boot, core): (&str, u64, u64),
    (first, last): (u64, u64),
    reason: &str,
    now: Timestamp,
) -> Option<Entry> {
    entry(&json!({
        "kind": "gap", "ts": format!("{now:.6}"), "proxy": proxy, "boot": boot, "core": core,
        "missing": last - first + 1, "first_seq": first, "last_seq": last, "reason": reason,
    }))
}

fn entry(gap: &Value) -> Option<Entry> {
    Entry::parse(Bytes::from(gap.to_string())).ok()
}

/// All rows of files that have disappeared. What came twice, or comes again, is not counted by those who read it.
pub(super) fn of_files(gone: &[FileEntry], now: Timestamp) -> Vec<Entry> {
    let mut lost = Vec::new();
    for file in gone {
        let extent = Extent::from(file.extent.clone());
        for stream in &extent.streams {
            let of = (stream.proxy.as_str(), stream.boot, stream.core.into());
            for &(first, last) in &stream.numbers {
                lost.extend(gap(of, (first, last), GONE, now));
            }
        }
        let numbered = extent.streams.iter().map(StreamExtent::numbered_rows);
        let unnumbered = numbered.fold(extent.rows, u64::saturating_sub);
        let gap = json!({ "kind": "gap", "ts": format!("{now:.6}"), "missing": unnumbered, "reason": GONE });
        lost.extend(entry(&gap).filter(|_| unnumbered > 0));
    }
    lost
}

const GONE: &str = "file_gone";
