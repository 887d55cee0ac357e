//! Host facts by minute: what the `host` records of a proxy said, without looking at a row again.
//!
//! A proxy writes a `host` record every few seconds (`app::host`); its facts stand in `body`, under the names of
//! [`Facts`]. Of each number count, sum, least and most are kept per proxy and minute, later per hour. They lie in
//! the same files as everything else that is counted, so they share its promises: each record counts once, whatever
//! happens.
//!
//! Bounded: [`MAX_PROXIES`] per minute, the first by name; the rest is one proxy, [`OTHER`].

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OTHER;
use super::cell::Packed;
use super::counted::{Counted, Wanted};

/// Proxies that are told apart in one minute.
pub(super) const MAX_PROXIES: usize = 256;
/// Minutes and proxies of one generation of rows; beyond it everything new is the rest of what is there.
const MAX_CELLS: usize = 1 << 14;
/// A fact beyond this is none; so no sum is ever infinite, which JSON could not hold.
const MAX_FACT: f64 = 1e18;

/// One number of several records.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u64, f64, f64, f64)", into = "(u64, f64, f64, f64)")]
pub(crate) struct Gauge {
    /// Records that said it.
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl From<(u64, f64, f64, f64)> for Gauge {
    fn from((count, sum, min, max): (u64, f64, f64, f64)) -> Self {
        Self { count, sum, min, max }
    }
}

impl From<Gauge> for (u64, f64, f64, f64) {
    fn from(gauge: Gauge) -> Self {
        (gauge.count, gauge.sum, gauge.min, gauge.max)
    }
}

impl Gauge {
    fn of(value: &Value) -> Option<Self> {
        let number = value.as_f64().filter(|number| number.abs() <= MAX_FACT)?;
        Some(Self { count: 1, sum: number, min: number, max: number })
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }

    fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum = (self.sum + other.sum).clamp(-f64::MAX, f64::MAX);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The numbers of `host` records that are counted, under the names that they have there.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub(crate) struct Facts {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub(crate) $name: Option<Gauge>,)*
        }

        #[cfg(test)]
        pub(super) const NAMES: &[&str] = &[$(stringify!($name),)*];

        impl Facts {
            /// Those of one record; what is no number is not there.
            pub(crate) fn of(record: &Value) -> Self {
                Self { $($name: record.get(stringify!($name)).and_then(Gauge::of),)* }
            }

            pub(crate) fn merge(&mut self, other: &Self) {
                $(merge(&mut self.$name, other.$name);)*
            }
        }
    };
}

facts! {
    /// Of the whole machine, 0 to 100.
    cpu_pct,
    /// Of the proxy's process, where 100 is one core.
    own_cpu_pct,
    mem_used_pct,
    mem_avail_b,
    /// Resident bytes of the proxy's process.
    rss_b,
    load1,
    load5,
    load15,
    fds,
    fds_limit,
    disk_free_b,
    disk_used_pct,
    /// Bytes since the record before, all interfaces but the loopback.
    net_rx_b,
    net_tx_b,
    /// Packets with errors, in and out, since the record before.
    net_errors,
    /// How late a core's event loop was, microseconds: the worst of all cores, and the mean.
    lag_max_us,
    lag_mean_us,
    conns,
    in_flight,
    spool_b,
    /// Age of the oldest record that waits for a sink, seconds.
    spool_age_s,
    /// Sinks that take nothing at the moment.
    sinks_stuck,
    /// Worker processes that were started again since the record before.
    restarts_new,
    /// Workers that do not serve.
    workers_down,
    workers_rss_b,
    /// Days until the first certificate expires.
    cert_days,
    /// Records that were lost since the record before.
    dropped_new,
    records_new,
}

fn merge(own: &mut Option<Gauge>, other: Option<Gauge>) {
    match (own.as_mut(), other) {
        (Some(own), Some(other)) => own.merge(&other),
        (None, other) => *own = other,
        (Some(_), None) => {}
    }
}

/// Facts of one proxy, as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(super) proxy: Box<str>,
    pub(super) records: u64,
    pub(super) facts: Facts,
}

impl Host {
    fn merge(&mut self, other: &Self) {
        self.records = self.records.saturating_add(other.records);
        self.facts.merge(&other.facts);
    }
}

/// Host facts while they are counted: by minute (or hour) and proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts(BTreeMap<(i64, Box<str>), Host>);

impl Hosts {
    /// Counts one record.
    pub(super) fn note(&mut self, minute: i64, proxy: &str, body: &str) {
        // What is no object has no facts, but was said.
        let record: Value = serde_json::from_str(body).unwrap_or_default();
        self.add(minute, &Host { proxy: proxy.into(), records: 1, facts: Facts::of(&record) });
    }

    pub(super) fn add(&mut self, time: i64, host: &Host) {
        let place = self.place(time, &host.proxy);
        let proxy = place.1.clone();
        self.0.entry(place).or_insert_with(|| Host { proxy, ..Host::default() }).merge(host);
    }

