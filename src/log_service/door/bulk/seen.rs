//! Which documents came lately, by their `_id`: what a shipper sends again because the answer was lost is stored once.
//!
//! It is remembered in memory, and only so much of it: forgetting (also by a restart) lets a duplicate through, never loses a
//! document.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};

use crate::wire::bulk::Action;

/// Documents that are remembered; some 10 MB.
const MOST: usize = 1 << 17;

/// What makes a document the same. Half a SHA-256: nobody can send one that passes for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 16]);

impl Key {
    /// A creation is the same by its `_id`; what is indexed may be a new version of it, so there the text counts as well.
    pub(super) fn of(action: Action, index: &str, doc_id: &str, document: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [action.name().as_bytes(), index.as_bytes(), doc_id.as_bytes()] {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        if action != Action::Create {
            context.update(document);
        }
        let mut key = [0; 16];
        key.copy_from_slice(&context.finish().as_ref()[..16]);
        Self(key)
    }
}

/// What is known of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    New,
    Stored,
    /// Another request has brought it, and is waiting for it to be stored.
    Coming,
}

#[derive(Default)]
pub(in crate::log_service::door) struct Seen(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// Whether it is stored.
    known: HashMap<Key, bool>,
    /// Oldest first.
    order: VecDeque<Key>,
}

impl Seen {
    /// Claims what is new of a request's documents. The same key a second time within it counts as stored.
    pub(super) fn claim(&self, keys: impl Iterator<Item = Option<Key>>) -> Vec<Claim> {
        let mut table = self.table();
        let mut own = HashSet::new();
        keys.map(|key| {
            let Some(key) = key else { return Claim::New };
            match table.known.get(&key) {
                Some(true) => Claim::Stored,
                Some(false) if own.contains(&key) => Claim::Stored,
                Some(false) => Claim::Coming,
                None => {
                    table.add(key, false);
                    own.insert(key);
                    Claim::New
                }
            }
        })
        .collect()
    }

    /// Says what became of documents that were new.
    pub(super) fn settle(&self, keys: &[Key], are_stored: bool) {
        let mut table = self.table();
        for key in keys {
            if are_stored {
                table.add(*key, true);
            } else {
                // Its place in the order is taken again, or found empty, later.
                table.known.remove(key);
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn add(&mut self, key: Key, is_stored: bool) {
        if self.known.insert(key, is_stored).is_some() {
            return;
        }
        self.order.push_back(key);
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Key {
        Key::of(Action::Create, "app", id, b"{}")
    }

    fn claim(seen: &Seen, ids: &[&str]) -> Vec<Claim> {
        seen.claim(ids.iter().map(|id| Some(key(id))))
    }

    #[test]
    fn a_document_is_new_once() {
        let seen = Seen::default();
        assert_eq!(claim(&seen, &["a", "b", "a"]), [Claim::New, Claim::New, Claim::Stored]);
        assert_eq!(claim(&seen, &["a"]), [Claim::Coming]);
        seen.settle(&[key("a")], true);
        seen.settle(&[key("b")], false);
        assert_eq!(claim(&seen, &["a", "b"]), [Claim::Stored, Claim::New]);
        assert_eq!(seen.claim([None, None].into_iter()), [Claim::New, Claim::New]);
    }

    #[test]
    fn a_new_version_of_what_is_indexed_is_new() {
        let of = |action, text: &[u8]| Key::of(action, "app", "7", text);
        assert_eq!(of(Action::Create, b"{}"), of(Action::Create, b"{ }"));
        assert_ne!(of(Action::Index, b"{}"), of(Action::Index, b"{ }"));
        assert_ne!(Key::of(Action::Create, "ap", "p7", b""), Key::of(Action::Create, "app", "7", b""));
    }

    #[test]
    fn only_so_much_is_remembered() {
        let seen = Seen::default();
        for round in 0..3 {
            let ids: Vec<Key> = (0..MOST).map(|n| key(&format!("{round} {n}"))).collect();
            seen.claim(ids.iter().copied().map(Some));
            seen.settle(&ids, round != 1);
        }
        let table = seen.table();
        assert!(table.known.len() <= MOST && table.order.len() <= MOST);
    }
}
