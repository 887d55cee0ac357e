//! A document as a shipper writes it becomes an entry: what the store has a column for gets its name here.
//!
//! | of the document | in the entry |
//! |---|---|
//! | `@timestamp` (a time, or milliseconds since 1970) | `ts` |
//! | `message` | `msg` |
//! | `log.level`, `trace.id`, `span.id`, flat or nested (ECS) | `level`, `trace_id`, `span_id` |
//! | `_index` of the line above | `index` |
//! | `_id` of the line above | `_id`, and `id` if it is a UUID: it then joins the request of that id |
//! | everything else | as it is |
//!
//! A document that has a member of such a name itself keeps it, and the other one keeps its own name: nothing is lost. It
//! cannot have an `_id` or `_index` itself, as with Elasticsearch.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::log_service::columns::write_time;
use crate::log_service::entry::Entry;
use crate::record::escape::json_string;
use crate::record::id;
use crate::record::members::Members;

const ID: &str = "_id";
const INDEX: &str = "_index";
const OUR_INDEX: &str = "index";

/// Names of shippers, and ours.
const NAMES: [(&str, &str); 5] = [
    ("@timestamp", "ts"),
    ("message", "msg"),
    ("log.level", "level"),
    ("trace.id", "trace_id"),
    ("span.id", "span_id"),
];
/// The same in two steps.
const NESTED: [(&str, &str, &str); 3] =
    [("log", "level", "level"), ("trace", "id", "trace_id"), ("span", "id", "span_id")];

/// The entry of a document.
///
/// # Errors
/// When it is no JSON object, one that readers would refuse, or has a member that is not its own.
pub(super) fn entry(document: &[u8], index: &str, doc_id: Option<&str>) -> Result<Entry, serde_json::Error> {
    let members = Members::of(document)?;
    if let Some((name, _)) = members.0.iter().find(|(name, _)| matches!(&**name, ID | INDEX)) {
        let reason = "is a metadata field and cannot be added inside a document. Use the index API request parameters.";
        return Err(serde_json::Error::custom(format!("Field [{name}] {reason}")));
    }
    let mut writer = Writer { members: &members, out: Vec::with_capacity(document.len() + index.len() + 64) };
    writer.target(index, doc_id);
    for (name, value) in &members.0 {
        writer.member(name, value);
        writer.nested(name, value);
    }
    writer.out.push(b'}');
    Entry::parse(Bytes::from(writer.out))
}

/// Index and `_id` of an entry that was such a document.
pub(super) fn target(entry: &Value) -> Option<(&str, &str)> {
    let text = |name| entry.get(name).and_then(Value::as_str);
    Some((text(INDEX).or_else(|| text(OUR_INDEX))?, text(ID)?))
}

struct Writer<'m, 'd> {
    members: &'m Members<'d>,
    out: Vec<u8>,
}

impl Writer<'_, '_> {
    fn has(&self, name: &str) -> bool {
        self.members.raw(name).is_some()
    }

    fn name(&mut self, name: &str) {
        self.out.push(if self.out.is_empty() { b'{' } else { b',' });
        json_string(name.as_bytes(), &mut self.out);
        self.out.push(b':');
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        json_string(value.as_bytes(), &mut self.out);
    }

    fn target(&mut self, index: &str, doc_id: Option<&str>) {
        let name = if self.has(OUR_INDEX) { INDEX } else { OUR_INDEX };
        self.text(name, index);
        let Some(doc_id) = doc_id else { return };
        self.text(ID, doc_id);
        if id::parse(doc_id.as_bytes()).is_some() && !self.has("id") {
            self.text("id", doc_id);
        }
    }

