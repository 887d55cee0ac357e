//! What machines say about themselves, as a rule wants it.

use super::facts::Reading;
use super::rule::Rule;
use crate::config::alert::{AlertBy, Metric};

/// What is known of one machine with a proxy on it; what it does not tell is not there.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    pub(super) proxy: Box<str>,
    /// Shares from 0 to 1: of all cores, of the memory, of the descriptors that the proxy may open.
    pub(super) cpu: Option<f64>,
    pub(super) memory: Option<f64>,
    pub(super) fds: Option<f64>,
    /// Over the last minute, by core.
    pub(super) load: Option<f64>,
    /// Seconds: of the oldest record that waits, since a sink took something last, until the first certificate ends.
    pub(super) spool_age: Option<f64>,
    pub(super) sink_away: Option<f64>,
    pub(super) certificate: Option<f64>,
    /// Workers that were started again in the window.
    pub(super) restarts: Option<f64>,
}

impl Machine {
    fn value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Cpu => self.cpu,
            Metric::Memory => self.memory,
            Metric::Fds => self.fds,
            Metric::Load => self.load,
            Metric::SpoolAge => self.spool_age,
            Metric::SinkAway => self.sink_away,
            Metric::Certificate => self.certificate,
            Metric::Restarts => self.restarts,
            _ => None,
        }
    }
}

/// One value for each proxy, or the worst of all; restarts are added up.
pub(super) fn of_machines(rule: &Rule, machines: &[Machine]) -> Reading {
    let metric = rule.when.metric;
    let values = machines.iter().filter_map(|machine| Some((machine.proxy.clone(), machine.value(metric)?)));
    if rule.by == AlertBy::Proxy {
        return Reading::Values(values.collect());
    }
    let worst = values.map(|(_, value)| value).reduce(|one, other| match metric {
        Metric::Restarts => one + other,
        _ if rule.when.sign.is_upper() => one.max(other),
        _ => one.min(other),
    });
    Reading::Values(worst.into_iter().map(|value| (Box::default(), value)).collect())
}
