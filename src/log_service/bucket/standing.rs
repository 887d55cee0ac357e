//! [`Standing`]: how a sink stands, for those who ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::ledger::Totals;
use crate::log_service::store::{ClosedFile, Shipped};

/// Files that are put aside and told of.
const TOLD: usize = 10;

pub(super) struct Standing {
    pub(super) name: String,
    /// Where the files go.
    pub(super) to: String,
    pub(super) shipped: Arc<Shipped>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) totals: Totals,
    /// The file on its way.
    pub(super) sending: Option<u64>,
    pub(super) trouble: Option<Trouble>,
    pub(super) aside: BTreeMap<u64, Aside>,
}

/// Why nothing goes at the moment.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) why: String,
    pub(super) since: Timestamp,
    pub(super) tries: u32,
    /// Somebody must do something about it.
    pub(super) is_held: bool,
}

/// A file that was refused.
#[derive(Clone, Debug)]
pub(super) struct Aside {
    pub(super) why: String,
    /// When it is tried once more.
    pub(super) until: Instant,
}

/// Files of closed hours that a sink does not have.
pub(super) struct Waiting {
    pub(super) files: usize,
    pub(super) bytes: u64,
    /// The hour of the oldest, as a time.
    pub(super) oldest: Option<String>,
}

impl Waiting {
    pub(super) fn of(files: &[ClosedFile], has: impl Fn(u64) -> bool) -> Self {
        let waiting: Vec<&ClosedFile> = files.iter().filter(|file| !has(file.number)).collect();
        let oldest = waiting.iter().map(|file| file.hour).min();
        let oldest = oldest.and_then(|hour| Timestamp::from_second(hour.saturating_mul(3600)).ok());
        Self {
            files: waiting.len(),
            bytes: waiting.iter().map(|file| file.bytes).sum(),
            oldest: oldest.map(|oldest| oldest.to_string()),
        }
    }
}

impl Standing {
    pub(super) fn new(name: &str, to: String, shipped: Arc<Shipped>, totals: Totals) -> Self {
        let state = Mutex::new(State { totals, ..State::default() });
        Self { name: name.to_owned(), to, shipped, state }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Each member stands alone.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `files` are those of all closed hours.
    pub(super) fn told(&self, files: &[ClosedFile]) -> Value {
        let waiting = Waiting::of(files, |number| self.shipped.has(number));
        let state = self.lock();
        let word = match (&state.trouble, state.sending) {
            (Some(trouble), _) if trouble.is_held => "held",
            (Some(_), _) => "retrying",
            (None, Some(_)) => "sending",
            (None, None) if !state.aside.is_empty() => "refused",
            (None, None) => "ok",
        };
        let trouble = state.trouble.as_ref();
        let name = |number: &u64| files.iter().find(|file| file.number == *number).map(|file| &*file.name);
        let aside = state.aside.iter().take(TOLD);
        let aside = aside.map(|(number, aside)| json!({ "file": name(number), "err": aside.why }));
        let mut told = told(&self.name, &self.to, &waiting, state.totals);
        told["state"] = word.into();
        told["err"] = json!(trouble.map(|trouble| &trouble.why));
        told["since"] = json!(trouble.map(|trouble| trouble.since.to_string()));
        told["tries"] = json!(trouble.map(|trouble| trouble.tries));
        told["refused_files"] = state.aside.len().into();
        told["refused"] = aside.collect();
        told
    }
}

/// What is known of a sink by its ledger and the files that there are.
pub(super) fn told(sink: &str, to: &str, waiting: &Waiting, totals: Totals) -> Value {
    json!({
        "sink": sink,
        "type": "s3",
        "to": to,
        "waiting_files": waiting.files,
        "waiting_bytes": waiting.bytes,
        "oldest": waiting.oldest,
        "taken_files": totals.files,
        "taken_bytes": totals.bytes,
        "lost_files": totals.lost_files,
        "lost_bytes": totals.lost_bytes,
    })
}
