//! [`Rule`]: an alarm of the configuration, ready to be held against what is counted.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Named;
use crate::config::alert::{Alert, AlertBy, Condition, Silence};
use crate::config::words::Name;
use crate::log_service::query::Query;

/// Shortest time for which it must be over: an alarm on the edge is told once.
const CALM: Duration = Duration::from_secs(30);

/// One alarm, or one for each of something.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) when: Condition,
    /// As it was written.
    pub(super) when_text: Arc<str>,
    pub(super) until: Option<(Condition, Arc<str>)>,
    pub(super) over: Duration,
    pub(super) hold: Duration,
    pub(super) by: AlertBy,
    /// Which requests count, and the same as it was written.
    pub(super) filter: Option<(Query, Arc<str>)>,
    pub(super) at_least: u64,
    pub(super) silence: Vec<Silence>,
    pub(super) repeat: Option<Duration>,
    pub(super) notify: Vec<Arc<str>>,
    pub(super) text: Option<Arc<str>>,
    pub(super) link: Option<Arc<str>>,
}

impl Rule {
    pub(super) fn of(named: &Named<Name, Alert>) -> Self {
        let alert = &named.body;
        let filter = alert.filter.as_ref().and_then(|filter| {
            // The configuration takes nothing that is no filter here.
            let query = Query::parse(&filter.written).ok()?;
            Some((query, Arc::clone(&filter.written)))
        });
        Self {
            name: named.name.value.clone().into(),
            when: alert.when.value.clone(),
            when_text: Arc::clone(&alert.when.written),
            until: alert.until.as_ref().map(|until| (until.value.clone(), Arc::clone(&until.written))),
            over: alert.over.to_std(),
            hold: alert.hold.to_std(),
            by: alert.by.value,
            filter,
            at_least: alert.at_least.value.into(),
            silence: alert.silence.iter().map(|silence| silence.value).collect(),
            repeat: alert.repeat.every().map(Into::into),
            notify: alert.notify.iter().map(|name| name.value.clone().into()).collect(),
            text: alert.text.as_ref().map(|text| Arc::clone(&text.value)),
            link: alert.link.as_ref().map(|link| Arc::clone(&link.value.0)),
        }
    }

    pub(super) fn is_bad(&self, value: f64) -> bool {
        self.when.holds(value)
    }

    pub(super) fn is_over(&self, value: f64) -> bool {
        self.until.as_ref().map_or_else(|| !self.when.holds(value), |(until, _)| until.holds(value))
    }

    /// How long it must be over.
    pub(super) fn calm(&self) -> Duration {
        self.hold.max(CALM)
    }

    /// Whether nothing at all is a value, too: what was there once and is there no more has none of it.
    pub(super) fn misses_what_is_gone(&self) -> bool {
        use crate::config::alert::Metric::{Errors, Requests};
        matches!(self.when.metric, Errors | Requests) && !self.when.sign.is_upper()
    }

    /// What its alarms are about: with another kind those that are remembered mean nothing.
    pub(super) fn kind(&self) -> String {
        format!("{} {} {}", self.when.metric.word(), self.when.sign.is_upper(), self.by.word())
    }
}
