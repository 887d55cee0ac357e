//! The table as its core writes it and others look at it.

use std::sync::Arc;

use super::*;
use crate::access_log::ring::{self, Identity, SLOTS};

fn arriving(id: u8) -> Arriving<'static> {
    Arriving {
        id: [id; 16],
        ts_us: i64::from(id),
        conn: 1,
        conn_req: 2,
        cfg: 3,
        client_ip: [192, 0, 2, 1].into(),
        client_port: Some(443),
        is_tls: false,
        is_h2: true,
        method: b"GET",
        host: b"a.example:8080",
        path: b"/eight/b",
    }
}

fn table() -> (Table, Flights) {
    let identity = Identity { proxy: "edge-1".to_owned(), boot: 1, core: 0, pid: 1 };
    let (writer, _reader) = ring::ring(None, &identity, 64 << 10).unwrap();
    (Table::new(writer.mapped()), Flights([Arc::clone(writer.mapped())].into()))
}

#[test]
fn shows_what_is_under_way_and_how_far_it_is() {
    let (table, flights) = table();
    let first = table.enter(&arriving(1));
    let second = table.enter(&arriving(2));
    table.reach(second, EndAt::Wait);
    table.put_ip(second, "2001:db8::7".parse().unwrap());
    let open = flights.open();
    let expected = OpenExchange {
        id: [1; 16],
        ts_us: 1,
        conn: 1,
        conn_req: 2,
        cfg: 3,
        client_ip: [192, 0, 2, 1].into(),
        client_port: Some(443),
        is_tls: false,
        is_h2: true,
        method: b"GET".to_vec(),
        host: b"a.example:8080".to_vec(),
        path: b"/eight/b".to_vec(),
        is_cut: false,
        at: EndAt::Policy,
    };
    let later = OpenExchange {
        id: [2; 16],
        ts_us: 2,
        at: EndAt::Wait,
        client_ip: "2001:db8::7".parse().unwrap(),
        ..expected.clone()
    };
    assert_eq!(open, [(0, expected), (0, later.clone())]);
    table.leave(first);
    assert_eq!(flights.open(), [(0, later)]);
}

#[test]
fn a_slot_is_used_again_and_shows_nothing_of_before() {
    let (table, flights) = table();
    table.leave(table.enter(&arriving(1)));
    let short = Arriving { method: b"", host: b"", path: b"/", client_port: None, ..arriving(2) };
    assert_eq!(table.enter(&short), 0);
    let (_, open) = flights.open().remove(0);
    assert_eq!(
        (&*open.method, &*open.host, &*open.path, open.client_port),
        (&b""[..], &b""[..], &b"/"[..], None)
    );
}

#[test]
fn more_than_there_are_slots_are_counted() {
    let (table, flights) = table();
    let places: Vec<u32> = (0..SLOTS + 3).map(|_| table.enter(&arriving(1))).collect();
    assert_eq!((flights.open().len(), flights.beyond()), (SLOTS, 3));
    for place in places {
        table.reach(place, EndAt::Wait);
        table.leave(place);
    }
    assert_eq!((flights.open().len(), flights.beyond()), (0, 0));
}

#[test]
fn all_phases_come_back() {
    let (table, flights) = table();
    let place = table.enter(&arriving(1));
    for at in [EndAt::Head, EndAt::Body, EndAt::Queue, EndAt::Connect, EndAt::Resp, EndAt::Tunnel] {
        table.reach(place, at);
        assert_eq!(flights.open()[0].1.at, at);
    }
}
