//! Workers: started, balanced one by one, and started again when they die.

use std::collections::BTreeMap;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::tollgate::CATCH_ALL;
use crate::support::{Setup, Tollgate, eventually, within};

fn gate(lines: &str) -> Tollgate {
    let whoami = env!("CARGO_BIN_EXE_tollgate");
    Setup::new(format!(
        "[upstream.app]\nbalance = \"round-robin\"\nworkers = {{ command = [\"{whoami}\", \"whoami\"], count = 2, ready = \"/healthz\"{lines} }}\n{CATCH_ALL}"
    ))
    .start()
}

/// Who answered: the worker's index and its process, as `whoami` tells them.
fn who(tollgate: &Tollgate) -> Option<(String, i32)> {
    let answer = tollgate.get("/?format=json");
    let json: Value = serde_json::from_slice(&answer.body).ok()?;
    let worker = match &json["worker"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some((worker, i32::try_from(json["pid"].as_i64()?).ok()?))
}

fn wait_for_both(tollgate: &Tollgate) -> BTreeMap<String, i32> {
    eventually("both workers answer", || {
        let seen: BTreeMap<String, i32> = (0..6).filter_map(|_| who(tollgate)).collect();
        (seen.len() == 2).then_some(seen)
    })
}

fn restarts(status: &Value) -> u64 {
    match status {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| if key == "restarts" { value.as_u64().unwrap_or(0) } else { restarts(value) })
            .sum(),
        Value::Array(list) => list.iter().map(restarts).sum(),
        _ => 0,
    }
}

/// Kills a process and waits until it is dead: what is sent after that can no longer have reached it.
fn kill(process: i32) {
    kill_process(Pid::from_raw(process).unwrap(), Signal::KILL).unwrap();
    eventually("the process is dead", || {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().unwrap_or_default();
        (stat.is_empty() || state.starts_with(['Z', 'X'])).then_some(())
    });
}

#[test]
fn workers_are_started_and_take_turns() {
    let tollgate = gate("");
    let workers = wait_for_both(&tollgate);
    let mut counts = BTreeMap::new();
    for _ in 0..20 {
        *counts.entry(who(&tollgate).expect("an answer").0).or_insert(0) += 1;
    }
    assert_eq!(counts.values().copied().collect::<Vec<i32>>(), [10, 10], "{counts:?} {workers:?}");
    assert_eq!(tollgate.get("/?m=worker").status, 200);
    let record = tollgate.records().wait("m=worker");
    let name = record["worker"].as_str().unwrap_or("");
    assert!(["app-0", "app-1"].contains(&name), "{record}");
}

#[test]
fn a_killed_worker_costs_nothing_but_its_own_requests_and_comes_back() {
    let tollgate = gate("");
    let workers = wait_for_both(&tollgate);
    let (name, victim) = workers.iter().next().map(|(name, pid)| (name.clone(), *pid)).unwrap();
    assert_eq!(restarts(&tollgate.status()), 0);
    kill(victim);
    for n in 0..20 {
        assert_eq!(tollgate.get("/").status, 200, "request {n} after the kill");
    }
    let again = wait_for_both(&tollgate);
    assert_ne!(again[&name], victim);
    assert_eq!(restarts(&tollgate.status()), 1);
}

#[test]
fn a_kill_under_load_fails_only_what_was_being_answered() {
    const CLIENTS: usize = 4;
    let tollgate = gate("");
    let victim = *wait_for_both(&tollgate).values().next().unwrap();
    let failed = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (failed, tollgate) = (&failed, &tollgate);
            scope.spawn(move || {
                let mut connection = tollgate.plain();
                for n in 0..150 {
                    let answer = connection.ask(crate::support::get(&format!("/delay/2?n={client}-{n}")));
                    if answer.status != 200 {
                        failed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    }
                }
            });
        }
        crate::support::pause(std::time::Duration::from_millis(200));
        kill(victim);
    });
    let failed = failed.into_inner();
    assert!(failed <= CLIENTS, "{failed} requests failed; {CLIENTS} were in flight");
    wait_for_both(&tollgate);
}

#[test]
fn with_one_worker_requests_wait_for_its_return() {
    let whoami = env!("CARGO_BIN_EXE_tollgate");
    let tollgate = Setup::new(format!(
        "[upstream.app]\nworkers = {{ command = [\"{whoami}\", \"whoami\"], count = 1, ready = \"/healthz\" }}\n{CATCH_ALL}"
    ))
    .start();
    let (_, victim) = eventually("the worker answers", || who(&tollgate));
    kill(victim);
    let (_, next) = eventually("the worker answers again", || who(&tollgate));
    assert_ne!(next, victim);
}

#[test]
fn a_stop_ends_the_workers_in_order() {
    let tollgate = gate("");
    let workers = wait_for_both(&tollgate);
    tollgate.stop();
    for pid in workers.values() {
        let gone = within(crate::support::DEADLINE, || {
            rustix::process::test_kill_process(Pid::from_raw(*pid).unwrap()).is_err().then_some(())
        });
        assert!(gone.is_some(), "worker {pid} outlived its tollgate");
    }
}

#[test]
fn a_worker_that_dies_at_once_is_tried_ever_more_slowly_and_given_up() {
    let setup = Setup::new(format!(
        "[upstream.app]\nworkers = {{ command = [\"/bin/false\"], count = 1, restart = {{ delay = \"10ms\", max_delay = \"20ms\", max_quick_deaths = 3 }} }}\n{CATCH_ALL}"
    ));
    let tollgate = setup.start();
    eventually("the worker is given up", || {
        tollgate.status().to_string().to_lowercase().contains("errored").then_some(())
    });
    assert!([502, 503].contains(&tollgate.get("/").status));
}

#[test]
fn what_a_worker_says_is_kept_with_its_name() {
    let whoami = env!("CARGO_BIN_EXE_tollgate");
    let script = "echo hello from $TOLLGATE_WORKER; exec \\\"$0\\\" whoami";
    let tollgate = Setup::new(format!(
        "[upstream.app]\nworkers = {{ command = [\"/bin/sh\", \"-c\", \"{script}\", \"{whoami}\"], count = 1 }}\n{CATCH_ALL}"
    ));
    let tollgate = tollgate.start();
    let line = tollgate
        .records()
        .wait_that("the worker's line", |record| record.to_string().contains("hello from 0"));
    assert_eq!(line["worker"], "app-0", "{line}");
}
