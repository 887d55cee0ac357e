//! `Expect: 100-continue` never leaves a connection out of step.

use crate::support::{Origin, Setup, get, get_with};

const HEAD: &str =
    "POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[test]
fn says_100_before_the_body_and_200_after_it() {
    let origin = Origin::with(|talk| {
        if talk.request.header("expect").is_some() {
            talk.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        talk.read_body();
        talk.ok("ok");
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    connection.send(HEAD);
    assert_eq!(connection.reader.line().unwrap(), "HTTP/1.1 100 Continue");
    assert_eq!(connection.reader.line().unwrap(), "");
    connection.send("hello");
    assert_eq!(connection.answer().status, 200);
    assert_eq!(origin.last().body, b"hello");
    assert_eq!(connection.ask(get("/next")).status, 200);
}

#[test]
fn takes_a_body_that_does_not_wait_for_100() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    connection.send(HEAD.to_owned() + "hello");
    assert_eq!(connection.answer().status, 200);
    assert_eq!(origin.last().body, b"hello");
    assert_eq!(connection.ask(get("/next")).status, 200);
}

#[test]
fn refuses_other_expectations() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    for value in ["200-ok", "100-continue, x", "100-continue-please"] {
        let answer = tollgate.plain().ask(get_with("/", &format!("Expect: {value}\r\n")));
        assert_eq!(answer.status, 417, "{value}");
    }
    assert_eq!(origin.count(), 0);
}

#[test]
fn an_early_refusal_leaves_nothing_out_of_step() {
    let origin = Origin::with(|talk| {
        if talk.path() == "/up" {
            talk.answer(403, &[], b"no");
            talk.wait_closed();
        } else {
            talk.ok("ok");
        }
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    connection.send(HEAD);
    assert_eq!(connection.answer().status, 403);
    connection.send(get("/smuggled"));
    connection.closes_within(std::time::Duration::from_secs(1));
    assert_eq!(tollgate.get("/after").status, 200);
    let targets: Vec<String> = origin.requests().into_iter().map(|got| got.target).collect();
    assert_eq!(targets, ["/up", "/after"]);
    let got = origin.requests();
    assert_ne!(got[0].connection, got[1].connection);
}

#[test]
fn never_says_100_to_http_1_0() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    connection.send(HEAD.replace("HTTP/1.1", "HTTP/1.0") + "hello");
    let answer = connection.answer();
    assert_eq!(answer.interim, Vec::<u16>::new());
    assert_eq!(answer.status, 200);
}

#[test]
fn interim_answers_of_an_origin_do_not_end_the_exchange() {
    let origin = Origin::with(|talk| {
        talk.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
        talk.ok("real");
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut connection = tollgate.plain();
    for _ in 0..2 {
        let answer = connection.ask(get("/"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "real"));
    }
}
