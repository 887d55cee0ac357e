//! A reload swaps the plan at once and disturbs nobody; a bad file changes nothing and says why.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;

use crate::support::tollgate::CATCH_ALL;
use crate::support::{DEADLINE, Origin, Setup, eventually, get};

fn to(origin: &Origin) -> String {
    format!("[upstream.app]\nservers = [\"{}\"]\n{CATCH_ALL}", origin.address)
}

fn named(name: &'static str) -> Origin {
    Origin::with(move |talk| {
        talk.read_body();
        talk.ok(name);
    })
}

#[test]
fn new_requests_follow_the_new_plan_on_old_connections_too() {
    let (old, new) = (named("old"), named("new"));
    let mut tollgate = Setup::new(to(&old)).start();
    let mut kept = tollgate.plain();
    assert_eq!(kept.ask(get("/")).text(), "old");
    let said = tollgate.reload(to(&new));
    assert!(said.status.success(), "{said:?}");
    eventually("the new plan is live", || (tollgate.get("/").text() == "new").then_some(()));
    assert_eq!(kept.ask(get("/")).text(), "new");
    tollgate.records().wait_that("the reload", |record| record["kind"] == "reload");
}

#[test]
fn a_parked_connection_wakes_to_the_limits_of_the_new_plan() {
    let origin = named("ok");
    let mut tollgate = Setup::new(to(&origin)).start();
    let mut parked = tollgate.plain();
    assert_eq!(parked.ask(get("/")).status, 200);
    crate::support::pause(std::time::Duration::from_millis(2_500));
    tollgate.also_server("timeouts = { idle = \"2s\" }");
    let said = tollgate.reload(to(&origin));
    assert!(said.status.success(), "{said:?}");
    assert_eq!(parked.ask(get("/")).status, 200);
    assert!(parked.closes_within(DEADLINE), "it still has the old plan's 75 seconds");
}

#[test]
fn a_hangup_signal_reloads() {
    let (old, new) = (named("old"), named("new"));
    let tollgate = Setup::new(to(&old)).start();
    assert_eq!(tollgate.get("/").text(), "old");
    let text = tollgate.setup.text().replace(&old.address.to_string(), &new.address.to_string());
    std::fs::write(&tollgate.config, text).unwrap();
    tollgate.signal(Signal::HUP);
    eventually("the new plan is live", || (tollgate.get("/").text() == "new").then_some(()));
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let origin = named("old");
    let mut tollgate = Setup::new(to(&origin)).start();
    let said = tollgate.reload(to(&origin).replace("proxy = \"app\"", "proxy = \"appp\""));
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    let text = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(text.contains("appp") && text.contains("tollgate.toml:"), "{text}");
    assert_eq!(tollgate.get("/").text(), "old");
    assert!(tollgate.is_running());
}

#[test]
fn an_open_exchange_ends_by_the_plan_it_began_with() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let old = Origin::with(move |talk| {
        let _ = wait.lock().unwrap().recv_timeout(DEADLINE);
        talk.ok("old");
    });
    let new = named("new");
    let mut tollgate = Setup::new(to(&old)).start();
    let mut open = tollgate.plain();
    open.send(get("/"));
    old.wait_for(1);
    assert!(tollgate.reload(to(&new)).status.success());
    eventually("the new plan is live", || (tollgate.get("/").text() == "new").then_some(()));
    go.send(()).unwrap();
    assert_eq!(open.answer().text(), "old");
}

#[test]
fn a_tunnel_survives_reloads() {
    let origin = Origin::with(|talk| {
        talk.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
        talk.close();
        while matches!(talk.reader.fill(), Ok(true)) {
            let bytes = std::mem::take(&mut talk.reader.buffer);
            talk.send(bytes);
        }
    });
    let new = named("new");
    let mut tollgate = Setup::new(to(&origin)).start();
    let mut socket = tollgate.plain();
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(socket.ask(crate::support::get_with("/", lines)).status, 101);
    for round in 0..3 {
        assert!(tollgate.reload(to(if round % 2 == 0 { &new } else { &origin })).status.success());
        socket.send("ping");
        assert_eq!(socket.reader.take(4).unwrap(), b"ping");
    }
}

#[test]
fn many_reloads_under_load_fail_no_request() {
    let origins = [named("a"), named("b")];
    let mut tollgate = Setup::new(to(&origins[0])).cores(2).start();
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = tollgate.http;
    std::thread::scope(|scope| {
        for keep in [true, false] {
            let (stop, served) = (&stop, &served);
            scope.spawn(move || {
                let mut kept = crate::support::Http1::plain(address);
                while !stop.load(Ordering::SeqCst) {
                    if !keep {
                        kept = crate::support::Http1::plain(address);
                    }
                    assert_eq!(kept.ask(get("/")).status, 200);
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..20 {
            assert!(tollgate.reload(to(&origins[(round + 1) % 2])).status.success());
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(served.load(Ordering::SeqCst) > 40);
}

#[test]
fn the_pool_survives_a_reload_that_keeps_the_endpoint() {
    let origin = named("same");
    let mut tollgate = Setup::new(to(&origin)).start();
    let mut client = tollgate.plain();
    client.ask(get("/"));
    assert!(
        tollgate
            .reload(to(&origin) + "[site.\"other.example\"]\nroutes = [{ path = \"/*\", respond = \"x\" }]\n")
            .status
            .success()
    );
    client.ask(get("/"));
    assert_eq!(origin.connections(), 1);
}
