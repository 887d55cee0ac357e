//! [`Watch`]: the task that looks, writes down what has changed, and sends.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{self, MissedTickBehavior};

use super::engine::{Change, Engine, Standing};
use super::facts::{self, Reading};
use super::message::{self, Message};
use super::outbox::{Next, Outbox, Outcome, Parcel};
use super::rule::Rule;
use super::target::Target;
use super::{Moment, Settings, entries, host, keep, samples, value};
use crate::config::alert::Metric;
use crate::log_service::entry::Entry;
use crate::log_service::exec::{self, Parts};
use crate::log_service::outbound::chance;
use crate::log_service::store::Store;

/// Changes of one look that get samples; a hundred searches would take too long.
const SAMPLED: usize = 16;
/// Who asks waits in line.
const ASKS: usize = 16;

/// A question of the door.
pub(crate) enum Ask {
    List(oneshot::Sender<Value>),
    /// Sends a message of this rule to all that it tells.
    Test(String, oneshot::Sender<Result<Value, String>>),
    /// Nobody is told of this rule for so long.
    Silence(String, Duration, oneshot::Sender<Result<Value, String>>),
}

/// The way to a watch that runs.
#[derive(Clone)]
pub(crate) struct Handle(mpsc::Sender<Ask>);

impl Handle {
    /// `None`: the service is stopping.
    pub(crate) async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(ask(reply)).await.ok()?;
        answer.await.ok()
    }
}

pub(crate) struct Watch {
    engine: Engine,
    outbox: Outbox,
    targets: Vec<Target>,
    every: Duration,
    store: Store,
    data: PathBuf,
    asks: mpsc::Receiver<Ask>,
    tries: JoinSet<Outcome>,
    /// What each of them carries.
    carried: HashMap<Id, Parcel>,
    /// The next run must know of it.
    is_new: bool,
    /// Why what an earlier run left cannot be read.
    damage: Option<String>,
}

impl Watch {
    pub(crate) fn new(settings: &Settings, store: Store, data: PathBuf) -> (Self, Handle) {
        let (kept, damage) = keep::load(&data);
        if let Some(why) = &damage {
            tracing::error!(why, "what alarms remembered cannot be read: all of them begin anew");
        }
        let keep::Kept { memory, mut outbox } = kept;
        let targets = settings.targets.clone();
        outbox.keep_targets(|name| targets.iter().any(|target| *target.name == *name));
        let engine = Engine::new(settings.rules.clone(), memory, TimeZone::system());
        let (sender, asks) = mpsc::channel(ASKS);
        let watch = Self {
            engine,
            outbox,
            targets,
            every: settings.every,
            store,
            data,
            asks,
            tries: JoinSet::new(),
            carried: HashMap::new(),
            is_new: damage.is_some(),
            damage,
        };
        (watch, Handle(sender))
    }

