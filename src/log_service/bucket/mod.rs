//! Object storage: the files of closed hours go to a bucket, each once, one after the other.
//!
//! ```text
//! store's closed files ─▸ shipper ─▸ place (name, signature) ─▸ client (PUT) ─▸ answer (what it means)
//!                           └▸ ledger: sinks/NAME.jsonl ─▸ retention keeps what is not in it
//! ```
//!
//! Only files of closed hours go (`l1`, `err`): nothing changes them any more, so no object is ever replaced or taken away. The name
//! of an object has the hash of its content, so that a file that goes twice (a crash between the answer and the ledger) is the same
//! object, and two services that share a prefix, or a directory that was begun anew, never touch each other's.
//!
//! Invariants: what is not in the ledger is not deleted by age; what had to go for want of room is counted in it. Keys and signatures
//! are in no log, error or answer.

mod answer;
mod client;
mod ledger;
mod place;
mod seen;
mod settings;
mod shipper;
mod standing;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

pub(crate) use seen::told_by_ledgers;
pub use settings::Settings;
use shipper::Shipper;
use standing::Standing;

use super::store::{Shipped, Store};

/// All sinks of this kind.
pub(crate) struct Buckets(Vec<Shipper>);

impl Buckets {
    /// Reads what each has, before the store may drop a file. `every` is the time between two looks for new ones.
    pub(crate) fn open(settings: &[Settings], data: &Path, every: Duration) -> Self {
        Self(settings.iter().map(|one| Shipper::open(one, data, every)).collect())
    }

    /// What each has, for retention.
    pub(crate) fn shipped(&self) -> Vec<Arc<Shipped>> {
        self.0.iter().map(Shipper::shipped).collect()
    }

    /// How each stands, for those who ask.
    pub(crate) fn desk(&self) -> BucketDesk {
        BucketDesk(self.0.iter().map(Shipper::standing).collect())
    }

    /// Ships until `stop`; a file on its way then goes again at the next start.
    pub(crate) async fn run(self, store: &Store, stop: impl Future<Output = ()>) {
        let shipping = join_all(self.0.into_iter().map(|shipper| shipper.run(store.clone())));
        let shipping = async {
            shipping.await;
            std::future::pending::<()>().await
        };
        tokio::select! {
            () = stop => {}
            () = shipping => {}
        }
    }
}

/// The sinks as others see them.
#[derive(Clone, Default)]
pub(crate) struct BucketDesk(Vec<Arc<Standing>>);

impl BucketDesk {
    /// How far behind each is, and why.
    pub(crate) fn told(&self, store: &Store) -> Vec<Value> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let files = store.closed_files();
        self.0.iter().map(|standing| standing.told(&files)).collect()
    }
}
