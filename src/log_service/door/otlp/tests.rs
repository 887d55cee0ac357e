//! OTLP as a sender speaks it: real sockets, a real store.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value as Json, json};

use super::entry::text;
use super::*;
use crate::log_service::Limits;
use crate::log_service::door::tests::{self, Service, start};
use crate::wire::otlp::message::{
    AnyValue, KeyValue, KeyValueList, Logs, Resource, ResourceLogs, Scope, ScopeLogs, Value,
};

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

fn string(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

fn shown(origin: &Origin, record: &LogRecord) -> Json {
    let entry = Entry::parse(text(origin, record).into()).unwrap();
    serde_json::from_slice(&entry.text).unwrap()
}

#[test]
fn everything_of_a_record_has_its_place() {
    let origin = Origin {
        resource: Resource {
            attributes: vec![
                attribute("service.name", string("shop")),
                attribute("n", string("of resource")),
            ],
            ..Resource::default()
        },
        scope: Scope { name: "cart".to_owned(), version: "2".to_owned(), ..Scope::default() },
    };
    let pairs = KeyValueList { values: vec![attribute("a", Value::BoolValue(true))] };
    let record = LogRecord {
        time_unix_nano: 1_795_252_443_512_804_000,
        observed_time_unix_nano: 1_795_252_443_512_804_001,
        severity_number: 18,
        severity_text: "SEVERE".to_owned(),
        body: Some(AnyValue::text("no \"card\"")),
        attributes: vec![
            attribute("n", Value::IntValue(-3)),
            attribute("msg", Value::DoubleValue(f64::NAN)),
            attribute("map", Value::KvlistValue(pairs)),
            attribute("raw", Value::BytesValue(vec![1, 2])),
        ],
        flags: 0x101,
        trace_id: vec![0xab; 16],
        span_id: vec![0; 8],
        event_name: "card.refused".to_owned(),
        ..LogRecord::default()
    };
    assert_eq!(
        shown(&origin, &record),
        json!({
            "ts": "2026-11-21T09:14:03.512804Z", "observed_ts": "2026-11-21T09:14:03.512804001Z",
            "level": "error", "severity_text": "SEVERE", "severity_number": 18, "msg": "no \"card\"",
            "trace_id": "abababababababababababababababab", "trace_flags": 1, "event_name": "card.refused",
            "n": -3, "attributes.msg": "NaN", "map": { "a": true }, "raw": "AQI=",
            "otel.scope.name": "cart", "otel.scope.version": "2", "service.name": "shop", "resource.n": "of resource",
        })
    );
}

#[test]
fn what_is_not_said_is_not_shown() {
    let origin = Origin::default();
    assert_eq!(shown(&origin, &LogRecord::default()), json!({}));
    let record = LogRecord {
        observed_time_unix_nano: 1000,
        severity_text: "Notice".to_owned(),
        ..LogRecord::default()
    };
    assert_eq!(shown(&origin, &record), json!({ "ts": "1970-01-01T00:00:00.000001Z", "level": "Notice" }));
    let record = LogRecord { severity_number: 9, severity_text: "INFO".to_owned(), ..LogRecord::default() };
    assert_eq!(shown(&origin, &record), json!({ "level": "info" }));
    let record =
        LogRecord { body: Some(AnyValue { value: Some(Value::IntValue(7)) }), ..LogRecord::default() };
    assert_eq!(shown(&origin, &record), json!({ "body": 7 }));
    for severity_number in [-1, 25, i32::MAX, i32::MIN] {
        let record = LogRecord { severity_number, ..LogRecord::default() };
        assert_eq!(shown(&origin, &record), json!({ "severity_number": severity_number }));
    }
}

impl Service {
    async fn call(&self, request: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        tests::call(self.address(), request, headers, body).await
    }

    /// Sends a head and no body.
    async fn send_head(&self, request: &str, headers: &str) -> (u16, String, Vec<u8>) {
        let head = format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
        tests::exchange(self.address(), head.as_bytes()).await
    }

    async fn send(&self, form: Form, records: Vec<LogRecord>) -> (u16, String, Vec<u8>) {
        let headers = format!("content-type: {}\r\n", form.media());
        self.call("POST /v1/logs", &headers, &form.write(&logs(records))).await
    }

    async fn found(&self, filter: &str) -> usize {
        let (status, _, body) = self.call(&format!("GET /logs/search?since=all&q={filter}"), "", b"").await;
        assert_eq!(status, 200);
        String::from_utf8(body).unwrap().matches("\"msg\":").count()
    }
}

fn logs(log_records: Vec<LogRecord>) -> Logs {
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource =
        Some(Resource { attributes: vec![attribute("service.name", string("shop"))], ..Resource::default() });
    Logs { resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }] }
}

