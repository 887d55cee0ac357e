//! [`Spans`]: which records of which core a batch carries, or which are missing and why.

use super::metrics::Reason;

/// Records of one core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) core: u16,
    /// First and last sequence number; absent for entries that never got one.
    pub(super) range: Option<(u64, u64)>,
    pub(super) count: u64,
    /// `None`: carried. `Some`: missing.
    pub(super) lost: Option<Reason>,
}

/// Spans in which neighbours are merged. Bounded: beyond [`LIMIT`] a span is widened over what lies between, so that
/// its count stays right while its range gets coarse.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans(Vec<Span>);

const LIMIT: usize = 256;

impl Spans {
    /// Adds one record that is carried. Most follow the one before.
    #[inline]
    pub(super) fn carry(&mut self, core: u16, seq: u64) {
        match self.0.last_mut() {
            Some(Span { core: same, range: Some((_, last)), count, lost: None })
                if *same == core && last.checked_add(1) == Some(seq) =>
            {
                *last = seq;
                *count += 1;
            }
            _ => self.add(Span { core, range: Some((seq, seq)), count: 1, lost: None }),
        }
    }

    pub(super) fn add(&mut self, span: Span) {
        let is_full = self.0.len() >= LIMIT;
        let like = |other: &&mut Span| {
            other.core == span.core
                && other.lost == span.lost
                && other.range.is_some() == span.range.is_some()
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

    /// Takes in all of `others` as lost for `reason`; what was lost before keeps its own. Returns how many are new.
    pub(super) fn lose(&mut self, others: &Spans, reason: Reason) -> u64 {
        let mut newly = 0;
        for span in &others.0 {
            newly += if span.lost.is_none() { span.count } else { 0 };
            self.add(Span { lost: span.lost.or(Some(reason)), ..span.clone() });
        }
        newly
    }

    pub(super) fn extend(&mut self, others: &Spans) {
        others.0.iter().for_each(|span| self.add(span.clone()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Span> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many entries are carried.
    pub(super) fn carried(&self) -> u64 {
        self.0.iter().filter(|span| span.lost.is_none()).map(|span| span.count).sum()
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
        Span { core, range: Some((first, last)), count: last - first + 1, lost: None }
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
    fn keeps_the_first_reason_of_a_loss() {
        let mut batch = Spans::default();
        batch.add(span(0, 1, 4));
        batch.add(Span { lost: Some(Reason::RingFull), ..span(0, 5, 6) });
        batch.add(span(0, 7, 7));
        let mut gaps = Spans::default();
        assert_eq!(gaps.lose(&batch, Reason::ServiceDown), 5);
        let reasons: Vec<_> = gaps.iter().map(|gap| (gap.range, gap.lost)).collect();
        assert_eq!(
            reasons,
            [
                (Some((1, 4)), Some(Reason::ServiceDown)),
                (Some((5, 6)), Some(Reason::RingFull)),
                (Some((7, 7)), Some(Reason::ServiceDown)),
            ]
        );
    }

    #[test]
    fn stays_bounded_and_keeps_the_count() {
        let mut spans = Spans::default();
        for at in 0..10_000 {
            spans.add(span(0, at * 2, at * 2));
        }
        assert!(spans.0.len() <= LIMIT);
        assert_eq!(spans.carried(), 10_000);
    }
}