    fn place(&self, time: i64, proxy: &str) -> (i64, Box<str>) {
        let place = (time, Box::from(proxy));
        if self.0.contains_key(&place) {
            return place;
        }
        let in_this = self.0.range((time, Box::default())..(time.saturating_add(1), Box::default())).count();
        match self.0.first_key_value() {
            // Absurd clocks must not take memory: what is new goes with what is there.
            Some((first, _)) if self.0.len() >= MAX_CELLS => first.clone(),
            _ if in_this >= MAX_PROXIES => (time, OTHER.into()),
            _ => place,
        }
    }

    /// All of them; a time is multiplied by `minutes`.
    pub(super) fn packed(&self, minutes: i64) -> impl Iterator<Item = Packed> {
        self.0
            .iter()
            .map(move |((time, _), host)| Packed::of_host(time.saturating_mul(minutes), host.clone()))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What one proxy's machine and process did in one minute, or in several. A fact that no record said is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct HostMinute {
    pub(crate) proxy: Box<str>,
    /// Minutes since the Unix epoch: the first one of the step.
    #[serde(skip)]
    pub(crate) minute: i64,
    /// `host` records.
    pub(crate) records: u64,
    #[serde(flatten)]
    pub(crate) sums: Sums,
}

macro_rules! sums {
    ($($(#[$doc:meta])* $name:ident = $fact:ident $what:ident,)*) => {
        /// See [`HostMinute`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
        pub(crate) struct Sums {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub(crate) $name: Option<f64>,)*
        }

        impl Sums {
            pub(crate) fn of(facts: &Facts) -> Self {
                Self { $($name: facts.$fact.map(|gauge| sums!(gauge $what)),)* }
            }
        }
    };
    ($gauge:ident mean) => { $gauge.mean() };
    ($gauge:ident $what:ident) => { $gauge.$what };
}

sums! {
    /// Of the whole machine, 0 to 100.
    cpu_pct_mean = cpu_pct mean,
    cpu_pct_max = cpu_pct max,
    /// Of the proxy's process; 100 is one core.
    own_cpu_pct_mean = own_cpu_pct mean,
    own_cpu_pct_max = own_cpu_pct max,
    mem_used_pct_mean = mem_used_pct mean,
    mem_used_pct_max = mem_used_pct max,
    mem_avail_b_min = mem_avail_b min,
    rss_b_max = rss_b max,
    load1_max = load1 max,
    load5_max = load5 max,
    load15_max = load15 max,
    fds_max = fds max,
    fds_limit = fds_limit min,
    disk_free_b_min = disk_free_b min,
    disk_used_pct_max = disk_used_pct max,
    net_rx_b = net_rx_b sum,
    net_tx_b = net_tx_b sum,
    net_errors = net_errors sum,
    lag_us_max = lag_max_us max,
    lag_us_mean = lag_mean_us mean,
    conns_max = conns max,
    in_flight_max = in_flight max,
    spool_b_max = spool_b max,
    /// The oldest record that waited for a sink, seconds.
    spool_age_s_max = spool_age_s max,
    sinks_stuck_max = sinks_stuck max,
    /// Workers that were started again.
    restarts = restarts_new sum,
    workers_down_max = workers_down max,
    workers_rss_b_max = workers_rss_b max,
    /// Days until the first certificate expires.
    cert_days_min = cert_days min,
    /// Records of the access log that were lost.
    dropped = dropped_new sum,
    records_new = records_new sum,
}

impl HostMinute {
    fn of(minute: i64, host: &Host) -> Self {
        Self { proxy: host.proxy.clone(), minute, records: host.records, sums: Sums::of(&host.facts) }
    }
}

/// Which minutes of which host facts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostAsked {
    /// Minutes since the Unix epoch: from the first on, before the second.
    pub(crate) since: i64,
    pub(crate) until: i64,
    /// Minutes that are one in the answer; of whole hours it goes back as far as rollups are kept.
    pub(crate) step: i64,
}

/// What the `host` records said, by time and proxy, and how many files could not be read. `now` is microseconds since the
/// Unix epoch.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn host_minutes(
    counted: &Counted,
    asked: HostAsked,
    now: i64,
) -> io::Result<(Vec<HostMinute>, usize)> {
    let step = asked.step.max(1);
    let wanted = Wanted {
        since: asked.since,
        until: asked.until,
        first_hour: super::first_hour_of_minutes(now),
        with_hours: step % 60 == 0,
    };
    let (hosts, unread) =
        counted.each_host(wanted, &Hosts::default, &mut |hosts: &mut Hosts, minute, host| {
            hosts.add(minute.div_euclid(step).saturating_mul(step), host);
            ControlFlow::Continue(())
        })?;
    Ok((hosts.0.iter().map(|((minute, _), host)| HostMinute::of(*minute, host)).collect(), unread))
}
