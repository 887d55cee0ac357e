//! What `tollgate status` shows, gathered from the counters of all rooms.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::admin::{
    Count, EndpointStatus, ListenerStatus, LogStatus, Open, SinkStatus, Status, UpstreamStatus,
};
use super::reload::Control;
use crate::access_log::recovery::{MOST_LISTED, OpenEntry};
use crate::access_log::{Flights, Metrics, Reason, SinkMetrics};
use crate::listener::Address;
use crate::listener::gate::Gate;
use crate::process::clock::{process_ms, unix_us};
use crate::proxy::core::Counts;
use crate::upstream::Upstream;
use crate::upstream::endpoint::Endpoint;

/// Everything that the status is read from.
pub struct View {
    pub control: Arc<Control>,
    pub counts: Vec<Arc<Counts>>,
    pub gate: Arc<Gate>,
    pub listeners: Vec<(Arc<str>, Address)>,
    pub metrics: Arc<Metrics>,
}

impl View {
    /// The state now. Reads only.
    pub fn status(&self) -> Status {
        let sum = |read: fn(&Counts) -> u64| self.counts.iter().map(|counts| read(counts)).sum();
        let plan = self.control.plan.load_full();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: self.control.born.elapsed().as_secs(),
            config: self.control.source.clone(),
            plans: self.control.plans.load(Ordering::Relaxed),
            listeners: self.listeners.iter().map(listener).collect(),
            connections: Count {
                open: self.gate.open().into(),
                total: sum(|counts| counts.accepted.load(Ordering::Relaxed)),
            },
            requests: Count {
                open: sum(|counts| counts.in_flight.load(Ordering::Relaxed).into()),
                total: sum(|counts| counts.requests.load(Ordering::Relaxed)),
            },
            upstreams: plan.upstreams.iter().map(|upstream| self.upstream(upstream)).collect(),
            log: log(&self.metrics),
            ..Status::default()
        }
    }

    fn upstream(&self, upstream: &Upstream) -> UpstreamStatus {
        UpstreamStatus {
            name: upstream.settings.name.to_string(),
            endpoints: upstream.endpoints().iter().map(|endpoint| endpoint_status(endpoint)).collect(),
            workers: self.control.workers(&upstream.settings.name),
        }
    }
}

/// What is under way, the oldest first.
pub fn open(flights: &Flights) -> Open {
    let (now, mut open) = (unix_us(), flights.open());
    let unlisted = open.len().saturating_sub(MOST_LISTED) as u64;
    open.truncate(MOST_LISTED);
    let open = open.iter().map(|(core, one)| OpenEntry::new(*core, one, now)).collect();
    Open { open, beyond: flights.beyond() + unlisted, ..Open::default() }
}

fn listener((name, address): &(Arc<str>, Address)) -> ListenerStatus {
    ListenerStatus { name: name.to_string(), address: address.to_string() }
}

fn endpoint_status(endpoint: &Endpoint) -> EndpointStatus {
    EndpointStatus {
        address: endpoint.name.to_string(),
        worker: endpoint.worker.as_ref().map(ToString::to_string),
        up: endpoint.up.load(Ordering::Relaxed),
        healthy: endpoint.healthy.load(Ordering::Relaxed),
        ejected: endpoint.ejected_until_ms.load(Ordering::Relaxed) > process_ms(),
        in_flight: endpoint.in_flight.sum(),
        requests: endpoint.requests.sum(),
        ejections: endpoint.ejections.load(Ordering::Relaxed).into(),
    }
}

fn log(metrics: &Metrics) -> LogStatus {
    let mut dropped = BTreeMap::new();
    let all = std::iter::once(&metrics.dropped).chain(metrics.sinks.iter().map(|sink| &sink.dropped));
    for lost in all {
        for reason in Reason::ALL {
            if lost.get(reason) > 0 {
                *dropped.entry(reason.word().to_owned()).or_default() += lost.get(reason);
            }
        }
    }
    LogStatus {
        records: metrics.records.load(Ordering::Relaxed),
        lines: metrics.lines.load(Ordering::Relaxed),
        delivered: metrics.sinks.iter().map(|sink| sink.written.load(Ordering::Relaxed)).max().unwrap_or(0),
        sampled: metrics.sampled.load(Ordering::Relaxed),
        rings_lost: metrics.rings_lost.load(Ordering::Relaxed),
        waited: metrics.room.waited.load(Ordering::Relaxed),
        waited_in_vain: metrics.room.in_vain.load(Ordering::Relaxed),
        waiting_bytes: metrics
            .sinks
            .iter()
            .map(|sink| sink.lag_bytes.load(Ordering::Relaxed))
            .max()
            .unwrap_or(0),
        spool_fill: metrics.spool_fill.load(Ordering::Relaxed),
        failing: metrics.sinks.iter().filter_map(|sink| Some((sink.name.clone(), sink.trouble()?))).collect(),
        pressure: metrics.step().word().to_owned(),
        sinks: metrics.sinks.iter().map(|sink| sink_status(sink)).collect(),
        dropped,
    }
}

fn sink_status(sink: &SinkMetrics) -> SinkStatus {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    SinkStatus {
        name: sink.name.clone(),
        delivered: read(&sink.written),
        delivered_bytes: read(&sink.written_bytes),
        batches: read(&sink.batches),
        retries: read(&sink.retries),
        refused: read(&sink.refused),
        dropped: sink.dropped.total(),
        waiting_bytes: read(&sink.lag_bytes),
        trouble: sink.trouble(),
    }
}
