//! What sinks lose of the spool: the oldest segment for those that lag, and what is in memory at the end.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::segment::{Piece, Place, Segment};
use super::{Position, Spool};
use crate::access_log::metrics::Reason;
use crate::access_log::span::{Carried, Origins};

impl Spool {
    /// Gives up the oldest segment for the sinks that still need it, if there is one that keeps up. Tells whether it did.
    pub(super) fn give_up_oldest(&self) -> bool {
        let Some((front, from)) = self.to_give_up() else { return false };
        // It may take a disk its time: nobody waits for the state meanwhile.
        let pieces = front.pieces(self.path(front.number), from, &mut Origins::default());
        let mut state = self.lock();
        if state.segments.front().is_none_or(|now| now.number != front.number) {
            // All have passed it meanwhile.
            return true;
        }
        let after = Position { segment: front.number, offset: front.len };
        for (seat, sink) in state.seats.iter_mut().zip(&self.sinks) {
            let offset = front.offset_of(seat.next());
            if offset < front.len {
                for (_, carried) in pieces.iter().filter(|(at, _)| *at >= offset) {
                    match carried {
                        Some(carried) => sink.dropped.add(seat.why, seat.lost.lose(carried, seat.why)),
                        None => seat.has_unknown = true,
                    }
                }
                seat.taken = after;
            }
            seat.at = seat.at.max(after);
        }
        drop(state);
        self.prune();
        true
    }

    /// The oldest segment, and from where on sinks still need it: what is on its way is in their hands.
    fn to_give_up(&self) -> Option<(Segment, u64)> {
        let state = self.lock();
        let front = state.segments.front().filter(|front| front.is_sealed)?;
        let from = state.seats.iter().map(|seat| front.offset_of(seat.next())).min()?;
        self.has_one_near(&state).then(|| (front.clone(), from))
    }

    /// A sink takes nothing more, or is left behind: what is in memory is lost, what is on disk waits for the next start.
    pub(in crate::access_log) fn abandon(&self, seat: usize) {
        let (mut state, mut lost, mut origins) = (self.lock(), 0, Origins::default());
        // By itself or by us, whoever is first.
        if std::mem::replace(&mut state.seats[seat].is_abandoned, true) {
            return;
        }
        let at = state.seats[seat].at;
        let is_memory = |one: &&Segment| matches!(one.place, Place::Memory(_));
        for segment in state.segments.iter().filter(|one| one.number >= at.segment).filter(is_memory) {
            let offset = if segment.number == at.segment { at.offset } else { 0 };
            let pieces = segment.pieces(None, offset, &mut origins);
            lost += pieces.iter().filter_map(|(_, carried)| Some(carried.as_ref()?.records())).sum::<u64>();
        }
        self.sinks[seat].dropped.add(Reason::Stopped, lost);
        let lag = state.lag_on_disk(at);
        self.sinks[seat].lag_bytes.store(lag, Ordering::Relaxed);
    }
}

impl Segment {
    /// Where in it `at` is: its length when that is behind it.
    fn offset_of(&self, at: Position) -> u64 {
        self.len - self.behind(at).min(self.len)
    }

    /// What the frames from `offset` on carry, with their offsets; `None` where something could not be read.
    pub(super) fn pieces(
        &self,
        path: Option<PathBuf>,
        offset: u64,
        origins: &mut Origins,
    ) -> Vec<(u64, Option<Carried>)> {
        // Whoever still needs anything of it needs that, too.
        const REST: (u64, Option<Carried>) = (u64::MAX, None);
        let mut found = Vec::new();
        if offset >= self.len {
            return found;
        }
        let Ok(source) = self.source(path, offset) else { return vec![REST] };
        let mut at = offset;
        while at < self.len {
            let mut piece_at = at;
            let each = |piece: Piece<'_, '_>| match piece {
                Piece::Frame(frame, place) => {
                    found.push((at + place.start as u64, Some(Carried::of(frame, origins))));
                    piece_at = at + place.end as u64;
                }
                Piece::Damage(bytes) => {
                    found.push((piece_at, None));
                    piece_at += bytes;
                }
            };
            match source.read_frames(at..self.len, 1 << 20, each) {
                Ok((_, end)) if end > at => at = end,
                _ => {
                    found.push(REST);
                    break;
                }
            }
        }
        found
    }
}
