//! [`Shipper`]: the task of one sink: looks, puts what the ledger does not have, writes it down.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{self, Instant};

use super::answer::Outcome;
use super::client::{Client, ClientError};
use super::ledger::{Ledger, Taken};
use super::place;
use super::settings::Settings;
use super::standing::{Aside, Standing, Trouble};
use crate::log_service::outbound::chance;
use crate::log_service::store::{ClosedFile, Shipped, Store};

/// First pause after a failure.
const FIRST: Duration = Duration::from_millis(100);
/// No sink is asked without a pause.
const LEAST: Duration = Duration::from_millis(1);
/// After this time a file that was refused is tried once more: somebody may have changed the rules of the bucket.
const ASIDE: Duration = Duration::from_secs(3600);
/// A file that was tried so often in vain goes behind the others: one that the other side cannot take holds up nobody.
const TRIES_IN_A_ROW: u32 = 4;
/// Files that are put aside at a time; with more there is something wrong with the sink.
const MAX_ASIDE: usize = 100;

pub(super) struct Shipper {
    client: Result<Client, ClientError>,
    ledger: Arc<Mutex<Ledger>>,
    standing: Arc<Standing>,
    /// Files that were tried in vain, and how often: they go behind those that were not.
    setbacks: BTreeMap<u64, u32>,
    retry_max: Duration,
    every: Duration,
}

impl Shipper {
    pub(super) fn open(settings: &Settings, data: &Path, every: Duration) -> Self {
        let to = place::told(settings);
        let ledger = Ledger::open(data, &settings.name, &to).unwrap_or_else(|error| {
            tracing::error!(
                sink = settings.name,
                %error,
                "what the sink has cannot be read: all files that are kept go again, as the same objects"
            );
            Ledger::empty(data, &settings.name, &to)
        });
        let shipped = Arc::new(Shipped::of(ledger.numbers()));
        let standing = Arc::new(Standing::new(&settings.name, to, shipped, ledger.totals()));
        let (retry_max, setbacks) = (settings.retry_max, BTreeMap::new());
        let ledger = Arc::new(Mutex::new(ledger));
        Self { client: Client::new(settings), ledger, standing, setbacks, retry_max, every }
    }

    pub(super) fn shipped(&self) -> Arc<Shipped> {
        Arc::clone(&self.standing.shipped)
    }

    pub(super) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// Until it is dropped.
    pub(super) async fn run(mut self, store: Store) {
        self.write(Ledger::begin).await;
        if let Err(error) = &self.client {
            let why = error.to_string();
            tracing::error!(sink = self.standing.name, why, "a sink for log files cannot work");
            self.standing.lock().trouble =
                Some(Trouble { why, since: Timestamp::now(), tries: 0, is_held: true });
            return;
        }
        loop {
            let files = store.closed_files();
            self.keep_house(&files).await;
            match self.next(files) {
                Some(file) => self.ship(&file).await,
                None => time::sleep(self.every).await,
            }
        }
    }

    /// The oldest file that is missing, of those that were least often in the way.
    pub(super) fn next(&self, files: Vec<ClosedFile>) -> Option<ClosedFile> {
        let mut state = self.standing.lock();
        let now = Instant::now();
        state.aside.retain(|_, aside| aside.until > now);
        let missing = files.into_iter().filter(|file| {
            !self.standing.shipped.has(file.number) && !state.aside.contains_key(&file.number)
        });
        missing.min_by_key(|file| self.setbacks.get(&file.number).map_or(0, |tries| tries / TRIES_IN_A_ROW))
    }

    /// Writes down what had to go, and forgets what is gone.
    async fn keep_house(&mut self, files: &[ClosedFile]) {
        let live: BTreeSet<u64> = files.iter().map(|file| file.number).collect();
        let lost = self.standing.shipped.take_lost();
        self.standing.shipped.keep_only(&live);
        self.setbacks.retain(|number, _| live.contains(number));
        self.standing.lock().aside.retain(|number, _| live.contains(number));
        if lost.files > 0 {
            self.write(move |ledger| ledger.lose(lost, Timestamp::now().to_string())).await;
        }
        if locked(&self.ledger).is_long(&live) {
            self.write(move |ledger| ledger.tidy(&live)).await;
        }
    }