    /// Watches until `stop`. What is on its way then is sent again by the next run.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut looks = time::interval(self.every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let damage = self.damage.take().and_then(|why| entries::of_damage(&why, now()));
        self.write(damage).await;
        loop {
            self.send();
            let pause = self.outbox.next_due().map(|due| due.saturating_sub(now()));
            let pause = pause.map(|pause| Duration::from_millis(pause.max(1).unsigned_abs()));
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ask) = self.asks.recv() => self.answer(ask),
                Some(tried) = self.tries.join_next_with_id() => self.note(tried).await,
                _ = looks.tick() => self.look().await,
                () = time::sleep(pause.unwrap_or(self.every)) => {}
            }
            self.save().await;
        }
        self.is_new = !self.engine.rules().is_empty();
        self.save().await;
    }

    async fn look(&mut self) {
        if self.engine.rules().is_empty() {
            return;
        }
        let (rules, store, at) = (self.engine.rules().to_vec(), self.store.clone(), now());
        let read = tokio::task::spawn_blocking(move || readings(&rules, &store, at)).await;
        let Ok(facts) = read else { return };
        let changes = self.engine.step(at, &facts);
        self.is_new |= !changes.is_empty() || !self.engine.memory().is_quiet();
        for (place, change) in changes.iter().enumerate() {
            self.tell(change, place < SAMPLED).await;
        }
    }

    /// Writes a change down and queues it for all who are told.
    async fn tell(&mut self, change: &Change, with_samples: bool) {
        let wants = with_samples && change.is_bad();
        let samples = if wants { self.samples(change.clone()).await } else { Vec::new() };
        let message = Message::of(change, self.outbox.event(), samples);
        self.write(entries::of_change(change, &message)).await;
        if !change.is_told() {
            return;
        }
        for name in &change.rule.notify {
            for old in self.outbox.supersede(name, &message) {
                self.write(entries::of_superseded(&old, change.at)).await;
            }
            if let Some(dropped) = self.outbox.put(name, message.clone(), change.at) {
                tracing::warn!(
                    to = dropped.to,
                    alert = dropped.message.alert,
                    "an alarm is not sent: too many wait"
                );
                self.write(entries::of_drop(&dropped, change.at)).await;
            }
        }
    }

    async fn samples(&self, change: Change) -> Vec<message::Sample> {
        let store = self.store.clone();
        let found = tokio::task::spawn_blocking(move || samples::of(&change, &Parts::new(store.parts())));
        found.await.unwrap_or_default()
    }

    /// Begins every try that is due.
    fn send(&mut self) {
        for parcel in self.outbox.due(now()) {
            let Some(target) = self.targets.iter().find(|target| *target.name == parcel.to).cloned() else {
                continue;
            };
            let message = parcel.message.clone();
            let tried = self.tries.spawn(async move { target.deliver(&message).await });
            self.carried.insert(tried.id(), parcel);
        }
    }

    async fn note(&mut self, tried: Result<(Id, Outcome), JoinError>) {
        // Else its target would wait for it for ever.
        let (id, outcome) = tried.unwrap_or_else(|broken| (broken.id(), of_broken(&broken)));
        let Some(parcel) = self.carried.remove(&id) else { return };
        self.is_new = true;
        let next = self.outbox.done(parcel.number, &outcome, now(), chance());
        if next == Next::GivenUp {
            tracing::error!(
                to = parcel.to,
                alert = parcel.message.alert,
                ?outcome,
                "an alarm could not be sent"
            );
        }
        self.write(entries::of_try(&parcel, &outcome, next, now())).await;
    }

    async fn write(&self, entry: Option<Entry>) {
        let Some(entry) = entry else { return };
        if let Err(error) = self.store.append(vec![entry], "alerts".into()).await {
            tracing::error!(%error, "what an alarm did cannot be recorded");
        }
    }

    fn answer(&mut self, ask: Ask) {
        // Who has gone needs no answer.
        match ask {
            Ask::List(reply) => drop(reply.send(self.list())),
            Ask::Silence(name, time, reply) => drop(reply.send(self.silence(&name, time))),
            Ask::Test(name, reply) => match self.engine.rule(&name).cloned() {
                Some(rule) => self.test(&rule, reply),
                None => drop(reply.send(Err(self.unknown(&name)))),
            },
        }
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.engine.rules().iter().map(|rule| &*rule.name).collect();
        let known = if known.is_empty() {
            "there is none".to_owned()
        } else {
            format!("there is {}", known.join(", "))
        };
        format!("there is no alarm `{name}`: {known}")
    }

    fn silence(&mut self, name: &str, time: Duration) -> Result<Value, String> {
        let rule = self.engine.rule(name).cloned().ok_or_else(|| self.unknown(name))?;
        let until = now().saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        self.engine.silence(&rule, until);
        self.is_new = true;
        Ok(json!({ "alert": name, "silent_until": message::time(until) }))
    }

    /// One try for each who is told; what came of it is answered and recorded.
    fn test(&mut self, rule: &Arc<Rule>, reply: oneshot::Sender<Result<Value, String>>) {
        let message = Message::test(rule, self.outbox.event(), now());
        let told = |target: &&Target| rule.notify.contains(&target.name);
        let targets: Vec<Target> = self.targets.iter().filter(told).cloned().collect();
        let store = self.store.clone();
        tokio::spawn(async move {
            let mut sent = Vec::new();
            for target in targets {
                let (by, sent_now) = (target.clone(), message.clone());
                let tried = tokio::spawn(async move { by.deliver(&sent_now).await }).await;
                let outcome = tried.unwrap_or_else(|broken| of_broken(&broken));
                let parcel = Parcel::once(&target.name, message.clone(), now());
                let entry = entries::of_try(&parcel, &outcome, Next::GivenUp, now());
                // Whether or not it can be recorded, who asked is told.
                let _ = store.append(entry.into_iter().collect(), "alerts".into()).await;
                let why = match &outcome {
                    Outcome::Taken => None,
                    Outcome::Refused(why) | Outcome::Failed(why, _) => Some(why.clone()),
                };
                sent.push(
                    json!({ "to": &*target.name, "form": target.form(), "sent": why.is_none(), "err": why }),
                );
            }
            let _ = reply.send(Ok(json!({ "alert": message.alert, "deliveries": sent })));
        });
    }

    fn list(&self) -> Value {
        let standings = self.engine.standings(now());
        let targets = self.targets.iter().map(|target| {
            let waiting = self.outbox.waiting(&target.name);
            json!({ "name": &*target.name, "form": target.form(), "waiting": waiting })
        });
        json!({
            "alerts": standings.iter().map(standing).collect::<Vec<_>>(),
            "targets": targets.collect::<Vec<_>>(),
        })
    }

    /// When there is something that the next run must know.
    async fn save(&mut self) {
        if !std::mem::take(&mut self.is_new) {
            return;
        }
        let text = json!({ "memory": self.engine.memory(), "outbox": &self.outbox }).to_string();
        let data = self.data.clone();
        let saved = tokio::task::spawn_blocking(move || keep::save(&data, text.as_bytes())).await;
        if let Ok(Err(error)) = saved {
            tracing::error!(%error, "what alarms remember cannot be saved");
            self.is_new = true;
        }
    }
}

