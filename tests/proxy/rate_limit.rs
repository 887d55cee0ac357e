//! Limits refuse what is too much, say when to come back, and count each key on its own.

use serde_json::Value;

use crate::support::{Origin, Setup, Tollgate, eventually, get, get_with};

fn gate(limits: &str, route: &str) -> (Origin, Tollgate) {
    let origin = Origin::start();
    let tollgate = Setup::new(format!(
        "{limits}\n[upstream.app]\nservers = [\"{}\"]\n[site.\"*\"]\nroutes = [{{ path = \"/*\", proxy = \"app\", {route} }}]\n",
        origin.address
    ))
    .start();
    (origin, tollgate)
}

#[test]
fn refuses_beyond_rate_and_burst_and_says_when_to_return() {
    let (origin, tollgate) = gate("[limit.slow]\nrate = \"1/m\"\nburst = 3", "limit = \"slow\"");
    for _ in 0..3 {
        assert_eq!(tollgate.get("/").status, 200);
    }
    let refused = tollgate.get("/?m=limited");
    assert_eq!((refused.status, origin.count()), (429, 3));
    let wait: u64 = refused.header("retry-after").expect("Retry-After").parse().expect("whole seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    let told = refused.headers.iter().any(|(name, _)| name.to_ascii_lowercase().starts_with("ratelimit"));
    assert!(told, "no RateLimit fields: {:?}", refused.headers);
    let record = tollgate.records().wait("m=limited");
    assert_eq!((record["reason"].as_str(), record["rl"].as_str()), (Some("rate_limited"), Some("limited")));
    assert_eq!((record["end_by"].as_str(), record["end_at"].as_str()), (Some("rule"), Some("policy")));
    assert_eq!(record["rl_rule"], "slow");
    assert!(record["cause"].as_str().unwrap_or("").contains("limit.slow"), "{record}");
}

#[test]
fn lets_through_again_after_the_time_it_said() {
    let (_origin, tollgate) = gate("[limit.quick]\nrate = \"2/s\"\nburst = 1", "limit = \"quick\"");
    assert_eq!(tollgate.get("/").status, 200);
    assert_eq!(tollgate.get("/").status, 429);
    eventually("the bucket fills again", || (tollgate.get("/").status == 200).then_some(()));
}

#[test]
fn counts_each_key_on_its_own() {
    let limits = "[limit.key]\nkey = \"header.x-key\"\nrate = \"1/m\"\nburst = 1";
    let (_origin, tollgate) = gate(limits, "limit = \"key\"");
    let ask = |key: &str| tollgate.plain().ask(get_with("/", &format!("X-Key: {key}\r\n"))).status;
    assert_eq!((ask("a"), ask("b"), ask("a"), ask("b")), (200, 200, 429, 429));
    let limits = "[limit.sid]\nkey = \"cookie.sid\"\nrate = \"1/m\"\nburst = 1";
    let (_origin, tollgate) = gate(limits, "limit = \"sid\"");
    let ask =
        |sid: &str| tollgate.plain().ask(get_with("/", &format!("Cookie: x=1; sid={sid}; y=2\r\n"))).status;
    assert_eq!((ask("a"), ask("b"), ask("a")), (200, 200, 429));
}

#[test]
fn all_limits_of_a_request_must_agree() {
    let limits = "[limit.wide]\nrate = \"100/m\"\nburst = 100\n[limit.tight]\nrate = \"1/m\"\nburst = 2";
    let (_origin, tollgate) = gate(limits, "limit = [\"wide\", \"tight\"]");
    let statuses = [(); 4].map(|()| tollgate.get("/").status);
    assert_eq!(statuses, [200, 200, 429, 429]);
    assert_eq!(tollgate.records().wait_that("a refusal", |r| r["status"] == 429)["rl_rule"], "tight");
}

#[test]
fn a_dry_run_refuses_nothing_but_is_recorded() {
    let (_origin, tollgate) =
        gate("[limit.dry]\nrate = \"1/m\"\nburst = 1\ndry_run = true", "limit = \"dry\"");
    for n in 0..3 {
        assert_eq!(tollgate.get(&format!("/?m=dry{n}")).status, 200);
    }
    assert_eq!(tollgate.records().wait("m=dry2")["rl"], "dry_run");
}

#[test]
fn limits_requests_of_one_key_in_flight() {
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let hold = std::sync::Mutex::new(hold);
    let origin = Origin::with(move |talk| {
        let _ = hold.lock().unwrap().recv_timeout(crate::support::DEADLINE);
        talk.ok("ok");
    });
    let tollgate = Setup::new(format!(
        "[limit.few]\nconcurrency = 1\n[upstream.app]\nservers = [\"{}\"]\n[site.\"*\"]\nlimit = \"few\"\nroutes = [{{ path = \"/*\", proxy = \"app\" }}]\n",
        origin.address
    ))
    .start();
    let mut first = tollgate.plain();
    first.send(get("/"));
    origin.wait_for(1);
    assert_eq!(tollgate.get("/").status, 429);
    release.send(()).unwrap();
    assert_eq!(first.answer().status, 200);
    release.send(()).unwrap();
    eventually("the place is free again", || (tollgate.get("/").status == 200).then_some(()));
    // A client that goes away frees its place too.
    let mut gone = tollgate.plain();
    gone.send(get("/"));
    origin.wait_for(3);
    gone.reset();
    release.send(()).unwrap();
    release.send(()).unwrap();
    eventually("an aborted request frees its place", || (tollgate.get("/").status == 200).then_some(()));
}

#[test]
fn a_route_can_have_a_bound_in_flight() {
    let origin = Origin::with(|talk| {
        talk.wait_closed();
    });
    let tollgate = Setup::new(format!(
        "[upstream.app]\nservers = [\"{}\"]\n[site.\"*\"]\nroutes = [{{ path = \"/*\", proxy = \"app\", max_in_flight = 1 }}]\n",
        origin.address
    ))
    .start();
    let mut first = tollgate.plain();
    first.send(get("/"));
    origin.wait_for(1);
    assert_eq!(tollgate.get("/").status, 503);
}

#[test]
fn a_flood_of_keys_stays_in_a_bounded_table() {
    let limits = "[limit.key]\nkey = \"header.x-key\"\nrate = \"1/m\"\nburst = 2\nkeys = 1000";
    let (_origin, tollgate) = gate(limits, "limit = \"key\"");
    let ask = |client: &mut crate::support::Http1, key: &str| {
        client.ask(get_with("/", &format!("X-Key: {key}\r\n"))).status
    };
    let mut client = tollgate.plain();
    assert_eq!(
        (ask(&mut client, "abuser"), ask(&mut client, "abuser"), ask(&mut client, "abuser")),
        (200, 200, 429)
    );
    // As many requests first with one key: what else they fill (the log's buffers) is not the table's.
    for _ in 0..3_000 {
        ask(&mut client, "abuser");
    }
    let before = tollgate.memory_kib();
    for n in 0..3_000 {
        ask(&mut client, &format!("flood-{n}"));
    }
    let grown = tollgate.memory_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "memory grew by {grown} KiB");
    assert_eq!(ask(&mut client, "abuser"), 429, "a flood of keys gave an abuser a fresh bucket");
}

