//! [`Seen`]: which numbered records a reader came across, and so which are missing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::report::{Missing, SAMPLED};
use crate::log_service::entry::{Head, Stream};
use crate::log_service::intervals::Intervals;
use crate::log_service::part::Extent;
use crate::record::json::OPEN_END;

/// Streams and holes that are followed; more than these and the answer says that it cannot tell.
const MAX_STREAMS: usize = 10_000;
const MAX_RANGES: usize = 50_000;
const MAX_REASONS: usize = 4;

#[derive(Default)]
pub(super) struct Seen {
    streams: BTreeMap<Stream, Numbers>,
    /// Ends of streams, as parts know them that hold none of their records.
    ends: BTreeMap<Stream, u64>,
    overflowed: bool,
    /// Entries that were declared lost and never had a number.
    unnumbered: u64,
    /// Records that sampling left out.
    sampled: u64,
}

struct Numbers {
    records: Intervals,
    declared: Intervals,
    reasons: Vec<String>,
    /// From where on nobody knows what came behind the last one, and why.
    open: Option<(u64, String)>,
    /// The last number that was given out, once the proxy has said so.
    last: u64,
}

impl Seen {
    pub(super) fn note(&mut self, head: &Head<'_>) {
        self.unnumbered = self.unnumbered.saturating_add(head.unnumbered());
        let Some(stamp) = head.stamp() else { return };
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&stamp.stream) {
            self.overflowed = true;
            return;
        }
        let numbers = self.streams.entry(stamp.stream).or_insert_with(Numbers::new);
        match head.gap() {
            Some(gap) if head.reason() == Some(SAMPLED) => {
                // Many, with what was kept among them: each by itself would be a range.
                self.sampled = self.sampled.saturating_add(head.missing());
                numbers.records.insert_range(gap);
            }
            Some(gap) => {
                numbers.declared.insert_range(gap);
                numbers.note_reason(head.reason());
            }
            None => match head.open_gap() {
                Some(from) => numbers.open = Some((from, head.reason().unwrap_or_default().to_owned())),
                None if stamp.seq > 0 => {
                    numbers.records.insert(stamp.seq);
                }
                None => {}
            },
        }
    }

    /// Notes all numbers that a part of the store holds or knows to be lost.
    pub(super) fn note_extent(&mut self, extent: &Extent) {
        for told in &extent.streams {
            let stream =
                Stream { proxy: told.proxy.as_str().into(), boot: told.boot, core: told.core.into() };
            if told.numbers.is_empty() && told.gaps.is_empty() {
                // Only its end is known here: its records may be in parts that are read later, or not at all.
                if self.ends.len() < MAX_STREAMS {
                    self.ends.insert(stream, told.last);
                }
                continue;
            }
            if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&stream) {
                self.overflowed = true;
                continue;
            }
            let numbers = self.streams.entry(stream).or_insert_with(Numbers::new);
            told.numbers.iter().for_each(|&(first, last)| numbers.records.insert_range(first..=last));
            for (first, last, reason) in &told.gaps {
                if *last == OPEN_END {
                    numbers.open = Some((*first, reason.clone()));
                    continue;
                }
                numbers.declared.insert_range(*first..=*last);
                numbers.note_reason(Some(reason));
            }
            numbers.last = numbers.last.max(told.last);
        }
        self.unnumbered = self.unnumbered.saturating_add(extent.unnumbered);
        let sampled = extent.streams.iter().map(|stream| stream.sampled);
        self.sampled = sampled.fold(self.sampled, u64::saturating_add);
    }

    /// Notes a `stop` record: where the streams of a proxy ended. Only streams seen before: the records of others
    /// may be in files that are not read.
    pub(super) fn note_stop(&mut self, head: &Head<'_>, stop: &Value) {
        let Some(stamp) = head.stamp() else { return };
        let ends = stop.get("last_seqs").and_then(Value::as_array).into_iter().flatten();
        for (core, last) in (0..).zip(ends) {
            let stream = Stream { core, ..stamp.stream.clone() };
            if let (Some(numbers), Some(last)) = (self.streams.get_mut(&stream), last.as_u64()) {
                numbers.last = numbers.last.max(last);
            }
        }
    }

    pub(super) fn unnumbered(&self) -> u64 {
        self.unnumbered
    }

    pub(super) fn sampled(&self) -> u64 {
        self.sampled
    }

    /// Whether too much was seen to tell what is missing.
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed || self.streams.values().any(Numbers::overflowed)
    }

    /// What is missing between the first and the last record of each stream, by stream and number.
    pub(super) fn missing(&self) -> Vec<Missing> {
        let end = |stream| self.ends.get(stream).copied().unwrap_or(0);
        self.streams.iter().flat_map(|(stream, numbers)| numbers.missing(stream, end(stream))).collect()
    }
}

impl Numbers {
    fn new() -> Self {
        let (records, declared) = (Intervals::bounded(MAX_RANGES), Intervals::bounded(MAX_RANGES));
        Self { records, declared, reasons: Vec::new(), open: None, last: 0 }
    }

    fn overflowed(&self) -> bool {
        self.records.forgotten() + self.declared.forgotten() > 0
    }

    fn note_reason(&mut self, reason: Option<&str>) {
        let Some(reason) = reason.filter(|_| self.reasons.len() < MAX_REASONS) else { return };
        if !self.reasons.iter().any(|known| known == reason) {
            self.reasons.push(reason.to_owned());
        }
    }

    fn missing(&self, stream: &Stream, told: u64) -> Vec<Missing> {
        let place = (&*stream.proxy, stream.boot, stream.core);
        let last = self.last.max(told);
        let declared = self.declared.ranges().flat_map(|range| self.records.missing_in(&range));
        let why = if self.reasons.is_empty() { "declared".to_owned() } else { self.reasons.join(",") };
        let explained = declared.map(|range| Missing::new(place, range, Some(why.clone())));
        let mut all = self.records.clone();
        self.declared.ranges().for_each(|range| all.insert_range(range));
        let (lost, why) = self.lost_behind(&all, last);
        lost.iter().for_each(|range| all.insert_range(range.clone()));
        let lost = lost.into_iter().map(|range| Missing::new(place, range, Some(why.to_owned())));
        let tail = end_of(&all).filter(|end| *end < last).map(|end| end + 1..=last);
        let unexplained = all.holes().chain(tail).map(|range| Missing::new(place, range, None));
        let mut missing: Vec<Missing> = explained.chain(lost).chain(unexplained).collect();
        missing.sort_by_key(|missing| missing.from);
        missing
    }

    /// What a loss without an end took of the numbers, and why. Where their last one is known after all (not 0), so is that.
    fn lost_behind(&self, known: &Intervals, last: u64) -> (Vec<RangeInclusive<u64>>, &str) {
        match &self.open {
            None => (Vec::new(), ""),
            Some((from, why)) if last > 0 => (known.missing_in(&(*from..=last)), why),
            Some((_, why)) => (vec![end_of(known).map_or(1, |end| end.saturating_add(1))..=OPEN_END], why),
        }
    }
}

fn end_of(numbers: &Intervals) -> Option<u64> {
    numbers.ranges().last().map(|range| *range.end())
}