fn record(text: &str) -> LogRecord {
    LogRecord { body: Some(AnyValue::text(text)), severity_number: 17, ..LogRecord::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_forms_are_stored_and_answered_in_their_form() {
    let service = start(|_| {}).await;
    for form in [Form::Protobuf, Form::Json] {
        let (status, head, body) = service.send(form, vec![record("hi"), record("ho")]).await;
        assert_eq!((status, form.answer(&body).unwrap()), (200, Told::default()));
        assert!(head.contains(&format!("content-type: {}", form.media())), "{head}");
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&Form::Protobuf.write(&logs(vec![record("hi")]))).unwrap();
    let headers = "content-type: application/x-protobuf\r\ncontent-encoding: gzip\r\n";
    assert_eq!(service.call("POST /v1/logs", headers, &encoder.finish().unwrap()).await.0, 200);
    assert_eq!((service.found("msg:hi").await, service.found("level:error").await), (3, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_is_counted_with_the_first_reason() {
    let service =
        start(|settings| (settings.limits.entry_bytes, settings.limits.batch_entries) = (200, 2)).await;
    let records = vec![record("a"), record(&"x".repeat(300)), record("b"), record("c"), record("d")];
    let (status, _, body) = service.send(Form::Protobuf, records).await;
    let partial = Form::Protobuf.answer(&body).unwrap().partial_success.unwrap();
    assert_eq!((status, partial.rejected_log_records), (200, 3));
    assert!(partial.error_message.contains("larger than 200"), "{partial:?}");
    assert_eq!(service.found("").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_refused_whole() {
    let service = start(|settings| settings.limits.body_bytes = 1000).await;
    let protobuf = "content-type: application/x-protobuf\r\n";
    let (status, _, body) = service.call("POST /v1/logs", protobuf, b"{}").await;
    assert_eq!(status, 400);
    let told: Status = prost::Message::decode(body.as_slice()).unwrap();
    assert_eq!(told.code, 3);
    assert!(told.message.contains("no OTLP logs"), "{told:?}");
    let (status, _, body) = service.call("POST /v1/logs", "content-type: application/json\r\n", b"[").await;
    assert_eq!((status, &serde_json::from_slice::<Json>(&body).unwrap()["code"]), (400, &json!(3)));
    assert_eq!(service.send(Form::Json, vec![record(&"x".repeat(2000))]).await.0, 413);
    assert_eq!(service.call("POST /v1/logs", "content-type: text/plain\r\n", b"").await.0, 415);
    assert_eq!(service.call("GET /v1/logs", protobuf, b"").await.0, 405);
    assert_eq!(
        service.call("POST /v1/logs", &format!("{protobuf}origin: http://x.example\r\n"), b"").await.0,
        403
    );
}

/// OTLP 1.9, "Retryable Response Codes": whatever is answered 408 is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_too_slowly_may_come_again() {
    let service = start(|settings| settings.limits.body_timeout = std::time::Duration::from_millis(50)).await;
    let headers = "content-type: application/x-protobuf\r\ntransfer-encoding: chunked\r\n";
    let (status, head, _) = service.send_head("POST /v1/logs", headers).await;
    assert_eq!(status, 503);
    assert!(head.contains("retry-after: 1"), "{head}");
}

/// Else some kilobytes, packed, would fill the memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_once_and_kept_with_every_record_has_a_bound() {
    let service = start(|settings| settings.limits.held_bytes = 1 << 20).await;
    let send = async |count| {
        let mut logs = logs(vec![record("hi"); count]);
        let resource = logs.resource_logs[0].resource.as_mut().unwrap();
        resource.attributes.push(attribute("large", string(&"x".repeat(10_000))));
        let headers = "content-type: application/x-protobuf\r\n";
        service.call("POST /v1/logs", headers, &Form::Protobuf.write(&logs)).await.0
    };
    assert_eq!((send(200).await, service.found("").await), (413, 0));
    assert_eq!((send(20).await, service.found("").await), (200, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_a_sender_is_told_to_come_again() {
    let no_bodies = start(|settings| settings.limits.held_bytes = 1).await;
    let no_rows = start(|settings| settings.limits = Limits { memory_bytes: 0, ..Limits::default() }).await;
    for service in [no_bodies, no_rows] {
        let (status, head, _) = service.send(Form::Protobuf, vec![record("hi")]).await;
        assert_eq!(status, 429);
        assert!(head.contains("retry-after: 1"), "{head}");
    }
}
