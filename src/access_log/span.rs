//! [`Spans`]: which records of which stream are missing, and why.

use std::sync::Arc;

use super::metrics::Reason;
use crate::record::frame::{Frame, Stream};

/// Name and start of a process, as every record of it carries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) proxy: Arc<str>,
    pub(super) boot: u64,
}

impl Origin {
    pub(super) fn stream(&self, core: u16) -> Stream<'_> {
        Stream { proxy: &self.proxy, boot: self.boot, core }
    }
}

/// The processes whose frames were read: of thousands of frames nearly all come from one.
#[derive(Debug, Default)]
pub(super) struct Origins(Vec<Origin>);

impl Origins {
    /// Most that are remembered; beyond that one is made anew each time.
    const LIMIT: usize = 16;

    pub(super) fn of(&mut self, stream: &Stream<'_>) -> Origin {
        let known = self.0.iter().find(|one| one.boot == stream.boot && *one.proxy == *stream.proxy);
        if let Some(known) = known {
            return known.clone();
        }
        let origin = Origin { proxy: stream.proxy.into(), boot: stream.boot };
        if self.0.len() < Self::LIMIT {
            self.0.push(origin.clone());
        }
        origin
    }
}

/// What one frame carries.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub(super) origin: Origin,
    pub(super) core: u16,
    pub(super) numbers: Option<(u64, u64)>,
    pub(super) count: u64,
}

impl Carried {
    pub(super) fn of(frame: &Frame<'_>, origins: &mut Origins) -> Self {
        let count = frame.count.into();
        Self { origin: origins.of(&frame.stream), core: frame.stream.core, numbers: frame.numbers, count }
    }

    /// How many records are missing when the frame is.
    pub(super) fn records(&self) -> u64 {
        self.numbers.map_or(self.count, |(first, last)| last - first + 1)
    }
}

/// Missing records of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) origin: Origin,
    pub(super) core: u16,
    /// First and last sequence number; absent for entries that never got one.
    pub(super) range: Option<(u64, u64)>,
    pub(super) count: u64,
    pub(super) reason: Reason,
}

/// Spans in which neighbours are merged. Bounded: beyond [`LIMIT`] a span is widened over what lies between, so that
/// its count stays right while its range gets coarse.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans(Vec<Span>);

const LIMIT: usize = 256;

impl Spans {
    pub(super) fn add(&mut self, span: Span) {
        let is_full = self.0.len() >= LIMIT;
        let like = |other: &&mut Span| {
            other.core == span.core
                && other.reason == span.reason
                && other.range.is_some() == span.range.is_some()
                && other.origin == span.origin
                && (is_full || touches(other.range, span.range))
        };
        match self.0.iter_mut().rev().find(like) {
            Some(other) => {
                other.count += span.count;
                other.range = other.range.zip(span.range).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1)));
            }
            None => self.0.push(span),
        }
    }

    /// The frame is lost. Returns how many records that are.
    pub(super) fn lose(&mut self, carried: &Carried, reason: Reason) -> u64 {
        let count = carried.records();
        let (origin, core, range) = (carried.origin.clone(), carried.core, carried.numbers);
        self.add(Span { origin, core, range, count, reason });
        count
    }

    pub(super) fn extend(&mut self, others: &Self) {
        others.0.iter().for_each(|span| self.add(span.clone()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Span> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn touches(earlier: Option<(u64, u64)>, later: Option<(u64, u64)>) -> bool {
    match (earlier, later) {
        (Some((_, last)), Some((first, _))) => last.checked_add(1) == Some(first),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(core: u16, first: u64, last: u64) -> Span {
        let origin = Origin { proxy: "edge-1".into(), boot: 1 };
        Span {
            origin,
            core,
            range: Some((first, last)),
            count: last - first + 1,
            reason: Reason::ServiceDown,
        }
    }

    #[test]
    fn merges_what_follows_without_a_hole() {
        let mut spans = Spans::default();
        for part in [span(0, 1, 4), span(1, 1, 1), span(0, 5, 5), span(0, 7, 8)] {
            spans.add(part);
        }
        assert_eq!(spans.0, [span(0, 1, 5), span(1, 1, 1), span(0, 7, 8)]);
    }

    #[test]
    fn keeps_reasons_and_processes_apart() {
        let mut spans = Spans::default();
        spans.add(span(0, 1, 4));
        spans.add(Span { reason: Reason::RingFull, ..span(0, 5, 6) });
        spans.add(Span { origin: Origin { proxy: "edge-1".into(), boot: 2 }, ..span(0, 5, 6) });
        assert_eq!(spans.0.len(), 3);
    }

    #[test]
    fn stays_bounded_and_keeps_the_count() {
        let mut spans = Spans::default();
        for at in 0..10_000 {
            spans.add(span(0, at * 2, at * 2));
        }
        assert!(spans.0.len() <= LIMIT);
        assert_eq!(spans.iter().map(|span| span.count).sum::<u64>(), 10_000);
    }
}
