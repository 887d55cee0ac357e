//! [`Item`], [`Group`] and [`Todo`]: records as they go out one by one, and which of a parcel are still to be sent.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::strikes::{Next, Strikes};
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
    /// How often the connection broke off while it was under way.
    broken: u8,
    strikes: Strikes,
}

/// One that is silent for hours does not get records one by one when it is back.
const MOST_EASED: u8 = 3;
/// A connection that breaks off once says nothing about what was under way.
const MOST_BROKEN: u8 = 3;
/// So often what has come meanwhile goes with a parcel that is stuck: then it ends first, so that the cursor moves.
const MOST_JOINED: u8 = 16;
/// So many records may be stuck that the next ones still go with them.
const MOST_STUCK: usize = 64;

/// What is still to be sent of a parcel: what was taken or refused is in no group any more.
#[derive(Debug, Default)]
pub(in crate::access_log) struct Todo {
    groups: VecDeque<Group>,
    /// The items from this one on are in no group yet.
    grouped: usize,
    joined: u8,
    /// Items that will never be taken.
    pub(in crate::access_log) refused: u64,
}

impl Todo {
    /// All items, once, in groups of at most so many bytes and records; what has joined goes first.
    pub(super) fn begin(&mut self, items: &[Item], most_bytes: usize, most_records: usize) {
        if self.grouped >= items.len() {
            return;
        }
        let mut groups = grouped(items, self.grouped, most_bytes, most_records);
        self.grouped = items.len();
        groups.append(&mut self.groups);
        self.groups = groups;
    }

    /// What comes next; it stays until it is [`done`](Self::done).
    pub(super) fn next(&self) -> Option<&Group> {
        self.groups.front()
    }

    /// The first group has its verdicts; `left` of it come again, `failures` as they were before.
    pub(super) fn done(&mut self, left: Vec<u32>, failures: u16) {
        self.groups.pop_front();
        if !left.is_empty() {
            self.groups.push_front(Group { items: left, failures, ..Group::default() });
        }
    }

    /// Something of the first group was taken.
    pub(super) fn taken(&mut self) {
        self.groups.iter_mut().skip(1).for_each(|group| group.strikes.others_taken());
    }

    /// It was not the group: the other side is away, or answers.
    pub(super) fn absolve(&mut self) {
        self.groups.iter_mut().for_each(|group| group.strikes = Strikes::default());
    }

    /// The other side hung up on the first group without a word.
    pub(super) fn hung_up(&mut self) -> Next {
        self.groups.front_mut().map_or(Next::Again, |group| group.strikes.hung_up(group.items.len() == 1))
    }

    /// The connection broke off while the first group was under way: often in a row it may be too much at once, for somebody
    /// who says so too early to be heard.
    pub(super) fn broke_off(&mut self) {
        let Some(group) = self.groups.front_mut() else { return };
        group.broken += 1;
        if group.broken >= MOST_BROKEN {
            group.broken = 0;
            self.ease();
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
        group.strikes = group.strikes.half();
        let Group { failures, eased, broken, strikes, .. } = *group;
        self.groups.insert(1, Group { items: second, failures, eased, broken, strikes });
        true
    }

    /// How many of the parcel's `count` items have no verdict yet.
    pub(in crate::access_log) fn left(&self, count: usize) -> usize {
        count.saturating_sub(self.grouped) + self.groups.iter().map(|group| group.items.len()).sum::<usize>()
    }

    /// Each of those that are left was hung up on, alone: only others can tell whether it is them, and none may be held by
    /// them.
    pub(in crate::access_log) fn wants_company(&self) -> bool {
        let is_stuck = |group: &Group| group.items.len() == 1 && group.strikes.wants_company();
        let may_join =
            self.joined < MOST_JOINED || self.groups.iter().any(|group| !group.strikes.takes_others());
        !self.groups.is_empty()
            && self.groups.len() <= MOST_STUCK
            && may_join
            && self.groups.iter().all(is_stuck)
    }

    /// The others go first. Keeps of the parcel's items and text only what has no verdict.
    pub(in crate::access_log) fn join(
        &mut self,
        (text, items): (&mut Bytes, &mut Vec<Item>),
        (other_text, others): (&[u8], Vec<Item>),
    ) {
        let mut room = Vec::with_capacity(other_text.len());
        let mut kept = Vec::with_capacity(others.len() + self.groups.len());
        for group in &mut self.groups {
            for number in &mut group.items {
                let Some(item) = items.get(*number as usize) else { continue };
                let at = room.len();
                room.extend_from_slice(&text[item.place.clone()]);
                // Both fit: it is the number of an item in the same parcel.
                *number = u32::try_from(kept.len()).unwrap_or(u32::MAX);
                kept.push(Item { place: at..room.len(), ..item.clone() });
                room.push(b'\n');
            }
        }
        let (first, offset) = (kept.len(), room.len());
        room.extend_from_slice(other_text);
        kept.extend(
            others
                .into_iter()
                .map(|item| Item { place: item.place.start + offset..item.place.end + offset, ..item }),
        );
        (*text, *items) = (room.into(), kept);
        self.grouped = first;
        self.joined = self.joined.saturating_add(1);
    }
}

/// The items from `first` on, in groups of at most so many bytes and records.
fn grouped(items: &[Item], first: usize, most_bytes: usize, most_records: usize) -> VecDeque<Group> {
    let (mut groups, mut group, mut bytes) = (VecDeque::new(), Group::default(), 0);
    for (number, item) in (0..).zip(items).skip(first) {
        let is_full = bytes + item.place.len() > most_bytes || group.items.len() >= most_records;
        if is_full && !group.items.is_empty() {
            groups.push_back(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes += item.place.len() + 1;
        group.items.push(number);
    }
    if !group.items.is_empty() {
        groups.push_back(group);
    }
    groups
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
        assert_eq!(todo.next(), Some(&Group { items: vec![1], failures: 3, ..Group::default() }));
        assert!(!todo.halve());
        assert_eq!(all(&mut todo), [vec![1], vec![2, 3, 4]]);
    }
}