    /// Changes the ledger, durably when this returns.
    async fn write(&self, change: impl FnOnce(&mut Ledger) -> io::Result<()> + Send + 'static) {
        let ledger = Arc::clone(&self.ledger);
        let written = tokio::task::spawn_blocking(move || change(&mut locked(&ledger))).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(error.into())) {
            // In memory it counts; after the next start the file may go once more.
            tracing::error!(sink = self.standing.name, %error, "what a sink has taken cannot be written down");
        }
        let totals = locked(&self.ledger).totals();
        self.standing.lock().totals = totals;
    }

    /// One try, and the pause after it.
    pub(super) async fn ship(&mut self, file: &ClosedFile) {
        let Ok(client) = &self.client else { return };
        self.standing.lock().sending = Some(file.number);
        let (outcome, taken) = client.put(file).await;
        self.standing.lock().sending = None;
        let pause = match outcome {
            Outcome::Taken => self.took(file, taken).await,
            Outcome::Refused(why) => self.put_aside(file, why),
            Outcome::Busy(why, after) => {
                *self.setbacks.entry(file.number).or_default() += 1;
                self.wait(why, after, false)
            }
            Outcome::Held(why) => self.wait(why, None, true),
        };
        time::sleep(pause).await;
    }

    async fn took(&mut self, file: &ClosedFile, taken: Option<Taken>) -> Duration {
        if let Some(taken) = taken {
            let (sink, object) = (&self.standing.name, &taken.object);
            tracing::debug!(sink, object, bytes = taken.bytes, "log file put");
            self.write(move |ledger| ledger.take(taken)).await;
        }
        self.standing.shipped.note(file.number);
        self.setbacks.remove(&file.number);
        let trouble = self.standing.lock().trouble.take();
        if let Some(trouble) = trouble {
            tracing::info!(sink = self.standing.name, tries = trouble.tries, "a sink takes log files again");
        }
        Duration::ZERO
    }

    fn put_aside(&self, file: &ClosedFile, why: String) -> Duration {
        tracing::error!(sink = self.standing.name, file = file.name, why, "a sink refuses a log file");
        let mut state = self.standing.lock();
        if state.aside.len() >= MAX_ASIDE {
            drop(state);
            return self.wait(why, None, true);
        }
        state.aside.insert(file.number, Aside { why, until: Instant::now() + ASIDE });
        state.trouble = None;
        Duration::ZERO
    }

    /// The pause before the next try; what is new is told.
    fn wait(&self, why: String, after: Option<Duration>, is_held: bool) -> Duration {
        let mut state = self.standing.lock();
        let before = state.trouble.take();
        let is_news = before.as_ref().is_none_or(|before| before.why != why);
        let tries = before.as_ref().map_or(1, |before| before.tries.saturating_add(1));
        let since = before.map_or_else(Timestamp::now, |before| before.since);
        match (is_news, is_held) {
            (true, true) => tracing::error!(
                sink = self.standing.name,
                why,
                "a sink takes no log files: they are kept, and it is tried again"
            ),
            (true, false) => {
                tracing::warn!(
                    sink = self.standing.name,
                    why,
                    "a log file could not be put; it is tried again"
                );
            }
            (false, _) => {}
        }
        state.trouble = Some(Trouble { why, since, tries, is_held });
        pause(tries, self.retry_max, chance()).max(after.unwrap_or_default())
    }
}

fn locked(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    // In the file a change is there as a whole or not at all.
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each pause is twice the one before, cut by chance down to half. `chance` is 0 to 1.
pub(super) fn pause(tries: u32, longest: Duration, chance: f64) -> Duration {
    let whole = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(longest.max(LEAST));
    whole.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}
