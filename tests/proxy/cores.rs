//! Connections are spread over the cores, and those that change the core are counted and ended like all others.

use std::collections::BTreeMap;

use rustix::process::Signal;

use crate::support::{DEADLINE, Http1, Origin, Setup, Tollgate, eventually, get};

fn start(cores: usize, line: &str) -> (Origin, Tollgate) {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).cores(cores).server(line).start();
    (origin, tollgate)
}

/// Open connections that have each had an answer.
fn busy(count: usize, dial: impl Fn() -> Http1) -> Vec<Http1> {
    let ask = |_| {
        let mut connection = dial();
        assert_eq!(connection.ask(get("/")).status, 200);
        connection
    };
    (0..count).map(ask).collect()
}

/// Connections of each core, by the records: the upper bits of a connection's number are those of its core.
fn by_core(tollgate: &Tollgate, count: usize) -> Vec<usize> {
    let of = |records: &[serde_json::Value]| {
        let mut cores = BTreeMap::<u64, usize>::new();
        for record in records.iter().filter(|record| record["kind"] == "request") {
            *cores.entry(record["conn"].as_u64().expect("a number") >> 48).or_default() += 1;
        }
        cores.into_values().collect::<Vec<_>>()
    };
    eventually("all records", || {
        let cores = of(&tollgate.records().all());
        (cores.iter().sum::<usize>() >= count).then_some(cores)
    })
}

/// Whether no core has more than is allowed beyond the one with least: two or an eighth, and the one that came last.
#[track_caller]
fn is_even(open: &[usize], cores: usize) {
    let (least, most) = (open.iter().min().unwrap(), open.iter().max().unwrap());
    assert!(open.len() == cores && most - least <= 1 + (least / 8).max(2), "{open:?}");
}

#[test]
fn kept_connections_are_spread_evenly() {
    for (cores, count) in [(2, 64), (3, 150)] {
        let (_origin, tollgate) = start(cores, "");
        let open = busy(count, || tollgate.plain());
        is_even(&by_core(&tollgate, count), cores);
        drop(open);
    }
}

#[test]
fn kept_connections_over_tls_are_spread_evenly() {
    let origin = Origin::start();
    let setup = Setup::new(format!("[upstream.app]\nservers = [\"{}\"]\n", origin.address));
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!("[site.localhost]\ntls = {tls}\nroutes = [{{ path = \"/*\", proxy = \"app\" }}]\n");
    let tollgate = setup.https().cores(2).and(site).start();
    let open = busy(64, || tollgate.tls());
    is_even(&by_core(&tollgate, 64), 2);
    drop(open);
}

#[test]
fn the_limit_of_an_address_holds_over_all_cores() {
    let (_origin, tollgate) = start(2, "max_connections_per_ip = 40");
    for _ in 0..2 {
        let open = eventually("all places are free", || {
            (tollgate.status()["connections"]["open"] == 0).then(|| busy(40, || tollgate.plain()))
        });
        assert!(tollgate.plain().closes_within(DEADLINE), "one too many");
        assert_eq!(tollgate.status()["connections"]["open"], 40);
        drop(open);
    }
}

#[test]
fn the_limit_of_all_holds_over_all_cores() {
    let (_origin, tollgate) = start(2, "max_connections = 40");
    let mut open = busy(40, || tollgate.plain());
    let mut waiting = tollgate.plain();
    waiting.send(get("/"));
    assert_eq!(tollgate.status()["connections"]["open"], 40);
    open.pop();
    assert_eq!(waiting.answer().status, 200, "its turn came");
    eventually("the count is back", || (tollgate.status()["connections"]["open"] == 40).then_some(()));
}

/// All connect while the process is stopped, so that it accepts and drains at once when it goes on.
#[test]
fn a_stop_in_the_middle_of_a_burst_ends_in_order() {
    for _ in 0..5 {
        let (_origin, mut tollgate) = start(2, "");
        tollgate.signal(Signal::STOP);
        let mut burst: Vec<Http1> = (0..100).map(|_| tollgate.plain()).collect();
        for connection in &mut burst {
            connection.send(get("/?m=burst"));
        }
        tollgate.signal(Signal::TERM);
        tollgate.signal(Signal::CONT);
        // What was not accepted any more is closed by the kernel; what was is answered, and has its record.
        let answers = burst.iter_mut().filter_map(|connection| connection.reader.answer(false).ok());
        let answers: Vec<u16> = answers.map(|answer| answer.status).collect();
        assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
        assert!(tollgate.wait_exit(DEADLINE).is_some_and(|status| status.success()));
        assert_eq!(tollgate.records().of("m=burst").len(), answers.len());
    }
}
