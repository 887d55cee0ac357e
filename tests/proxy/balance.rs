//! Requests are spread as configured, and endpoints that fail are left out and taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::support::tollgate::CATCH_ALL;
use crate::support::{DeadEnd, Origin, Setup, Tollgate, eventually};

fn upstream(lines: &str) -> Tollgate {
    Setup::new(format!("[upstream.app]\n{lines}\n{CATCH_ALL}")).start()
}

/// An origin whose status can be changed while it runs.
fn moody() -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let mood = Arc::clone(&status);
    let origin = Origin::with(move |talk| {
        talk.read_body();
        talk.answer(mood.load(Ordering::SeqCst), &[], b"x");
    });
    (origin, status)
}

fn real(origin: &Origin) -> usize {
    origin.requests().iter().filter(|got| got.target != "/check").count()
}

#[test]
fn round_robin_takes_turns_by_weight() {
    let origins = [Origin::start(), Origin::start()];
    let tollgate = upstream(&format!(
        "servers = [{{ addr = \"{}\", weight = 3 }}, \"{}\"]",
        origins[0].address, origins[1].address
    ));
    for _ in 0..40 {
        assert_eq!(tollgate.get("/").status, 200);
    }
    assert_eq!((origins[0].count(), origins[1].count()), (30, 10));
}

#[test]
fn round_robin_is_smooth() {
    let origins = [Origin::start(), Origin::start()];
    let tollgate = upstream(&format!(
        "servers = [{{ addr = \"{}\", weight = 2 }}, {{ addr = \"{}\", weight = 2 }}]",
        origins[0].address, origins[1].address
    ));
    for n in 1..=10 {
        tollgate.get("/");
        let (a, b) = (origins[0].count(), origins[1].count());
        assert!(a.abs_diff(b) <= 1, "{a} and {b} after {n}");
    }
}

#[test]
fn least_conn_avoids_the_busy_one() {
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let hold = Arc::new(std::sync::Mutex::new(hold));
    let holding = || {
        let hold = Arc::clone(&hold);
        Origin::with(move |talk| {
            if talk.path() == "/hold" {
                let _ = hold.lock().unwrap().recv_timeout(crate::support::DEADLINE);
            }
            talk.ok("ok");
        })
    };
    let (a, b) = (holding(), holding());
    let tollgate =
        upstream(&format!("balance = \"least-conn\"\nservers = [\"{}\", \"{}\"]", a.address, b.address));
    // One request that hangs; whichever endpoint took it, the others go elsewhere.
    let mut hanging = tollgate.plain();
    hanging.send(crate::support::get("/hold"));
    eventually("the request hangs somewhere", || (a.count() + b.count() == 1).then_some(()));
    let (busy, free) = if a.count() == 1 { (&a, &b) } else { (&b, &a) };
    for _ in 0..10 {
        assert_eq!(tollgate.get("/").status, 200);
    }
    assert_eq!((busy.count(), free.count()), (1, 10));
    release.send(()).unwrap();
    assert_eq!(hanging.answer().status, 200);
}

#[test]
fn random_two_uses_all() {
    let origins = [Origin::start(), Origin::start(), Origin::start()];
    let servers =
        origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect::<Vec<_>>().join(", ");
    let tollgate = upstream(&format!("balance = \"random-two\"\nservers = [{servers}]"));
    for _ in 0..60 {
        assert_eq!(tollgate.get("/").status, 200);
    }
    for origin in &origins {
        assert!(origin.count() >= 5, "an endpoint got {} of 60", origin.count());
    }
}

#[test]
fn backups_are_used_only_when_nothing_else_is() {
    let (dead, main, backup) = (DeadEnd::new(), Origin::start(), Origin::start());
    let tollgate = upstream(&format!(
        "servers = [\"{}\", {{ addr = \"{}\", backup = true }}]",
        main.address, backup.address
    ));
    for _ in 0..10 {
        tollgate.get("/");
    }
    assert_eq!((main.count(), backup.count()), (10, 0));
    drop(tollgate);
    let tollgate = upstream(&format!(
        "servers = [\"{}\", {{ addr = \"{}\", backup = true }}]\neject = {{ failures = 1, for = \"60s\" }}",
        dead.address, backup.address
    ));
    for _ in 0..5 {
        assert_eq!(tollgate.get("/").status, 200);
    }
    assert_eq!(backup.count(), 5);
}

#[test]
fn an_endpoint_that_keeps_failing_is_put_aside_and_taken_back() {
    let ((failing, status), good) = (moody(), Origin::start());
    status.store(500, Ordering::SeqCst);
    let tollgate = upstream(&format!(
        "servers = [\"{}\", \"{}\"]\neject = {{ failures = 3, for = \"1s\", max_percent = \"50%\" }}",
        failing.address, good.address
    ));
    let statuses: Vec<u16> = (0..30).map(|_| tollgate.get("/").status).collect();
    let failures = statuses.iter().filter(|status| **status == 500).count();
    assert_eq!(failures, 3, "{statuses:?}");
    status.store(200, Ordering::SeqCst);
    let before = failing.count();
    eventually("the endpoint is taken back", || {
        assert_eq!(tollgate.get("/").status, 200);
        (failing.count() > before).then_some(())
    });
}

