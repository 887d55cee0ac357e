//! While connecting to an endpoint takes time, few connections are begun at once, whoever asks for them; those who wait
//! are served, and those who give up leave nothing behind.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::h2raw::{DATA, END_STREAM, GOAWAY, H2, RST_STREAM, WINDOW_UPDATE};
use crate::support::{DEADLINE, Origin, Setup, Tollgate, eventually, get};

/// `pool.connecting` of the upstream that takes time.
const BOUND: usize = 8;

/// Each request of the flood would begin a connection of its own, were there no bound.
#[track_caller]
fn a_flood_begins_no_more_than_the_bound(end: impl Fn(&mut H2, u32) -> bool) {
    let (quick, full) = (Origin::start(), Full::new());
    let tollgate = before(&quick, &full, "");
    let (mut other, mut h2) = (tollgate.plain(), tollgate.h2c());
    for round in 0..10 {
        let streams = full.waiting(&tollgate, &mut h2, 12);
        assert_eq!(other.ask(get("/")).status, 200, "another client is no longer served");
        give_up(&tollgate, &mut h2, &streams, &end);
        assert_eq!(full.begun(), BOUND, "after round {round}");
    }
    // The next request gets one of those that were begun for the flood.
    let mut after = tollgate.plain();
    after.send(get("/full"));
    let origin = full.accepts();
    assert_eq!(after.answer().status, 200);
    assert!(origin.connections() <= BOUND + Full::FILLERS, "{} were begun", origin.connections());
}

#[test]
fn a_flood_of_resets_begins_no_more_connections_than_the_bound() {
    a_flood_begins_no_more_than_the_bound(reset);
}

/// The stream error is ours here (RFC 9113 section 6.9.1), so the client needs no RST_STREAM (CVE-2025-8671).
#[test]
fn a_flood_of_overflowing_windows_begins_no_more_connections_than_the_bound() {
    let overflow = |h2: &mut H2, stream| h2.frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffffu32.to_be_bytes());
    a_flood_begins_no_more_than_the_bound(overflow);
}

#[test]
fn all_requests_that_wait_for_a_connection_are_served_once_there_are_some() {
    let (quick, full) = (Origin::start(), Full::new());
    let tollgate = before(&quick, &full, "");
    let mut h2 = tollgate.h2c();
    let streams = full.waiting(&tollgate, &mut h2, 5 * BOUND);
    assert_eq!(full.begun(), BOUND);
    let origin = full.accepts();
    are_served(&mut h2, &streams);
    assert_eq!(origin.count(), 5 * BOUND);
}

#[test]
fn a_request_that_gives_up_while_it_waits_for_a_connection_gives_back_its_place() {
    let (quick, full) = (Origin::start(), Full::new());
    let tollgate = before(&quick, &full, "max_in_flight = 12\nqueue = 1\n");
    let mut h2 = tollgate.h2c();
    // Each round takes all places: one that is not given back stops the next round.
    for _ in 0..3 {
        let streams = full.waiting(&tollgate, &mut h2, 12);
        give_up(&tollgate, &mut h2, &streams, reset);
    }
    let streams = full.waiting(&tollgate, &mut h2, 12);
    let _origin = full.accepts();
    are_served(&mut h2, &streams);
}

/// `/full` goes to `full`, with `more` in its upstream; all else to `quick`.
fn before(quick: &Origin, full: &Full, more: &str) -> Tollgate {
    let setup = Setup::new(format!(
        "[upstream.app]\nservers = [\"{}\"]\n[upstream.full]\nservers = [\"{}\"]\npool = {{ connecting = {BOUND} }}\n\
         {more}[site.\"*\"]\nroutes = [{{ path = \"/full\", proxy = \"full\" }}, {{ path = \"/*\", proxy = \"app\" }}]\n",
        quick.address, full.address
    ));
    setup.server("h2 = { max_resets = 1_000 }").start()
}

fn reset(h2: &mut H2, stream: u32) -> bool {
    h2.frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

/// Ends all `streams`, and waits until their requests have ended.
fn give_up(tollgate: &Tollgate, h2: &mut H2, streams: &[u32], end: impl Fn(&mut H2, u32) -> bool) {
    for stream in streams {
        assert!(end(h2, *stream), "the connection was cut");
    }
    eventually("they are given up", || (open(tollgate) == 0).then_some(()));
}

/// Reads until each of `streams` has the origin's whole answer, in whatever order.
#[track_caller]
fn are_served(h2: &mut H2, streams: &[u32]) {
    let mut wanted: BTreeMap<u32, Vec<u8>> = streams.iter().map(|stream| (*stream, Vec::new())).collect();
    while !wanted.is_empty() {
        let frame = h2.next(DEADLINE).expect("an answer in time").expect("the connection stays");
        assert!(![RST_STREAM, GOAWAY].contains(&frame.kind), "{frame:?}");
        if frame.kind != DATA {
            continue;
        }
        let body = wanted.get_mut(&frame.stream).expect("one answer for each stream");
        body.extend_from_slice(&frame.payload);
        if frame.flags & END_STREAM != 0 {
            assert_eq!(wanted.remove(&frame.stream).unwrap(), b"ok", "{frame:?}");
        }
    }
}

fn open(tollgate: &Tollgate) -> u64 {
    tollgate.status()["requests"]["open"].as_u64().unwrap()
}

/// An origin whose queue of accepted connections is full: the system answers no further SYN (tcp(7), listen(2)), so
/// connecting to it takes time.
struct Full {
    listener: Socket,
    address: SocketAddr,
    fillers: Vec<TcpStream>,
}

impl Full {
    /// A queue of length 0 has room for one.
    const FILLERS: usize = 1;

    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let fillers = (0..Self::FILLERS).map(|_| TcpStream::connect(address).unwrap()).collect();
        Self { listener, address, fillers }
    }

    /// Sends `count` requests and waits until all are under way, and as many connections begun for them as may be.
    fn waiting(&self, tollgate: &Tollgate, h2: &mut H2, count: usize) -> Vec<u32> {
        let streams = (0..count).map(|_| h2.get("/full")).collect();
        let is_waiting = || open(tollgate) == count as u64 && self.begun() >= BOUND;
        eventually("the requests wait", || is_waiting().then_some(()));
        streams
    }

    /// Connections to it that have been begun and not made: those in the state SYN-SENT (proc(5), `net/tcp`).
    fn begun(&self) -> usize {
        let wanted = format!("0100007F:{:04X} 02", self.address.port());
        std::fs::read_to_string("/proc/net/tcp")
            .unwrap()
            .lines()
            .filter(|line| line.contains(&wanted))
            .count()
    }

    /// From now on it accepts and answers.
    fn accepts(self) -> Origin {
        let Self { listener, fillers, .. } = self;
        listener.listen(1024).unwrap();
        drop(fillers);
        Origin::at(listener.into(), |talk| talk.ok("ok"))
    }
}
