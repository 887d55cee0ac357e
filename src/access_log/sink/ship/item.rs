//! [`Item`], [`Group`] and [`Todo`]: records as they go out one by one, and which of a parcel are still to be sent.

use std::collections::VecDeque;
use std::ops::Range;

use crate::record::Id;

/// One entry of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::access_log) struct Item {
    /// Where its line stands in the parcel's text, without its line feed.
    pub(in crate::access_log) place: Range<usize>,
    /// Its own, the same at each try: with `is_open` the key by which the other side knows what it has.
    pub(in crate::access_log) id: Id,
    /// The beginning of a tunnel: its end comes later, with the same id.
    pub(in crate::access_log) is_open: bool,
    pub(in crate::access_log) ts_us: i64,
    /// 0 when it is no exchange, or none was sent.
    pub(in crate::access_log) status: u16,
    /// Core and number, where it has one.
    pub(in crate::access_log) seq: Option<(u16, u64)>,
}

/// Items that are sent at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Numbers of items.
    pub(super) items: Vec<u32>,
    /// How often some of them failed while others were taken.
    pub(super) failures: u16,
    /// How often it was halved because nobody answered in time.
    eased: u8,
}

/// One that is silent for hours does not get records one by one when it is back.
const MOST_EASED: u8 = 3;

/// What is still to be sent of a parcel: what was taken or refused is in no group any more.
#[derive(Debug, Default)]
pub(in crate::access_log) struct Todo {
    groups: VecDeque<Group>,
    is_begun: bool,
    /// Items that will never be taken.
    pub(in crate::access_log) refused: u64,
}

impl Todo {
    /// All items, once, in groups of at most so many bytes and records.
    pub(super) fn begin(&mut self, items: &[Item], most_bytes: usize, most_records: usize) {
        if std::mem::replace(&mut self.is_begun, true) {
            return;
        }
        let (mut group, mut bytes) = (Group::default(), 0);
        for (number, item) in (0..).zip(items) {
            let is_full = bytes + item.place.len() > most_bytes || group.items.len() >= most_records;
            if is_full && !group.items.is_empty() {
                self.groups.push_back(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes += item.place.len() + 1;
            group.items.push(number);
        }
        if !group.items.is_empty() {
            self.groups.push_back(group);
        }
    }

    /// What comes next; it stays until it is [`done`](Self::done).
    pub(super) fn next(&self) -> Option<&Group> {
        self.groups.front()
    }

    /// The first group has its verdicts; `left` of it come again, `failures` as they were before.
    pub(super) fn done(&mut self, left: Vec<u32>, failures: u16) {
        self.groups.pop_front();
        if !left.is_empty() {
            self.groups.push_front(Group { items: left, failures, eased: 0 });
        }
    }

    /// The first group was not answered in time: maybe it was too much at once, and would be so each time.
    pub(super) fn ease(&mut self) {
        let Some(group) = self.groups.front_mut().filter(|group| group.eased < MOST_EASED) else { return };
        group.eased += 1;
        self.halve();
    }

    /// The first group goes last.
    pub(super) fn put_behind(&mut self) {
        if let Some(group) = self.groups.pop_front() {
            self.groups.push_back(group);
        }
    }

    /// Cuts the first group in two. Tells whether it could be cut.
    pub(super) fn halve(&mut self) -> bool {
        let Some(group) = self.groups.front_mut().filter(|group| group.items.len() > 1) else { return false };
        let second = group.items.split_off(group.items.len() / 2);
        let Group { failures, eased, .. } = *group;
        self.groups.insert(1, Group { items: second, failures, eased });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(lengths: &[usize]) -> Vec<Item> {
        let mut at = 0;
        let item = |length: &usize| {
            let place = at..at + length;
            at += length + 1;
            Item { place, id: Id::default(), is_open: false, ts_us: 0, status: 200, seq: None }
        };
        lengths.iter().map(item).collect()
    }

    fn all(todo: &mut Todo) -> Vec<Vec<u32>> {
        std::iter::from_fn(|| {
            let items = todo.next()?.items.clone();
            todo.done(Vec::new(), 0);
            Some(items)
        })
        .collect()
    }

    #[test]
    fn groups_hold_no_more_than_asked_but_always_something() {
        let mut todo = Todo::default();
        todo.begin(&items(&[10, 10, 10, 99, 1, 1, 1]), 30, 2);
        assert_eq!(all(&mut todo), [vec![0, 1], vec![2], vec![3], vec![4, 5], vec![6]]);
    }

    #[test]
    fn what_is_done_does_not_come_again() {
        let mut todo = Todo::default();
        todo.begin(&items(&[1, 1, 1, 1, 1]), 100, 100);
        assert!(todo.halve());
        todo.done(vec![1], 3);
        todo.begin(&items(&[1]), 1, 1);
        assert_eq!(todo.next(), Some(&Group { items: vec![1], failures: 3, eased: 0 }));
        assert!(!todo.halve());
        assert_eq!(all(&mut todo), [vec![1], vec![2, 3, 4]]);
    }
}
