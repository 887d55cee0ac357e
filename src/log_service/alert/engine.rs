//! [`Engine`]: rules held against what is so, moment by moment. Pure: clock and values come from outside.
//!
//! ```text
//! ok ── when ──▸ pending ── for ──▸ firing ── until, for as long ──▸ ok (resolved)
//!  ◂─── not when ───┘                 └ every `repeat`: reminder
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::facts::Reading;
use super::rule::Rule;
use super::{Moment, quiet};
use crate::config::alert::AlertBy;

/// Alarms of one rule at a time.
const MAX_ALARMS: usize = 64;
/// What was there once and may be missed, of one rule; and for how long.
const MAX_KNOWN: usize = 256;
const MISSED_MS: i64 = 24 * 3_600_000;
/// A pause between two steps that is longer does not count as time in which something was so.
const PAUSE_MS: i64 = 60_000;

/// What a rule remembers; kept over restarts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    /// When it was held against something last.
    stepped: Moment,
    rules: BTreeMap<Box<str>, Remembered>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Remembered {
    kind: String,
    alarms: BTreeMap<Box<str>, Alarm>,
    /// What is missed when it is gone, and when it was there last.
    known: BTreeMap<Box<str>, Moment>,
    silent_until: Option<Moment>,
    /// Alarms that had no room.
    left_out: u64,
    /// The last values, for those who ask.
    #[serde(skip)]
    value: Option<f64>,
}

/// One alarm that is not ok.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Alarm {
    /// Since when `when` is so.
    pub(super) since: Moment,
    /// When it began to fire; `None` is pending.
    pub(super) fired: Option<Moment>,
    /// When somebody was told last.
    told: Option<Moment>,
    /// Since when it is over.
    calm: Option<Moment>,
    pub(super) value: Option<f64>,
    /// When it had a value last.
    #[serde(default)]
    heard: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Pending,
    /// It was pending, and is not any more.
    Cleared,
    Firing,
    Reminder,
    Resolved,
}

/// What has changed, or is to be told again.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) rule: Arc<Rule>,
    pub(super) key: Box<str>,
    pub(super) what: What,
    pub(super) since: Moment,
    pub(super) at: Moment,
    pub(super) value: Option<f64>,
    /// It is recorded, and nobody is told.
    pub(super) is_silent: bool,
}

impl Change {
    /// Whether something is wrong now.
    pub(super) fn is_bad(&self) -> bool {
        matches!(self.what, What::Firing | What::Reminder)
    }

    pub(super) fn is_told(&self) -> bool {
        matches!(self.what, What::Firing | What::Reminder | What::Resolved) && !self.is_silent
    }
}

pub(super) struct Engine {
    rules: Vec<Arc<Rule>>,
    memory: Memory,
    zone: TimeZone,
}

/// One alarm, or a rule without any, for those who ask.
#[derive(Clone, Copy)]
pub(super) struct Standing<'e> {
    pub(super) rule: &'e Rule,
    pub(super) key: &'e str,
    pub(super) alarm: Option<&'e Alarm>,
    pub(super) value: Option<f64>,
    pub(super) is_silent: bool,
    pub(super) left_out: u64,
}

impl Engine {
    /// With what an earlier run remembered; of rules that are gone or are about something else now nothing counts.
    pub(super) fn new(rules: Vec<Rule>, mut memory: Memory, zone: TimeZone) -> Self {
        let kinds: BTreeMap<&str, String> = rules.iter().map(|rule| (&*rule.name, rule.kind())).collect();
        memory.rules.retain(|name, told| kinds.get(&**name).is_some_and(|kind| *kind == told.kind));
        Self { rules: rules.into_iter().map(Arc::new).collect(), memory, zone }
    }

    pub(super) fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn rule(&self, name: &str) -> Option<&Arc<Rule>> {
        self.rules.iter().find(|rule| *rule.name == *name)
    }

    /// Tells nobody of this rule until then.
    pub(super) fn silence(&mut self, rule: &Rule, until: Moment) {
        self.memory.of(rule).silent_until = Some(until);
    }

    /// Holds every rule against its reading; both are in the same order.
    pub(super) fn step(&mut self, now: Moment, facts: &[Reading]) -> Vec<Change> {
        self.memory.skip_pause(now);
        let mut changes = Vec::new();
        for (rule, reading) in self.rules.iter().zip(facts) {
            let Reading::Values(values) = reading else { continue };
            let is_silent = is_silent(rule, self.memory.of(rule), now, &self.zone);
            self.memory.of(rule).step(rule, values, (now, is_silent), &mut changes);
        }
        self.memory.stepped = now;
        changes
    }

    /// How everything stands.
    pub(super) fn standings(&self, now: Moment) -> Vec<Standing<'_>> {
        let mut told = Vec::new();
        for rule in &self.rules {
            let remembered = self.memory.rules.get(&*rule.name);
            let is_silent = remembered.is_some_and(|one| is_silent(rule, one, now, &self.zone));
            let left_out = remembered.map_or(0, |one| one.left_out);
            let ok = Standing { rule, key: "", alarm: None, value: None, is_silent, left_out };
            let alarms = remembered.into_iter().flat_map(|one| &one.alarms);
            let before = told.len();
            told.extend(alarms.map(|(key, alarm)| Standing {
                key,
                alarm: Some(alarm),
                value: alarm.value,
                ..ok
            }));
            if told.len() == before {
                told.push(Standing { value: remembered.and_then(|one| one.value), ..ok });
            }
        }
        told
    }
}

