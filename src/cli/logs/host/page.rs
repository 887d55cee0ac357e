//! One proxy as a page: what it uses now, and the worst of the time that was asked for.

use serde_json::Value;

use super::Host;
use crate::cli::logs::CommandError;
use crate::cli::logs::escape::Safe;
use crate::cli::logs::output::{BOLD, Output, RED};
use crate::cli::logs::table::{Cell, Side, Table};
use crate::cli::logs::words::{NOTHING, count, duration, number, size, text};

pub(super) fn print(output: &mut Output, proxy: &str, host: &Host) -> Result<(), CommandError> {
    for line in lines(proxy, host) {
        output.line(&line)?;
    }
    Ok(())
}

pub(super) fn lines(proxy: &str, host: &Host) -> Vec<String> {
    let mut lines = vec![heading(proxy, host)];
    let mut say = |name: &str, text: Option<String>| {
        lines.extend(text.map(|text| format!("{BOLD}{name:<9}{BOLD:#} {text}")));
    };
    say("cpu", cpu(host));
    say("memory", memory(host));
    say("load", load(&host.newest));
    say("files", files(&host.newest));
    say("disk", disk(&host.newest));
    say("network", network(host));
    say("lag", lag(host));
    say("traffic", traffic(host));
    say("log", log(host));
    say("certs", certificates(&host.newest));
    lines.extend(workers(&host.newest));
    lines.extend(sinks(&host.newest));
    lines.push(String::new());
    lines
}

fn heading(proxy: &str, host: &Host) -> String {
    let span = host.first.zip(host.last).map(|(first, last)| format!(", {first:.0} to {last:.0}"));
    let up =
        number(&host.newest, "uptime_s").map(|up| format!(", up {}", duration(up.saturating_mul(1_000_000))));
    let (span, up) = (span.unwrap_or_default(), up.unwrap_or_default());
    format!("{BOLD}{}{BOLD:#}: {} host records{span}{up}", Safe(proxy), count(host.records))
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| format!("{value:.1} %"))
}

fn float(record: &Value, name: &str) -> Option<f64> {
    record.get(name).and_then(Value::as_f64)
}

fn bytes(record: &Value, name: &str) -> String {
    number(record, name).map_or_else(|| NOTHING.to_owned(), size)
}

fn cpu(host: &Host) -> Option<String> {
    let (sums, newest) = (host.sums(), &host.newest);
    sums.cpu_pct_mean.or(sums.own_cpu_pct_mean)?;
    let parts = [
        ("user", "cpu_user_pct"),
        ("system", "cpu_system_pct"),
        ("iowait", "cpu_iowait_pct"),
        ("steal", "cpu_steal_pct"),
    ];
    let parts = parts.map(|(name, member)| format!("{name} {}", share(float(newest, member))));
    let cpus = number(newest, "cpus").map_or_else(|| NOTHING.to_owned(), count);
    Some(format!(
        "{} (max {}) of {cpus} processors; now {}; tollgate {} (max {}) of one",
        share(sums.cpu_pct_mean),
        share(sums.cpu_pct_max),
        parts.join(", "),
        share(sums.own_cpu_pct_mean),
        share(sums.own_cpu_pct_max),
    ))
}

fn memory(host: &Host) -> Option<String> {
    let newest = &host.newest;
    number(newest, "mem_total_b").or_else(|| number(newest, "rss_b"))?;
    Some(format!(
        "{} of {} used (max {}), {} available, {} swap; tollgate {}, workers {}",
        share(float(newest, "mem_used_pct")),
        bytes(newest, "mem_total_b"),
        share(host.sums().mem_used_pct_max),
        bytes(newest, "mem_avail_b"),
        bytes(newest, "swap_used_b"),
        bytes(newest, "rss_b"),
        bytes(newest, "workers_rss_b"),
    ))
}

fn load(newest: &Value) -> Option<String> {
    let load = ["load1", "load5", "load15"].map(|name| float(newest, name));
    load[0]?;
    Some(load.map(|load| load.map_or_else(|| NOTHING.to_owned(), |load| format!("{load:.2}"))).join("  "))
}

fn files(newest: &Value) -> Option<String> {
    let open = count(number(newest, "fds")?);
    let limit = number(newest, "fds_limit").map_or_else(|| "no limit".to_owned(), count);
    Some(format!("{open} open of {limit}"))
}

fn disk(newest: &Value) -> Option<String> {
    number(newest, "disk_total_b")?;
    let (used, total) = (share(float(newest, "disk_used_pct")), bytes(newest, "disk_total_b"));
    let place = text(newest, "disk").unwrap_or(NOTHING);
    Some(format!("{used} of {total} used, {} free  ({})", bytes(newest, "disk_free_b"), Safe(place)))
}

fn network(host: &Host) -> Option<String> {
    let sums = host.sums();
    // The cast saturates.
    let rate =
        |sum| host.rate(sum).map_or_else(|| NOTHING.to_owned(), |rate| format!("{}/s", size(rate as u64)));
    let errors = count(sums.net_errors? as u64);
    Some(format!("in {}, out {}, {errors} errors", rate(sums.net_rx_b), rate(sums.net_tx_b)))
}

