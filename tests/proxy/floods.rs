//! HTTP/2 floods end their connection within a bounded dose, and nobody else notices.

use std::time::Duration;

use crate::support::h2raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, H2, HEADERS, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, put_frame, put_integer, simple,
};
use crate::support::{Origin, Setup, Tollgate};

/// Frames after which a flooding connection must be over.
const DOSE: usize = 1_200;

/// Sends batches of frames until the connection ends; the number of units sent, or `None` when it never ended.
fn units_until_cut(h2: &mut H2, limit: usize, mut unit: impl FnMut(&mut H2, &mut Vec<u8>)) -> Option<usize> {
    let mut sent = 0;
    while sent < limit {
        let mut batch = Vec::new();
        for _ in 0..20 {
            unit(h2, &mut batch);
        }
        sent += 20;
        if !h2.write(&batch) || h2.ends_within(Duration::from_millis(2)) {
            return Some(sent);
        }
    }
    h2.ends_within(Duration::from_secs(2)).then_some(sent)
}

/// Runs one flood: it must be cut within the dose, memory stays, and another client is served meanwhile and after.
#[track_caller]
fn is_cut(frames_per_unit: usize, prepare: impl Fn(&mut H2), unit: impl FnMut(&mut H2, &mut Vec<u8>)) {
    let (_origin, tollgate) = slow_origin();
    let before = warm_memory(&tollgate);
    let mut h2 = tollgate.h2c();
    prepare(&mut h2);
    let units = units_until_cut(&mut h2, DOSE / frames_per_unit + 20, unit);
    let grown = tollgate.memory_kib().saturating_sub(before);
    assert_eq!(tollgate.get("/fast").status, 200, "another client is no longer served");
    let units = units.unwrap_or_else(|| panic!("not cut within {DOSE} frames"));
    assert!(units * frames_per_unit <= DOSE, "cut only after {} frames", units * frames_per_unit);
    assert!(grown < 5 * 1024, "memory grew by {grown} KiB");
}

fn slow_origin() -> (Origin, Tollgate) {
    let origin = Origin::with(|talk| {
        if talk.path() != "/fast" {
            talk.wait_closed();
            return;
        }
        talk.ok("ok");
    });
    let tollgate = Setup::proxy(origin.address).start();
    (origin, tollgate)
}

fn warm_memory(tollgate: &Tollgate) -> u64 {
    for _ in 0..20 {
        assert_eq!(tollgate.get("/fast").status, 200);
    }
    tollgate.memory_kib()
}

#[test]
fn cuts_rapid_reset() {
    is_cut(
        2,
        |_| {},
        |h2, bytes| {
            let stream = h2.open();
            put_frame(bytes, HEADERS, END_HEADERS | END_STREAM, stream, &block(&simple("GET", "/slow")));
            put_frame(bytes, RST_STREAM, 0, stream, &8u32.to_be_bytes());
        },
    );
}

#[test]
fn cuts_streams_that_make_us_reset_by_a_zero_window_update() {
    is_cut(
        2,
        |_| {},
        |h2, bytes| {
            let stream = h2.open();
            put_frame(bytes, HEADERS, END_HEADERS | END_STREAM, stream, &block(&simple("GET", "/slow")));
            put_frame(bytes, WINDOW_UPDATE, 0, stream, &0u32.to_be_bytes());
        },
    );
}

#[test]
fn cuts_streams_that_make_us_reset_by_an_overflowing_window() {
    is_cut(
        2,
        |_| {},
        |h2, bytes| {
            let stream = h2.open();
            put_frame(bytes, HEADERS, END_HEADERS | END_STREAM, stream, &block(&simple("GET", "/slow")));
            put_frame(bytes, WINDOW_UPDATE, 0, stream, &0x7fff_ffffu32.to_be_bytes());
        },
    );
}

#[test]
fn cuts_streams_that_make_us_reset_by_malformed_heads() {
    is_cut(
        1,
        |_| {},
        |h2, bytes| {
            let stream = h2.open();
            let mut fields = simple("GET", "/slow");
            fields.push((b"connection", b"close"));
            put_frame(bytes, HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields));
        },
    );
}

#[test]
fn cuts_a_flood_of_continuations() {
    let head = |h2: &mut H2| {
        let stream = h2.open();
        h2.frame(HEADERS, END_STREAM, stream, &block(&simple("GET", "/slow")));
    };
    is_cut(1, head, |_, bytes| put_frame(bytes, CONTINUATION, 0, 1, &block(&[(b"x", &[b'y'; 100])])));
}

