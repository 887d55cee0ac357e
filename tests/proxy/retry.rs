//! A request is sent again only when that cannot do a thing twice.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::tollgate::CATCH_ALL;
use crate::support::{DeadEnd, Origin, Setup, Tollgate, eventually, get, post};

fn upstream(lines: &str) -> Tollgate {
    Setup::new(format!("[upstream.app]\n{lines}\n{CATCH_ALL}")).start()
}

/// Answers its first request on each connection and closes at the second, without a word.
fn forgetful() -> Origin {
    Origin::with(|talk| {
        let connection = talk.request.connection;
        let first = talk.query("n") == Some("1");
        talk.read_body();
        if first || connection > 0 {
            talk.ok("ok");
        } else {
            talk.close();
        }
    })
}

#[test]
fn a_kept_connection_that_died_is_replaced_unseen() {
    let origin = forgetful();
    let tollgate = upstream(&format!("servers = [\"{}\"]", origin.address));
    let mut client = tollgate.plain();
    assert_eq!(client.ask(get("/?n=1")).status, 200);
    // Only a connection that was idle for a while is doubtful enough to keep the request for a second try.
    crate::support::pause(std::time::Duration::from_millis(400));
    assert_eq!(client.ask(get("/?n=2")).status, 200, "GET is sent again on a fresh connection");
    let record = tollgate.records().wait("n=2");
    assert_eq!((record["status"].as_u64(), record["tries"].as_u64()), (Some(200), Some(2)), "{record}");
    assert_eq!(record["try_log"].as_array().map(Vec::len), Some(1));
    assert_eq!(origin.wait_for(3).len(), 3);
}

#[test]
fn a_post_is_never_sent_twice() {
    let origin = forgetful();
    let tollgate = upstream(&format!("servers = [\"{}\"]", origin.address));
    let mut client = tollgate.plain();
    assert_eq!(client.ask(get("/?n=1")).status, 200);
    assert_eq!(client.ask(post("/?n=2", "once")).status, 502);
    let posts = origin.requests().iter().filter(|got| got.method == "POST").count();
    assert_eq!(posts, 1);
    let record = tollgate.records().wait("n=2");
    assert_eq!(
        (record["reason"].as_str(), record["tries"].as_u64()),
        (Some("connection_terminated"), Some(1))
    );
}

#[test]
fn a_connection_closed_while_idle_is_not_used() {
    let origin = Origin::with(|talk| {
        talk.read_body();
        talk.ok("ok");
        talk.close();
    });
    let tollgate = upstream(&format!("servers = [\"{}\"]", origin.address));
    for n in 0..20 {
        let answer = tollgate.plain().ask(post(&format!("/?n={n}"), "x"));
        assert_eq!(answer.status, 200, "request {n}");
        eventually("the origin has closed", || (origin.open() == 0).then_some(()));
    }
    assert_eq!(origin.count(), 20);
}

#[test]
fn an_endpoint_that_refuses_connections_is_passed_over() {
    let (dead, origin) = (DeadEnd::new(), Origin::start());
    let tollgate =
        upstream(&format!("servers = [\"{}\", \"{}\"]\neject = false", dead.address, origin.address));
    for n in 0..6 {
        // Even a POST: nothing was sent to the one that refused.
        assert_eq!(tollgate.plain().ask(post(&format!("/?n={n}"), "x")).status, 200);
    }
    assert_eq!(origin.count(), 6);
    let retried = tollgate.records().wait_that("a second try", |record| record["tries"] == 2);
    assert_eq!(retried["up_addr"], origin.address.to_string());
    let first = &retried["try_log"][0];
    assert_eq!(
        (&first["addr"], &first["reason"]),
        (&Value::from(dead.address.to_string()), &Value::from("connection_refused"))
    );
}

#[test]
fn one_try_means_one_try() {
    let (dead, origin) = (DeadEnd::new(), Origin::start());
    let tollgate = upstream(&format!(
        "servers = [\"{}\", \"{}\"]\neject = false\nretry = {{ tries = 1 }}",
        dead.address, origin.address
    ));
    let statuses: Vec<u16> = (0..6).map(|_| tollgate.get("/").status).collect();
    assert!(statuses.contains(&502) && statuses.contains(&200), "{statuses:?}");
}

