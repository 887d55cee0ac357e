//! Whether anything is missing: from the extents of the parts alone, without reading a row.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::parts::Parts;
use crate::log_service::intervals::Intervals;
use crate::log_service::part::{Prune, StreamExtent};
use crate::log_service::read::{Missing, Report};

/// Streams and ranges that are followed; more than these and the report says that it cannot tell.
const MAX_STREAMS: usize = 10_000;
const MAX_RANGES: usize = 50_000;

/// One core of one run of one proxy.
type Stream<'p> = (&'p str, u64, u16);

struct Numbers<'p> {
    records: Intervals,
    declared: Vec<(RangeInclusive<u64>, &'p str)>,
    /// The lowest and the highest number in parts of the window.
    in_window: Option<(u64, u64)>,
    last: u64,
}

/// A report without its counts: what is missing among the records of the window (microseconds, both ends included).
///
/// A part holds what came at about the same time. So a number that is in no part at all is missing in the window
/// when it lies between numbers of parts that reach into the window, or directly beside them. Numbers below a
/// stream's first one are not counted: retention takes the oldest.
pub(crate) fn report(parts: &Parts, window: Option<(i64, i64)>) -> Report {
    let prune = Prune { ts: window, ..Prune::default() };
    let mut streams: BTreeMap<Stream<'_>, Numbers<'_>> = BTreeMap::new();
    let mut report = Report::default();
    for part in parts.all() {
        let extent = part.extent();
        let is_in_window = window.is_none() || prune.admits(extent);
        if is_in_window {
            report.unnumbered = report.unnumbered.saturating_add(extent.unnumbered);
            let sampled = extent.streams.iter().map(|stream| stream.sampled);
            report.sampled = sampled.fold(report.sampled, u64::saturating_add);
        }
        for stream in &extent.streams {
            let key = (stream.proxy.as_str(), stream.boot, stream.core);
            if streams.len() >= MAX_STREAMS && !streams.contains_key(&key) {
                report.unknown = true;
                continue;
            }
            streams.entry(key).or_insert_with(Numbers::new).add(stream, is_in_window);
        }
    }
    report.unknown |= streams.values().any(|numbers| numbers.records.forgotten() > 0);
    if !report.unknown {
        report.missing = streams.iter().flat_map(|(stream, numbers)| numbers.missing(stream)).collect();
    }
    report
}

impl<'p> Numbers<'p> {
    fn new() -> Self {
        Self { records: Intervals::bounded(MAX_RANGES), declared: Vec::new(), in_window: None, last: 0 }
    }

    fn add(&mut self, stream: &'p StreamExtent, is_in_window: bool) {
        self.last = self.last.max(stream.last);
        stream.numbers.iter().for_each(|&(from, to)| self.records.insert_range(from..=to));
        let gaps = stream.gaps.iter().map(|(from, to, why)| (*from..=*to, why.as_str()));
        self.declared.extend(gaps);
        let gaps = stream.gaps.iter().map(|(from, to, _)| (*from, *to));
        let ends = stream.numbers.iter().copied().chain(gaps).filter(|_| is_in_window);
        for (from, to) in ends {
            let (low, high) = self.in_window.unwrap_or((from, to));
            self.in_window = Some((low.min(from), high.max(to)));
        }
    }

    fn missing(&self, stream: &Stream<'_>) -> Vec<Missing> {
        let Some((low, high)) = self.in_window else { return Vec::new() };
        let (low, high) = (low.saturating_sub(1), high.saturating_add(1));
        let mut all = self.records.clone();
        let mut missing: Vec<Missing> = Vec::new();
        for (range, why) in &self.declared {
            // What was declared twice, or came after all, is not counted again.
            let lost = all.missing_in(range).into_iter();
            missing.extend(lost.map(|range| missing_of(stream, range, Some((*why).to_owned()))));
            all.insert_range(range.clone());
        }
        let end = all.ranges().last().map_or(0, |range| *range.end());
        let tail = (end < self.last).then(|| end.saturating_add(1)..=self.last);
        missing.extend(all.holes().chain(tail).map(|range| missing_of(stream, range, None)));
        missing.retain(|missing| missing.from <= high && missing.to >= low);
        missing.sort_by_key(|missing| missing.from);
        missing
    }
}

fn missing_of(&(proxy, boot, core): &Stream<'_>, range: RangeInclusive<u64>, why: Option<String>) -> Missing {
    let (from, to) = range.into_inner();
    Missing { proxy: proxy.to_owned(), boot, core: core.into(), from, to, why }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::log_service::part::{Each, Extent, Part};

    struct Only(Extent);

    impl Part for Only {
        fn extent(&self) -> &Extent {
            &self.0
        }

        fn read(&self, _: &[&str], _: &Prune, _: &mut Each<'_>) -> io::Result<()> {
            unreachable!("the report reads no row")
        }
    }

    fn part(ts: (i64, i64), numbers: &[(u64, u64)], gaps: &[(u64, u64, &str)], last: u64) -> Arc<dyn Part> {
        let gaps = gaps.iter().map(|(from, to, why)| (*from, *to, (*why).to_owned())).collect();
        let stream = StreamExtent {
            proxy: "edge".to_owned(),
            boot: 7,
            core: 1,
            numbers: numbers.to_vec(),
            gaps,
            last,
            ..StreamExtent::default()
        };
        let extent =
            Extent { rows: 1, min_ts: ts.0, max_ts: ts.1, streams: vec![stream], ..Extent::default() };
        Arc::new(Only(extent))
    }

    fn told(parts: &Parts, window: Option<(i64, i64)>) -> Vec<(u64, u64, Option<String>)> {
        report(parts, window).missing.into_iter().map(|lost| (lost.from, lost.to, lost.why)).collect()
    }

    #[test]
    fn holes_are_told_with_their_reasons() {
        let parts = Parts::new(vec![
            part((0, 10), &[(1, 10), (12, 20)], &[(15, 25, "ring_full")], 0),
            part((11, 20), &[(31, 40)], &[(15, 25, "ring_full")], 42),
        ]);
        let full = Some("ring_full".to_owned());
        assert_eq!(told(&parts, None), [(11, 11, None), (21, 25, full), (26, 30, None), (41, 42, None)]);
        assert_eq!(report(&parts, None).missing_count(), 13);
    }

    #[test]
    fn only_what_touches_the_window_is_told() {
        let parts = Parts::new(vec![
            part((0, 10), &[(1, 4), (6, 10)], &[], 0),
            part((11, 20), &[(11, 20)], &[], 0),
            part((21, 30), &[(22, 30)], &[], 31),
            part((31, 40), &[], &[], 0),
        ]);
        assert_eq!(told(&parts, Some((0, 9))), [(5, 5, None)]);
        // The hole directly behind may be of this time.
        assert_eq!(told(&parts, Some((12, 15))), [(21, 21, None)]);
        assert_eq!(told(&parts, Some((25, 25))), [(21, 21, None), (31, 31, None)]);
        assert_eq!(told(&parts, Some((50, 60))), []);
    }

    #[test]
    fn a_late_row_does_not_make_other_parts_missing() {
        // The last part holds one long request that began in the window; the part between is outside.
        let parts = Parts::new(vec![
            part((0, 10), &[(1, 10)], &[], 0),
            part((11, 20), &[(11, 20)], &[], 0),
            part((5, 30), &[(21, 30)], &[], 0),
        ]);
        assert_eq!(told(&parts, Some((0, 9))), []);
    }
}