#[test]
fn health_checks_leave_out_and_take_back() {
    let ((sick, status), well) = (moody(), Origin::start());
    let tollgate = upstream(&format!(
        "servers = [\"{}\", \"{}\"]\neject = false\n\
         health = {{ path = \"/check\", every = \"50ms\", fall = 2, rise = 2, timeout = \"1s\" }}",
        sick.address, well.address
    ));
    status.store(503, Ordering::SeqCst);
    eventually("the sick one gets no requests", || {
        let before = real(&sick);
        let all_good = (0..6).all(|_| tollgate.get("/").status == 200);
        (all_good && real(&sick) == before).then_some(())
    });
    status.store(200, Ordering::SeqCst);
    eventually("the healed one gets requests", || {
        let before = real(&sick);
        tollgate.get("/");
        tollgate.get("/");
        (real(&sick) > before).then_some(())
    });
    let check = sick.requests().into_iter().find(|got| got.target == "/check").expect("a check");
    assert_eq!(check.method, "GET");
    assert_eq!(sick.dirt(), Vec::<String>::new());
}

#[test]
fn a_check_that_hangs_is_a_failed_check() {
    let hanging = Origin::with(|talk| {
        if talk.path() == "/check" {
            talk.wait_closed();
        } else {
            talk.ok("hanging");
        }
    });
    let well = Origin::start();
    let tollgate = upstream(&format!(
        "servers = [\"{}\", \"{}\"]\neject = false\n\
         health = {{ path = \"/check\", every = \"50ms\", fall = 2, timeout = \"100ms\" }}",
        hanging.address, well.address
    ));
    eventually("only the well one is used", || {
        (0..6).all(|_| tollgate.get("/").text() == "ok").then_some(())
    });
}

#[test]
fn when_all_are_unhealthy_all_are_tried() {
    let (sick, status) = moody();
    status.store(503, Ordering::SeqCst);
    let tollgate = upstream(&format!(
        "servers = [\"{}\"]\neject = false\nhealth = {{ path = \"/check\", every = \"50ms\", fall = 1 }}",
        sick.address
    ));
    eventually("the check has failed", || (sick.count() >= 2).then_some(()));
    // Better an answer of the endpoint than none: it may be only its check that is broken.
    let before = real(&sick);
    assert_eq!(tollgate.get("/").status, 503);
    assert_eq!(real(&sick), before + 1);
}

#[test]
fn when_none_can_be_reached_the_answer_is_502_or_503() {
    let (a, b) = (DeadEnd::new(), DeadEnd::new());
    let tollgate = upstream(&format!("servers = [\"{}\", \"{}\"]", a.address, b.address));
    for n in 0..12 {
        let answer = tollgate.get(&format!("/?m=down{n}"));
        assert!([502, 503].contains(&answer.status), "{}", answer.status);
        let record = tollgate.records().wait(&format!("m=down{n}"));
        let reason = record["reason"].as_str().unwrap_or("");
        assert!(["connection_refused", "destination_unavailable"].contains(&reason), "{record}");
    }
}

#[test]
fn more_requests_than_an_endpoint_may_have_wait_for_their_turn() {
    let now = Arc::new(AtomicU16::new(0));
    let most = Arc::new(AtomicU16::new(0));
    let (n, m) = (Arc::clone(&now), Arc::clone(&most));
    let origin = Origin::with(move |talk| {
        m.fetch_max(n.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        crate::support::pause(Duration::from_millis(50));
        n.fetch_sub(1, Ordering::SeqCst);
        talk.ok("ok");
    });
    let tollgate = upstream(&format!("servers = [\"{}\"]\nmax_in_flight = 2\nqueue = 100", origin.address));
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| assert_eq!(tollgate.get("/").status, 200));
        }
    });
    assert_eq!((most.load(Ordering::SeqCst), origin.count()), (2, 12));
}

#[test]
fn a_full_queue_is_answered_503() {
    let origin = Origin::with(|talk| {
        crate::support::pause(Duration::from_millis(500));
        talk.ok("ok");
    });
    let tollgate = upstream(&format!("servers = [\"{}\"]\nmax_in_flight = 1\nqueue = 1", origin.address));
    let statuses = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let status = tollgate.get("/?m=full").status;
                statuses.lock().unwrap().push(status);
            });
        }
    });
    let statuses = statuses.into_inner().unwrap();
    assert!(statuses.contains(&503) && statuses.contains(&200), "{statuses:?}");
    let refused = tollgate.records().wait_that("a refusal", |record| record["status"] == 503);
    assert_eq!(
        (refused["reason"].as_str(), refused["end_at"].as_str()),
        (Some("resource_exhausted"), Some("queue"))
    );
}

#[test]
fn a_queue_has_its_own_timeout() {
    let origin = Origin::with(|talk| {
        talk.wait_closed();
    });
    let tollgate = upstream(&format!(
        "servers = [\"{}\"]\nmax_in_flight = 1\ntimeouts = {{ queue = \"300ms\" }}",
        origin.address
    ));
    let mut first = tollgate.plain();
    first.send(crate::support::get("/"));
    origin.wait_for(1);
    assert_eq!(tollgate.get("/?m=waited").status, 503);
    let record = tollgate.records().wait("m=waited");
    assert_eq!(record["end_at"], "queue");
    assert!(record["t_queue_us"].as_u64().unwrap_or(0) >= 290_000, "{record}");
}

#[test]
fn unix_sockets_are_endpoints_too() {
    let setup = Setup::new(format!("[upstream.app]\nservers = [\"unix:DIR/app.sock\"]\n{CATCH_ALL}"));
    let listener = std::os::unix::net::UnixListener::bind(setup.dir().join("app.sock")).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = crate::support::client::Reader::new(stream.try_clone().unwrap());
            while let Ok(Some(_)) = reader.head() {
                let _ = std::io::Write::write_all(
                    &mut stream,
                    b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nunix",
                );
            }
        }
    });
    let tollgate = setup.start();
    assert_eq!(tollgate.get("/").text(), "unix");
}
