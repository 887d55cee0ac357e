//! Which documents came lately, by their `_id`: what a shipper sends again because the answer was lost is stored once.
//!
//! It is remembered in memory, and only so much of it: forgetting lets a duplicate through, never loses a document. A start reads
//! what was created again from the rows that are not in a file yet: among them is what was stored just before the end, and never
//! answered.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use aws_lc_rs::digest::{Context, SHA256};
use serde_json::Value;

use super::document;
use crate::log_service::columns::{self, RowWriter};
use crate::log_service::entry::{Head, Stamp};
use crate::log_service::part::{Part, Prune};
use crate::wire::bulk::Action;

/// Documents that are remembered; some 10 MB.
const MOST: usize = 1 << 17;

/// What makes a document the same. Half a SHA-256: nobody can send one that passes for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 16]);

impl Key {
    /// A creation is the same by its `_id`; what is indexed may be a new version of it, so there the content counts as well.
    /// A stranger's document is never the same as one of another door (`scope`, empty for all who are believed), nor as a record
    /// of a proxy, which has a stamp: else whoever has seen an id could have the real one thrown away.
    pub(super) fn of(
        action: Action,
        (index, doc_id): (&str, &str),
        (scope, stamp): (&str, Option<Stamp>),
        entry: &Value,
    ) -> Self {
        let mut context = Context::new(&SHA256);
        let content = if action == Action::Create { String::new() } else { entry.to_string() };
        let (scope, stamp) = match stamp {
            Some(Stamp { stream, seq }) => {
                ("", format!("{seq} {} {} {}", stream.core, stream.boot, stream.proxy))
            }
            None => (scope, String::new()),
        };
        for part in [action.name(), index, doc_id, &content, scope, &stamp] {
            context.update(&part.len().to_le_bytes());
            context.update(part.as_bytes());
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

    /// Learns what is in memory, for the doors of these scopes: the newest documents, as many as are remembered. Index and
    /// `_id` have no column of their own, so only few rows are looked at whole.
    ///
    /// # Errors
    /// Those of reading.
    pub(in crate::log_service::door) fn recall(&self, rows: &dyn Part, scopes: &[&str]) -> io::Result<()> {
        let most = MOST / scopes.len().max(1);
        let (mut found, mut text) = (Vec::new(), Vec::new());
        let prune = Prune { newest_first: true, ..Prune::default() };
        rows.read(columns::NAMES, &prune, &mut |batch| {
            let bodies = batch.column_by_name("body").and_then(|bodies| bodies.as_string_opt::<i32>());
            let writer = RowWriter::new(&batch);
            let may_be = |row: &usize| {
                let body = bodies.filter(|bodies| bodies.is_valid(*row)).map(|bodies| bodies.value(*row));
                body.is_some_and(|body| memchr::memmem::find(body.as_bytes(), b"\"_id\":").is_some())
            };
            let created = (0..batch.num_rows()).rev().filter(may_be).filter_map(|row| {
                text.clear();
                writer.write(row, &mut text);
                created(&text, scopes)
            });
            found.extend(created.take(most - found.len()));
            Ok(if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        // The newest is forgotten last.
        found.iter().rev().for_each(|keys| self.settle(keys, true));
        Ok(())
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

/// What a row is. It shows more than was sent, so what was indexed cannot be told from a new version of it: only creations
/// are known again. Nor does it show by which door it came: it counts for each.
fn created(row: &[u8], scopes: &[&str]) -> Option<Vec<Key>> {
    let entry: Value = serde_json::from_slice(row).ok()?;
    let target = document::target(&entry)?;
    let stamp = serde_json::from_slice::<Head<'_>>(row).ok().and_then(|head| head.stamp());
    Some(scopes.iter().map(|scope| Key::of(Action::Create, target, (scope, stamp.clone()), &entry)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Key {
        Key::of(Action::Create, ("app", id), ("", None), &Value::Null)
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
        let of = |action, content: i32| Key::of(action, ("app", "7"), ("", None), &content.into());
        assert_eq!(of(Action::Create, 1), of(Action::Create, 2));
        assert_ne!(of(Action::Index, 1), of(Action::Index, 2));
        let split = |index, id| Key::of(Action::Create, (index, id), ("", None), &Value::Null);
        assert_ne!(split("ap", "p7"), split("app", "7"));
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
