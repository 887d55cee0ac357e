//! The same messages in both forms, and whatever else comes.

use proptest::prelude::*;
use serde_json::json;

use super::message::{
    AnyValue, ArrayValue, KeyValue, KeyValueList, LogRecord, Logs, ResourceLogs, ScopeLogs, Value,
};
use super::read::Origin;
use super::*;

/// The example of the specification (opentelemetry-proto, `examples/logs.json`), shortened.
const EXAMPLE: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},
"scopeLogs":[{"scope":{"name":"my.library","version":"1.0.0","attributes":[]},"logRecords":[{
"timeUnixNano":"1544712660300000000","observedTimeUnixNano":1544712660300000000,"severityNumber":10,"severityText":"Information",
"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","body":{"stringValue":"Example log record"},"unknown":7,
"attributes":[{"key":"int","value":{"intValue":"10"}},{"key":"array","value":{"arrayValue":{"values":[{"stringValue":"many"},{"boolValue":true}]}}},
{"key":"map","value":{"kvlistValue":{"values":[{"key":"some.map.key","value":{"doubleValue":637.704}}]}}},{"key":"none","value":{}}]}]}]}]}"#;

/// The records of a body with where they come from.
type Read = Vec<(Origin, Result<LogRecord, usize>)>;

fn read(form: Form, body: &[u8], most: usize) -> Result<Read, FormError> {
    let mut read = Vec::new();
    form.records(body, most, &mut |origin, record| read.push((origin.clone(), record)))?;
    Ok(read)
}

fn logs(records: Vec<LogRecord>) -> Logs {
    let scope_logs = vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }];
    Logs { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
}

#[test]
fn the_example_of_the_specification_is_read() {
    let read = read(Form::Json, EXAMPLE.as_bytes(), 2000).unwrap();
    let [(origin, Ok(record))] = read.as_slice() else { panic!("{read:?}") };
    assert_eq!(origin.resource.attributes[0].value, Some(AnyValue::text("my.service")));
    assert_eq!(origin.scope.name, "my.library");
    assert_eq!(
        (record.time_unix_nano, record.observed_time_unix_nano),
        (1_544_712_660_300_000_000, 1_544_712_660_300_000_000)
    );
    assert_eq!((record.severity_number, record.trace_id[0], record.span_id.len()), (10, 0x5b, 8));
    assert_eq!(record.attributes[0].value, Some(AnyValue { value: Some(Value::IntValue(10)) }));
    assert_eq!(record.attributes[3].value, Some(AnyValue { value: None }));
}

/// Every field that is said there, once as `null`.
#[test]
fn null_is_as_if_the_field_were_not_there() {
    let whole = json!({"resourceLogs": [{
        "schemaUrl": "u",
        "resource": {"attributes": [{"key": "a", "value": {"stringValue": "b"}}], "droppedAttributesCount": 1},
        "scopeLogs": [{
            "schemaUrl": "u",
            "scope": {
                "name": "n", "version": "v", "droppedAttributesCount": 1,
                "attributes": [{"key": "a", "value": {"boolValue": true}}],
            },
            "logRecords": [{
                "timeUnixNano": "7", "observedTimeUnixNano": 7, "severityNumber": 9, "severityText": "INFO",
                "body": {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "3"}}]}},
                "attributes": [
                    {"key": "d", "value": {"doubleValue": 0.5}}, {"key": "b", "value": {"bytesValue": "AQI="}},
                    {"key": "l", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}},
                ],
                "droppedAttributesCount": 1, "flags": 1, "traceId": "ab", "spanId": "cd", "eventName": "e",
            }],
        }],
    }]});
    let mut fields = Vec::new();
    pointers(&whole, "", &mut fields);
    assert_eq!(fields.len(), 46, "{fields:?}");
    for field in fields {
        let (mut null, mut absent) = (whole.clone(), whole.clone());
        *null.pointer_mut(&field).unwrap() = serde_json::Value::Null;
        let (parent, name) = field.rsplit_once('/').unwrap();
        absent.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        let [null, absent, whole] = [null, absent, whole.clone()].map(|body| {
            read(Form::Json, body.to_string().as_bytes(), 1 << 20)
                .unwrap_or_else(|error| panic!("{field}: {error}"))
        });
        assert_eq!(null, absent, "{field}");
        // What is not kept of these would not differ.
        assert!(null != whole || field.ends_with("/schemaUrl"), "{field}");
    }
    for answer in [
        r#"{"partialSuccess":null}"#,
        r#"{"partialSuccess":{"rejectedLogRecords":null,"errorMessage":null}}"#,
    ] {
        assert!(Form::Json.answer(answer.as_bytes()).is_ok(), "{answer}");
    }
}

