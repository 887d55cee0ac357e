//! A document as a shipper writes it becomes an entry: the document as it is, and where it was meant to go.
//!
//! | of the line above | in the entry |
//! |---|---|
//! | `_index` | `index`; `_index` where the document has a member of that name itself |
//! | `_id` | `_id`, and `id` if it is a UUID and the document has none: it then joins the request of that id |
//!
//! A document cannot have an `_id` or `_index` itself, as with Elasticsearch.

use bytes::Bytes;
use serde::de::Error as _;
use serde_json::Value;

use crate::log_service::entry::{Entry, Trust};
use crate::record::escape::json_string;
use crate::record::id;
use crate::record::members::Members;

const ID: &str = "_id";
const INDEX: &str = "_index";
const OUR_INDEX: &str = "index";

/// The entry of a document.
///
/// # Errors
/// When it is no JSON object, one that readers would refuse, or has a member that is not its own.
pub(super) fn entry(
    document: &[u8],
    (index, doc_id): (&str, Option<&str>),
    trust: Trust,
) -> Result<Entry, serde_json::Error> {
    let members = Members::of(document)?;
    let has = |name: &str| members.raw(name).is_some();
    if let Some(name) = [ID, INDEX].into_iter().find(|name| has(name)) {
        let reason = "is a metadata field and cannot be added inside a document. Use the index API request parameters.";
        return Err(serde_json::Error::custom(format!("Field [{name}] {reason}")));
    }
    let mut out = Vec::with_capacity(document.len() + index.len() + 64);
    put(if has(OUR_INDEX) { INDEX } else { OUR_INDEX }, index, &mut out);
    if let Some(doc_id) = doc_id {
        put(ID, doc_id, &mut out);
        if id::parse(doc_id.as_bytes()).is_some() && !has("id") {
            put("id", doc_id, &mut out);
        }
    }
    // Without its brace: an object was read.
    let rest = document.trim_ascii_start().get(1..).unwrap_or_default();
    if !members.0.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(rest);
    Entry::of_sender(Bytes::from(out), trust)
}

fn put(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(if out.is_empty() { b'{' } else { b',' });
    json_string(name.as_bytes(), out);
    out.push(b':');
    json_string(value.as_bytes(), out);
}

/// Index and `_id` of an entry that was such a document.
pub(super) fn target(entry: &Value) -> Option<(&str, &str)> {
    let text = |name| entry.get(name).and_then(Value::as_str);
    Some((text(INDEX).or_else(|| text(OUR_INDEX))?, text(ID)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shown(document: &str, doc_id: Option<&str>) -> Value {
        let entry = entry(document.as_bytes(), ("app", doc_id), Trust::Stranger).unwrap();
        serde_json::from_slice(&entry.text).unwrap()
    }

    #[test]
    fn where_it_was_meant_to_go_stands_beside_what_it_says() {
        let wanted = json!({ "index": "app", "_id": "7", "@timestamp": "x", "n": 1 });
        assert_eq!(shown(" {\"@timestamp\":\"x\", \"n\":1} ", Some("7")), wanted);
        let id = "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4";
        assert_eq!(shown("{ }", Some(id)), json!({ "index": "app", "_id": id, "id": id }));
        assert_eq!(shown("{}", None), json!({ "index": "app" }));
    }

    #[test]
    fn a_document_keeps_the_names_that_it_uses_itself() {
        let id = "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4";
        let shown = shown("{\"index\":1,\"id\":2}", Some(id));
        assert_eq!(shown, json!({ "index": 1, "id": 2, "_index": "app", "_id": id }));
        assert_eq!(target(&shown), Some(("app", id)));
    }

    #[test]
    fn only_objects_are_documents() {
        for bad in [
            "",
            "7",
            "[]",
            "{",
            "{\"a\":1} x",
            "\u{0}",
            "{\"_id\":1}",
            "{\"_index\":\"x\"}",
            "{\"a\":\"\\ud800\"}",
        ] {
            assert!(entry(bad.as_bytes(), ("app", None), Trust::Stranger).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_member_is_kept(members in proptest::collection::btree_map("x[a-z@.]{0,12}", ".{0,10}", 0..8), id in ".{0,40}") {
            let shown = shown(&json!(members).to_string(), Some(&id));
            for (name, value) in &members {
                prop_assert_eq!(&shown[name], &json!(value));
            }
        }
    }
}
