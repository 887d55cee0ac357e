//! Whether anything is missing: from the extents of the parts alone, without reading a row.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::parts::Parts;
use crate::log_service::intervals::Intervals;
use crate::log_service::part::{Extent, Prune, StreamExtent};
use crate::log_service::read::{Missing, Report};
use crate::record::json::OPEN_END;

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
    /// Why nobody knows what came behind the last one.
    open: Option<Open<'p>>,
    /// The highest number, and the earliest time in a part with it (microseconds).
    newest: (u64, i64),
}

/// A declared loss without an end.
#[derive(Clone, Copy)]
struct Open<'p> {
    from: u64,
    why: &'p str,
    is_in_window: bool,
    /// The latest time in the part that declares it.
    told_us: i64,
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
            streams.entry(key).or_insert_with(Numbers::new).add(stream, extent, is_in_window);
        }
    }
    report.unknown |= streams.values().any(|numbers| numbers.records.forgotten() > 0);
    if !report.unknown {
        let of = |(stream, numbers): (&Stream<'_>, &Numbers<'_>)| {
            let mut missing = numbers.missing(stream);
            missing.extend(numbers.open(stream, &streams));
            missing
        };
        report.missing = streams.iter().flat_map(of).collect();
    }
    report
}

impl<'p> Numbers<'p> {
    fn new() -> Self {
        let records = Intervals::bounded(MAX_RANGES);
        Self { records, declared: Vec::new(), in_window: None, last: 0, open: None, newest: (0, 0) }
    }

    fn add(&mut self, stream: &'p StreamExtent, extent: &Extent, is_in_window: bool) {
        self.last = self.last.max(stream.last);
        let newest = stream.numbers.last().map_or(0, |(_, to)| *to);
        self.newest = self.newest.max((newest, extent.min_ts));
        for (from, to, why) in &stream.gaps {
            if *to == OPEN_END {
                let is_in_window = is_in_window || self.open.is_some_and(|open| open.is_in_window);
                self.open = Some(Open { from: *from, why, is_in_window, told_us: extent.max_ts });
            }
        }
        stream.numbers.iter().for_each(|&(from, to)| self.records.insert_range(from..=to));
        let gaps = || stream.gaps.iter().filter(|(_, to, _)| *to != OPEN_END);
        self.declared.extend(gaps().map(|(from, to, why)| (*from..=*to, why.as_str())));
        let gaps = gaps().map(|(from, to, _)| (*from, *to));
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
        // Where the end of a stream is known after all, so is what was lost of it.
        let closed = self.open.filter(|_| self.last > 0).map(|open| (open.from..=self.last, open.why));
        for (range, why) in self.declared.iter().chain(&closed) {
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

impl Numbers<'_> {
    /// A loss that nobody can count, between the last record that is known of and the next start.
    fn open(&self, stream: &Stream<'_>, all: &BTreeMap<Stream<'_>, Numbers<'_>>) -> Option<Missing> {
        let open = self.open.filter(|_| self.last == 0)?;
        let declared = self.declared.iter().map(|(range, _)| *range.end());
        let last = self.records.ranges().map(|range| *range.end()).chain(declared).max().unwrap_or(0);
        let from = open.from.max(last.saturating_add(1));
        let is_beside = self.in_window.is_some_and(|(_, high)| from <= high.saturating_add(1));
        if !open.is_in_window && !is_beside {
            return None;
        }
        let &(proxy, boot, _) = stream;
        let micros = |boot: u64| i64::try_from(boot.saturating_mul(1000)).unwrap_or(i64::MAX);
        let next = all.range((proxy, boot.saturating_add(1), 0)..).next();
        let next = next.map(|((other, boot, _), _)| (*other, *boot)).filter(|(other, _)| *other == proxy);
        let until = next.map_or(open.told_us, |(_, boot)| micros(boot));
        let since = if self.newest.0 > 0 { self.newest.1.max(micros(boot)) } else { micros(boot) };
        let missing = missing_of(stream, from..=OPEN_END, Some(open.why.to_owned()));
        Some(Missing { between_us: Some((since.min(until), until)), ..missing })
    }
}

fn missing_of(stream: &Stream<'_>, range: RangeInclusive<u64>, why: Option<String>) -> Missing {
    let &(proxy, boot, core) = stream;
    Missing::new((proxy, boot, core.into()), range, why)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::log_service::part::{Each, Part};

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
    fn a_loss_that_nobody_can_count_is_told_behind_the_last_number_and_never_called_complete() {
        let lost = Some("ring_lost".to_owned());
        let hot = || part((0, 10), &[(1, 40)], &[], 0);
        let parts = Parts::new(vec![hot(), part((50, 60), &[], &[(7, OPEN_END, "ring_lost")], 0)]);
        assert_eq!(told(&parts, None), [(41, OPEN_END, lost.clone())]);
        let all = report(&parts, None);
        assert_eq!((all.missing_count(), all.is_complete()), (0, false));
        // Nobody knows when the next start was: at the latest when it was told.
        assert_eq!(all.missing[0].between_us, Some((60, 60)));
        for (window, is_told) in [((5, 7), true), ((55, 70), true), ((70, 80), false)] {
            assert_eq!(told(&parts, Some(window)).len(), usize::from(is_told), "{window:?}");
        }
        // The end of the stream came to be known.
        let parts = Parts::new(vec![hot(), part((50, 60), &[], &[(7, OPEN_END, "ring_lost")], 42)]);
        assert_eq!(told(&parts, None), [(41, 42, lost)]);
        let parts = Parts::new(vec![hot(), part((50, 60), &[], &[(7, OPEN_END, "ring_lost")], 40)]);
        assert!(report(&parts, None).is_complete());
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