#[test]
fn a_value_is_the_member_that_is_not_null() {
    for (members, value) in [
        (r#"{"stringValue":null,"intValue":"3","boolValue":null}"#, Some(Value::IntValue(3))),
        (r#"{"bytesValue":null,"doubleValue":"NaN","doubleValue2":1}"#, Some(Value::DoubleValue(f64::NAN))),
        (r#"{"arrayValue":null,"kvlistValue":null,"bytesValue":null}"#, None),
    ] {
        let read: AnyValue = serde_json::from_str(members).unwrap();
        assert_eq!(format!("{:?}", read.value), format!("{value:?}"));
    }
}

/// Of all members of objects.
fn pointers(value: &serde_json::Value, at: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => members.iter().for_each(|(name, value)| {
            let field = format!("{at}/{name}");
            pointers(value, &field, found);
            found.push(field);
        }),
        serde_json::Value::Array(values) => {
            values
                .iter()
                .enumerate()
                .for_each(|(place, value)| pointers(value, &format!("{at}/{place}"), found));
        }
        _ => {}
    }
}

/// The format has it so: a list has no element that is absent.
#[test]
fn null_is_no_element_of_a_list_and_no_message() {
    for bad in
        ["null", r#"{"resourceLogs":[null]}"#, r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[null]}]}]}"#]
    {
        assert!(read(Form::Json, bad.as_bytes(), 1000).is_err(), "{bad}");
    }
}

#[test]
fn json_is_written_as_the_specification_wants_it() {
    let record = LogRecord {
        time_unix_nano: 7,
        trace_id: vec![0xab; 16],
        severity_number: 17,
        ..LogRecord::default()
    };
    let written: serde_json::Value = serde_json::from_slice(&Form::Json.write(&logs(vec![record]))).unwrap();
    let record = &written["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!((&record["timeUnixNano"], &record["severityNumber"]), (&json!("7"), &json!(17)));
    assert_eq!(record["traceId"], "abababababababababababababababab");
    assert_eq!(Form::Json.write(&Answer::default()), b"{}");
}

#[test]
fn what_is_not_of_the_form_is_refused() {
    let bad_id = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"zz"}]}]}]}"#;
    for bad in ["", "7", "{\"resourceLogs\":7}", bad_id] {
        assert!(read(Form::Json, bad.as_bytes(), 1000).is_err(), "{bad}");
    }
    assert!(read(Form::Protobuf, b"{\"resourceLogs\":[]}", 1000).is_err());
    assert_eq!(Form::of(Some("application/json; charset=utf-8")), Some(Form::Json));
    assert_eq!(Form::of(Some("text/plain")), None);
}

#[test]
fn a_record_that_is_too_large_is_told_and_the_others_are_read() {
    let record = |text: &str| LogRecord { body: Some(AnyValue::text(text)), ..LogRecord::default() };
    let sent = logs(vec![record("a"), record(&"x".repeat(1000)), record("b")]);
    for form in [Form::Protobuf, Form::Json] {
        let sizes: Vec<bool> =
            read(form, &form.write(&sent), 500).unwrap().iter().map(|(_, record)| record.is_ok()).collect();
        assert_eq!(sizes, [true, false, true], "{form:?}");
    }
    let resource = message::Resource {
        attributes: vec![KeyValue { key: "k".repeat(1000), value: None }],
        ..message::Resource::default()
    };
    let mut sent = sent;
    sent.resource_logs[0].resource = Some(resource);
    for form in [Form::Protobuf, Form::Json] {
        assert!(matches!(read(form, &form.write(&sent), 500), Err(FormError::TooLarge(500))), "{form:?}");
    }
}

#[test]
fn what_is_nested_too_deep_is_refused() {
    let deep = (0..5000).fold(AnyValue::text("x"), |value, _| AnyValue {
        value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })),
    });
    // Built and written in a thread of its own: here the depth is ours.
    let bytes = std::thread::Builder::new()
        .stack_size(256 << 20)
        .spawn(move || LogRecord { body: Some(deep), ..LogRecord::default() }.encode_to_vec());
    let bytes = bytes.unwrap().join().unwrap();
    assert!(LogRecord::decode(bytes.as_slice()).is_err());
}

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        ".{0,8}".prop_map(|text| Some(Value::StringValue(text))),
        any::<bool>().prop_map(|flag| Some(Value::BoolValue(flag))),
        any::<i64>().prop_map(|number| Some(Value::IntValue(number))),
        any::<i32>().prop_map(|number| Some(Value::DoubleValue(f64::from(number) / 8.0))),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| Some(Value::BytesValue(bytes))),
    ];
    let leaf = leaf.prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 16, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4)
            .prop_map(|values| Value::ArrayValue(ArrayValue { values }));
        let pair = (".{0,4}", inner).prop_map(|(key, value)| KeyValue { key, value: Some(value) });
        let pairs =
            prop::collection::vec(pair, 0..4).prop_map(|values| Value::KvlistValue(KeyValueList { values }));
        prop_oneof![list, pairs].prop_map(|value| AnyValue { value: Some(value) })
    })
}

proptest! {
    #[test]
    fn both_forms_say_the_same(body in value(), time_unix_nano: u64, severity_number in 0..25, trace_id: [u8; 16], name in ".{0,8}") {
        let trace_id = trace_id.to_vec();
        let record = LogRecord { time_unix_nano, severity_number, trace_id, body: Some(body), event_name: name, ..LogRecord::default() };
        for form in [Form::Protobuf, Form::Json] {
            let read = read(form, &form.write(&logs(vec![record.clone()])), 1 << 20).unwrap();
            prop_assert_eq!(&read[0].1, &Ok(record.clone()));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (read(Form::Protobuf, &bytes, 100), read(Form::Json, &bytes, 100), Form::Protobuf.answer(&bytes));
    }
}