#[test]
fn a_status_is_retried_only_where_configured_and_idempotent() {
    let failing = Origin::with(|talk| {
        talk.read_body();
        talk.answer(503, &[], b"busy");
    });
    let good = Origin::start();
    let lines = format!(
        "servers = [\"{}\", \"{}\"]\neject = false\nretry = {{ tries = 2, on = [\"connect\", \"503\"], budget = \"100%\" }}",
        failing.address, good.address
    );
    let tollgate = upstream(&lines);
    for _ in 0..4 {
        assert_eq!(tollgate.get("/").status, 200);
    }
    let posts: Vec<u16> = (0..4).map(|_| tollgate.plain().ask(post("/", "x")).status).collect();
    assert!(posts.contains(&503), "a POST was sent again: {posts:?}");
    assert_eq!(
        failing.count() + good.count(),
        4 + 4 + failing.requests().iter().filter(|got| got.method == "GET").count()
    );
}

#[test]
fn retries_stay_within_their_budget() {
    let busy = || {
        Origin::with(|talk| {
            talk.read_body();
            // Long enough that all requests of the test overlap: the budget counts those in flight.
            crate::support::pause(std::time::Duration::from_millis(100));
            talk.answer(503, &[], b"busy");
        })
    };
    let (a, b) = (busy(), busy());
    let tollgate = upstream(&format!(
        "servers = [\"{}\", \"{}\"]\neject = false\nretry = {{ tries = 2, on = [\"503\"], budget = \"20%\" }}",
        a.address, b.address
    ));
    let asked = 40;
    std::thread::scope(|scope| {
        for _ in 0..asked {
            scope.spawn(|| assert_eq!(tollgate.get("/").status, 503));
        }
    });
    let sent = a.count() + b.count();
    assert!(sent > asked, "nothing was retried");
    // 20 % of 40 and the three that are always allowed, with room for those that came later.
    assert!(sent <= asked + 24, "{sent} requests were sent for {asked}");
}

#[test]
fn an_answer_that_broke_off_is_never_retried() {
    let hits = AtomicUsize::new(0);
    let origin = Origin::with(move |talk| {
        hits.fetch_add(1, Ordering::SeqCst);
        talk.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
        talk.close();
    });
    let tollgate = upstream(&format!("servers = [\"{}\"]", origin.address));
    let mut client = tollgate.plain();
    client.send(get("/?m=half"));
    // Breaking off before the head has left is as honest as after it.
    let whole = client.reader.answer(false).is_ok_and(|answer| answer.complete);
    assert!(!whole, "a half answer was passed on as a whole one");
    assert_eq!(origin.count(), 1);
    let record = tollgate.records().wait("m=half");
    assert_eq!(
        (record["reason"].as_str(), record["end_at"].as_str()),
        (Some("http_response_incomplete"), Some("resp"))
    );
    assert_eq!((record["end_by"].as_str(), record["up_status"].as_u64()), (Some("upstream"), Some(200)));
}

#[test]
fn no_word_of_retry_on_means_no_retry() {
    let (dead, origin) = (DeadEnd::new(), forgetful());
    let text = "eject = false\nretry = { tries = 3, on = [\"503\"] }";
    let tollgate = upstream(&format!("servers = [\"{}\", \"{}\"]\n{text}", dead.address, origin.address));
    let statuses: Vec<u16> = (0..4).map(|_| tollgate.get("/?n=1").status).collect();
    assert!(statuses.contains(&502) && statuses.contains(&200), "{statuses:?}");

    let origin = forgetful();
    let tollgate = upstream(&format!("servers = [\"{}\"]\nretry = {{ on = [\"connect\"] }}", origin.address));
    let mut client = tollgate.plain();
    assert_eq!(client.ask(get("/?n=1")).status, 200);
    crate::support::pause(std::time::Duration::from_millis(400));
    assert_eq!(client.ask(get("/?n=2")).status, 502, "a closed connection was retried");
}

#[test]
fn a_status_that_stays_is_passed_on_and_each_try_is_recorded() {
    let origin = Origin::with(|talk| talk.answer(503, &[], b"busy"));
    let tollgate = upstream(&format!(
        "servers = [\"{}\"]\neject = false\nretry = {{ tries = 3, on = [\"503\"] }}",
        origin.address
    ));
    let answer = tollgate.get("/?m=busy");
    assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
    assert_eq!(origin.count(), 3);
    let record = tollgate.records().wait("m=busy");
    assert_eq!((record["tries"].as_u64(), record["up_status"].as_u64()), (Some(3), Some(503)), "{record}");
    let log = record["try_log"].as_array().unwrap();
    assert_eq!(
        log.iter().map(|attempt| attempt["status"].as_u64()).collect::<Vec<_>>(),
        [Some(503), Some(503)]
    );
}