#[test]
fn the_client_is_who_the_trusted_proxy_says() {
    let origin = Origin::start();
    let tollgate = Setup::new(format!(
        "[limit.per-client]\nrate = \"1/m\"\nburst = 1\n[upstream.app]\nservers = [\"{}\"]\n[site.\"*\"]\nroutes = [{{ path = \"/*\", proxy = \"app\", limit = \"per-client\" }}]\n",
        origin.address
    ))
    .server("trusted_proxies = [\"loopback\"]")
    .start();
    let ask = |ip: &str| tollgate.plain().ask(get_with("/", &format!("X-Forwarded-For: {ip}\r\n"))).status;
    assert_eq!((ask("203.0.113.1"), ask("203.0.113.2"), ask("203.0.113.1")), (200, 200, 429));
    // IPv6 addresses of one /64 are one client.
    assert_eq!((ask("2001:db8:0:1::1"), ask("2001:db8:0:1::2"), ask("2001:db8:0:2::1")), (200, 429, 200));
}

#[test]
fn limits_carry_over_a_reload() {
    let (origin, mut tollgate) = gate("[limit.slow]\nrate = \"1/m\"\nburst = 1", "limit = \"slow\"");
    assert_eq!(tollgate.get("/").status, 200);
    let text = format!(
        "[limit.slow]\nrate = \"1/m\"\nburst = 1\n[upstream.app]\nservers = [\"{}\"]\n[site.\"*\"]\n\
         routes = [{{ path = \"/*\", proxy = \"app\", limit = \"slow\" }}, {{ path = \"/new\", respond = \"new\" }}]\n",
        origin.address
    );
    assert!(tollgate.reload(text).status.success());
    eventually("the new plan is live", || (tollgate.get("/new").text() == "new").then_some(()));
    assert_eq!(tollgate.get("/").status, 429);
}

#[test]
fn an_error_page_is_honest_small_and_names_the_request() {
    let (_origin, tollgate) = gate("[limit.none]\nrate = \"1/h\"\nburst = 1", "limit = \"none\"");
    tollgate.get("/");
    let page = tollgate.get("/");
    let id = page.header("x-request-id").expect("an id").to_owned();
    assert!(page.text().contains(&id) && page.body.len() < 4_096);
    let problem = tollgate.plain().ask(get_with("/", "Accept: application/json\r\n"));
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    let json: Value = serde_json::from_slice(&problem.body).expect("JSON");
    assert_eq!(json["status"], 429);
    let id = problem.header("x-request-id").unwrap();
    assert!(problem.text().contains(id));
    // What the client sent is never echoed unescaped.
    let echo = tollgate.plain().ask(get_with("/?q=<script>alert(1)</script>", "Accept: text/html\r\n"));
    assert!(!echo.text().contains("<script>alert"), "{}", echo.text());
}
