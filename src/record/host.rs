//! `host` records: JSON objects with the facts of a machine and its proxy (`app::host` makes them).

/// The numbers by which alert rules and rollups know them: each stands alone in the record, under this name. A share of
/// 100 ends in `_pct`, bytes in `_b`, seconds in `_s`, microseconds in `_us`, and `_new` is since the record before.
pub const FACTS: [&str; 28] = [
    "cpu_pct",
    "own_cpu_pct",
    "mem_used_pct",
    "mem_avail_b",
    "rss_b",
    "load1",
    "load5",
    "load15",
    "fds",
    "fds_limit",
    "disk_free_b",
    "disk_used_pct",
    "net_rx_b",
    "net_tx_b",
    "net_errors",
    "lag_max_us",
    "lag_mean_us",
    "conns",
    "in_flight",
    "spool_b",
    "spool_age_s",
    "sinks_stuck",
    "restarts_new",
    "workers_down",
    "workers_rss_b",
    "cert_days",
    "dropped_new",
    "records_new",
];
