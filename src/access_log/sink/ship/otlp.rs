//! OTLP over HTTP: `POST /v1/logs` in protobuf. Attributes have the names of OpenTelemetry's conventions
//! ([`crate::record::otel`]).
//!
//! | answer | consequence |
//! |---|---|
//! | 2xx | taken; what `partial_success` says was rejected is counted, with one of the group as a sample among the dead letters: which ones it were is not said, and none may be sent again |
//! | 400, 422, 500, 501 and others | never sent again as it is: halved, down to the one that is refused |
//! | 413 | halved |
//! | 3xx, 401, 403, 404, 405, 407, 408, 415 | held: credentials, address or `compress` are to be mended |
//! | 429, 502, 503, 504 with its `Retry-After`, no answer | again, later |
//!
//! Source: OpenTelemetry Protocol 1.9, "OTLP/HTTP Response".

use std::collections::BTreeMap;

use super::post::{Answer, Post};
use super::{Item, Load, Verdict};
use crate::access_log::Error;
use crate::access_log::shipping::ShippingSettings;
use crate::record::members::Members;
use crate::record::otel;
use crate::wire::otlp::message::{
    AnyValue, ArrayValue, KeyValue, KeyValueList, LogRecord, Logs, Resource, ResourceLogs, Scope, ScopeLogs,
    Value,
};
use crate::wire::otlp::{Form, PATH, PROTOBUF, bytes_of};

#[derive(Debug)]
pub(super) struct Otlp {
    post: Post,
}

impl Otlp {
    pub(super) fn new(settings: &ShippingSettings) -> Result<Self, Error> {
        Ok(Self { post: Post::new(settings, PROTOBUF)? })
    }

    pub(super) fn disconnect(&mut self) {
        self.post.disconnect();
    }

    pub(super) async fn send(&mut self, load: Load<'_>) -> Verdict {
        match self.post.send(PATH, Form::Protobuf.write(&logs(load))).await {
            Ok(answer) => judge(&answer),
            Err(verdict) => verdict,
        }
    }
}

fn judge(answer: &Answer) -> Verdict {
    let status = answer.status.as_u16();
    match status {
        200..=299 => judge_taken(answer),
        413 => Verdict::TooLarge,
        300..=399 | 401 | 403..=405 | 407 | 408 | 415 | 429 | 502..=504 => {
            Verdict::Later { why: answer.words(), after: answer.retry_after() }
        }
        _ => Verdict::Refused { status, why: answer.words() },
    }
}

/// An answer that cannot be read says nothing against it.
fn judge_taken(answer: &Answer) -> Verdict {
    let partial = Form::Protobuf.answer(&answer.body).ok().and_then(|answer| answer.partial_success);
    let refused =
        partial.as_ref().map_or(0, |partial| u64::try_from(partial.rejected_log_records).unwrap_or(0));
    match partial {
        Some(partial) if refused > 0 => Verdict::Partly { refused, why: partial.error_message },
        _ => Verdict::Taken,
    }
}

/// All records, by the proxy that wrote them.
fn logs(load: Load<'_>) -> Logs {
    let mut proxies: BTreeMap<String, Vec<LogRecord>> = BTreeMap::new();
    for (item, line) in load.iter() {
        // The lines are ours: native objects.
        let members = Members::of(line).unwrap_or_default();
        let proxy = members.text("proxy").unwrap_or_default().into_owned();
        proxies.entry(proxy).or_default().push(record(item, &members));
    }
    Logs { resource_logs: proxies.into_iter().map(|(proxy, records)| of_proxy(&proxy, records)).collect() }
}

fn of_proxy(proxy: &str, log_records: Vec<LogRecord>) -> ResourceLogs {
    let attributes = vec![text("service.name", "tollgate"), text("service.instance.id", proxy)];
    let scope = Scope {
        name: "tollgate".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Scope::default()
    };
    ResourceLogs {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_logs: vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    }
}

fn record(item: &Item, members: &Members<'_>) -> LogRecord {
    let (severity, severity_text) = otel::severity(members);
    let nanos = u64::try_from(item.ts_us).unwrap_or(0).saturating_mul(1000);
    let bytes = |text: Option<String>, length: usize| {
        text.and_then(|text| bytes_of(&text)).filter(|bytes| bytes.len() == length).unwrap_or_default()
    };
    let attributes =
        members.0.iter().filter(|(name, _)| !otel::is_field(name)).map(|(name, value)| KeyValue {
            key: otel::attribute(name).into_owned(),
            value: serde_json::from_str(&otel::value(name, value.get(), members)).ok().map(value_of),
        });
    LogRecord {
        time_unix_nano: nanos,
        observed_time_unix_nano: nanos,
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue::text(otel::body(members))),
        attributes: attributes.collect(),
        flags: members.number("trace_flags").and_then(|flags| u32::try_from(flags).ok()).unwrap_or(0),
        trace_id: bytes(otel::trace_id(members), 16),
        span_id: bytes(members.text("span_id").map(Into::into), 8),
        event_name: format!("tollgate.{}", members.text("kind").unwrap_or_default()),
        ..LogRecord::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue::text(value)) }
}

fn value_of(json: serde_json::Value) -> AnyValue {
    use serde_json::Value as Json;
    let value = match json {
        Json::Null => None,
        Json::Bool(flag) => Some(Value::BoolValue(flag)),
        Json::String(text) => Some(Value::StringValue(text)),
        Json::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::IntValue(number),
            (None, Some(number)) => Value::DoubleValue(number),
            (None, None) => Value::StringValue(number.to_string()),
        }),
        Json::Array(values) => {
            Some(Value::ArrayValue(ArrayValue { values: values.into_iter().map(value_of).collect() }))
        }
        Json::Object(members) => Some(Value::KvlistValue(KeyValueList {
            values: members
                .into_iter()
                .map(|(key, value)| KeyValue { key, value: Some(value_of(value)) })
                .collect(),
        })),
    };
    AnyValue { value }
}
