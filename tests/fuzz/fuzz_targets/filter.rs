//! Any text as a filter, over any entry: it matches, does not match, or is refused with its place.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tollgate::log_service::query::Query;

const ENTRY: &str = r#"{"v":1,"kind":"request","ts":"2026-11-21T09:14:03.512804Z","status":504,"method":"GET",
    "path":"/api/cart","ua":"curl/8","dur_us":30004112,"tx_body_b":0,"client_ip":"203.0.113.9","end_by":"upstream"}"#;

fuzz_target!(|data: &[u8]| {
    // The filter before the first zero byte, an entry behind it.
    let cut = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let Ok(text) = std::str::from_utf8(&data[..cut]) else { return };
    match Query::parse(text) {
        Ok(query) => {
            let own = serde_json::from_slice(data.get(cut + 1..).unwrap_or_default());
            let known: Value = serde_json::from_str(ENTRY).expect("the entry is JSON");
            assert_eq!(query.matches(&known), query.matches(&known));
            query.matches(&own.unwrap_or(Value::Null));
        }
        Err(error) => {
            assert!(
                (1..=text.chars().count() + 1).contains(&error.column),
                "column {} of {text:?}",
                error.column
            );
            assert!(!error.to_string().chars().any(|c| c.is_control() && c != '\n'), "{error}");
        }
    }
});
