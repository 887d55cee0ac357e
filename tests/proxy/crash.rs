//! After `kill -9` the log goes on: what was finished is there, and what was under way has a name.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{DEADLINE, Origin, Setup, Tollgate, eventually, get};

/// Answers everything but `/hold`, which waits for its connection to break.
fn origin() -> Origin {
    Origin::with(|talk| {
        talk.read_body();
        match talk.path() {
            "/hold" => {
                talk.wait_closed();
            }
            _ => talk.ok("ok"),
        }
    })
}

fn setup(origin: &Origin) -> Setup {
    Setup::proxy(origin.address)
}

/// Numbers of core 0 for each boot, with those that are declared missing.
fn numbers(records: &[Value], boot: u64) -> Vec<u64> {
    let of_boot = records.iter().filter(|r| r["boot"] == boot && r["core"] == 0);
    of_boot
        .flat_map(|record| match record["seq"].as_u64() {
            Some(seq) => seq..=seq,
            None => record["first_seq"].as_u64().unwrap()..=record["last_seq"].as_u64().unwrap(),
        })
        .collect()
}

fn stdout(tollgate: &Tollgate, words: &[&str]) -> String {
    let output = tollgate.command(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn hold(tollgate: &Tollgate, origin: &Origin, path: &str) -> crate::support::client::Http1 {
    let before = origin.count();
    let mut client = tollgate.plain();
    client.send(get(path));
    origin.wait_for(before + 1);
    client
}

#[test]
fn what_is_under_way_is_shown() {
    let origin = origin();
    let tollgate = setup(&origin).start();
    tollgate.get("/done");
    let client = hold(&tollgate, &origin, "/hold?secret=1");
    let text = stdout(&tollgate, &["logs", "open"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!((words[1], words[2], words[4], words[5]), ("wait", "GET", "/hold", "127.0.0.1"), "{text}");
    let json: Value = serde_json::from_str(&stdout(&tollgate, &["logs", "open", "-o", "json"])).unwrap();
    let open = &json["open"][0];
    assert_eq!((&open["at"], &open["path"], &open["core"]), (&"wait".into(), &"/hold".into(), &0.into()));
    assert!(!json.to_string().contains("secret"));
    drop(client);
    eventually("nothing is under way any more", || {
        (stdout(&tollgate, &["logs", "open"]) == "nothing is under way\n").then_some(())
    });
}

#[test]
fn between_a_kill_and_the_next_start_it_is_said_that_the_newest_run_has_not_ended_in_order() {
    let origin = origin();
    let mut tollgate = setup(&origin).start();
    let said = |tollgate: &Tollgate| {
        let output = tollgate.command(&["logs", "open", "--crash"]);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(!said(&tollgate).contains("has not ended in order"), "{}", said(&tollgate));
    let held = hold(&tollgate, &origin, "/hold");
    tollgate.kill();
    drop(held);
    for _ in 0..2 {
        let said = said(&tollgate);
        assert!(said.contains("has not ended in order") && said.contains("logs recover"), "{said}");
    }
    tollgate.start_again();
    assert!(!said(&tollgate).contains("has not ended in order"), "{}", said(&tollgate));
    assert!(stdout(&tollgate, &["logs", "open", "--crash"]).contains("/hold"));
}

#[test]
fn a_killed_proxy_goes_on_with_its_log_and_names_what_was_under_way() {
    kill_and_go_on(true);
}

#[test]
fn a_killed_proxy_loses_nothing_that_a_client_saw_finished() {
    kill_and_go_on(false);
}

/// `settles`: what is finished has reached the file before the kill.
fn kill_and_go_on(settles: bool) {
    let origin = origin();
    let mut tollgate = setup(&origin).start();
    let mut boots = BTreeSet::new();
    for round in 0..5 {
        let mut client = tollgate.plain();
        for at in 0..=round * 7 {
            assert_eq!(client.ask(get(&format!("/round-{round}/{at}"))).status, 200);
        }
        if settles {
            let last = format!("/round-{round}/{}", round * 7);
            tollgate.records().wait_that("the last answer", |r| r["path"] == *last);
        }
        let held = hold(&tollgate, &origin, "/hold");
        tollgate.kill();
        drop(held);
        tollgate.start_again();
        let records = tollgate.records();
        let crashed = records.wait_that("the held request", |r| {
            r["reason"] == "proxy_crashed" && !boots.contains(&r["boot"].as_u64().unwrap())
        });
        assert_eq!(
            (&crashed["end_by"], &crashed["end_at"], &crashed["path"]),
            (&"proxy".into(), &"wait".into(), &"/hold".into())
        );
        assert_eq!(
            (&crashed["kind"], &crashed["status"], &crashed["client_ip"]),
            (&"request".into(), &0.into(), &"127.0.0.1".into())
        );
        let boot = crashed["boot"].as_u64().unwrap();
        boots.insert(boot);
        // One for each answer that the client saw, then the one that it did not.
        let all = records.all();
        let distinct: BTreeSet<u64> = numbers(&all, boot).into_iter().collect();
        assert!(distinct.iter().copied().eq(1..=round * 7 + 2), "{distinct:?}");
        for at in 0..=round * 7 {
            let path = format!("/round-{round}/{at}");
            assert!(all.iter().any(|r| r["path"] == *path), "{path}");
        }
        let text = stdout(&tollgate, &["logs", "open", "--crash"]);
        assert!(text.contains("GET") && text.contains("/hold"), "{text}");
    }
    assert!(tollgate.stderr().contains("did not end in order"));
    // Dead rings go when the disk has what was in them.
    eventually("only the living ring is left", || {
        (left_of_rings(&tollgate) == ["crash.json", "ring.0", "ring.lock"]).then_some(())
    });
}

/// What stands in the spool's directory beside segments and cursors.
fn left_of_rings(tollgate: &Tollgate) -> Vec<String> {
    let files = std::fs::read_dir(tollgate.setup.dir().join("run/logs/spool")).unwrap();
    let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("ring") || name.starts_with("crash"));
    names.sort();
    names
}

#[test]
fn an_orderly_end_leaves_no_ring_and_is_no_crash() {
    let origin = origin();
    let mut tollgate = setup(&origin).start();
    tollgate.get("/a");
    tollgate.signal(rustix::process::Signal::TERM);
    assert!(tollgate.wait_exit(DEADLINE).is_some_and(|status| status.success()));
    assert_eq!(left_of_rings(&tollgate), ["ring.lock"]);
    let output = tollgate.command(&["logs", "open", "--crash"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn recover_reads_without_starting_and_refuses_a_living_one() {
    let origin = origin();
    let mut tollgate = setup(&origin).start();
    let output = tollgate.command(&["logs", "recover", "run/logs"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let held = hold(&tollgate, &origin, "/hold");
    tollgate.kill();
    drop(held);
    for words in [&["logs", "recover", "run/logs"][..], &["logs", "recover", "run/logs", "--remove"]] {
        let text = stdout(&tollgate, words);
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((&last["reason"], &last["path"]), (&"proxy_crashed".into(), &"/hold".into()), "{words:?}");
    }
    assert_eq!(tollgate.command(&["logs", "recover", "run/logs"]).status.code(), Some(1));
}