#[test]
fn cuts_a_flood_of_empty_continuations() {
    let head = |h2: &mut H2| {
        let stream = h2.open();
        h2.frame(HEADERS, END_STREAM, stream, &block(&simple("GET", "/slow")));
    };
    is_cut(1, head, |_, bytes| put_frame(bytes, CONTINUATION, 0, 1, &[]));
}

#[test]
fn cuts_a_flood_of_empty_data() {
    let head = |h2: &mut H2| {
        h2.request(&simple("POST", "/slow"), false);
    };
    is_cut(1, head, |_, bytes| put_frame(bytes, DATA, 0, 1, &[]));
}

#[test]
fn cuts_a_flood_of_pings() {
    is_cut(1, |_| {}, |_, bytes| put_frame(bytes, PING, 0, 0, &[7; 8]));
}

#[test]
fn cuts_a_flood_of_settings() {
    is_cut(1, |_| {}, |_, bytes| put_frame(bytes, SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]));
}

#[test]
fn cuts_a_flood_of_priorities() {
    is_cut(1, |_| {}, |_, bytes| put_frame(bytes, PRIORITY, 0, 1, &[0, 0, 0, 0, 16]));
}

#[test]
fn cuts_a_flood_of_unknown_frames() {
    is_cut(1, |_| {}, |_, bytes| put_frame(bytes, 0x42, 0, 0, &[]));
}

#[test]
fn cuts_a_flood_of_data_that_is_all_padding() {
    let head = |h2: &mut H2| {
        h2.request(&simple("POST", "/slow"), false);
    };
    is_cut(1, head, |_, bytes| put_frame(bytes, DATA, PADDED, 1, &[3, 0, 0, 0]));
}

#[test]
fn cuts_a_flood_of_unreadable_names() {
    is_cut(
        1,
        |_| {},
        |h2, bytes| {
            let stream = h2.open();
            let mut fields = simple("GET", "/slow");
            fields.push((b"X-Upper", b"1"));
            put_frame(bytes, HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields));
        },
    );
}

#[test]
fn bounds_come_from_the_config() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).server("h2 = { max_pings = 5, max_resets = 7 }").start();
    let pings = |count: usize| {
        let mut h2 = tollgate.h2c();
        for _ in 0..count {
            h2.frame(PING, 0, 0, &[7; 8]);
        }
        h2.ends_within(Duration::from_millis(500))
    };
    assert!(!pings(5));
    assert!(pings(6));
    let resets = |count: usize| {
        let mut h2 = tollgate.h2c();
        for _ in 0..count {
            let stream = h2.get("/");
            h2.frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
        }
        h2.ends_within(Duration::from_millis(500))
    };
    assert!(!resets(7));
    assert!(resets(8));
}

#[test]
fn refuses_a_header_list_that_expands_without_end() {
    let (origin, tollgate) = slow_origin();
    let before = warm_memory(&tollgate);
    let warmed = origin.count();
    let mut h2 = tollgate.h2c();
    // One entry of 4000 bytes in the dynamic table, then 4,000 references of one byte each: 16 MB when expanded.
    let mut bomb = block(&simple("GET", "/bomb"));
    bomb.push(0x40);
    put_integer(&mut bomb, 7, 0, 1);
    bomb.push(b'x');
    put_integer(&mut bomb, 7, 0, 3_900);
    bomb.extend_from_slice(&[b'y'; 3_900]);
    bomb.extend_from_slice(&[0x80 | 62; 4_000]);
    let stream = h2.open();
    h2.frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb);
    let ending = h2.ending(stream);
    assert!(
        !matches!(
            ending,
            crate::support::h2raw::Ending::Answer(200, _) | crate::support::h2raw::Ending::Silence
        ),
        "{ending:?}"
    );
    let grown = tollgate.memory_kib().saturating_sub(before);
    assert!(grown < 5 * 1024, "memory grew by {grown} KiB");
    assert_eq!(origin.count(), warmed, "the bomb was forwarded");
    assert_eq!(tollgate.get("/fast").status, 200);
}

#[test]
fn leaves_a_busy_but_honest_connection_alone() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut h2 = tollgate.h2c();
    for round in 0..30 {
        h2.frame(PING, 0, 0, &[round; 8]);
        let streams: Vec<u32> = (0..10).map(|_| h2.get("/")).collect();
        let last = streams[9];
        assert!(matches!(h2.ending(last), crate::support::h2raw::Ending::Answer(200, _)), "round {round}");
    }
    // A few cancelled streams are everyday life.
    for _ in 0..20 {
        let stream = h2.get("/");
        h2.frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
    }
    let stream = h2.get("/");
    assert!(matches!(h2.ending(stream), crate::support::h2raw::Ending::Answer(200, _)));
}
