//! What machines say about themselves, as a rule wants it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::Moment;
use super::facts::{self, Minutes, Reading, Tally};
use super::rule::Rule;
use crate::config::alert::{AlertBy, Metric};
use crate::log_service::rollup::Counted;
use crate::log_service::rollup::host::{HostAsked, HostMinute, host_minutes};

/// What is known of one machine with a proxy on it; what it does not tell is not there.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    pub(super) proxy: Box<str>,
    /// Records that `cpu` is the mean of.
    pub(super) records: u64,
    /// Shares from 0 to 1: of all cores, of the memory, of the descriptors that the proxy may open.
    pub(super) cpu: Option<f64>,
    pub(super) memory: Option<f64>,
    pub(super) fds: Option<f64>,
    /// Of the last minute.
    pub(super) load: Option<f64>,
    /// Seconds: of the oldest record that waits, until the first certificate ends.
    pub(super) spool_age: Option<f64>,
    pub(super) certificate: Option<f64>,
    /// Sinks that take nothing.
    pub(super) sinks_stuck: Option<f64>,
    /// Workers that were started again.
    pub(super) restarts: Option<Tally>,
}

impl Machine {
    fn add(&mut self, minute: &HostMinute, is_first: bool) {
        const DAY_S: f64 = 86_400.0;
        let HostMinute { proxy, records, sums, .. } = minute;
        let share = |percent: Option<f64>| percent.map(|percent| percent / 100.0);
        self.proxy = proxy.clone();
        if let Some(cpu) = share(sums.cpu_pct_mean) {
            let (before, weight) = (self.records as f64, *records as f64);
            self.cpu = Some((self.cpu.unwrap_or(0.0) * before + cpu * weight) / (before + weight).max(1.0));
            self.records += records;
        }
        if let Some(count) = sums.restarts {
            self.restarts.get_or_insert_default().add(count, is_first);
        }
        let fds = sums.fds_max.zip(sums.fds_limit).filter(|(_, most)| *most > 0.0);
        for (own, newest) in [
            (&mut self.memory, share(sums.mem_used_pct_mean)),
            (&mut self.load, sums.load1_max),
            (&mut self.fds, fds.map(|(open, most)| open / most)),
            (&mut self.spool_age, sums.spool_age_s_max),
            (&mut self.sinks_stuck, sums.sinks_stuck_max),
            (&mut self.certificate, sums.cert_days_min.map(|days| days * DAY_S)),
        ] {
            *own = newest.or(*own);
        }
    }

    fn value(&self, metric: Metric, window: &Minutes) -> Option<f64> {
        match metric {
            Metric::Cpu => self.cpu,
            Metric::Memory => self.memory,
            Metric::Fds => self.fds,
            Metric::Load => self.load,
            Metric::SpoolAge => self.spool_age,
            Metric::SinksStuck => self.sinks_stuck,
            Metric::Certificate => self.certificate,
            Metric::Restarts => self.restarts.map(|restarts| restarts.within(window)),
            _ => None,
        }
    }
}

/// What the machines said in this time before now: CPU is its mean, restarts their sum, of the rest the newest minute counts. `None`
/// when not all of it can be read.
///
/// # Errors
/// Those of reading files of counts.
pub(super) fn machines(over: Duration, counted: &Counted, now: Moment) -> io::Result<Option<Vec<Machine>>> {
    let Minutes { first, until, .. } = facts::window(over, now);
    let asked = HostAsked { since: first, until, step: 1 };
    let (minutes, unread) = host_minutes(counted, asked, now.saturating_mul(1000))?;
    let mut machines: BTreeMap<&str, Machine> = BTreeMap::new();
    // By time, so that the newest minute comes last.
    for minute in &minutes {
        machines.entry(&minute.proxy).or_default().add(minute, minute.minute <= first);
    }
    Ok((unread == 0).then(|| machines.into_values().collect()))
}

/// One value for each proxy, or the worst of all; restarts are added up.
pub(super) fn of_machines(rule: &Rule, machines: &[Machine], now: Moment) -> Reading {
    let (metric, window) = (rule.when.metric, facts::window(rule.over, now));
    let told = |machine: &Machine| Some((machine.proxy.clone(), machine.value(metric, &window)?));
    let values = machines.iter().filter_map(told);
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
