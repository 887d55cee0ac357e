//! The origin learns who the client is from us and from nobody else.

use crate::support::{Origin, Setup, get, get_with};

const SPOOFED: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n\
    X-Forwarded-Port: 666\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Server: evil\r\nX-Real-IP: 6.6.6.6\r\n\
    Forwarded: for=6.6.6.6;proto=https;host=evil.example\r\nX_Forwarded_For: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\n\
    X-Forwarded_Host: evil.example\r\n";

#[test]
fn rebuilds_forwarding_fields_of_strangers() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    assert_eq!(tollgate.plain().ask(get_with("/", SPOOFED)).status, 200);
    let got = origin.last();
    assert_eq!(got.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(got.all("x-forwarded-proto"), ["http"]);
    assert_eq!(got.all("x-forwarded-host"), ["localhost"]);
    let all = format!("{:?}", got.headers).to_lowercase();
    assert!(!all.contains("evil") && !all.contains("6.6.6.6") && !all.contains("666"), "{all}");
    assert!(got.headers.iter().all(|(name, _)| !name.contains('_')), "{all}");
    let forwarded = got.header("forwarded").expect("Forwarded");
    assert!(forwarded.contains("for=127.0.0.1") || forwarded.contains("for=\"127.0.0.1"), "{forwarded}");
    assert!(forwarded.contains("proto=http"), "{forwarded}");
}

#[test]
fn says_https_to_the_origin_behind_tls() {
    let origin = Origin::start();
    let setup = Setup::new(format!("[upstream.app]\nservers = [\"{}\"]\n", origin.address));
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!("[site.localhost]\ntls = {tls}\nroutes = [{{ path = \"/*\", proxy = \"app\" }}]\n");
    let tollgate = setup.https().and(site).start();
    assert_eq!(tollgate.tls().ask(get_with("/", SPOOFED)).status, 200);
    assert_eq!(origin.last().all("x-forwarded-proto"), ["https"]);
}

#[test]
fn believes_trusted_proxies_up_to_the_first_stranger() {
    let origin = Origin::start();
    let tollgate =
        Setup::proxy(origin.address).server("trusted_proxies = [\"loopback\", \"10.0.0.0/8\"]").start();
    let lines = "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.2.3\r\nX-Forwarded-Proto: https\r\n";
    assert_eq!(tollgate.plain().ask(get_with("/?m=trusted", lines)).status, 200);
    let got = origin.last();
    let chain = got.all("x-forwarded-for").join(", ");
    assert!(chain.ends_with("203.0.113.9, 10.1.2.3, 127.0.0.1"), "{chain}");
    assert_eq!(got.all("x-forwarded-proto"), ["https"]);
    let record = tollgate.records().wait("m=trusted");
    assert_eq!(record["client_ip"], "203.0.113.9");
    assert_eq!(record["peer_ip"], "127.0.0.1");
}

#[test]
fn gives_one_request_id_to_origin_client_and_record() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let answer = tollgate.plain().ask(get_with("/?m=rid", "X-Request-Id: mine-1\r\n"));
    let id = answer.header("x-request-id").expect("X-Request-Id to the client").to_owned();
    assert_ne!(id, "mine-1");
    assert_eq!(origin.last().all("x-request-id"), [id.as_str()]);
    let record = tollgate.records().wait("m=rid");
    assert_eq!(record["id"], id.as_str());
    assert_eq!(record["rid_in"], "mine-1");
    assert_eq!(record.get("rid"), None);
}

#[test]
fn keeps_the_request_id_of_those_it_trusts() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).server("request_id = { trust = [\"loopback\"] }").start();
    let answer = tollgate.plain().ask(get_with("/?m=kept", "X-Request-Id: mine-2\r\n"));
    assert_eq!(answer.header("x-request-id"), Some("mine-2"));
    assert_eq!(origin.last().all("x-request-id"), ["mine-2"]);
    assert_eq!(tollgate.records().wait("m=kept")["rid"], "mine-2");
    for odd in ["has space", "quo\"te", &"x".repeat(129)] {
        let answer = tollgate.plain().ask(get_with("/", &format!("X-Request-Id: {odd}\r\n")));
        let id = answer.header("x-request-id").expect("X-Request-Id").to_owned();
        assert_ne!(id, odd);
        assert_eq!(origin.last().all("x-request-id"), [id.as_str()]);
    }
}

