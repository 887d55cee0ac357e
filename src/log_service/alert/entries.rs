//! What the log itself says of alarms: a `kind = "alert"` entry for each change and for each try to tell somebody.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Moment;
use super::engine::Change;
use super::message::{Message, State};
use super::outbox::{Next, Outcome, Parcel};
use crate::log_service::entry::Entry;

/// Of a change, whether or not anybody is told.
pub(super) fn of_change(change: &Change, message: &Message) -> Option<Entry> {
    let mut entry = of_message(message, change.at);
    entry["msg"] = message.summary().into();
    if change.is_silent {
        entry["silent"] = true.into();
    }
    stored(&entry)
}

/// Of a try.
pub(super) fn of_try(parcel: &Parcel, outcome: &Outcome, next: Next, now: Moment) -> Option<Entry> {
    let mut entry = of_message(&parcel.message, now);
    let number = parcel.tries + 1;
    let (word, why) = match (outcome, next) {
        (Outcome::Taken, _) => ("sent", None),
        (Outcome::Failed(why, _), Next::Again(_)) => ("failed", Some(why)),
        (Outcome::Failed(why, _) | Outcome::Refused(why), _) => ("given_up", Some(why)),
    };
    entry["delivery"] = word.into();
    entry["to"] = parcel.to.as_str().into();
    entry["try"] = number.into();
    if let Some(why) = why {
        entry["err"] = why.as_str().into();
    }
    if let Next::Again(due) = next {
        entry["again"] = super::message::time(due).into();
    }
    let told = why.map(|why| format!(": {why}")).unwrap_or_default();
    entry["msg"] = format!(
        "{} ({}) to {}: {word}, try {number}{told}",
        parcel.message.alert,
        parcel.message.state.word(),
        parcel.to
    )
    .into();
    stored(&entry)
}

/// Of a message that had no room.
pub(super) fn of_drop(parcel: &Parcel, now: Moment) -> Option<Entry> {
    of_unsent(parcel, "dropped", "too many messages wait for this target", now)
}

/// Of a reminder that was still waiting when there was something newer to say.
pub(super) fn of_superseded(parcel: &Parcel, now: Moment) -> Option<Entry> {
    of_unsent(parcel, "superseded", "a newer message of the alarm follows", now)
}

fn of_unsent(parcel: &Parcel, delivery: &str, why: &str, now: Moment) -> Option<Entry> {
    let mut entry = of_message(&parcel.message, now);
    entry["delivery"] = delivery.into();
    entry["to"] = parcel.to.as_str().into();
    entry["err"] = why.into();
    entry["msg"] = format!(
        "{} ({}) to {}: {delivery}: {why}",
        parcel.message.alert,
        parcel.message.state.word(),
        parcel.to
    )
    .into();
    stored(&entry)
}

/// Of what was remembered and cannot be read.
pub(super) fn of_damage(why: &str, now: Moment) -> Option<Entry> {
    stored(
        &json!({ "kind": "alert", "ts": super::message::time(now), "level": "error", "state": "damaged", "err": why,
        "msg": "what alarms remembered cannot be read: all of them begin anew" }),
    )
}

fn of_message(message: &Message, now: Moment) -> Value {
    let mut entry = message.document();
    if let Some(object) = entry.as_object_mut() {
        // The store's own version, and words that are in `msg`.
        ["v", "summary", "text", "link"].into_iter().for_each(|name| drop(object.remove(name)));
    }
    entry["kind"] = "alert".into();
    entry["ts"] = time_of(now).into();
    entry["level"] = match message.state {
        State::Firing | State::Reminder => "error",
        State::Pending => "warn",
        State::Cleared | State::Resolved | State::Test => "info",
    }
    .into();
    entry
}

fn time_of(now: Moment) -> String {
    jiff::Timestamp::from_millisecond(now).unwrap_or_default().to_string()
}

fn stored(entry: &Value) -> Option<Entry> {
    Entry::parse(Bytes::from(entry.to_string())).ok()
}
