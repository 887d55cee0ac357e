//! A log record of OpenTelemetry as an entry of the store.
//!
//! | of the record | in the entry |
//! |---|---|
//! | `time_unix_nano`, or when it was observed | `ts` |
//! | `observed_time_unix_nano`, if another | `observed_ts` |
//! | `severity_number` | `level`: `trace`, `debug`, `info`, `warn`, `error`, `fatal` |
//! | `severity_text`, if it says something else | `severity_text`; without a number `level` |
//! | `body`, a string | `msg` |
//! | `body`, anything else | `body`, as JSON |
//! | `trace_id`, `span_id`, `flags` | `trace_id`, `span_id` in hexadecimal, `trace_flags` |
//! | `event_name` | `event_name` |
//! | attributes of the record, the scope and the resource | as they are called, flat: `service.name`, `http.route` |
//! | name and version of the scope | `otel.scope.name`, `otel.scope.version` |
//!
//! Of the same names the record's comes before the scope's and the resource's; the others keep theirs behind `scope.` and
//! `resource.`, and an attribute that is called as one of the fields above behind `attributes.`. Bytes are in base64.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::log_service::columns::write_time;
use crate::record::escape::{hex, json_string, member_name};
use crate::wire::otlp::message::{AnyValue, KeyValue, LogRecord, Value};
use crate::wire::otlp::read::Origin;

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];

/// The JSON object of a record.
pub(super) fn text(origin: &Origin, record: &LogRecord) -> Vec<u8> {
    let mut writer = Writer { out: vec![b'{'], names: HashSet::new() };
    writer.times(record);
    writer.severity(record);
    writer.trace(record);
    writer.body(record.body.as_ref());
    if !record.event_name.is_empty() {
        writer.string("event_name", &record.event_name);
    }
    if record.dropped_attributes_count > 0 {
        writer.number("dropped_attributes_count", record.dropped_attributes_count.into());
    }
    writer.attributes("attributes.", &record.attributes);
    for (name, value) in
        [("otel.scope.name", &origin.scope.name), ("otel.scope.version", &origin.scope.version)]
    {
        if !value.is_empty() && !writer.names.contains(name) {
            writer.string(name, value);
        }
    }
    writer.attributes("scope.", &origin.scope.attributes);
    writer.attributes("resource.", &origin.resource.attributes);
    writer.out.push(b'}');
    writer.out
}

struct Writer<'r> {
    out: Vec<u8>,
    names: HashSet<Cow<'r, str>>,
}

impl<'r> Writer<'r> {
    fn name(&mut self, name: impl Into<Cow<'r, str>>) {
        let name = name.into();
        member_name(&name, &mut self.out);
        self.names.insert(name);
    }

    fn string(&mut self, name: &'static str, value: &str) {
        self.name(name);
        json_string(value.as_bytes(), &mut self.out);
    }

    fn number(&mut self, name: &'static str, value: i64) {
        self.name(name);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn times(&mut self, record: &LogRecord) {
        let (time, observed) = (record.time_unix_nano, record.observed_time_unix_nano);
        let shown = if time == 0 { observed } else { time };
        self.time("ts", shown);
        if observed != shown {
            self.time("observed_ts", observed);
        }
    }

    fn time(&mut self, name: &'static str, nanos: u64) {
        if nanos == 0 {
            return;
        }
        self.name(name);
        self.out.push(b'"');
        if nanos.is_multiple_of(1000) {
            write_time((nanos / 1000).cast_signed(), &mut self.out);
        } else {
            // 64 bits of nanoseconds end in the year 2554.
            let time = Timestamp::from_nanosecond(nanos.into()).unwrap_or_default();
            self.out.extend_from_slice(time.to_string().as_bytes());
        }
        self.out.push(b'"');
    }

    fn severity(&mut self, record: &LogRecord) {
        let number = usize::try_from(record.severity_number).unwrap_or(0);
        let level = number.checked_sub(1).and_then(|step| LEVELS.get(step / 4));
        match level {
            Some(level) => self.string("level", level),
            None if !record.severity_text.is_empty() => self.string("level", &record.severity_text),
            None => {}
        }
        if level.is_some_and(|level| !record.severity_text.eq_ignore_ascii_case(level))
            && !record.severity_text.is_empty()
        {
            self.string("severity_text", &record.severity_text);
        }
        // The first of the four steps of a level is what its name says.
        if record.severity_number != 0 && (level.is_none() || number % 4 != 1) {
            self.number("severity_number", record.severity_number.into());
        }
    }

    fn trace(&mut self, record: &LogRecord) {
        for (name, id) in [("trace_id", &record.trace_id), ("span_id", &record.span_id)] {
            if id.iter().any(|byte| *byte != 0) {
                self.name(name);
                self.out.push(b'"');
                hex(id, &mut self.out);
                self.out.push(b'"');
            }
        }
        if record.flags != 0 {
            self.number("trace_flags", (record.flags & 0xff).into());
        }
    }

    fn body(&mut self, body: Option<&AnyValue>) {
        match body.and_then(|body| body.value.as_ref()) {
            None => {}
            Some(Value::StringValue(text)) => self.string("msg", text),
            Some(value) => {
                self.name("body");
                write(Some(value), &mut self.out);
            }
        }
    }

    fn attributes(&mut self, prefix: &str, attributes: &'r [KeyValue]) {
        for KeyValue { key, value } in attributes {
            if self.names.contains(key.as_str()) {
                self.name(format!("{prefix}{key}"));
            } else {
                self.name(key.as_str());
            }
            write(value.as_ref().and_then(|value| value.value.as_ref()), &mut self.out);
        }
    }
}

fn write(value: Option<&Value>, out: &mut Vec<u8>) {
    match value {
        None => out.extend_from_slice(b"null"),
        Some(Value::StringValue(text)) => _ = json_string(text.as_bytes(), out),
        Some(Value::BoolValue(flag)) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
        Some(Value::IntValue(number)) => {
            out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes())
        }
        Some(Value::DoubleValue(number)) => double(*number, out),
        Some(Value::BytesValue(bytes)) => _ = json_string(STANDARD.encode(bytes).as_bytes(), out),
        Some(Value::ArrayValue(list)) => {
            let values = list.values.iter().map(|value| value.value.as_ref());
            enclosed(*b"[]", values, out, write);
        }
        Some(Value::KvlistValue(list)) => enclosed(*b"{}", list.values.iter(), out, |pair, out| {
            json_string(pair.key.as_bytes(), out);
            out.push(b':');
            write(pair.value.as_ref().and_then(|value| value.value.as_ref()), out);
        }),
    }
}

fn double(number: f64, out: &mut Vec<u8>) {
    let text = if number.is_finite() { format!("{number:?}") } else { format!("\"{number}\"") };
    out.extend_from_slice(text.as_bytes());
}

fn enclosed<T>(
    [open, close]: [u8; 2],
    values: impl Iterator<Item = T>,
    out: &mut Vec<u8>,
    write: impl Fn(T, &mut Vec<u8>),
) {
    out.push(open);
    for (place, value) in values.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(value, out);
    }
    out.push(close);
}