    fn member(&mut self, name: &str, value: &RawValue) {
        let ours = NAMES.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours);
        let Some(ours) = ours.filter(|ours| !self.has(ours)) else { return self.raw(name, value) };
        match (ours, moment(value)) {
            ("ts", Some(us)) => {
                self.name(ours);
                self.out.push(b'"');
                write_time(us, &mut self.out);
                self.out.push(b'"');
            }
            ("ts", None) => self.raw(name, value),
            _ => self.raw(ours, value),
        }
    }

    fn raw(&mut self, name: &str, value: &RawValue) {
        self.name(name);
        self.out.extend_from_slice(value.get().as_bytes());
    }

    /// What is nested stays where it is, and is shown a second time under our name.
    fn nested(&mut self, name: &str, value: &RawValue) {
        let Some((_, inner, ours)) = NESTED.iter().find(|(outer, ..)| *outer == name) else { return };
        let flat = format!("{name}.{inner}");
        if self.has(ours) || self.has(&flat) || !value.get().starts_with('{') {
            return;
        }
        let Ok(members) = Members::of(value.get().as_bytes()) else { return };
        if let Some((_, value)) =
            members.0.iter().find(|(name, value)| name == inner && value.get().starts_with('"'))
        {
            self.raw(ours, value);
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Moment<'a> {
    Millis(i64),
    Text(#[serde(borrow)] Cow<'a, str>),
}

/// Microseconds since the Unix epoch, if that is exactly what is written (Elasticsearch's `strict_date_optional_time||epoch_millis`).
fn moment(value: &RawValue) -> Option<i64> {
    let time = match serde_json::from_str(value.get()).ok()? {
        Moment::Millis(millis) => Timestamp::from_millisecond(millis).ok()?,
        Moment::Text(text) => moment_of(&text)?,
    };
    (time.subsec_nanosecond() % 1000 == 0).then(|| time.as_microsecond())
}

/// A time without a zone is in UTC.
fn moment_of(text: &str) -> Option<Timestamp> {
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse().ok().or_else(civil)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shown(document: &Value, doc_id: Option<&str>) -> Value {
        let entry = entry(document.to_string().as_bytes(), "app", doc_id).unwrap();
        serde_json::from_slice(&entry.text).unwrap()
    }

    #[test]
    fn what_the_store_has_a_column_for_gets_its_name() {
        let document = json!({
            "@timestamp": "2026-11-21T10:14:03.5+01:00", "message": "hello", "log.level": "warn",
            "trace": { "id": "4bf92f3577b34da6a3ce929d0e0e4736" }, "n": 1,
        });
        let wanted = json!({
            "index": "app", "_id": "7", "ts": "2026-11-21T09:14:03.500000Z", "msg": "hello", "level": "warn",
            "trace": { "id": "4bf92f3577b34da6a3ce929d0e0e4736" }, "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "n": 1,
        });
        assert_eq!(shown(&document, Some("7")), wanted);
        let id = "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4";
        assert_eq!(shown(&json!({}), Some(id)), json!({ "index": "app", "_id": id, "id": id }));
    }

    #[test]
    fn times_are_read_as_elasticsearch_reads_them() {
        for (written, read) in [
            (json!("2026-11-21T09:14:03"), json!("2026-11-21T09:14:03.000000Z")),
            (json!("2026-11-21"), json!("2026-11-21T00:00:00.000000Z")),
            (json!(1_795_252_443_512_i64), json!("2026-11-21T09:14:03.512000Z")),
        ] {
            assert_eq!(shown(&json!({ "@timestamp": written }), None)["ts"], read);
        }
        for kept in
            [json!("yesterday"), json!("2026-11-21T09:14:03.123456789Z"), json!({}), json!(1.5), json!(null)]
        {
            assert_eq!(
                shown(&json!({ "@timestamp": kept }), None),
                json!({ "index": "app", "@timestamp": kept })
            );
        }
    }

    #[test]
    fn a_document_keeps_the_names_that_it_uses_itself() {
        let id = "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4";
        let document = json!({
            "index": 1, "id": 2, "ts": 4, "@timestamp": 5, "msg": 6, "message": 7, "level": 8, "log": { "level": "x" },
        });
        let mut wanted = document.clone();
        wanted["_index"] = "app".into();
        wanted["_id"] = id.into();
        assert_eq!(shown(&document, Some(id)), wanted);
    }

    #[test]
    fn only_objects_are_documents() {
        for bad in ["", "7", "[]", "{", "{\"a\":1} x", "\u{0}", "{\"_id\":1}"] {
            assert!(entry(bad.as_bytes(), "app", None).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_member_is_kept(members in proptest::collection::btree_map("[a-z@.]{1,12}", ".{0,10}", 0..8), id in ".{0,40}") {
            let shown = shown(&json!(members), Some(&id));
            let values: Vec<&Value> = shown.as_object().unwrap().values().collect();
            for value in members.values() {
                prop_assert!(values.contains(&&json!(value)) || members.contains_key("@timestamp"));
            }
        }
    }
}
