//! What is counted, as rules want it: from rows to values.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::facts::{FAILURES, Tally, of_requests};
use super::super::host::{Machine, machines, of_machines};
use super::*;
use crate::config::alert::RequestFilter;
use crate::config::read::Word as _;
use crate::exchange::failure::{Kind, Side};
use crate::log_service::columns::Builder;
use crate::log_service::query::Query;
use crate::log_service::rollup::{Counted, Counting, Kept};

fn counted(rows: &[Value]) -> Counted {
    let (mut builder, mut counting) = (Builder::new(10_000), Counting::default());
    for row in rows {
        builder.push_object(row.to_string().as_bytes(), NOW * 1000, "a").unwrap();
    }
    counting.note(&builder.finish().unwrap());
    Kept::new(0, 0).counted(std::path::Path::new("none"), counting.packed())
}

/// A request that began so many seconds before now.
fn request(ago: i64, status: u16, route: &str, dur_us: u64) -> Value {
    let ts = jiff::Timestamp::from_millisecond(NOW + 30 * SECOND - ago * SECOND).unwrap();
    json!({"kind": "request", "ts": ts.to_string(), "host": "shop.example", "route": route, "upstream": "app",
        "status": status, "dur_us": dur_us})
}

fn many(count: usize, row: &Value) -> Vec<Value> {
    vec![row.clone(); count]
}

/// The value of the whole, at half past 09:14.
fn value(keys: &str, rows: &[Value]) -> Option<f64> {
    values(keys, rows).remove("")
}

fn values(keys: &str, rows: &[Value]) -> BTreeMap<Box<str>, f64> {
    at(NOW + 30 * SECOND, keys, rows)
}

fn at(now: i64, keys: &str, rows: &[Value]) -> BTreeMap<Box<str>, f64> {
    match of_requests(&rule(keys), &counted(rows), now).unwrap() {
        Reading::Values(values) => values,
        Reading::Unknown => panic!("unknown"),
    }
}

#[test]
fn errors_are_5xx_and_what_broke_off_on_our_side() {
    let mut broken = request(1, 200, "/a", 10);
    broken["reason"] = "http_response_incomplete".into();
    let mut unanswered = request(1, 0, "/a", 10);
    unanswered["reason"] = "connection_terminated".into();
    let mut left = request(1, 499, "/a", 10);
    left["reason"] = "client_abort".into();
    let scan = json!({"kind": "conn", "ts": request(1, 0, "", 0)["ts"], "reason": "tls_protocol_error"});
    let mut limited = request(1, 429, "/a", 10);
    limited["reason"] = "rate_limited".into();
    let rows =
        [broken, unanswered, left, scan, limited, request(1, 502, "/a", 10), request(1, 200, "/a", 10)];
    assert_eq!(value("when = \"errors > 0\"", &rows), Some(3.0));
    // Connections on which nothing was asked for are no requests.
    assert_eq!(value("when = \"requests > 0\"", &rows), Some(6.0));
    assert_eq!(value("when = \"error_share > 0%\"", &rows), Some(0.5));
}

/// A new kind of failure must be put on one side or the other.
#[test]
fn every_failure_of_an_upstream_or_of_ours_is_an_error() {
    // Decided before anything is answered: their status says it, or it is no error.
    let by_status = ["drained", "http_request_error", "log_full", "proxy_loop_detected"];
    let of_table: BTreeSet<&str> = Kind::ALL
        .iter()
        .filter(|kind| kind.side() != Side::Downstream)
        .map(|kind| kind.row())
        .filter(|row| row.status.is_server_error() && !by_status.contains(&row.reason))
        .map(|row| row.reason)
        .collect();
    // What the spooler writes of requests that a crash cut off.
    let known: BTreeSet<&str> = FAILURES.into_iter().filter(|reason| *reason != "proxy_crashed").collect();
    assert_eq!(of_table, known);
}

#[test]
fn of_the_minute_that_the_window_reaches_into_its_share_counts() {
    let rows = [
        many(4, &request(1, 500, "/", 1)),
        many(7, &request(31, 500, "/", 1)),
        many(1, &request(89, 500, "/", 1)),
        many(6, &request(91, 500, "/", 1)),
    ]
    .concat();
    assert_eq!(value("when = \"requests > 0\"", &rows), Some(8.0));
    assert_eq!(value("when = \"errors > 0\"\nover = \"2m\"", &rows), Some(15.0));
    assert_eq!(value("when = \"requests > 0\"\nat_least = 9", &rows), None);
    // One that may be in it is.
    assert_eq!(value("when = \"requests > 0\"", &rows[11..12]), Some(1.0));
    // Over the 90 s that it reaches over.
    assert_eq!(value("when = \"requests > 1/s\"", &many(180, &rows[0])), Some(2.0));
}