fn is_silent(rule: &Rule, remembered: &Remembered, now: Moment, zone: &TimeZone) -> bool {
    let by_hand = remembered.silent_until.is_some_and(|until| now < until);
    let time = Timestamp::from_millisecond(now).unwrap_or_default();
    by_hand || rule.silence.iter().any(|silence| quiet::holds(silence, time, zone))
}

impl Memory {
    fn of(&mut self, rule: &Rule) -> &mut Remembered {
        let begin = || Remembered { kind: rule.kind(), ..Remembered::default() };
        self.rules.entry((*rule.name).into()).or_insert_with(begin)
    }

    /// Whether an alarm is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.rules.values().all(|rule| rule.alarms.is_empty())
    }

    /// Time in which nobody looked is no time in which something was so; nor is what a clock jumps back.
    fn skip_pause(&mut self, now: Moment) {
        let pause = now.saturating_sub(self.stepped);
        if self.stepped == 0 || (0..=PAUSE_MS).contains(&pause) {
            return;
        }
        for alarm in self.rules.values_mut().flat_map(|rule| rule.alarms.values_mut()) {
            let shift = |moment: &mut Moment| *moment = moment.saturating_add(pause).min(now);
            if pause < 0 || alarm.fired.is_none() {
                shift(&mut alarm.since);
            }
            if pause < 0 {
                [&mut alarm.fired, &mut alarm.told].into_iter().flatten().for_each(shift);
            }
            alarm.calm.iter_mut().for_each(shift);
            shift(&mut alarm.heard);
        }
    }
}

impl Remembered {
    fn step(
        &mut self,
        rule: &Arc<Rule>,
        values: &BTreeMap<Box<str>, f64>,
        (now, is_silent): (Moment, bool),
        changes: &mut Vec<Change>,
    ) {
        self.left_out = 0;
        self.value =
            values.values().copied().reduce(if rule.when.sign.is_upper() { f64::max } else { f64::min });
        self.learn(rule, values, now);
        let keys: BTreeSet<Box<str>> =
            values.keys().chain(self.alarms.keys()).chain(self.known.keys()).cloned().collect();
        for key in keys {
            let gone = || self.known.contains_key(&key).then_some(0.0);
            let value = values.get(&key).copied().or_else(gone);
            // A machine that says nothing is not well because of that; one that was taken away is no alarm for ever.
            let is_heard = |alarm: &Alarm| now.saturating_sub(alarm.heard) < MISSED_MS;
            if value.is_none()
                && !rule.when.metric.is_of_requests()
                && self.alarms.get(&key).is_none_or(is_heard)
            {
                continue;
            }
            let was_told = self.alarms.get(&key).is_some_and(|alarm| alarm.told.is_some());
            let Some((what, since)) = self.look_at(rule, &key, value, now) else { continue };
            // Who heard nothing of it need not hear that it is over.
            let is_silent = is_silent || (what == What::Resolved && !was_told);
            if let Some(alarm) = self.alarms.get_mut(&key).filter(|_| !is_silent && what != What::Pending) {
                alarm.told = Some(now);
            } else if what == What::Reminder {
                // Told when the silence is over.
                continue;
            }
            changes.push(Change { rule: Arc::clone(rule), key, what, since, at: now, value, is_silent });
        }
    }

    fn learn(&mut self, rule: &Rule, values: &BTreeMap<Box<str>, f64>, now: Moment) {
        if !rule.misses_what_is_gone() || rule.by == AlertBy::Whole {
            return;
        }
        self.known.retain(|_, seen| now.saturating_sub(*seen) < MISSED_MS);
        for key in values.keys() {
            if self.known.len() < MAX_KNOWN || self.known.contains_key(key) {
                self.known.insert(key.clone(), now);
            }
        }
    }

    /// What becomes of one alarm, and since when it is so.
    fn look_at(&mut self, rule: &Rule, key: &str, value: Option<f64>, now: Moment) -> Option<(What, Moment)> {
        let is_bad = value.is_some_and(|value| rule.is_bad(value));
        let has_held = |since: Moment, time: Duration| {
            now.saturating_sub(since) >= i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
        };
        let Some(alarm) = self.alarms.get_mut(key) else {
            return if is_bad { self.begin(rule, key, value, now) } else { None };
        };
        alarm.value = value;
        alarm.heard = if value.is_some() { now } else { alarm.heard };
        let since = alarm.since;
        if alarm.fired.is_none() {
            if !is_bad {
                self.alarms.remove(key);
                return Some((What::Cleared, since));
            }
            let fires = has_held(since, rule.hold);
            alarm.fired = fires.then_some(now);
            return fires.then_some((What::Firing, since));
        }
        // What has no value any more has nothing wrong with it either.
        if value.is_none_or(|value| rule.is_over(value)) {
            let calm = *alarm.calm.get_or_insert(now);
            if has_held(calm, rule.calm()) {
                self.alarms.remove(key);
                return Some((What::Resolved, since));
            }
        } else {
            alarm.calm = None;
        }
        let is_due = match (alarm.told, rule.repeat) {
            // It began in a silence.
            (None, _) => true,
            (Some(told), Some(repeat)) => has_held(told, repeat),
            (Some(_), None) => false,
        };
        is_due.then_some((What::Reminder, since))
    }

    fn begin(&mut self, rule: &Rule, key: &str, value: Option<f64>, now: Moment) -> Option<(What, Moment)> {
        if self.alarms.len() >= MAX_ALARMS {
            self.left_out += 1;
            return None;
        }
        let fires = rule.hold.is_zero();
        let alarm =
            Alarm { since: now, fired: fires.then_some(now), told: None, calm: None, value, heard: now };
        self.alarms.insert(key.into(), alarm);
        Some((if fires { What::Firing } else { What::Pending }, now))
    }
}
