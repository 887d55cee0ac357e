//! An HTTP/2 client that breaks the rules learns why, even while it goes on writing; and it cannot stay for that.

use std::time::Duration;

use crate::h2::secure;
use crate::support::client::is_timeout;
use crate::support::h2raw::{
    DATA, END_HEADERS, END_STREAM, Ending, GOAWAY, H2, HEADERS, PING, PUSH_PROMISE, SETTINGS, WINDOW_UPDATE,
    put_frame, simple,
};
use crate::support::{DEADLINE, Findings, Origin, Setup, equal, within};

/// How a connection ended, as its client sees it.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// In order: over TLS with close_notify.
    Closed,
    Reset,
    Silence,
}

/// Reads to the end: the code of the last GOAWAY, and the end.
fn last_words(h2: &mut H2) -> (Option<u32>, End) {
    let mut code = None;
    loop {
        match h2.next(DEADLINE) {
            Ok(Some(frame)) if frame.kind == GOAWAY => {
                code = frame.payload.get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
            }
            Ok(Some(_)) => {}
            Ok(None) => return (code, End::Closed),
            Err(error) if is_timeout(&error) => return (code, End::Silence),
            Err(_) => return (code, End::Reset),
        }
    }
}

/// Ways to break a connection, with the code for GOAWAY (RFC 9113 section 7).
fn broken() -> [(&'static str, Vec<u8>, u32); 3] {
    let (mut short, mut stray, mut flood) = (Vec::new(), Vec::new(), Vec::new());
    put_frame(&mut short, PING, 0, 0, &[0; 7]);
    put_frame(&mut stray, DATA, 0, 0, b"x");
    (0..101).for_each(|_| put_frame(&mut flood, PING, 0, 0, &[7; 8]));
    [("ended by us", short, 6), ("ended by the library", stray, 1), ("a flood", flood, 11)]
}

/// More than a read takes, less than the windows that we opened.
fn and_more(broken: &[u8]) -> Vec<u8> {
    let mut bytes = broken.to_vec();
    (0..20).for_each(|_| put_frame(&mut bytes, DATA, 0, 1, &[0; 16 * 1024]));
    bytes
}

#[track_caller]
fn tells_why(dial: impl Fn() -> H2) {
    let mut findings = Findings::default();
    for (case, bytes, code) in broken() {
        let mut h2 = dial();
        h2.write(&and_more(&bytes));
        findings.check(case, equal(&last_words(&mut h2), &(Some(code), End::Closed)));
    }
    findings.settle();
}

#[test]
fn who_goes_on_writing_reads_the_goaway_and_an_end_in_order() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    tells_why(|| tollgate.h2c());
}

#[test]
fn who_goes_on_writing_over_tls_reads_the_goaway_and_close_notify() {
    let (_origin, tollgate) = secure();
    tells_why(|| tollgate.h2());
}

#[test]
fn who_was_idle_reads_an_end_in_order() {
    let origin = Origin::start();
    let tollgate =
        Setup::proxy(origin.address).server("timeouts = { idle = \"1s\", header = \"1s\" }").start();
    let mut h2 = tollgate.h2c();
    assert_eq!(last_words(&mut h2), (Some(0), End::Closed));
}

#[test]
fn dripping_does_not_prolong_the_goodbye() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut h2 = tollgate.h2c();
    h2.frame(PING, 0, 0, &[0; 7]);
    assert_eq!(last_words(&mut h2), (Some(6), End::Closed));
    let refused = within(Duration::from_secs(8), || (!h2.write(b"x")).then_some(()));
    assert!(refused.is_some(), "the connection was still read after eight seconds");
}

#[test]
fn the_goodbye_reads_few_bytes_and_keeps_none() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    assert_eq!(tollgate.get("/").status, 200);
    let before = tollgate.memory_kib();
    let mut h2 = tollgate.h2c();
    h2.frame(PING, 0, 0, &[0; 7]);
    let (block, mut taken) = ([0; 64 * 1024], 0);
    while taken < 64 * 1024 * 1024 && h2.write(&block) {
        taken += block.len();
    }
    let grown = tollgate.memory_kib().saturating_sub(before);
    // Two MiB are read; the rest is what the kernel's buffers of both sides took.
    assert!(taken < 32 * 1024 * 1024, "{taken} bytes were taken after the GOAWAY");
    assert!(grown < 2 * 1024, "memory grew by {grown} KiB");
}

#[test]
fn who_is_cut_ends_its_exchanges_at_once() {
    let origin = Origin::with(|talk| {
        talk.wait_closed();
    });
    let tollgate = Setup::proxy(origin.address).start();
    let mut h2 = tollgate.h2c();
    h2.request(&simple("GET", "/?m=held"), true);
    origin.wait_for(1);
    h2.frame(PING, 0, 0, &[0; 7]);
    // The client stays, and the goodbye takes two seconds.
    let record = tollgate.records().wait("m=held");
    let took = Duration::from_micros(record["dur_us"].as_u64().unwrap());
    assert!(took < Duration::from_millis(1_500), "the exchange ended with the goodbye: {record}");
    drop(h2);
}

#[test]
fn broken_framing_ends_the_connection_with_its_code() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut findings = Findings::default();
    // Kind and stream of the frame, its payload, the code of GOAWAY.
    let broken = [
        ("PING of 7 bytes", (PING, 0), vec![0; 7], 6),
        ("WINDOW_UPDATE of 3 bytes", (WINDOW_UPDATE, 0), vec![0; 3], 6),
        ("SETTINGS of 5 bytes", (SETTINGS, 0), vec![0; 5], 6),
        ("GOAWAY of 7 bytes", (GOAWAY, 0), vec![0; 7], 6),
        ("window of 2^31", (SETTINGS, 0), vec![0, 4, 0x80, 0, 0, 0], 3),
        ("reference to nothing", (HEADERS, 1), vec![0x80 | 62], 9),
        ("header block beyond the table", (HEADERS, 1), vec![0xff, 0xff, 0xff, 0x7f], 9),
    ];
    for (case, (kind, stream), payload, code) in broken {
        let mut h2 = tollgate.h2c();
        let flags = if kind == HEADERS { END_HEADERS | END_STREAM } else { 0 };
        h2.frame(kind, flags, stream, &payload);
        findings.check(case, equal(&h2.ending(1), &Ending::GoAway(code)));
    }
    findings.settle();
    assert_eq!(tollgate.get("/good").status, 200);
}

#[test]
fn a_client_that_pushes_is_told_at_once() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut h2 = tollgate.h2c();
    // The settings are acknowledged with this: what follows is the last that the client says.
    let stream = h2.get("/good");
    assert!(matches!(h2.ending(stream), Ending::Answer(200, _)));
    h2.frame(PUSH_PROMISE, 0, stream, &[0, 0, 0, 2, 0x88]);
    assert_eq!(h2.ending(stream), Ending::GoAway(1));
}