/// Else what comes evenly would hold for some seconds of every minute, and an alarm of it could neither fire nor be over.
#[test]
fn what_comes_evenly_is_as_much_at_each_moment() {
    // Every three seconds one.
    let rows: Vec<Value> = (-40..140).map(|place| request(3 * place, 500, "/", 1)).collect();
    for over in [10, 30, 60, 300] {
        for second in (0..60).step_by(5) {
            let now = NOW + second * SECOND;
            let seen: Vec<Value> = rows
                .iter()
                .filter(|row| {
                    row["ts"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond() <= now
                })
                .cloned()
                .collect();
            let found = at(now, &format!("when = \"errors > 0\"\nover = \"{over}s\""), &seen)[""];
            assert!((found - f64::from(over) / 3.0).abs() <= 2.0, "{over}s at {second}: {found}");
        }
    }
}

#[test]
fn no_requests_are_none_and_have_no_share_and_no_duration() {
    assert_eq!(value("when = \"requests < 1\"", &[]), Some(0.0));
    assert_eq!(value("when = \"errors > 0\"", &[]), Some(0.0));
    assert_eq!(value("when = \"error_share > 0%\"", &[]), None);
    assert_eq!(value("when = \"p99 > 1s\"", &[]), None);
}

#[test]
fn below_at_least_nothing_is_said() {
    let rows = many(19, &request(1, 500, "/", 1));
    assert_eq!(value("when = \"error_share > 5%\"\nat_least = 20", &rows), None);
    assert_eq!(value("when = \"error_share > 5%\"\nat_least = 19", &rows), Some(1.0));
}

#[test]
fn durations_are_quantiles_and_their_mean() {
    let rows: Vec<Value> = (1..=1000).map(|ms| request(1, 200, "/", ms * 1000)).collect();
    for (keys, wanted) in [
        ("p50 > 0s", 0.5),
        ("p90 > 0s", 0.9),
        ("p99 > 0s", 0.99),
        ("p99.9 > 0s", 0.999),
        ("mean > 0s", 0.5005),
    ] {
        let found = value(&format!("when = \"{keys}\""), &rows).unwrap();
        assert!((found - wanted).abs() < wanted * 0.02, "{keys}: {found}");
    }
}

#[test]
fn a_filter_is_that_of_the_log() {
    let mut other = request(1, 500, "/b", 1);
    other["host"] = "Other.example".into();
    let rows =
        [many(3, &request(1, 500, "/a", 1)), many(2, &request(1, 200, "/a", 1)), many(5, &other)].concat();
    let with = |filter: &str| value(&format!("when = \"requests > 0\"\nwhere = \"{filter}\""), &rows);
    assert_eq!(with("host:shop.example"), Some(5.0));
    assert_eq!(with("host:*.example -host:shop.*"), Some(5.0));
    assert_eq!(with("status:5xx"), Some(8.0));
    assert_eq!(with("route:/a status:2xx"), Some(2.0));
    assert_eq!(with("-status:5xx upstream:app"), Some(2.0));
    assert_eq!(with("reason:*"), Some(0.0));
    assert_eq!(with("host:shop.example AND route:/a AND status:2xx"), Some(2.0));
    assert_eq!(with("status:5xx and not host:shop.example"), Some(5.0));
    assert_eq!(with("(host:other.* or status:2xx) && !route:/a"), Some(5.0));
    assert_eq!(with("route:/a OR NOT (status:5xx || host:shop.*)"), Some(5.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    /// What the configuration lets through and the log's filter did not would count all requests.
    #[test]
    fn the_log_takes_every_filter_that_the_configuration_takes(
        text in r"((host|status|reason|route|not|user):(a|5xx|\*|\[a|and|!b|-|/x)|[()!-]| |  |and |OR|or |&& |\|\| |not|NOT |\[a TO b\]|\PC){0,12}",
    ) {
        if RequestFilter::parse(&text).is_ok() {
            prop_assert!(Query::parse(&text).is_ok(), "{}", Query::parse(&text).unwrap_err());
        }
    }
}

#[test]
fn where_takes_operators_in_their_places_only() {
    for text in [
        "and host:a",
        "host:a and",
        "host:a or or host:b",
        "not",
        "(host:a",
        "host:a)",
        "()",
        "- host:a",
        "-(",
        "!",
        "host:a (or host:b)",
        "host:(a b)",
        "host:a not",
    ] {
        assert!(RequestFilter::parse(text).is_err(), "{text}");
    }
    for text in
        ["host:a and not route:/x", "-(host:a || host:b)", "!host:a", "NOT(host:a) status:5xx", "((host:a))"]
    {
        assert!(RequestFilter::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn each_is_counted_by_itself_and_what_has_none_not_at_all() {
    let rows = [
        many(3, &request(1, 500, "/a", 1)),
        many(2, &request(1, 200, "/b", 1)),
        many(5, &request(1, 404, "", 1)),
    ]
    .concat();
    let told = values("when = \"errors > 0\"\nby = \"route\"", &rows);
    assert_eq!(told, [(Box::from("/a"), 3.0), (Box::from("/b"), 0.0)].into());
}

#[test]
fn of_machines_each_or_the_worst() {
    let tally = |count: f64| {
        let mut tally = Tally::default();
        tally.add(count, false);
        tally
    };
    let machine = |proxy: &str, cpu, restarts: Option<f64>, certificate| Machine {
        proxy: proxy.into(),
        cpu,
        restarts: restarts.map(tally),
        certificate,
        ..Machine::default()
    };
    let machines = [
        machine("a", Some(0.5), Some(1.0), None),
        machine("b", Some(0.9), Some(2.0), Some(5.0)),
        machine("c", None, None, Some(9.0)),
    ];
    assert_eq!(
        of_machines(&rule("when = \"cpu > 80%\"\nby = \"proxy\""), &machines, NOW),
        by(&[("a", 0.5), ("b", 0.9)])
    );
    assert_eq!(of_machines(&rule("when = \"cpu > 80%\""), &machines, NOW), whole(0.9));
    assert_eq!(of_machines(&rule("when = \"restarts > 2\""), &machines, NOW), whole(3.0));
    assert_eq!(of_machines(&rule("when = \"certificate < 14d\""), &machines, NOW), whole(5.0));
    assert_eq!(of_machines(&rule("when = \"load > 2\""), &machines, NOW), by(&[]));
}

#[test]
fn machines_say_it_in_host_records() {
    let host = |proxy: &str, ago: i64, cpu: f64, memory: f64, restarts: u64| {
        json!({"kind": "host", "proxy": proxy, "ts": request(ago, 200, "", 1)["ts"], "cpu_pct": cpu, "mem_used_pct": memory,
            "load1": 2.5, "fds": 80, "fds_limit": 100, "restarts_new": restarts, "cert_days": 13, "spool_age_s": 61,
            "sinks_stuck": 1})
    };
    let rows = [
        host("a", 80, 10.0, 90.0, 1),
        host("a", 70, 20.0, 90.0, 1),
        host("a", 5, 60.0, 40.0, 1),
        host("b", 5, 5.0, 5.0, 0),
    ];
    let counted = counted(&rows);
    let value = |keys: &str| {
        let rule = rule(&format!("when = \"{keys}\"\nby = \"proxy\""));
        let machines = machines(rule.over, &counted, NOW + 30 * SECOND).unwrap().unwrap();
        let Reading::Values(values) = of_machines(&rule, &machines, NOW + 30 * SECOND) else {
            panic!("unknown")
        };
        (values.len(), (values["a"] * 1e6).round() / 1e6)
    };
    assert_eq!(value("cpu > 1%"), (2, 0.3));
    assert_eq!(value("memory > 1%"), (2, 0.4));
    // Half of the two in the minute before, and one.
    assert_eq!(value("restarts > 1"), (2, 2.0));
    assert_eq!(value("fds > 1%"), (2, 0.8));
    assert_eq!(value("load > 1"), (2, 2.5));
    assert_eq!(value("spool_age > 1m"), (2, 61.0));
    assert_eq!(value("sinks_stuck > 0"), (2, 1.0));
    assert_eq!(value("certificate < 14d"), (2, 13.0 * 86_400.0));
}
