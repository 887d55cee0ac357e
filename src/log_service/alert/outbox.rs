//! [`Outbox`]: messages on their way, each tried again until it is taken, refused, or an hour old. Pure: clock, chance and what
//! became of a try come from outside. It is kept over restarts, so a message may be sent twice, and none is forgotten.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Moment;
use super::message::{Message, State};

/// Messages for one target; beyond it the oldest goes.
const MAX_WAITING: usize = 64;
/// After this time nobody wants to hear it.
const GIVE_UP_MS: i64 = 3_600_000;
const FIRST_MS: i64 = 1_000;
const LONGEST_MS: i64 = 300_000;

/// A message for one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Parcel {
    pub(super) number: u64,
    /// Name of the `[notify.NAME]`.
    pub(super) to: String,
    pub(super) message: Message,
    pub(super) queued: Moment,
    /// Tries so far.
    pub(super) tries: u32,
    due: Moment,
}

impl Parcel {
    /// That is tried once and never queued.
    pub(super) fn once(to: &str, message: Message, now: Moment) -> Self {
        Self { number: 0, to: to.to_owned(), message, queued: now, tries: 0, due: now }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Outbox {
    parcels: VecDeque<Parcel>,
    numbers: u64,
    #[serde(skip)]
    under_way: BTreeSet<u64>,
}

/// What became of one try; words that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken,
    /// It would be refused again.
    Refused(String),
    /// Later, at the earliest after the time that was named.
    Failed(String, Option<Duration>),
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Done,
    Again(Moment),
    GivenUp,
}

impl Outbox {
    /// The number of the next event.
    pub(super) fn event(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Takes away the reminders for a target that this message of the same alarm makes old, but for one on its way.
    pub(super) fn supersede(&mut self, to: &str, newer: &Message) -> Vec<Parcel> {
        let is_old = |parcel: &Parcel| {
            let Message { alert, state, about, .. } = &parcel.message;
            parcel.to == to && *state == State::Reminder && *alert == newer.alert && *about == newer.about
        };
        let is_old = |parcel: &&Parcel| is_old(parcel) && !self.under_way.contains(&parcel.number);
        let old: Vec<u64> = self.parcels.iter().filter(is_old).map(|parcel| parcel.number).collect();
        old.into_iter().filter_map(|number| self.take(number)).collect()
    }

    /// Queues a message; gives back the one that had to go for it.
    pub(super) fn put(&mut self, to: &str, message: Message, now: Moment) -> Option<Parcel> {
        let number = self.event();
        let waiting = |parcel: &&Parcel| parcel.to == to && !self.under_way.contains(&parcel.number);
        let oldest = self.parcels.iter().find(waiting).map(|parcel| parcel.number);
        let count = self.parcels.iter().filter(|parcel| parcel.to == to).count();
        let dropped = oldest.filter(|_| count >= MAX_WAITING).and_then(|number| self.take(number));
        self.parcels.push_back(Parcel {
            number,
            to: to.to_owned(),
            message,
            queued: now,
            tries: 0,
            due: now,
        });
        dropped
    }

    /// What is to be tried now: of each target the oldest, one at a time, so that they arrive in order.
    pub(super) fn due(&mut self, now: Moment) -> Vec<Parcel> {
        let mut seen = BTreeSet::new();
        let mut due = Vec::new();
        for parcel in &mut self.parcels {
            // Of a clock that went back.
            parcel.due = parcel.due.min(now.saturating_add(LONGEST_MS * 2));
            let is_first = seen.insert(parcel.to.clone());
            if is_first && parcel.due <= now && !self.under_way.contains(&parcel.number) {
                self.under_way.insert(parcel.number);
                due.push(parcel.clone());
            }
        }
        due
    }

    /// When something is to be tried again. What stands behind another one waits for that, not for a time.
    pub(super) fn next_due(&self) -> Option<Moment> {
        let mut seen = BTreeSet::new();
        let first = self.parcels.iter().filter(|parcel| seen.insert(parcel.to.as_str()));
        let waiting = first.filter(|parcel| !self.under_way.contains(&parcel.number));
        waiting.map(|parcel| parcel.due).min()
    }

    /// Notes what became of a try. `chance` is 0 to 1.
    pub(super) fn done(&mut self, number: u64, outcome: &Outcome, now: Moment, chance: f64) -> Next {
        self.under_way.remove(&number);
        let Some(parcel) = self.parcels.iter_mut().find(|parcel| parcel.number == number) else {
            return Next::Done;
        };
        parcel.tries = parcel.tries.saturating_add(1);
        let Outcome::Failed(_, after) = outcome else {
            self.take(number);
            return if matches!(outcome, Outcome::Taken) { Next::Done } else { Next::GivenUp };
        };
        let longest = FIRST_MS.saturating_mul(1 << parcel.tries.saturating_sub(1).min(20)).min(LONGEST_MS);
        // Between half and all of it, so that many do not come back at once.
        let pause = longest / 2 + (longest as f64 / 2.0 * chance) as i64;
        let asked = after.map_or(0, |after| i64::try_from(after.as_millis()).unwrap_or(i64::MAX));
        parcel.due = now.saturating_add(pause.max(asked));
        let due = parcel.due;
        if due.saturating_sub(parcel.queued) > GIVE_UP_MS {
            self.take(number);
            return Next::GivenUp;
        }
        Next::Again(due)
    }

    /// Takes away what is for targets that are gone.
    pub(super) fn keep_targets(&mut self, is_known: impl Fn(&str) -> bool) {
        self.parcels.retain(|parcel| is_known(&parcel.to));
    }

    pub(super) fn waiting(&self, to: &str) -> usize {
        self.parcels.iter().filter(|parcel| parcel.to == to).count()
    }

    fn take(&mut self, number: u64) -> Option<Parcel> {
        let at = self.parcels.iter().position(|parcel| parcel.number == number)?;
        self.parcels.remove(at)
    }
}
