//! [`Message`]: what is told of one alarm, in words, and as the JSON document that webhooks, commands and the log get.
//!
//! ```json
//! {"v":1,"event":17,"alert":"errors","state":"firing","metric":"error_share","when":"error_share > 5%","over_s":60,
//!  "route":"/api/*","value":0.124,"value_text":"12.4%","threshold":0.05,"since":"2026-11-22T09:14:00Z",
//!  "time":"2026-11-22T09:16:00Z","samples":["01a1…"],"text":"…","link":"https://…","summary":"…"}
//! ```
//!
//! `state` is `firing`, `reminder`, `resolved` or `test`, in the log `pending` and `cleared` too. The member of what an alarm is
//! about is named like that of records: `host`, `route`, `upstream`, `proxy`; there is none for the whole. `value` is in
//! things, shares from 0 to 1, or seconds, and absent where there was nothing to measure. `event` is the same each time one
//! message is sent again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::engine::{Change, What};
use super::rule::Rule;
use super::{Moment, value};
use crate::config::alert::AlertBy;
use crate::units::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Pending,
    Cleared,
    Firing,
    Reminder,
    Resolved,
    Test,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Cleared => "cleared",
            Self::Firing => "firing",
            Self::Reminder => "reminder",
            Self::Resolved => "resolved",
            Self::Test => "test",
        }
    }
}

impl From<What> for State {
    fn from(what: What) -> Self {
        match what {
            What::Pending => Self::Pending,
            What::Cleared => Self::Cleared,
            What::Firing => Self::Firing,
            What::Reminder => Self::Reminder,
            What::Resolved => Self::Resolved,
        }
    }
}

/// A request that is an example of what an alarm is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) id: String,
    /// Status, method, host, path and duration; what clients chose of it is not escaped.
    pub(super) line: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) event: u64,
    pub(super) alert: String,
    pub(super) state: State,
    pub(super) metric: String,
    pub(super) when: String,
    pub(super) until: Option<String>,
    pub(super) over_s: u64,
    /// What it is about, such as route and `/api/*`.
    pub(super) about: Option<(String, String)>,
    pub(super) value: Option<f64>,
    pub(super) value_text: Option<String>,
    pub(super) threshold: f64,
    pub(super) since: Moment,
    pub(super) at: Moment,
    pub(super) samples: Vec<Sample>,
    pub(super) text: Option<String>,
    pub(super) link: Option<String>,
}

impl Message {
    pub(super) fn of(change: &Change, event: u64, samples: Vec<Sample>) -> Self {
        let Change { rule, key, what, since, at, value, .. } = change;
        Self {
            value: *value,
            value_text: value.map(|number| value::text(&rule.when, number)),
            samples,
            ..Self::new(rule, key, (*what).into(), (event, *since, *at))
        }
    }

    /// What is sent to see whether it arrives.
    pub(super) fn test(rule: &Rule, event: u64, now: Moment) -> Self {
        Self::new(rule, "", State::Test, (event, now, now))
    }

    fn new(rule: &Rule, key: &str, state: State, (event, since, at): (u64, Moment, Moment)) -> Self {
        let about = (rule.by != AlertBy::Whole && state != State::Test)
            .then(|| (rule.by.word().to_owned(), key.to_owned()));
        Self {
            event,
            alert: rule.name.to_string(),
            state,
            metric: rule.when.metric.word().to_owned(),
            when: rule.when_text.to_string(),
            until: rule.until.as_ref().map(|(_, text)| text.to_string()),
            over_s: rule.over.as_secs(),
            about,
            value: None,
            value_text: None,
            threshold: rule.when.bound,
            since,
            at,
            samples: Vec::new(),
            text: rule.text.as_ref().map(ToString::to_string),
            link: rule.link.as_ref().map(ToString::to_string),
        }
    }

    /// One sentence.
    pub(super) fn summary(&self) -> String {
        let about = self.about.as_ref().map(|(kind, name)| format!(", {kind} {name}")).unwrap_or_default();
        let value = self.value_text.as_deref().unwrap_or("no value");
        let lasted = Duration::from_secs(self.lasted_s());
        let metric = &self.metric;
        let rest = match self.state {
            State::Test => "this is a test".to_owned(),
            State::Pending | State::Firing => format!("{metric} {value}{about}"),
            State::Reminder => format!("{metric} still {value}{about}, for {lasted}"),
            State::Cleared => format!("over before anybody was told, {metric} {value}{about}"),
            State::Resolved => format!("over after {lasted}, {metric} {value}{about}"),
        };
        format!("{}: {rest}", self.alert)
    }

    pub(super) fn lasted_s(&self) -> u64 {
        u64::try_from(self.at.saturating_sub(self.since)).unwrap_or(0) / 1000
    }

    /// The document.
    pub(super) fn document(&self) -> Value {
        let mut told = json!({
            "v": 1,
            "event": self.event,
            "alert": self.alert,
            "state": self.state.word(),
            "metric": self.metric,
            "when": self.when,
            "over_s": self.over_s,
            "threshold": self.threshold,
            "since": time(self.since),
            "time": time(self.at),
            "summary": self.summary(),
        });
        let texts = [
            ("until", &self.until),
            ("value_text", &self.value_text),
            ("text", &self.text),
            ("link", &self.link),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                told[name] = text.as_str().into();
            }
        }
        if let Some((kind, name)) = &self.about {
            told[kind] = name.as_str().into();
        }
        if let Some(value) = self.value {
            told["value"] = value.into();
        }
        if !self.samples.is_empty() {
            told["samples"] = self.samples.iter().map(|sample| sample.id.as_str()).collect();
        }
        told
    }
}

/// RFC 3339 in UTC, whole seconds.
pub(super) fn time(moment: Moment) -> String {
    Timestamp::from_second(moment.div_euclid(1000)).unwrap_or_default().to_string()
}
