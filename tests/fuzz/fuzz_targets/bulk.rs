//! Any bytes as a body of `_bulk` and as a `filter_path`: refused, or read to the end without harm.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tollgate::wire::bulk::{filter_path::FilterPath, items};

fuzz_target!(|data: &[u8]| {
    let (text, body) = data.split_at(data.len() / 4);
    if let Ok(items) = items(body, 1000) {
        assert!(!items.is_empty());
        assert!(items.iter().filter_map(|item| item.document).all(|document| !document.contains(&b'\n')));
    }
    let filter = FilterPath::parse(&String::from_utf8_lossy(text));
    let answer = json!({ "took": 1, "errors": true, "items": [{ "create": { "status": 400, "error": { "type": "t" } } }] });
    let kept = filter.apply(answer.clone()).unwrap_or_default();
    assert!(kept.to_string().len() <= answer.to_string().len());
});
