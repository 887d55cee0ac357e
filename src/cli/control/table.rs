//! The state of an instance as a table for people.

use std::fmt::Write as _;

use crate::app::admin::{ListenerStatus, LogStatus, SinkStatus, Status, UpstreamStatus};
use crate::worker::WorkerStatus;

/// One line per fact, then a table of the endpoints of each upstream.
pub(in crate::cli) fn table(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {}", clean(&value));
    };
    line("tollgate", format!("{}, pid {}, up {}", status.version, status.pid, ago(status.uptime_s)));
    line("config", format!("{} (loaded {}×)", status.config, status.plans));
    line("listening", listening(&status.listeners));
    line("connections", format!("{} open, {} in all", status.connections.open, status.connections.total));
    line("requests", format!("{} open, {} in all", status.requests.open, status.requests.total));
    line("log", log_line(status));
    if status.log.sinks.iter().any(|sink| sink.name.starts_with(NAMED)) {
        text.push('\n');
        text.push_str(&sink_table(&status.log.sinks));
    }
    for upstream in &status.upstreams {
        text.push('\n');
        text.push_str(&upstream_table(upstream));
    }
    text
}

fn log_line(status: &Status) -> String {
    let LogStatus { records, lines, delivered, .. } = &status.log;
    let mut line = format!(
        "{records} records, {lines} other entries (events, lines of workers); {delivered} delivered in all"
    );
    for (reason, count) in &status.log.dropped {
        let _ = write!(line, ", {count} dropped ({reason})");
    }
    for (place, why) in &status.log.failing {
        let _ = write!(line, ", waiting for {place}: {why}");
    }
    if status.log.sampled > 0 {
        let _ = write!(line, ", {} left out by sampling", status.log.sampled);
    }
    if status.log.rings_lost > 0 {
        let _ = write!(line, ", {} rings of earlier starts lost", status.log.rings_lost);
    }
    if status.log.waited > 0 {
        let (waited, in_vain) = (status.log.waited, status.log.waited_in_vain);
        let _ = write!(line, ", {waited} requests waited for it ({in_vain} in vain)");
    }
    // What waits for less than a moment is not worth a word.
    if status.log.spool_fill >= 10 || !matches!(status.log.pressure.as_str(), "" | "none") {
        let (waits, percent) = (mebibytes(status.log.waiting_bytes), status.log.spool_fill / 10);
        let _ = write!(line, ", {waits} waiting (spool {percent} % full, pressure: {})", status.log.pressure);
    }
    line
}

/// In front of the name of a sink that the configuration gives a name.
const NAMED: &str = "sink:";

fn sink_table(sinks: &[SinkStatus]) -> String {
    let mut rows =
        vec![["SINK", "DELIVERED", "WAITING", "RETRIES", "REFUSED", "LOST", "STATE"].map(str::to_owned)];
    for sink in sinks {
        rows.push([
            clean(sink.name.strip_prefix(NAMED).unwrap_or(&sink.name)),
            sink.delivered.to_string(),
            mebibytes(sink.waiting_bytes),
            sink.retries.to_string(),
            sink.refused.to_string(),
            sink.dropped.to_string(),
            sink.trouble.as_deref().map_or("takes".to_owned(), clean),
        ]);
    }
    align(&rows)
}

fn upstream_table(upstream: &UpstreamStatus) -> String {
    let mut rows = vec![
        ["UPSTREAM", "ADDRESS", "STATE", "OPEN", "REQUESTS", "WORKER", "RESTARTS", "MEMORY"]
            .map(str::to_owned),
    ];
    for endpoint in &upstream.endpoints {
        let worker = upstream.workers.iter().find(|worker| Some(&worker.name) == endpoint.worker.as_ref());
        let state = match (endpoint.up, endpoint.healthy, endpoint.ejected, worker) {
            (false, _, _, Some(worker)) => format!("{:?}", worker.state).to_lowercase(),
            (false, ..) => "down".to_owned(),
            (_, false, ..) => "unhealthy".to_owned(),
            (_, _, true, _) => "ejected".to_owned(),
            _ => "up".to_owned(),
        };
        let of_worker = |cell: &dyn Fn(&WorkerStatus) -> String| worker.map_or("-".to_owned(), cell);
        rows.push([
            clean(&upstream.name),
            clean(&endpoint.address),
            state,
            endpoint.in_flight.to_string(),
            endpoint.requests.to_string(),
            of_worker(&|worker| {
                let pid = worker.pid.map_or("-".to_owned(), |pid| pid.to_string());
                format!("{} ({pid}, {})", clean(&worker.name), ago(worker.for_s))
            }),
            of_worker(&|worker| worker.restarts.to_string()),
            of_worker(&|worker| worker.rss_bytes.map_or("-".to_owned(), mebibytes)),
        ]);
    }
    if upstream.endpoints.is_empty() {
        let name = clean(&upstream.name);
        rows.push([name.as_str(), "-", "no address", "-", "-", "-", "-", "-"].map(str::to_owned));
    }
    align(&rows)
}

pub(in crate::cli) fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}

/// `3d 4h`, `4h 5m`, `5m 6s`, `6s`.
pub(in crate::cli) fn ago(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// Nothing that a terminal would obey.
pub(in crate::cli) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn listening(listeners: &[ListenerStatus]) -> String {
    let urls: Vec<String> = listeners.iter().map(|one| format!("{}://{}", one.name, one.address)).collect();
    urls.join("  ")
}
