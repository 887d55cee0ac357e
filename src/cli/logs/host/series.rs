//! A row for each step of time and proxy.

use super::{Host, Hosts};
use crate::cli::logs::CommandError;
use crate::cli::logs::escape::Safe;
use crate::cli::logs::output::{Output, RED};
use crate::cli::logs::table::{Cell, Side, Table};
use crate::cli::logs::words::{NOTHING, count, duration, size};

pub(super) fn print(output: &mut Output, hosts: &Hosts) -> Result<(), CommandError> {
    for line in lines(hosts) {
        output.line(&line)?;
    }
    Ok(())
}

pub(super) fn lines(hosts: &Hosts) -> Vec<String> {
    if hosts.is_empty() {
        return Vec::new();
    }
    const NUMBERS: [&str; 16] = [
        "cpu", "max", "tollgate", "memory", "load", "rss", "files", "disk", "in/s", "out/s", "lag", "conns",
        "open", "spool", "restarts", "lost",
    ];
    let mut columns = NUMBERS.map(|name| (name, Side::Right)).to_vec();
    columns.extend([("from", Side::Left), ("proxy", Side::Left)]);
    let mut table = Table::new(&columns);
    for ((start, proxy), host) in hosts {
        let mut cells = numbers(host);
        cells.extend([start.clone().into(), Safe(proxy).to_string().into()]);
        table.row(cells);
    }
    table.lines()
}

fn numbers(host: &Host) -> Vec<Cell> {
    let sums = host.sums();
    let told = |value: Option<f64>, say: &dyn Fn(f64) -> String| {
        Cell::from(value.map_or_else(|| NOTHING.to_owned(), say))
    };
    let share = |value: Option<f64>| told(value, &|value| format!("{value:.1} %"));
    // The casts saturate.
    let bytes = |value: Option<f64>| told(value, &|value| size(value as u64));
    let plain = |value: Option<f64>| told(value, &|value| count(value as u64));
    let bad = |value: Option<f64>| match value {
        Some(value) if value > 0.0 => Cell::styled(count(value as u64), RED),
        value => plain(value),
    };
    vec![
        share(sums.cpu_pct_mean),
        share(sums.cpu_pct_max),
        share(sums.own_cpu_pct_mean),
        share(sums.mem_used_pct_max),
        told(sums.load1_max, &|load| format!("{load:.2}")),
        bytes(sums.rss_b_max),
        plain(sums.fds_max),
        share(sums.disk_used_pct_max),
        bytes(host.rate(sums.net_rx_b)),
        bytes(host.rate(sums.net_tx_b)),
        told(sums.lag_us_max, &|lag| duration(lag as u64)),
        plain(sums.conns_max),
        plain(sums.in_flight_max),
        told(sums.spool_age_s_max, &|age| format!("{age:.1} s")),
        bad(sums.restarts),
        bad(sums.dropped),
    ]
}
