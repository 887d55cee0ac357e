//! A record that comes from its binary form is rendered as the record itself, whichever way is the quicker.

use proptest::prelude::*;

use super::*;
use crate::record::binary::{Tries, decode, encode};

fn stamp() -> Stamp<'static> {
    Stamp { proxy: "edge-1", boot: 1, core: 0, seq: 1, cut: Cut::default() }
}

/// Texts of all kinds: plain ones of any length, and any bytes.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ !#-\\[\\]-~]{0,80}".prop_map(String::into_bytes),
        (0..2048usize).prop_map(|length| vec![b'a'; length]),
        proptest::collection::vec(any::<u8>(), 0..80),
    ]
}

proptest! {
    #[test]
    fn is_the_same_line_by_way_of_the_binary_form(
        path in text(),
        host in proptest::option::of(text()),
        query in proptest::option::of(text()),
        route in proptest::option::of("\\PC{0,40}"),
        numbers in any::<[u64; 4]>(),
        tries in 0usize..3,
    ) {
        let [dur_us, rx_head_b, conn, cfg] = numbers;
        let attempt = Try { addr: "10.0.0.7:8080", conn_us: Some(388), reason: "connection_refused", ..Try::default() };
        let record = Record {
            path: Some(&path), host: host.as_deref().map(|host| &host[..host.len().min(255)]),
            query: query.as_deref(), route: route.as_deref(), try_log: &[attempt; 2][..tries.min(2)],
            dur_us, rx_head_b, conn, cfg, ..Record::default()
        };
        let (mut direct, mut framed, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        Renderer::default().record(&record, &stamp(), &mut direct);
        encode(&record, 1, &mut bytes);
        let mut room = Tries::default();
        Renderer::default().decoded(&decode(&bytes, &mut room).unwrap(), &stamp(), &mut framed);
        prop_assert_eq!(String::from_utf8(framed), String::from_utf8(direct));
    }
}

#[test]
fn only_a_record_whose_texts_are_all_plain_is_trusted() {
    for (path, expected) in [
        (&b"/a b~"[..], true),
        (b"/a\"b", false),
        (b"/a\\b", false),
        (b"/\x7f", false),
        (b"/\xc3\xa9", false),
    ] {
        let mut bytes = Vec::new();
        encode(&Record { path: Some(path), ua: Some(b"plain"), ..Record::default() }, 1, &mut bytes);
        assert_eq!(decode(&bytes, &mut Tries::default()).unwrap().is_plain, expected, "{path:?}");
    }
}