fn lag(host: &Host) -> Option<String> {
    let sums = host.sums();
    let (max, mean) = (sums.lag_us_max? as u64, sums.lag_us_mean? as u64);
    let cores = host.cores.iter().map(|(core, (max, sum, count))| {
        format!("core {core} {}/{}", duration(*max), duration(sum / (*count).max(1)))
    });
    let cores = cores.collect::<Vec<_>>().join("  ");
    let stuck = number(&host.newest, "cores_stuck").filter(|stuck| *stuck > 0);
    let stuck = stuck.map(|stuck| format!("  {RED}{stuck} stand still{RED:#}")).unwrap_or_default();
    Some(format!("max {}, mean {}  ({cores}){stuck}", duration(max), duration(mean)))
}

fn traffic(host: &Host) -> Option<String> {
    let newest = &host.newest;
    let now = [number(newest, "conns")?, number(newest, "in_flight").unwrap_or(0)].map(count);
    let max = [host.sums().conns_max, host.sums().in_flight_max].map(|max| count(max.unwrap_or(0.0) as u64));
    let ([conns, open], [max_conns, max_open]) = (now, max);
    Some(format!("{conns} connections (max {max_conns}), {open} requests under way (max {max_open})"))
}

fn log(host: &Host) -> Option<String> {
    let (newest, sums) = (&host.newest, host.sums());
    let waits = bytes(newest, "spool_b");
    let age = float(newest, "spool_age_s")?;
    let lost = sums.dropped.unwrap_or(0.0) as u64;
    let lost = if lost > 0 { format!("{RED}{} lost{RED:#}", count(lost)) } else { "0 lost".to_owned() };
    let written = count(sums.records_new.unwrap_or(0.0) as u64);
    let worst = sums.spool_age_s_max.unwrap_or(age);
    Some(format!("{written} records, {lost}; {waits} wait, the oldest for {age:.1} s (max {worst:.1} s)"))
}

fn certificates(newest: &Value) -> Option<String> {
    let first = float(newest, "cert_days")?;
    let is_first = |cert: &&Value| float(cert, "days") == Some(first);
    let name = newest["certs"].as_array().into_iter().flatten().find(is_first);
    let name = name.and_then(|cert| text(cert, "cert")).unwrap_or(NOTHING);
    Some(format!("the first ends in {first:.1} days  ({})", Safe(name)))
}

fn workers(newest: &Value) -> Vec<String> {
    let columns = [
        ("  worker", Side::Left),
        ("state", Side::Left),
        ("rss", Side::Right),
        ("restarts", Side::Right),
        ("pid", Side::Right),
    ];
    list(newest, "workers", &columns, |worker| {
        let state = text(worker, "state").unwrap_or(NOTHING);
        let state = Safe(state).to_string();
        vec![
            format!("  {}", Safe(text(worker, "worker").unwrap_or(NOTHING))).into(),
            if state == "serving" { state.into() } else { Cell::styled(state, RED) },
            bytes(worker, "rss_b").into(),
            count(number(worker, "restarts").unwrap_or(0)).into(),
            number(worker, "pid").map_or_else(|| NOTHING.to_owned(), |pid| pid.to_string()).into(),
        ]
    })
}

fn sinks(newest: &Value) -> Vec<String> {
    let columns = [
        ("  sink", Side::Left),
        ("written", Side::Right),
        ("waits", Side::Right),
        ("for", Side::Right),
        ("retries", Side::Right),
        ("lost", Side::Right),
        ("takes", Side::Left),
    ];
    list(newest, "sinks", &columns, |sink| {
        let counted = |name: &str| Cell::from(count(number(sink, name).unwrap_or(0)));
        let age = float(sink, "age_s").map_or_else(|| NOTHING.to_owned(), |age| format!("{age:.1} s"));
        let why = text(sink, "why").map(|why| Cell::styled(format!("no: {}", Safe(why)), RED));
        vec![
            format!("  {}", Safe(text(sink, "sink").unwrap_or(NOTHING))).into(),
            counted("written"),
            bytes(sink, "lag_b").into(),
            age.into(),
            counted("retries"),
            counted("dropped"),
            why.unwrap_or_else(|| "yes".to_owned().into()),
        ]
    })
}

/// A table of what a member lists, if it lists anything.
fn list(
    newest: &Value,
    member: &str,
    columns: &[(&str, Side)],
    cells: impl Fn(&Value) -> Vec<Cell>,
) -> Vec<String> {
    let Some(rows) = newest[member].as_array().filter(|rows| !rows.is_empty()) else { return Vec::new() };
    let mut table = Table::new(columns);
    rows.iter().for_each(|row| table.row(cells(row)));
    let mut lines = table.lines();
    let unlisted = number(newest, &format!("{member}_unlisted"));
    lines.extend(unlisted.map(|unlisted| format!("  … and {} more", count(unlisted))));
    lines
}
