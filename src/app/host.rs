//! `host` records: what the machine, tollgate and its workers use, every few seconds, made on the control side.
//!
//! Numbers that alert rules and `logs stats --host` need stand alone, under the names of [`crate::record::host`]; what there is several of stands in lists: `cores`, `workers`,
//! `sinks`, `certs`. What is counted since the start has a twin with `_new` for the time since the record before.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::{self, MissedTickBehavior};

use super::status::View;
use crate::access_log::{Handle, Metrics};
use crate::process::clock::unix_us;
use crate::process::machine::{Machine, Sampler, hundredths};
use crate::tls::End;
use crate::worker::{State, WorkerStatus};

/// Longest list; how many more there are stands beside it, in a member that ends in `_unlisted`.
const MOST_LISTED: usize = 256;
const DAY_S: f64 = 86_400.0;

/// Facts of one moment. What is absent is left out.
#[derive(Debug, Default, Serialize)]
struct Facts {
    /// Since the record before.
    interval_us: u64,
    uptime_s: u64,
    #[serde(flatten)]
    machine: Machine,
    /// The file system of this directory is the one that is told about.
    disk: String,
    lag_max_us: Option<u64>,
    lag_mean_us: Option<u64>,
    cores: Vec<CoreLag>,
    /// Cores whose event loop did not turn at all.
    cores_stuck: usize,
    conns: u64,
    in_flight: u64,
    workers: Vec<WorkerFacts>,
    workers_down: usize,
    workers_rss_b: u64,
    restarts: u64,
    restarts_new: u64,
    /// Bytes that wait for the sink that is furthest behind, and for how long.
    spool_b: u64,
    spool_age_s: f64,
    spool_fill_pct: f64,
    sinks: Vec<SinkFacts>,
    sinks_stuck: usize,
    records: u64,
    records_new: u64,
    dropped: u64,
    dropped_new: u64,
    cert_days: Option<f64>,
    certs: Vec<CertFacts>,
}

#[derive(Debug, Serialize)]
struct CoreLag {
    core: usize,
    /// Absent when its event loop did not turn.
    max_us: Option<u64>,
    mean_us: Option<u64>,
    in_flight: u32,
}

#[derive(Debug, Serialize)]
struct WorkerFacts {
    worker: String,
    upstream: String,
    state: State,
    pid: Option<u32>,
    rss_b: Option<u64>,
    restarts: u32,
}

#[derive(Debug, Serialize)]
struct SinkFacts {
    sink: String,
    takes: bool,
    /// Why it takes nothing.
    why: Option<String>,
    lag_b: u64,
    age_s: Option<f64>,
    written: u64,
    retries: u64,
    dropped: u64,
}

#[derive(Debug, Serialize)]
struct CertFacts {
    cert: String,
    days: f64,
}

