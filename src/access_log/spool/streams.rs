//! [`Streams`]: how far a sink has come in each stream, to tell what damage has taken.

use super::cursor::{MOST, Reached};
use super::ends::End;
use crate::access_log::metrics::Reason;
use crate::access_log::span::{Carried, Origin, Span, Spans};

/// Which number each stream should go on with, to tell what damage has taken.
#[derive(Debug, Default)]
pub(super) struct Streams {
    seen: Vec<Seen>,
    /// How often something was damaged.
    pub(super) damages: u64,
}

#[derive(Debug)]
struct Seen {
    origin: Origin,
    /// CRC-32C of its name.
    proxy: u32,
    core: u16,
    last: u64,
    damages: u64,
}

impl Streams {
    /// Most streams that are followed: those of some starts.
    const LIMIT: usize = 4096;

    /// What a cursor says was delivered. `past` are the streams that there were: of one that it does not know the sink
    /// has nothing; a sink without a cursor is owed nothing.
    pub(super) fn remember(&mut self, reached: Option<&[Reached]>, past: &[End]) {
        for end in past {
            let proxy = crc_fast::crc32_iscsi(end.proxy.as_bytes());
            let same = |one: &&Reached| (one.proxy, one.boot, one.core) == (proxy, end.boot, end.core);
            let known = reached.and_then(|reached| reached.iter().find(same)).map(|one| one.last);
            // One that is full may have had no room for it.
            let is_owed = reached.is_some_and(|reached| reached.len() < MOST);
            let last = known.unwrap_or(if is_owed { 0 } else { end.last });
            let origin = Origin { proxy: end.proxy.as_str().into(), boot: end.boot };
            self.seen.push(Seen { origin, proxy, core: end.core, last, damages: self.damages });
        }
    }

    /// The last number that a stream had, all of which was left having been read.
    pub(super) fn end(&mut self, end: &End, gaps: &mut Spans) {
        let same = |seen: &&mut Seen| {
            (seen.core, seen.origin.boot, &*seen.origin.proxy) == (end.core, end.boot, end.proxy.as_str())
        };
        let Some(seen) = self.seen.iter_mut().find(same).filter(|seen| seen.last < end.last) else { return };
        let (first, count, reason) = (seen.last + 1, end.last - seen.last, Reason::SpoolDamaged);
        let (origin, core, range) = (seen.origin.clone(), seen.core, Some((first, end.last)));
        gaps.add(Span { origin, core, range, count, reason });
        seen.last = end.last;
    }

    /// These are declared.
    pub(super) fn skip(&mut self, span: &Span) {
        let same = |seen: &&mut Seen| seen.core == span.core && seen.origin == span.origin;
        if let Some((seen, (_, last))) = self.seen.iter_mut().find(same).zip(span.range) {
            seen.last = seen.last.max(last);
        }
    }

    /// Newest first, as the newest streams were met last.
    pub(super) fn reached(&self) -> impl ExactSizeIterator<Item = Reached> + '_ {
        let of = |seen: &Seen| Reached {
            proxy: seen.proxy,
            boot: seen.origin.boot,
            core: seen.core,
            last: seen.last,
        };
        self.seen.iter().rev().map(of)
    }

    pub(super) fn follow(&mut self, carried: &Carried, gaps: &mut Spans) {
        let Some((first, last)) = carried.numbers else { return };
        let damages = self.damages;
        let same = |seen: &&mut Seen| seen.core == carried.core && seen.origin == carried.origin;
        let Some(seen) = self.seen.iter_mut().find(same) else {
            if self.seen.len() < Self::LIMIT {
                let (origin, core) = (carried.origin.clone(), carried.core);
                let proxy = crc_fast::crc32_iscsi(origin.proxy.as_bytes());
                self.seen.push(Seen { origin, proxy, core, last, damages });
            }
            return;
        };
        // Without damage a hole is declared already, where it came to be.
        if seen.damages != damages && first > seen.last.saturating_add(1) {
            let (origin, core, range) = (carried.origin.clone(), carried.core, (seen.last + 1, first - 1));
            let (count, reason) = (range.1 - range.0 + 1, Reason::SpoolDamaged);
            gaps.add(Span { origin, core, range: Some(range), count, reason });
        }
        (seen.last, seen.damages) = (last.max(seen.last), damages);
    }
}
