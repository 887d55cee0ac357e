use super::table::{ago, table};
use super::*;
use crate::app::admin::{
    Actions, Admin, Count, EndpointStatus, ListenerStatus, LogStatus, Open, SinkStatus, Status,
    UpstreamStatus,
};
use crate::worker::{State, WorkerStatus};

fn example() -> Status {
    let worker = |index: usize, state, restarts| WorkerStatus {
        name: format!("app-{index}"),
        index,
        pid: Some(100),
        state,
        address: "127.0.0.1:20001".parse().unwrap(),
        restarts,
        for_s: 61,
        rss_bytes: Some(3_000_000),
        dropped_lines: 0,
        last_end: None,
    };
    let endpoint = |index: usize, up| EndpointStatus {
        address: format!("127.0.0.1:2000{index}"),
        worker: Some(format!("app-{index}")),
        up,
        healthy: true,
        requests: 7,
        ..EndpointStatus::default()
    };
    Status {
        v: 1,
        version: "0.1.0".to_owned(),
        pid: 42,
        uptime_s: 93_784,
        config: "tollgate.toml".to_owned(),
        plans: 2,
        listeners: vec![ListenerStatus { name: "http".to_owned(), address: "127.0.0.1:8080".to_owned() }],
        connections: Count { open: 1, total: 10 },
        requests: Count { open: 0, total: 20 },
        upstreams: vec![UpstreamStatus {
            name: "app".to_owned(),
            endpoints: vec![endpoint(0, true), endpoint(1, false)],
            workers: vec![worker(0, State::Serving, 0), worker(1, State::Errored, 16)],
        }],
        log: LogStatus {
            records: 20,
            lines: 3,
            delivered: 18,
            dropped: [("ring_full".to_owned(), 2)].into(),
            waiting_bytes: 3_000_000_000,
            spool_fill: 720,
            pressure: "detail".to_owned(),
            ..LogStatus::default()
        },
    }
}

#[test]
fn the_table_shows_workers_beside_their_endpoints() {
    let expected = "\
tollgate     0.1.0, pid 42, up 1d 2h
config       tollgate.toml (loaded 2×)
listening    http://127.0.0.1:8080
connections  1 open, 10 in all
requests     0 open, 20 in all
log          20 records, 3 other entries (events, lines of workers); 18 delivered in all, 2 dropped (ring_full), 2862 MiB waiting (spool 72 % full, pressure: detail)

UPSTREAM  ADDRESS          STATE    OPEN  REQUESTS  WORKER               RESTARTS  MEMORY
app       127.0.0.1:20000  up       0     7         app-0 (100, 1m 1s)   0         3 MiB
app       127.0.0.1:20001  errored  0     7         app-1 (100, 1m 1s)   16        3 MiB
";
    // Column widths follow the longest cell.
    let normal = |text: &str| {
        text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(normal(&table(&example())), normal(expected));
}

#[test]
fn an_upstream_without_addresses_is_named() {
    let mut status = example();
    status.upstreams = vec![UpstreamStatus { name: "by-name".to_owned(), ..UpstreamStatus::default() }];
    let text = table(&status);
    let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(last, ["by-name", "-", "no", "address", "-", "-", "-", "-", "-"]);
}

#[test]
fn sinks_with_a_name_have_a_line_each() {
    let mut status = example();
    let sink = |name: &str, trouble: Option<&str>| SinkStatus {
        name: name.to_owned(),
        delivered: 18,
        refused: 2,
        waiting_bytes: 5 << 20,
        trouble: trouble.map(str::to_owned),
        ..SinkStatus::default()
    };
    status.log.sinks = vec![sink("file:a.log", None)];
    assert!(!table(&status).contains("SINK"));
    status.log.sinks.push(sink("sink:search", Some("it answers 429")));
    let text = table(&status);
    let lines: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(lines.contains(&"SINK DELIVERED WAITING RETRIES REFUSED LOST STATE".to_owned()), "{text}");
    assert!(lines.contains(&"search 18 5 MiB 0 2 0 it answers 429".to_owned()), "{text}");
}

#[test]
fn nothing_in_the_table_is_obeyed_by_a_terminal() {
    let mut status = example();
    status.upstreams[0].endpoints[0].address = "\x1b[31mred".to_owned();
    status.config = "\x07".to_owned();
    assert!(!table(&status).chars().any(|c| c.is_control() && c != '\n'));
}

#[test]
fn durations_show_their_two_largest_units() {
    assert_eq!([59, 61, 3_661, 90_061].map(ago), ["59s", "1m 1s", "1h 1m", "1d 1h"]);
}

#[test]
fn without_an_instance_the_exit_code_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    assert_eq!(status(&path, false), Exit::NoInstance);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert_eq!(reload(&path, false), Exit::NoInstance, "a stale socket is no instance");
}

#[test]
fn commands_reach_the_instance_and_report_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (stop_sender, stopped) = tokio::sync::watch::channel(false);
    let actions = Actions {
        open: Box::new(Open::default),
        status: Box::new(example),
        reload: Box::new(|| Box::pin(async { Err("tollgate.toml:1: no".to_owned()) })),
        stop: Box::new(move || {
            stop_sender.send_replace(true);
        }),
        reopen_logs: Box::new(|| Box::pin(async { Ok("reopened".to_owned()) })),
    };
    let admin = Admin::bind(&path).unwrap();
    let mut told = stopped.clone();
    runtime.spawn(async move {
        tokio::select! {
            () = admin.serve(actions) => {}
            _ = told.wait_for(|stop| *stop) => {}
        }
    });
    assert_eq!(status(&path, false), Exit::Done);
    assert_eq!(status(&path, true), Exit::Done);
    assert_eq!(reload(&path, false), Exit::BadConfig);
    assert_eq!(reload(&path, true), Exit::BadConfig);
    assert_eq!(reopen_logs(&path, false), Exit::Done);
    assert_eq!(stop(&path), Exit::Done);
    assert!(*stopped.borrow());
    assert_eq!(status(&path, false), Exit::NoInstance);
}