/// Writes a record every `every` until it is aborted. `disk` is the directory whose file system is told about.
pub(super) async fn keep(view: Arc<View>, log: Handle, every: Duration, disk: PathBuf) {
    let mut tick = time::interval_at(time::Instant::now() + every, every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch::new(view, disk);
    loop {
        tick.tick().await;
        // Files of `/proc` and of a network may take their time.
        let looked = tokio::task::spawn_blocking(move || {
            let facts = watch.look();
            (watch, facts)
        });
        let Ok((back, facts)) = looked.await else { return };
        watch = back;
        log.host(&facts);
    }
}

/// What is looked at, and what it was the last time.
struct Watch {
    view: Arc<View>,
    disk: PathBuf,
    sampler: Sampler,
    /// By worker.
    restarts: HashMap<String, u32>,
    records: u64,
    dropped: u64,
}

impl Watch {
    fn new(view: Arc<View>, disk: PathBuf) -> Self {
        let (restarts, sampler) = (HashMap::new(), Sampler::new());
        Self { view, disk, sampler, restarts, records: 0, dropped: 0 }
    }

    fn look(&mut self) -> Map<String, Value> {
        let (machine, interval) = self.sampler.sample(&self.disk);
        let interval_us = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        let disk = self.disk.display().to_string();
        let uptime_s = self.view.control.born.elapsed().as_secs();
        let mut facts = Facts { interval_us, uptime_s, machine, disk, ..Facts::default() };
        facts.cores(&self.view);
        self.workers(&mut facts);
        facts.log(&self.view.metrics, unix_us());
        facts.records_new = facts.records.saturating_sub(std::mem::replace(&mut self.records, facts.records));
        facts.dropped_new = facts.dropped.saturating_sub(std::mem::replace(&mut self.dropped, facts.dropped));
        if let Some(tls) = &self.view.control.plan.load_full().tls {
            facts.certificates(tls.ends(), unix_us());
        }
        facts.conns = self.view.gate.open().into();
        into_map(&facts)
    }

    fn workers(&mut self, facts: &mut Facts) {
        for upstream in &self.view.control.plan.load_full().upstreams {
            let name = &upstream.settings.name;
            for worker in self.view.control.workers(name) {
                let known = self.restarts.insert(worker.name.clone(), worker.restarts).unwrap_or(0);
                facts.restarts_new += u64::from(worker.restarts.saturating_sub(known));
                facts.worker(name, worker);
            }
        }
        // Of workers that a reload has taken away; empty only while one is under way.
        if !facts.workers.is_empty() {
            self.restarts.retain(|name, _| facts.workers.iter().any(|worker| worker.worker == *name));
        }
    }
}

impl Facts {
    fn cores(&mut self, view: &View) {
        let late: Vec<_> = view.counts.iter().map(|counts| counts.lag.take()).collect();
        let told = late.iter().flatten();
        self.lag_max_us = told.clone().map(|late| late.max_us).max();
        self.lag_mean_us =
            told.clone().map(|late| late.mean_us).sum::<u64>().checked_div(told.count() as u64);
        self.cores_stuck = late.iter().filter(|late| late.is_none()).count();
        for (core, (counts, late)) in view.counts.iter().zip(&late).enumerate() {
            let in_flight = counts.in_flight.load(Ordering::Relaxed);
            self.in_flight += u64::from(in_flight);
            let (max_us, mean_us) = (late.map(|late| late.max_us), late.map(|late| late.mean_us));
            self.cores.push(CoreLag { core, max_us, mean_us, in_flight });
        }
    }

    fn worker(&mut self, upstream: &str, worker: WorkerStatus) {
        self.restarts += u64::from(worker.restarts);
        self.workers_rss_b += worker.rss_bytes.unwrap_or(0);
        self.workers_down += usize::from(worker.state != State::Serving);
        self.workers.push(WorkerFacts {
            worker: worker.name,
            upstream: upstream.to_owned(),
            state: worker.state,
            pid: worker.pid,
            rss_b: worker.rss_bytes,
            restarts: worker.restarts,
        });
    }

    fn log(&mut self, metrics: &Metrics, now_us: i64) {
        for sink in &metrics.sinks {
            let (why, age_s) = (sink.trouble(), sink.waits_s(now_us));
            let lag_b = sink.lag_bytes.load(Ordering::Relaxed);
            self.spool_b = self.spool_b.max(lag_b);
            self.spool_age_s = self.spool_age_s.max(hundredths(age_s.unwrap_or(0.0)));
            self.sinks_stuck += usize::from(why.is_some());
            self.sinks.push(SinkFacts {
                sink: sink.name.clone(),
                takes: why.is_none(),
                why,
                lag_b,
                age_s: age_s.map(hundredths),
                written: sink.written.load(Ordering::Relaxed),
                retries: sink.retries.load(Ordering::Relaxed),
                dropped: sink.dropped.total(),
            });
        }
        self.spool_fill_pct = metrics.spool_fill.load(Ordering::Relaxed) as f64 / 10.0;
        self.records = metrics.records.load(Ordering::Relaxed);
        self.dropped = metrics.dropped_total();
    }

    fn certificates(&mut self, ends: &[End], now_us: i64) {
        for end in ends {
            let days = hundredths((end.not_after as f64 - now_us as f64 / 1e6) / DAY_S);
            self.cert_days = Some(self.cert_days.map_or(days, |first| first.min(days)));
            self.certs.push(CertFacts { cert: end.origin.clone(), days });
        }
    }
}

/// As it is written: without what is absent, and with lists that are not too long.
fn into_map(facts: &Facts) -> Map<String, Value> {
    let Ok(Value::Object(mut map)) = serde_json::to_value(facts) else { return Map::new() };
    let mut unlisted = Map::new();
    map.retain(|_, value| !value.is_null());
    for (name, value) in &mut map {
        let Value::Array(list) = value else { continue };
        if list.len() > MOST_LISTED {
            unlisted.insert(format!("{name}_unlisted"), (list.len() - MOST_LISTED).into());
            list.truncate(MOST_LISTED);
        }
        let members = list.iter_mut().filter_map(Value::as_object_mut);
        members.for_each(|members| members.retain(|_, value| !value.is_null()));
    }
    map.append(&mut unlisted);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_told_by_days_and_the_first_end() {
        let mut facts = Facts::default();
        let end = |origin: &str, days: i64| End { origin: origin.to_owned(), not_after: days * 86_400 };
        facts.certificates(&[end("a.pem", 30), end("b.pem", -2)], 43_200 * 1_000_000);
        assert_eq!(facts.cert_days, Some(-2.5));
        let map = into_map(&facts);
        assert_eq!(map["certs"][0], serde_json::json!({"cert": "a.pem", "days": 29.5}));
    }

    #[test]
    fn what_is_absent_is_left_out_and_long_lists_are_cut() {
        let worker = || WorkerFacts {
            worker: "app-0".to_owned(),
            upstream: "app".to_owned(),
            state: State::Waiting,
            pid: None,
            rss_b: None,
            restarts: 3,
        };
        let facts = Facts { workers: (0..300).map(|_| worker()).collect(), ..Facts::default() };
        let map = into_map(&facts);
        assert_eq!(
            (map["workers"].as_array().map(Vec::len), &map["workers_unlisted"]),
            (Some(256), &44.into())
        );
        assert_eq!(
            map["workers"][0],
            serde_json::json!({"worker": "app-0", "upstream": "app", "state": "waiting", "restarts": 3})
        );
        assert!(!map.contains_key("cpu_pct") && map.contains_key("conns"));
    }

    /// Both are lists of names, and rollups know a number only by its name.
    #[test]
    fn every_counted_fact_is_a_member_of_the_record() {
        let machine = Sampler::new().sample(std::path::Path::new("/")).0;
        let facts = Facts {
            machine,
            lag_max_us: Some(1),
            lag_mean_us: Some(1),
            cert_days: Some(1.0),
            ..Facts::default()
        };
        let map = into_map(&facts);
        for name in crate::record::host::FACTS {
            // The rates of a machine that did nothing in between are absent.
            assert!(map.contains_key(name) || name == "cpu_pct" || name == "own_cpu_pct", "{name}");
        }
    }
}