/// A try that did not come to its end.
fn of_broken(error: &JoinError) -> Outcome {
    Outcome::Failed(
        format!("the try broke off: {}", if error.is_panic() { "a panic" } else { "cancelled" }),
        None,
    )
}

fn standing(standing: &Standing<'_>) -> Value {
    let rule = standing.rule;
    let state = match standing.alarm {
        None => "ok",
        Some(alarm) if alarm.fired.is_none() => "pending",
        Some(_) => "firing",
    };
    let mut told = json!({
        "alert": &*rule.name,
        "state": state,
        "when": &*rule.when_text,
        "over_s": rule.over.as_secs(),
        "for_s": rule.hold.as_secs(),
        "by": rule.by.word(),
        "silent": standing.is_silent,
        "notify": rule.notify.iter().map(|name| &**name).collect::<Vec<_>>(),
    });
    if !standing.key.is_empty() {
        told["key"] = standing.key.into();
    }
    if let Some(number) = standing.value {
        told["value"] = number.into();
        told["value_text"] = value::text(&rule.when, number).into();
    }
    if let Some(alarm) = standing.alarm {
        told["since"] = message::time(alarm.since).into();
    }
    if standing.left_out > 0 {
        told["left_out"] = standing.left_out.into();
    }
    told
}

/// What each rule is held against. Blocks.
fn readings(rules: &[Arc<Rule>], store: &Store, at: Moment) -> Vec<Reading> {
    let counted = store.rollups();
    let mut machines = BTreeMap::new();
    let reading = |rule: &Arc<Rule>| {
        let read = match rule.when.metric {
            Metric::Missing => return missing(rule, store, at),
            metric if metric.is_of_requests() => facts::of_requests(rule, &counted, at),
            _ => machines
                .entry(rule.over)
                .or_insert_with(|| host::machines(rule.over, &counted, at))
                .as_ref()
                .map(|told| told.as_ref().map_or(Reading::Unknown, |told| host::of_machines(rule, told, at)))
                .map_err(|error| io::Error::new(error.kind(), error.to_string())),
        };
        read.unwrap_or_else(|error| {
            tracing::warn!(alert = &*rule.name, %error, "counts cannot be read: the alarm stays as it is");
            Reading::Unknown
        })
    };
    rules.iter().map(reading).collect()
}

/// Records of the window that should be there and are not.
fn missing(rule: &Rule, store: &Store, at: Moment) -> Reading {
    let since = facts::since(rule.over, at).saturating_mul(1000);
    let report = exec::report(&Parts::new(store.parts()), Some((since, i64::MAX)));
    if report.unknown {
        return Reading::Unknown;
    }
    // What nobody can count is worth an alarm, too.
    let count = report.missing_count().saturating_add(report.open().count() as u64);
    Reading::Values([(Box::default(), count as f64)].into())
}

fn now() -> Moment {
    Timestamp::now().as_millisecond()
}
