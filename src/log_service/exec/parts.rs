//! [`Parts`]: all that a query may look at, with an index over the extents.

use std::sync::Arc;

use crate::log_service::part::{Part, Prune};
use crate::record::Id;

/// A snapshot of the store: the parts do not change while a query has them.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    /// By latest `ts`, newest first.
    parts: Vec<Arc<dyn Part>>,
    /// By lowest id: that id, the highest id of this and all entries before, and the place in `parts`.
    by_id: Vec<(Id, Id, usize)>,
}

impl Parts {
    pub(crate) fn new(mut parts: Vec<Arc<dyn Part>>) -> Self {
        parts.sort_by_key(|part| std::cmp::Reverse(part.extent().max_ts));
        let ids = parts.iter().enumerate().map(|(at, part)| {
            let extent = part.extent();
            (extent.min_id, extent.max_id, at)
        });
        let mut by_id: Vec<(Id, Id, usize)> = ids.collect();
        by_id.sort_unstable();
        let mut highest = Id::default();
        for entry in &mut by_id {
            highest = highest.max(entry.1);
            entry.1 = highest;
        }
        Self { parts, by_id }
    }

    /// All parts, the newest first.
    pub(crate) fn all(&self) -> &[Arc<dyn Part>] {
        &self.parts
    }

    /// The parts that can hold a row that is looked for. With a window or nothing: the newest first.
    pub(crate) fn admitted<'p>(&'p self, prune: &'p Prune) -> impl Iterator<Item = &'p Arc<dyn Part>> {
        let by_id = prune.id.map(|id| self.with_id(id));
        let by_time = by_id.is_none().then(|| {
            let first = prune.ts.map_or(i64::MIN, |(first, _)| first);
            self.parts.iter().take_while(move |part| part.extent().max_ts >= first)
        });
        let found = by_id.into_iter().flatten().chain(by_time.into_iter().flatten());
        found.filter(|part| prune.admits(part.extent()))
    }

    fn with_id(&self, id: Id) -> impl Iterator<Item = &Arc<dyn Part>> {
        let end = self.by_id.partition_point(|(lowest, ..)| *lowest <= id);
        let candidates = self.by_id[..end].iter().rev();
        candidates
            .take_while(move |(_, highest, _)| *highest >= id)
            .filter_map(|(.., at)| self.parts.get(*at))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::log_service::part::{Each, Extent};

    struct Empty(Extent);

    impl Part for Empty {
        fn extent(&self) -> &Extent {
            &self.0
        }

        fn read(&self, _: &[&str], _: &Prune, _: &mut Each<'_>) -> io::Result<()> {
            Ok(())
        }
    }

    fn parts(extents: &[(u8, u8)]) -> Parts {
        let part = |&(low, high): &(u8, u8)| {
            let extent = Extent {
                rows: 1,
                min_ts: low.into(),
                max_ts: high.into(),
                min_id: [low; 16],
                max_id: [high; 16],
                ..Extent::default()
            };
            Arc::new(Empty(extent)) as Arc<dyn Part>
        };
        Parts::new(extents.iter().map(part).collect())
    }

    #[test]
    fn the_index_finds_the_same_parts_as_looking_at_all() {
        let extents = [(5, 9), (1, 20), (3, 4), (10, 12), (12, 12), (30, 31), (2, 2)];
        let parts = parts(&extents);
        for number in 0..40u8 {
            let by_id = Prune { id: Some([number; 16]), ..Prune::default() };
            let by_time = Prune { ts: Some((number.into(), i64::from(number) + 2)), ..Prune::default() };
            for prune in [by_id, by_time] {
                let truth = parts.all().iter().filter(|part| prune.admits(part.extent())).count();
                assert_eq!(parts.admitted(&prune).count(), truth, "{prune:?}");
            }
        }
    }

    #[test]
    fn the_newest_part_comes_first() {
        let parts = parts(&[(1, 2), (8, 9), (4, 5)]);
        let prune = Prune::default();
        let newest: Vec<i64> = parts.admitted(&prune).map(|part| part.extent().max_ts).collect();
        assert_eq!(newest, [9, 5, 2]);
    }
}
