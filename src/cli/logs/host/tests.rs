use anstream::adapter::strip_str;
use serde_json::{Value, json};

use super::*;

const RECORD: &str = r#"{
    "v": 1, "kind": "host", "proxy": "edge-1", "interval_us": 10000000, "uptime_s": 3723, "cpus": 2, "cpu_user_pct": 8.0,
    "cpu_system_pct": 4.0, "cpu_iowait_pct": 0.5, "cpu_steal_pct": 0.0, "mem_total_b": 8000000000,
    "mem_avail_b": 4800000000, "mem_used_pct": 40.0, "swap_used_b": 0, "rss_b": 34000000, "load1": 0.52, "load5": 0.4,
    "load15": 0.33, "fds": 120, "fds_limit": 1048576, "disk": "run/logs", "disk_total_b": 250000000000,
    "disk_free_b": 150000000000, "disk_used_pct": 40.0, "net_rx_b": 12000000, "net_tx_b": 340000000, "net_errors": 0,
    "lag_max_us": 3400, "lag_mean_us": 800, "cores_stuck": 0,
    "cores": [
        {"core": 0, "max_us": 3400, "mean_us": 900, "in_flight": 2},
        {"core": 1, "max_us": 1200, "mean_us": 700, "in_flight": 1}
    ],
    "conns": 12, "in_flight": 3, "workers_down": 1, "workers_rss_b": 24000000, "restarts": 4, "restarts_new": 1,
    "workers": [
        {"worker": "app-0", "upstream": "app", "state": "serving", "pid": 4711, "rss_b": 24000000, "restarts": 1},
        {"worker": "app-1", "upstream": "app", "state": "waiting", "restarts": 3}
    ],
    "spool_b": 1500, "spool_age_s": 2.5, "sinks_stuck": 1, "records": 5000, "records_new": 500, "dropped": 0,
    "dropped_new": 0,
    "sinks": [
        {"sink": "file:access.log", "takes": true, "lag_b": 0, "written": 5000, "retries": 0, "dropped": 0},
        {"sink": "http://logs:9600", "takes": false, "why": "connection refused", "lag_b": 1500, "age_s": 2.5,
            "written": 4990, "retries": 7, "dropped": 0}
    ],
    "cert_days": 59.9, "certs": [{"cert": "local", "days": 59.9}, {"cert": "b.pem", "days": 80.0}]
}"#;

/// As a proxy writes it, `second` after the start.
fn record(second: u32, cpu: f64) -> Value {
    let mut record: Value = serde_json::from_str(RECORD).unwrap();
    record["ts"] = format!("2026-11-21T09:{:02}:{:02}Z", second / 60, second % 60).into();
    record["cpu_pct"] = cpu.into();
    record["own_cpu_pct"] = (cpu / 2.0).into();
    record
}

fn hosts(every: Option<i64>) -> Hosts {
    let mut hosts = Hosts::new();
    // Not in their order: a store has them as they came.
    for (second, cpu) in [(10, 20.0), (20, 31.0), (0, 10.0), (70, 50.0)] {
        assert!(note(&mut hosts, &record(second, cpu), every));
    }
    hosts
}

fn plain(lines: &[String]) -> String {
    let lines = lines.iter().map(|line| strip_str(line).to_string());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_proxy_is_a_page() {
    let hosts = hosts(None);
    let ((_, proxy), host) = hosts.first_key_value().unwrap();
    insta::assert_snapshot!(plain(&page::lines(proxy, host)), @"
    edge-1: 4 host records, 2026-11-21T09:00:00Z to 2026-11-21T09:01:10Z, up 1h02m
    cpu       27.8 % (max 50.0 %) of 2 processors; now user 8.0 %, system 4.0 %, iowait 0.5 %, steal 0.0 %; tollgate 13.9 % (max 25.0 %) of one
    memory    40.0 % of 8.0GB used (max 40.0 %), 4.8GB available, 0B swap; tollgate 34.0MB, workers 24.0MB
    load      0.52  0.40  0.33
    files     120 open of 1 048 576
    disk      40.0 % of 250.0GB used, 150.0GB free  (run/logs)
    network   in 1.2MB/s, out 34.0MB/s, 0 errors
    lag       max 3.4ms, mean 800us  (core 0 3.4ms/900us  core 1 1.2ms/700us)
    traffic   12 connections (max 12), 3 requests under way (max 3)
    log       2 000 records, 0 lost; 1.5kB wait, the oldest for 2.5 s (max 2.5 s)
    certs     the first ends in 59.9 days  (local)
      worker  state       rss  restarts   pid
      app-0   serving  24.0MB         1  4711
      app-1   waiting       –         3     –
      sink              written  waits    for  retries  lost  takes
      file:access.log     5 000     0B      –        0     0  yes
      http://logs:9600    4 990  1.5kB  2.5 s        7     0  no: connection refused
    ");
}

#[test]
fn steps_are_rows() {
    insta::assert_snapshot!(plain(&series::lines(&hosts(Some(60_000_000)))), @"
       cpu     max  tollgate  memory  load     rss  files    disk   in/s   out/s    lag  conns  open  spool  restarts  lost  from                  proxy
    20.3 %  31.0 %    10.2 %  40.0 %  0.52  34.0MB    120  40.0 %  1.2MB  34.0MB  3.4ms     12     3  2.5 s         3     0  2026-11-21T09:00:00Z  edge-1
    50.0 %  50.0 %    25.0 %  40.0 %  0.52  34.0MB    120  40.0 %  1.2MB  34.0MB  3.4ms     12     3  2.5 s         1     0  2026-11-21T09:01:00Z  edge-1
    ");
}

#[test]
fn what_a_record_does_not_say_is_left_out_and_nothing_is_believed() {
    let mut hosts = Hosts::new();
    let odd = json!({"kind": "host", "proxy": "\u{1b}[31mevil\n", "cpu_pct": "high", "workers": [{"worker": 7}], "cores": 3});
    assert!(note(&mut hosts, &odd, None) && note(&mut hosts, &Value::Null, Some(1)));
    let ((_, proxy), host) = hosts.last_key_value().unwrap();
    let page = plain(&page::lines(proxy, host));
    assert!(page.starts_with("\\x1b[31mevil") && !page.contains("cpu  "), "{page}");
}
