//! A raw head and its path: what passes has one reading, and the canonical path is its own canonical path.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::http::headers::{check_raw_head, find_head_end, request_line};
use tollgate::http::target::canonical_path;

fuzz_target!(|data: &[u8]| {
    whole_equals_byte_by_byte(data);
    if let Some(end) = find_head_end(data, 0) {
        accepted_head_is_clean(&data[..end]);
    }
    if let Ok(path) = std::str::from_utf8(data) {
        canonical_is_a_fixed_point(path);
    }
});

fn whole_equals_byte_by_byte(data: &[u8]) {
    let data = &data[..data.len().min(512)];
    let whole = find_head_end(data, 0);
    let dripped = (1..=data.len()).find_map(|length| find_head_end(&data[..length], length - 1));
    assert_eq!(whole, dripped);
}

fn accepted_head_is_clean(head: &[u8]) {
    let _ = request_line(head);
    if check_raw_head(head).is_ok() {
        assert!(!head.contains(&0));
        let bare = |sign: u8| head.split(|byte| *byte == sign).count();
        assert_eq!(bare(b'\r'), bare(b'\n'), "every CR stands before an LF");
        assert!(head.ends_with(b"\r\n\r\n"));
    }
}

fn canonical_is_a_fixed_point(path: &str) {
    let Ok(canonical) = canonical_path(path) else { return };
    let once = canonical.path.into_owned();
    assert!(once.starts_with('/') && once.is_ascii());
    assert!(!once.split('/').any(|segment| segment == "." || segment == ".."));
    assert!(!once.contains(['\\', '\0', '#', '?']) && !once.contains("//"));
    let twice = canonical_path(&once).expect("a canonical path is accepted");
    assert_eq!(once, twice.path);
}