#[test]
fn gives_every_request_another_id() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).cores(2).start();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let mut connection = tollgate.plain();
        for _ in 0..10 {
            ids.insert(connection.ask(get("/")).header("x-request-id").expect("an id").to_owned());
        }
    }
    assert_eq!(ids.len(), 200);
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn treats_trace_context_as_configured() {
    let origin = Origin::start();
    let lines = format!("traceparent: {PARENT}\r\ntracestate: a=b\r\n");
    let trace = |mode: &str| {
        let tollgate = Setup::proxy(origin.address).server(format!("trace = \"{mode}\"")).start();
        assert_eq!(tollgate.plain().ask(get_with("/?m=trace", &lines)).status, 200);
        let got = origin.last();
        let all = got.all("traceparent").iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        (all, tollgate.records().wait("m=trace"))
    };
    assert_eq!(trace("off").0, Vec::<String>::new());
    assert_eq!(trace("pass").0, [PARENT]);
    let (joined, record) = trace("join");
    assert_eq!(joined.len(), 1);
    assert!(
        joined[0].starts_with("00-0af7651916cd43dd8448eb211c80319c-") && joined[0] != PARENT,
        "{joined:?}"
    );
    assert_eq!(record["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(record["parent_id"], "b7ad6b7169203331");
}

#[test]
fn starts_a_trace_where_there_is_none_or_a_broken_one() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).server("trace = \"join\"").start();
    let broken = "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n";
    for lines in ["", broken, "traceparent: nonsense\r\n"] {
        assert_eq!(tollgate.plain().ask(get_with("/", lines)).status, 200);
        let got = origin.last();
        let parts: Vec<&str> = got.header("traceparent").expect("traceparent").split('-').collect();
        assert_eq!((parts.len(), parts[0], parts[1].len(), parts[2].len()), (4, "00", 32, 16));
        assert_ne!(parts[1], "0".repeat(32));
    }
}

#[test]
fn says_via_and_refuses_a_loop() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).server("via = \"edge-7\"").start();
    assert_eq!(tollgate.plain().ask(get_with("/", "Via: 1.0 other\r\n")).status, 200);
    let via = origin.last().all("via").join(", ");
    assert!(via.starts_with("1.0 other") && via.ends_with("1.1 edge-7"), "{via}");
    let looped = tollgate.plain().ask(get_with("/?m=loop", "Via: 1.1 first, 1.1 edge-7\r\n"));
    assert_eq!((looped.status, origin.count()), (508, 1));
    assert_eq!(tollgate.records().wait("m=loop")["reason"], "proxy_loop_detected");
}

#[test]
fn hides_the_origins_server_and_always_dates_its_answers() {
    let origin = Origin::with(|talk| {
        let date = ("Date", "Tue, 15 Nov 1994 08:12:31 GMT");
        let headers = [("Server", "secret/1.2"), date];
        talk.answer(200, if talk.path() == "/dated" { &headers } else { &headers[..1] }, b"ok");
    });
    let tollgate = Setup::proxy(origin.address).start();
    for path in ["/dated", "/undated"] {
        let answer = tollgate.get(path);
        assert_eq!(answer.header("server"), None, "{path}");
        assert_eq!(answer.all("date").len(), 1, "{path}");
    }
    assert_eq!(tollgate.get("/dated").header("date"), Some("Tue, 15 Nov 1994 08:12:31 GMT"));
    drop(tollgate);
    let passing = Setup::proxy(origin.address).server("server_header = \"pass\"").start();
    assert_eq!(passing.get("/").header("server"), Some("secret/1.2"));
    drop(passing);
    let own = Setup::proxy(origin.address).server("server_header = \"gate\"").start();
    assert_eq!(own.get("/").all("server"), ["gate"]);
}

#[test]
fn changes_headers_as_configured_at_every_level() {
    let origin = Origin::with(|talk| talk.answer(200, &[("X-Gone", "1"), ("X-Set", "origin")], b"ok"));
    let tollgate = Setup::new(format!(
        "[upstream.app]\nservers = [\"{}\"]\n[site.\"*\"]\n\
         headers = {{ set = {{ x-set = \"site\" }}, add = {{ x-add = \"site\" }} }}\n\
         request_headers = {{ set = {{ x-to-origin = \"yes\" }}, remove = [\"x-client\"] }}\n\
         routes = [{{ path = \"/*\", proxy = \"app\", headers = {{ add = {{ x-add = \"route\" }}, remove = [\"x-gone\"] }} }}]\n",
        origin.address
    ))
    .start();
    let answer = tollgate.plain().ask(get_with("/", "X-Client: 1\r\nX-To-Origin: no\r\n"));
    assert_eq!(answer.header("x-gone"), None);
    assert_eq!(answer.all("x-set"), ["site"]);
    assert_eq!(answer.all("x-add"), ["site", "route"]);
    assert_eq!(origin.last().header("x-client"), None);
    assert_eq!(origin.last().all("x-to-origin"), ["yes"]);
}
